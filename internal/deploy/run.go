package deploy

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"unicode"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

// runner carries one run of a deployment out.
type runner struct {
	*Room
	run    string
	rec    *record
	doc    *store.Doc
	plan   *template.Plan
	hidden []string // secret texts, to be kept out of messages

	mu    sync.Mutex
	tasks map[string]*task // by lower-cased resource id
	dirty map[string]bool  // tasks that were changed since they were last stored
}

// carryOut works a run to its end, or until ctx ends.
func (m *Room) carryOut(ctx context.Context, _ *execution, run, id string) {
	x := &runner{Room: m, run: run, tasks: map[string]*task{}, dirty: map[string]bool{}}
	err := x.open(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = m.store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteKV(bucketOpen, run) })
	}
	if err != nil {
		if ctx.Err() == nil {
			m.log.Error("deployment", "id", id, "err", err)
		}
		return
	}
	if x.doc == nil {
		return
	}
	outputs, failure := x.work(ctx)
	if ctx.Err() != nil {
		x.flush(context.WithoutCancel(ctx)) // cancelled, or lido stops and the next one goes on
		return
	}
	err = x.finish(ctx, outputs, failure)
	if err != nil && ctx.Err() == nil {
		m.log.Error("deployment", "id", id, "err", err)
		err = x.finish(ctx, nil, deploymentFailed(id, []*arm.Error{arm.AsError(err)}))
	}
	if err != nil && ctx.Err() == nil {
		m.log.Error("deployment", "id", id, "err", err)
	}
}

// open reads what the run needs and marks the deployment as running.
func (x *runner) open(ctx context.Context, id string) error {
	return x.store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(id)
		if err != nil {
			return err
		}
		st := statusOf(d)
		if st.Run != x.run || !st.active() {
			return tx.DeleteKV(bucketOpen, x.run)
		}
		if x.rec, err = x.load(tx, x.run); err != nil {
			return err
		}
		if err := x.loadTasks(tx); err != nil {
			return err
		}
		st.ProvisioningState = stateRunning
		x.doc = d
		return tx.SetStatus(d.ID, d.UID, st)
	})
}

// work deploys the resources, in complete mode deletes the others, and works the outputs out.
func (x *runner) work(ctx context.Context) ([]template.Output, *arm.Error) {
	var err error
	if x.plan, err = x.expanded(x.rec); err != nil {
		return nil, x.clean(arm.AsError(fromTemplate(err)))
	}
	x.collectSecrets()
	stop := x.keepFlushing(ctx)
	defer stop()
	if failures := x.deploy(ctx); len(failures) > 0 {
		return nil, deploymentFailed(x.doc.ID, failures)
	}
	if ctx.Err() != nil {
		return nil, nil
	}
	if x.rec.Mode == modeComplete {
		if e := x.deleteOthers(ctx); e != nil {
			return nil, deploymentFailed(x.doc.ID, []*arm.Error{e})
		}
	}
	return x.outputs(ctx)
}

func (x *runner) outputs(ctx context.Context) ([]template.Output, *arm.Error) {
	x.begin(outputTask, x.doc.ID, "", "")
	outputs, failed := x.plan.Outputs(&world{Room: x.Room, ctx: ctx, rec: x.rec})
	if ctx.Err() != nil {
		return nil, nil
	}
	if failed != nil {
		e := x.clean(outputsFailed(failed))
		x.end(outputTask, x.doc.ID, e.Status, e)
		return nil, e
	}
	x.end(outputTask, x.doc.ID, 200, nil)
	return outputs, nil
}

// outputsFailed is the error of a deployment whose outputs cannot be worked out, with one detail for each.
func outputsFailed(failed []template.OutputError) *arm.Error {
	const code = "DeploymentOutputEvaluationFailed"
	names := make([]string, len(failed))
	details := make([]*arm.Error, len(failed))
	for i, f := range failed {
		e := *arm.AsError(fromTemplate(f.Err))
		e.Target, names[i], details[i] = f.Name, f.Name, &e
		if e.Code == template.CodeInvalidTemplate {
			e.Code = code
		}
	}
	e := arm.BadRequest(code, "", "Unable to evaluate template outputs: '%s'. Please see error details and deployment operations. Please see https://aka.ms/arm-common-errors for usage details.", strings.Join(names, ", "))
	e.Details = details
	return e
}

// collectSecrets notes the secret texts that a type's message could repeat.
func (x *runner) collectSecrets() {
	add := func(v template.Value) {
		v.Walk(func(_ string, leaf template.Value) {
			if leaf.Secure() && len(leaf.Str()) >= 4 {
				x.hidden = append(x.hidden, leaf.Str())
			}
		})
	}
	for _, p := range x.plan.Parameters {
		add(p.Value)
	}
	for _, r := range x.plan.Resources {
		add(r.Body)
	}
}

// clean takes secrets out of an error.
func (x *runner) clean(e *arm.Error) *arm.Error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.cleanLocked(e)
}

