package deploy

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/template"
)

// deploy sends every resource as soon as those that it depends on are there, some at a time. After a failure nothing
// new is begun, and what goes on is waited for.
func (x *runner) deploy(ctx context.Context) []*arm.Error {
	g := newSchedule(x.plan)
	type result struct {
		at  int
		err *arm.Error
	}
	done := make(chan result)
	var failures []*arm.Error
	running := 0
	for {
		for running < x.Parallel && len(failures) == 0 && ctx.Err() == nil {
			at, ok := g.next()
			if !ok {
				break
			}
			running++
			go func() { done <- result{at, x.deployOne(ctx, x.plan.Resources[at])} }()
		}
		if running == 0 {
			return failures
		}
		r := <-done
		running--
		if r.err != nil {
			failures = append(failures, r.err)
			continue
		}
		g.finished(r.at)
	}
}

// schedule tells which resources can be begun.
type schedule struct {
	waits []int   // how many dependencies of a resource are not there yet
	users [][]int // who depends on a resource
	ready []int
}

func newSchedule(plan *template.Plan) *schedule {
	n := len(plan.Resources)
	s := &schedule{waits: make([]int, n), users: make([][]int, n)}
	index := make(map[*template.Resource]int, n)
	for i, r := range plan.Resources {
		index[r] = i
	}
	for i, r := range plan.Resources {
		s.waits[i] = len(r.DependsOn)
		for _, d := range r.DependsOn {
			s.users[index[d]] = append(s.users[index[d]], i)
		}
		if s.waits[i] == 0 {
			s.ready = append(s.ready, i)
		}
	}
	return s
}

func (s *schedule) next() (int, bool) {
	if len(s.ready) == 0 {
		return 0, false
	}
	at := s.ready[0]
	s.ready = s.ready[1:]
	return at, true
}

func (s *schedule) finished(at int) {
	for _, u := range s.users[at] {
		if s.waits[u]--; s.waits[u] == 0 {
			s.ready = append(s.ready, u)
		}
	}
}

// deployOne sends one resource and waits until it is there. What was done before a restart is not done again, but for
// what was under way: sending it again is harmless.
func (x *runner) deployOne(ctx context.Context, r *template.Resource) *arm.Error {
	if r.Skipped || r.Existing || x.isDone(r.ID) {
		return nil
	}
	x.begin(r.ID, r.ID, r.Type, r.Name)
	status, err := x.sendPatiently(ctx, r)
	if ctx.Err() != nil {
		return nil
	}
	if err == nil {
		x.end(r.ID, r.ID, status, nil)
		return nil
	}
	if e := (*arm.Error)(nil); !errors.As(err, &e) {
		x.log.Error("deploy resource", "deployment", x.doc.ID, "id", r.ID, "err", err)
	}
	e := about(r.ID, x.clean(arm.AsError(err)))
	x.end(r.ID, r.ID, e.Status, e)
	return e
}

// about makes an error name the resource it is about. What it named before, a property, stays in a detail.
func about(id string, e *arm.Error) *arm.Error {
	if strings.EqualFold(e.Target, id) {
		return e
	}
	out := *e
	out.Target = id
	if e.Target != "" {
		inner := *e
		inner.Details = nil
		out.Details = append([]*arm.Error{&inner}, e.Details...)
	}
	return &out
}

// patience is how long a resource is sent again while something else is in its way, such as its own deletion.
const patience = 3 * time.Minute

func (x *runner) sendPatiently(ctx context.Context, r *template.Resource) (int, error) {
	pause := 100 * time.Millisecond
	retries := r.Retries
	for end := x.now().Add(patience); ; pause = min(2*pause, 2*time.Second) {
		status, err := x.send(ctx, r)
		again := passing(err) && x.now().Before(end)
		if !again && retries > 0 && hasCode(err, r.RetryOn) {
			retries--
			again = true
		}
		if !again {
			return status, err
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// hasCode says that an error, or a detail of it, has one of the codes that the template names.
func hasCode(err error, codes []string) bool {
	var e *arm.Error
	if !errors.As(err, &e) {
		return false
	}
	for _, c := range codes {
		if strings.EqualFold(c, e.Code) {
			return true
		}
	}
	for _, d := range e.Details {
		if hasCode(d, codes) {
			return true
		}
	}
	return false
}

// passing says that an error will go by itself.
func passing(err error) bool {
	var e *arm.Error
	if !errors.As(err, &e) {
		return false
	}
	return e.Status == http.StatusConflict && (e.Code == "Conflict" || e.Code == "AnotherOperationInProgress") ||
		e.Status == http.StatusTooManyRequests || e.Status == http.StatusServiceUnavailable
}

// send works the body out, sends it, and waits for the operation that it starts.
func (x *runner) send(ctx context.Context, r *template.Resource) (int, error) {
	world := &world{Room: x.Room, ctx: ctx, rec: x.rec}
	if r.OnlyIfNew {
		if _, err := world.Reference(r.ID, r.APIVersion, true); err == nil {
			return http.StatusOK, nil
		} else if !errors.Is(err, template.ErrNotThere) {
			return 0, err
		}
	}
	body, err := r.Resolve(world)
	if err != nil {
		return 0, fromTemplate(err)
	}
	x.collect(body)
	req := &arm.Request{Method: http.MethodPut, ID: arm.ParsePath(r.ID), APIVersion: x.apiVersion(r), Caller: x.rec.Caller,
		BaseURL: x.rec.BaseURL, CorrelationID: x.rec.CorrelationID, Query: map[string][]string{}}
	if req.Body, req.Secrets, err = requestBody(x.rec, r, body); err != nil {
		return 0, err
	}
	resp, err := x.Server.Do(nestedContext(ctx, x.doc.ID), req)
	if err != nil {
		return 0, err
	}
	if resp.Operation != nil {
		op, err := x.Server.Wait(ctx, resp.Operation.ID)
		if err != nil {
			return 0, err
		}
		if op.Error != nil {
			return 0, resourceFailed(r.ID, op)
		}
	}
	return max(resp.Status, http.StatusOK), nil
}

// collect notes secrets that came up only now.
func (x *runner) collect(body template.Value) {
	x.mu.Lock()
	defer x.mu.Unlock()
	body.Walk(func(_ string, leaf template.Value) {
		if leaf.Secure() && len(leaf.Str()) >= 4 {
			x.hidden = append(x.hidden, leaf.Str())
		}
	})
}

// apiVersion is the version that the template names, or the newest.
func (x *runner) apiVersion(r *template.Resource) string {
	if r.APIVersion != "" {
		return r.APIVersion
	}
	if t := x.Server.Lookup(arm.ParsePath(r.ID).Type()); t != nil && len(t.APIVersions) > 0 {
		return t.APIVersions[0]
	}
	return x.rec.APIVersion
}

// resourceFailed is the error of a resource whose operation failed, in Azure's nesting.
func resourceFailed(id string, op *arm.Operation) *arm.Error {
	e := arm.Conflict("ResourceDeploymentFailure", "The resource write operation failed to complete successfully, because it reached terminal provisioning state '%s'.", op.Status)
	e.Target = id
	e.Details = []*arm.Error{op.Error}
	return e
}

// deploymentFailed is the error of a deployment, with one detail for each resource that failed.
func deploymentFailed(id string, failures []*arm.Error) *arm.Error {
	e := arm.Conflict("DeploymentFailed", "At least one resource deployment operation failed. Please list deployment operations for details. Please see https://aka.ms/arm-deployment-operations for usage details.")
	e.Target = id
	e.Details = failures
	return e
}
