package batch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

func always(context.Context, *store.Tx, *store.Doc) (bool, error) { return true, nil }

// jobLater: a job that has not ended is stopped first, by its runner.
func jobLater(_ context.Context, _ *store.Tx, d *store.Doc) (bool, error) {
	var st jobStatus
	err := arm.Decode(d.Status, &st)
	return !st.ended(), err
}

// notEmpty: a workspace or experiment goes after what is in it (sweep).
func (r *Room) notEmpty(_ context.Context, tx *store.Tx, d *store.Doc) (bool, error) {
	below, err := tx.List(store.Query{Under: d.ID, Limit: 1})
	if len(below) > 0 {
		r.wakeSweep()
	}
	return len(below) > 0, err
}

// clusterRemoving refuses to take a cluster away from jobs that wait for it or run there.
func clusterRemoving(_ context.Context, tx *store.Tx, d *store.Doc) error {
	jobs, err := openJobs(tx, map[string]bool{store.Key(d.ID): true})
	if err != nil || len(jobs) == 0 {
		return err
	}
	return arm.Conflict("ClusterInUse", "The cluster '%s' cannot be deleted because jobs are queued or running on it: %s. Terminate or delete them first.",
		arm.ParsePath(d.ID).Name(), someOf(jobs))
}

// workspaceRemoving refuses to take a workspace's clusters away from jobs of other workspaces.
func workspaceRemoving(_ context.Context, tx *store.Tx, d *store.Doc) error {
	docs, err := tx.List(store.Query{Under: d.ID, Type: TypeCluster})
	if err != nil || len(docs) == 0 {
		return err
	}
	clusters := map[string]bool{}
	for _, c := range docs {
		clusters[store.Key(c.ID)] = true
	}
	jobs, err := openJobs(tx, clusters)
	jobs = slices.DeleteFunc(jobs, func(id string) bool { return workspaceOf(id) == store.Key(d.ID) })
	if err != nil || len(jobs) == 0 {
		return err
	}
	return arm.Conflict("ClusterInUse", "The workspace '%s' cannot be deleted because jobs of other workspaces are queued or running on its clusters: %s. Terminate or delete them first.",
		arm.ParsePath(d.ID).Name(), someOf(jobs))
}

// openJobs returns the ids of the jobs of some clusters that have not ended and are not being deleted. They may be in any
// workspace.
func openJobs(tx *store.Tx, clusters map[string]bool) (open []string, err error) {
	for q := (store.Query{Type: TypeJob, Limit: loadedAtOnce}); ; {
		docs, err := tx.List(q)
		if err != nil {
			return nil, err
		}
		for _, d := range docs {
			waits, err := waitsFor(d, clusters)
			if err != nil {
				return nil, err
			}
			if waits {
				open = append(open, d.ID)
			}
		}
		if len(docs) < q.Limit {
			return open, nil
		}
		q.After = docs[len(docs)-1].ID
	}
}

// waitsFor tells whether a job is one of openJobs. Most jobs have ended, and what they wished for is long.
func waitsFor(d *store.Doc, clusters map[string]bool) (bool, error) {
	var st jobStatus
	if err := arm.Decode(d.Status, &st); err != nil || st.ended() || d.Deleting {
		return false, err
	}
	var wish struct{ Properties struct{ Cluster ref } }
	err := arm.Decode(d.Desired, &wish)
	return clusters[store.Key(wish.Properties.Cluster.ID)], err
}