func (x *runner) cleanLocked(e *arm.Error) *arm.Error {
	out := *e
	for _, s := range x.hidden {
		out.Message = strings.ReplaceAll(out.Message, s, "(secret)")
		out.Target = strings.ReplaceAll(out.Target, s, "(secret)")
	}
	out.Details = nil
	for _, d := range e.Details {
		out.Details = append(out.Details, x.cleanLocked(d))
	}
	return &out
}

// deleteOthers deletes what a deployment in complete mode does not name.
func (x *runner) deleteOthers(ctx context.Context) *arm.Error {
	keep := map[string]bool{}
	for _, r := range x.plan.Resources {
		if r.Skipped {
			continue
		}
		for id := arm.ParsePath(r.ID); !id.IsZero(); id = id.Parent() {
			keep[id.Key()] = true
		}
	}
	if err := x.store.View(ctx, func(tx *store.Tx) error { return keepNested(tx, keep) }); err != nil {
		return arm.AsError(err)
	}
	by := deletion{Caller: x.rec.Caller, APIVersion: x.rec.APIVersion, BaseURL: x.rec.BaseURL}
	return x.sweep(ctx, arm.ParsePath(x.rec.ID).GroupID().String(), by, keep)
}

// keepNested adds what the nested deployments among keep have deployed, and those nested in them.
func keepNested(tx *store.Tx, keep map[string]bool) error {
	look := slices.Collect(maps.Keys(keep))
	for len(look) > 0 {
		id := arm.ParsePath(look[0])
		look = look[1:]
		if !sameType(id.Type(), TypeDeployment) {
			continue
		}
		d, err := tx.Get(id.String())
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		for _, made := range statusOf(d).Resources {
			for id := arm.ParsePath(made); !id.IsZero(); id = id.Parent() {
				if !keep[id.Key()] {
					keep[id.Key()] = true
					look = append(look, id.Key())
				}
			}
		}
	}
	return nil
}

// finish stores how the run ended and ends its operations.
func (x *runner) finish(ctx context.Context, outputs []template.Output, failure *arm.Error) error {
	return x.store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(x.doc.ID)
		if errors.Is(err, store.ErrNotFound) {
			return tx.DeleteKV(bucketOpen, x.run)
		}
		if err != nil {
			return err
		}
		st := statusOf(d)
		if st.Run != x.run || !st.active() {
			return nil
		}
		st.Ended, st.ProvisioningState, st.Error = x.now(), arm.Succeeded, failure
		if failure != nil {
			st.ProvisioningState = arm.Failed
		} else if st.Outputs, err = x.seal(tx, outputs); err != nil {
			return err
		}
		if failure != nil && x.rec.OnError != nil {
			if err := x.rollBack(tx, d, st); err != nil {
				return err
			}
		}
		if x.rec.RollbackOf != "" {
			if err := x.rolledBack(tx, st.ProvisioningState); err != nil {
				return err
			}
		}
		st.Resources = x.deployed()
		if err := x.flushTx(tx); err != nil {
			return err
		}
		if err := tx.SetStatus(d.ID, d.UID, st); err != nil {
			return err
		}
		if err := tx.DeleteKV(bucketOpen, x.run); err != nil {
			return err
		}
		return x.endOperations(tx, d, failure)
	})
}

func (x *runner) endOperations(tx *store.Tx, d *store.Doc, failure *arm.Error) error {
	ops, err := x.Server.OpenOperations(tx, d.ID)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if err := x.Server.FinishOperation(tx, op, nil, failure); err != nil {
			return err
		}
	}
	return nil
}

// seal is the outputs with the secrets in them replaced by placeholders of the deployment.
func (x *runner) seal(tx *store.Tx, outputs []template.Output) (any, error) {
	out := map[string]any{}
	var failed error
	for _, o := range outputs {
		v := o.Value.MapLeaves(func(leaf template.Value) template.Value {
			if !leaf.Secure() || strings.HasPrefix(leaf.Str(), secret.Prefix) || leaf.Kind() == template.Null {
				return leaf
			}
			token, err := x.Server.Box.Seal(tx, x.doc.ID, plainOf(leaf))
			failed = errors.Join(failed, err)
			return template.StringValue(token)
		})
		out[camelCase(o.Name)] = map[string]any{"type": typeNames[strings.ToLower(o.Type)], "value": plainOf(v)}
	}
	return out, failed
}

// camelCase makes the name of an output what Azure makes of it: capitals that it begins with become small, but for one
// that begins a word.
func camelCase(name string) string {
	s := []rune(name)
	for i := range s {
		if !unicode.IsUpper(s[i]) || i > 0 && i+1 < len(s) && !unicode.IsUpper(s[i+1]) {
			break
		}
		s[i] = unicode.ToLower(s[i])
	}
	return string(s)
}

// deployed are the ids of what the run deployed.
func (x *runner) deployed() []string {
	var ids []string
	if x.plan == nil {
		return nil
	}
	for _, r := range x.plan.Resources {
		if t := x.tasks[strings.ToLower(r.ID)]; t != nil && t.State == arm.Succeeded && !r.Existing && !r.Skipped {
			ids = append(ids, r.ID)
		}
	}
	return ids
}
