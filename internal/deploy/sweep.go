package deploy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// bucketDeletion holds who wished a group gone, by the group's uid.
const bucketDeletion = "group-deletion"

// deletion is who deletes.
type deletion struct {
	Caller     arm.Caller `json:"caller"`
	APIVersion string     `json:"apiVersion"`
	BaseURL    string     `json:"baseURL"`
}

// deleteGroup deletes everything in a group, and the group. If something cannot go, the group stays with the rest of it.
func (m *Room) deleteGroup(ctx context.Context, g *store.Doc) {
	var by deletion
	err := m.store.View(ctx, func(tx *store.Tx) error { return tx.GetJSON(bucketDeletion, g.UID, &by) })
	if err != nil {
		m.log.Error("delete group", "group", g.ID, "err", err)
		return
	}
	if err := m.cancelAll(ctx, g); err != nil && ctx.Err() == nil {
		m.log.Error("delete group", "group", g.ID, "err", err)
	}
	failure := m.sweep(ctx, g.ID, by, nil)
	if ctx.Err() != nil {
		return // the next lido goes on
	}
	err = m.store.Update(ctx, func(tx *store.Tx) error {
		if err := tx.DeleteKV(bucketDeletion, g.UID); err != nil {
			return err
		}
		if failure != nil {
			return m.keepGroup(tx, g, failure)
		}
		return m.dropGroup(tx, g)
	})
	if err != nil {
		m.log.Error("delete group", "group", g.ID, "err", err)
	}
}

// cancelAll ends the deployments to a group, so that they make nothing new in it.
func (m *Room) cancelAll(ctx context.Context, g *store.Doc) error {
	var runs []string
	err := m.store.Update(ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Under: g.ID, Type: TypeDeployment})
		if err != nil {
			return err
		}
		for _, d := range docs {
			st := statusOf(d)
			if !st.active() {
				continue
			}
			runs = append(runs, st.Run)
			if err := m.markCanceled(tx, d, st); err != nil {
				return err
			}
		}
		return nil
	})
	for _, run := range runs {
		m.stop(run)
	}
	return err
}

// dropGroup removes the group's document and what is left of its deployments.
func (m *Room) dropGroup(tx *store.Tx, g *store.Doc) error {
	left, err := tx.List(store.Query{Under: g.ID})
	if err != nil {
		return err
	}
	for _, d := range left {
		if strings.EqualFold(d.Type, TypeDeployment) {
			if err := m.forgetRun(tx, d); err != nil {
				return err
			}
		}
		if err := m.Server.Gone(tx, d); err != nil {
			return err
		}
	}
	return m.Server.Gone(tx, g)
}

// keepGroup takes the wish back and ends the operations with the failure.
func (m *Room) keepGroup(tx *store.Tx, g *store.Doc, failure *arm.Error) error {
	d, err := tx.Get(g.ID)
	if err != nil {
		return err
	}
	d.Deleting = false
	if err := tx.Put(d, m.now()); err != nil {
		return err
	}
	ops, err := m.Server.OpenOperations(tx, g.ID)
	if err != nil {
		return err
	}
	for _, op := range ops {
		if err := m.Server.FinishOperation(tx, op, nil, failure); err != nil {
			return err
		}
	}
	return nil
}

// sweep deletes the resources below an id, but those in keep (lower-cased ids), users before what they use. It returns
// what could not be deleted, each with its reason.
func (m *Room) sweep(ctx context.Context, under string, by deletion, keep map[string]bool) *arm.Error {
	for {
		ready, blocked, err := m.deletable(ctx, under, keep)
		if err != nil {
			return arm.AsError(err)
		}
		if len(ready) == 0 {
			ready = blocked // a circle, or used from elsewhere: the types' own errors say which
		}
		if len(ready) == 0 {
			return nil
		}
		failures := m.deleteAll(ctx, ready, by)
		if ctx.Err() != nil {
			return arm.AsError(ctx.Err())
		}
		if len(failures) == len(ready) || len(failures) > 0 && len(blocked) == len(ready) {
			return sweepError(under, failures)
		}
	}
}

func sweepError(under string, failures []*arm.Error) *arm.Error {
	e := arm.Conflict("ResourceGroupDeletionBlocked", "Deletion of resource group '%s' failed as resources with identifiers '%s' could not be deleted. The provisioning state of the resource group will be rolled back. See the details for each of them.",
		arm.ParsePath(under).Name(), strings.Join(targets(failures), ", "))
	e.Details = failures
	return e
}

func targets(errs []*arm.Error) []string {
	out := make([]string, len(errs))
	for i, e := range errs {
		out[i] = e.Target
	}
	return out
}

// deletable lists the resources below an id that nothing else there uses, and those that something uses.
func (m *Room) deletable(ctx context.Context, under string, keep map[string]bool) (ready, blocked []string, err error) {
	err = m.store.View(ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Under: under})
		if err != nil {
			return err
		}
		for _, d := range docs {
			if keep[store.Key(d.ID)] || !isRoot(d) {
				continue
			}
			users, err := tx.Referrers(d.ID)
			if err != nil {
				return err
			}
			if used(d, users) {
				blocked = append(blocked, d.ID)
			} else {
				ready = append(ready, d.ID)
			}
		}
		return nil
	})
	return ready, blocked, err
}

// isRoot says that a document is deleted on its own and not with its parent. Deployments are records of work, not
// resources.
func isRoot(d *store.Doc) bool {
	return strings.Count(d.Type, "/") == 1 && !strings.EqualFold(d.Type, TypeDeployment)
}

func used(d *store.Doc, users []string) bool {
	for _, u := range users {
		if u != store.Key(d.ID) && !strings.HasPrefix(u, store.Key(d.ID)+"/") {
			return true
		}
	}
	return false
}

// deleteAll deletes resources at once and waits for all of them.
func (m *Room) deleteAll(ctx context.Context, ids []string, by deletion) []*arm.Error {
	var mu sync.Mutex
	var failures []*arm.Error
	var wg sync.WaitGroup
	slots := make(chan struct{}, m.Parallel)
	for _, id := range ids {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			if e := m.deleteOne(ctx, id, by); e != nil {
				mu.Lock()
				defer mu.Unlock()
				failures = append(failures, e)
			}
		})
	}
	wg.Wait()
	return failures
}

func (m *Room) deleteOne(ctx context.Context, id string, by deletion) *arm.Error {
	r := &arm.Request{Method: http.MethodDelete, ID: arm.ParsePath(id), APIVersion: by.APIVersion, Caller: by.Caller, BaseURL: by.BaseURL}
	resp, err := m.Server.Do(ctx, r)
	if err == nil && resp.Operation != nil {
		var op *arm.Operation
		if op, err = m.Server.Wait(ctx, resp.Operation.ID); err == nil && op.Error != nil {
			err = op.Error
		}
	}
	if err == nil || errors.Is(err, context.Canceled) {
		return nil
	}
	if e := (*arm.Error)(nil); !errors.As(err, &e) {
		m.log.Error("delete resource", "id", id, "err", err)
		err = fmt.Errorf("delete %s: %w", id, err)
	}
	e := *arm.AsError(err)
	e.Target = id
	return &e
}
