package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

// cancel ends a deployment and those nested in it: what is being worked on goes on, nothing else is begun.
func (m *Room) cancel(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var runs []string
	err := m.store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(r.ID.String())
		if err != nil {
			return deploymentNotFound(err, r.ID)
		}
		st := statusOf(d)
		if !st.active() {
			return arm.Conflict("DeploymentCannotBeCancelled", "The deployment '%s' cannot be cancelled because it has ended with provisioning state '%s'.", r.ID.Name(), st.ProvisioningState)
		}
		runs, err = m.cancelWithin(tx, d, st)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, run := range runs {
		m.stop(run)
	}
	return &arm.Response{Status: http.StatusNoContent}, nil
}

// cancelWithin marks a deployment and the active ones nested in it as cancelled, and returns their runs.
func (m *Room) cancelWithin(tx *store.Tx, d *store.Doc, st *status) ([]string, error) {
	if err := m.markCanceled(tx, d, st); err != nil {
		return nil, err
	}
	runs := []string{st.Run}
	open, err := tx.ListKV(bucketOpen)
	if err != nil {
		return nil, err
	}
	for _, e := range open {
		inner, err := tx.Get(string(e.Value))
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if st := statusOf(inner); st.active() && store.Key(st.Parent) == store.Key(d.ID) {
			more, err := m.cancelWithin(tx, inner, st)
			if err != nil {
				return nil, err
			}
			runs = append(runs, more...)
		}
	}
	return runs, nil
}

func (m *Room) markCanceled(tx *store.Tx, d *store.Doc, st *status) error {
	st.ProvisioningState, st.Ended = arm.Canceled, m.now()
	st.Error = arm.Conflict("DeploymentCanceled", "The deployment '%s' was cancelled. Resources that were being deployed may have been, or may still come to be, deployed; 'az deployment operation group list' shows which.", arm.ParsePath(d.ID).Name())
	if err := tx.SetStatus(d.ID, d.UID, st); err != nil {
		return err
	}
	if err := tx.DeleteKV(bucketOpen, st.Run); err != nil {
		return err
	}
	ops, err := m.Server.OpenOperations(tx, d.ID)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if err := m.Server.CancelOperation(tx, op, st.Error); err != nil {
			return err
		}
	}
	return nil
}

// validate says whether a deployment could be started.
func (m *Room) validate(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	c, err := m.check(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := m.preflight(ctx, r, c); err != nil {
		return nil, err
	}
	st := m.newStatus(c.rec, c.plan)
	st.ProvisioningState, st.Ended = arm.Succeeded, st.Started
	var ids []map[string]any
	for _, p := range c.plan.Resources {
		if !p.Skipped && !p.Existing {
			ids = append(ids, map[string]any{"id": p.ID})
		}
	}
	b, _ := json.Marshal(st)
	body := render(&store.Doc{ID: r.ID.String(), Status: b, Desired: []byte("{}")})
	body["properties"].(map[string]any)["validatedResources"] = ids
	return arm.OK(body), nil
}

// exportDeployment returns the template as it was given, secrets from around it left out.
func (m *Room) exportDeployment(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	d, err := m.document(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	var rec *record
	err = m.store.View(ctx, func(tx *store.Tx) (err error) {
		rec, err = m.load(tx, statusOf(d).Run)
		return deploymentNotFound(err, r.ID)
	})
	if err != nil {
		return nil, err
	}
	doc, err := template.Read([]byte(rec.Template))
	if err != nil {
		return nil, fromTemplate(err)
	}
	for _, p := range rec.TemplateSecrets {
		doc.MarkSecure(p)
	}
	return arm.OK(map[string]any{"template": plainOf(masked(doc.Value()))}), nil
}

// masked is v with the strings that derive from secrets left empty.
func masked(v template.Value) template.Value {
	return v.MapLeaves(func(leaf template.Value) template.Value {
		if leaf.Secure() {
			return template.StringValue("")
		}
		return leaf
	})
}
