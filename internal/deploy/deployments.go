package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

func deploymentNotFound(err error, id arm.ID) error {
	if errors.Is(err, store.ErrNotFound) {
		return arm.Errorf(http.StatusNotFound, "DeploymentNotFound", "Deployment '%s' could not be found.", id.Name())
	}
	return err
}

// putDeployment checks a deployment and starts it.
func (m *Room) putDeployment(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	c, err := m.check(ctx, r)
	if err != nil {
		return nil, err
	}
	rec := c.rec
	resp := &arm.Response{Status: http.StatusCreated}
	err = m.store.Update(ctx, func(tx *store.Tx) error {
		old, err := tx.Get(rec.ID)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
		if old != nil {
			resp.Status = http.StatusOK
			if done, err := m.joins(tx, r, old, resp); err != nil || done {
				return err
			}
			if err := m.forgetRun(tx, old); err != nil {
				return err
			}
			if st := statusOf(old); st.Location != "" && st.Location != rec.Location {
				return arm.Conflict("InvalidDeploymentLocation", "Invalid deployment location '%s'. The deployment '%s' already exists in location '%s'.", rec.Location, r.ID.Name(), st.Location)
			}
		} else if err := m.trimHistory(tx, r.ID); err != nil {
			return err
		}
		if rec.OnError != nil && rec.OnError.Type == specificDeployment {
			if _, err := rollBackTo(tx, r.ID, rec.OnError); err != nil {
				return err
			}
		}
		return m.begin(tx, r, rec, c.plan, resp)
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

// joins answers a request that repeats one that goes on, or went well, in the same larger deployment, and refuses any
// other while the deployment goes on.
func (m *Room) joins(tx *store.Tx, r *arm.Request, old *store.Doc, resp *arm.Response) (bool, error) {
	st := statusOf(old)
	same := st.CorrelationID == r.CorrelationID && r.CorrelationID != "" && st.Body == digest(r.Body)
	switch {
	case !st.active() && !(same && st.ProvisioningState == arm.Succeeded):
		return false, nil
	case !same:
		return false, arm.Conflict("DeploymentActive", "Unable to edit or replace deployment '%s': previous deployment from '%s' is still active. Wait for its end, or cancel it with 'az deployment group cancel'.", r.ID.Name(), st.Started.Format(timeForm))
	}
	ops, err := m.Server.OpenOperations(tx, old.ID)
	if err != nil {
		return false, err
	}
	if len(ops) > 0 {
		resp.Operation = ops[0]
	}
	resp.Body = render(old)
	return true, nil
}

// begin stores a deployment and starts its operation. Run finds it in the bucket of open ones.
func (m *Room) begin(tx *store.Tx, r *arm.Request, rec *record, plan *template.Plan, resp *arm.Response) error {
	wish := map[string]any{"properties": map[string]any{"mode": rec.Mode}}
	if rec.Tags != nil {
		wish["tags"] = rec.Tags
	}
	desired, _ := json.Marshal(wish)
	id := r.ID
	if id.Group() != "" {
		group, err := tx.Get(id.GroupID().String())
		if err != nil {
			return err
		}
		id.Scope = group.ID
	}
	d := &store.Doc{ID: id.String(), Type: TypeDeployment, APIVersion: r.APIVersion, Desired: desired}
	if err := tx.Put(d, m.now()); err != nil {
		return err
	}
	rec.ID = d.ID
	st := m.newStatus(rec, plan)
	st.Body = digest(r.Body)
	if err := m.startRun(tx, d, rec, st); err != nil {
		return err
	}
	var err error
	if resp.Operation, err = m.Server.StartOperation(tx, d, "write", d.Generation); err != nil {
		return err
	}
	if d, err = tx.Get(d.ID); err != nil {
		return err
	}
	resp.Body = render(d)
	return nil
}

func (m *Room) newStatus(rec *record, plan *template.Plan) *status {
	return &status{CorrelationID: rec.CorrelationID, Mode: rec.Mode, Location: rec.Location, OnError: rec.OnError, Parent: rec.Parent, Link: rec.Link, ParamsLink: rec.ParamsLink, TemplateHash: hash(rec.Template),
		Started: m.now(), Parameters: shownParameters(plan), Providers: m.shownProviders(plan), Dependencies: shownDependencies(plan)}
}

// trimHistory forgets the oldest deployments at rest so that one more has its place.
func (m *Room) trimHistory(tx *store.Tx, id arm.ID) error {
	docs, err := deploymentsTo(tx, id.Scope)
	if err != nil || len(docs) < m.History {
		return err
	}
	slices.SortFunc(docs, func(a, b *store.Doc) int { return a.ChangedAt.Compare(b.ChangedAt) })
	for _, d := range docs[:len(docs)-m.History+1] {
		if statusOf(d).active() {
			continue
		}
		if err := m.drop(tx, d); err != nil {
			return err
		}
	}
	return nil
}

// deploymentsTo lists the deployments to a scope, without those to groups in it.
func deploymentsTo(tx *store.Tx, scope string) ([]*store.Doc, error) {
	docs, err := tx.List(store.Query{Under: scope, Type: TypeDeployment})
	return slices.DeleteFunc(docs, func(d *store.Doc) bool {
		return !strings.EqualFold(arm.ParsePath(d.ID).Scope, scope)
	}), err
}

// drop removes a deployment and all that is kept of it.
func (m *Room) drop(tx *store.Tx, d *store.Doc) error {
	if err := m.forgetRun(tx, d); err != nil {
		return err
	}
	return m.Server.Gone(tx, d)
}

func (m *Room) getDeployment(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	d, err := m.document(ctx, r.ID)
	if err != nil {
		return nil, err
	}
	return arm.OK(render(d)), nil
}

func (m *Room) headDeployment(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	_, err := m.document(ctx, r.ID)
	if e := (*arm.Error)(nil); errors.As(err, &e) && e.Status == http.StatusNotFound {
		return &arm.Response{Status: http.StatusNotFound}, nil
	}
	return &arm.Response{Status: http.StatusNoContent}, err
}

// listDeployments lists a scope's deployments, the newest first.
func (m *Room) listDeployments(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var docs []*store.Doc
	err := m.store.View(ctx, func(tx *store.Tx) (err error) {
		docs, err = deploymentsTo(tx, r.ID.Scope)
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(docs, func(a, b *store.Doc) int { return statusOf(b).Started.Compare(statusOf(a).Started) })
	items := []map[string]any{}
	for _, d := range docs {
		items = append(items, render(d))
	}
	return filtered(r, arm.Page(items))
}

// deleteDeployment forgets a deployment; what it deployed stays.
func (m *Room) deleteDeployment(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	err := m.store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(r.ID.String())
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if statusOf(d).active() {
			return arm.Conflict("DeploymentActive", "Unable to delete deployment '%s': it is still active. Wait for its end, or cancel it with 'az deployment group cancel'.", r.ID.Name())
		}
		return m.drop(tx, d)
	})
	return &arm.Response{Status: http.StatusNoContent}, err
}

func sameType(a, b string) bool { return strings.EqualFold(a, b) }