// someOf names a few of many jobs.
func someOf(jobs []string) string {
	const most = 10
	if len(jobs) <= most {
		return strings.Join(jobs, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(jobs[:most], ", "), len(jobs)-most)
}

func (r *Room) wakeSweep() {
	select {
	case r.swept <- struct{}{}:
	default:
	}
}

// sweep carries out deletions of workspaces and experiments (everything in them first: jobs, experiments, clusters, file
// servers) and of file servers, and ends the operations of terminated jobs. It goes on until ctx ends. What jobs and
// clusters do is followed only while something waits for them: jobs change often.
func (r *Room) sweep(ctx context.Context) error {
	wishes := r.Store.Subscribe(TypeWorkspace, TypeExperiment, TypeFileServer)
	defer wishes.Close()
	work := r.Store.Subscribe(TypeJob, TypeCluster)
	defer work.Close()
	for {
		waits, err := r.sweepOnce(ctx)
		if err != nil && ctx.Err() == nil {
			r.Log.Error("batch: remove what was deleted", "err", err)
			pause(ctx, time.Second)
			wishes.Wake()
		}
		changed := work.C
		if !waits {
			changed = nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-wishes.C:
		case <-r.swept:
		case <-changed:
		}
	}
}

// sweepOnce does what can be done now. waits tells that something waits for jobs or clusters.
func (r *Room) sweepOnce(ctx context.Context) (waits bool, err error) {
	open, err := r.endTerminations(ctx)
	errs, waits := []error{err}, open
	for _, typ := range []string{TypeExperiment, TypeWorkspace, TypeFileServer} {
		going, err := r.deleting(ctx, typ)
		errs, waits = append(errs, err), waits || len(going) > 0
		for _, d := range going {
			if typ == TypeFileServer && r.Drives != nil {
				if err := r.Drives.DropServer(ctx, d.UID); err != nil {
					errs = append(errs, err)
					continue
				}
			}
			errs = append(errs, r.Store.Update(ctx, func(tx *store.Tx) error { return r.sweepIn(tx, d) }))
		}
	}
	return waits, errors.Join(errs...)
}

func (r *Room) deleting(ctx context.Context, typ string) (going []*store.Doc, err error) {
	err = r.Store.View(ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Type: typ})
		for _, d := range docs {
			if d.Deleting {
				going = append(going, d)
			}
		}
		return err
	})
	return going, err
}

// sweepIn marks what lies in a document for deletion, one rank after the other, and removes the document when it is empty.
func (r *Room) sweepIn(tx *store.Tx, d *store.Doc) error {
	for _, typ := range []string{TypeJob, TypeExperiment, TypeCluster, TypeFileServer} {
		below, err := tx.List(store.Query{Under: d.ID, Type: typ})
		if err != nil {
			return err
		}
		for _, b := range below {
			if err := r.removeNow(tx, b); err != nil {
				return err
			}
		}
		if len(below) > 0 {
			return nil // their end wakes the sweep again
		}
	}
	if now, err := tx.Get(d.ID); err != nil || now.UID != d.UID {
		return ignoreNotFound(err)
	}
	return r.Server.Gone(tx, d)
}

// removeNow removes an ended job, and marks anything else for its own loop.
func (r *Room) removeNow(tx *store.Tx, d *store.Doc) error {
	if strings.EqualFold(d.Type, TypeJob) {
		if later, err := jobLater(context.Background(), tx, d); err != nil || !later {
			return errors.Join(err, r.Server.Gone(tx, d))
		}
	}
	if d.Deleting {
		return nil
	}
	_, err := tx.MarkDeleting(d.ID, r.Now())
	return err
}

func ignoreNotFound(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// endTerminations drops the wishes of jobs that have ended, and ends the operations that wait for it.
func (r *Room) endTerminations(ctx context.Context) (waits bool, err error) {
	var open []store.Entry
	err = r.Store.View(ctx, func(tx *store.Tx) (err error) {
		open, err = tx.ListKV(bucketTerminate)
		return err
	})
	for _, e := range open {
		if err == nil {
			err = r.Store.Update(ctx, func(tx *store.Tx) error { return r.endTermination(tx, e.Key) })
		}
	}
	return len(open) > 0, err
}

func (r *Room) endTermination(tx *store.Tx, key string) error {
	d, err := tx.Get(key)
	if errors.Is(err, store.ErrNotFound) {
		return tx.DeleteKV(bucketTerminate, key)
	}
	if err != nil {
		return err
	}
	var st jobStatus
	if err := arm.Decode(d.Status, &st); err != nil || !st.ended() {
		return err
	}
	ops, err := r.Server.OpenOperations(tx, d.ID)
	for _, op := range ops {
		if err == nil && op.Verb == "terminate" {
			err = r.Server.FinishOperation(tx, op, nil, nil)
		}
	}
	return errors.Join(err, tx.DeleteKV(bucketTerminate, key))
}
