package batch

import (
	"context"
	"errors"
	"strings"

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
	jobs, err := openJobs(tx, d)
	if err != nil || len(jobs) == 0 {
		return err
	}
	return arm.Conflict("ClusterInUse", "The cluster '%s' cannot be deleted because jobs are queued or running on it: %s. Terminate or delete them first.",
		arm.ParsePath(d.ID).Name(), strings.Join(jobs, ", "))
}

// openJobs returns the ids of jobs of a cluster that have not ended and are not being deleted.
func openJobs(tx *store.Tx, cluster *store.Doc) ([]string, error) {
	docs, err := tx.List(store.Query{Type: TypeJob}) // a job may use another workspace's cluster
	if err != nil {
		return nil, err
	}
	var open []string
	for _, d := range docs {
		var wish struct{ Properties struct{ Cluster ref } }
		var st jobStatus
		if err := errors.Join(arm.Decode(d.Desired, &wish), arm.Decode(d.Status, &st)); err != nil {
			return nil, err
		}
		if !st.ended() && !d.Deleting && store.Key(wish.Properties.Cluster.ID) == store.Key(cluster.ID) {
			open = append(open, d.ID)
		}
	}
	return open, nil
}

func (r *Room) wakeSweep() {
	select {
	case r.swept <- struct{}{}:
	default:
	}
}

// sweep carries out deletions of workspaces and experiments (everything in them first: jobs, experiments, clusters, file
// servers) and of file servers, and ends the operations of terminated jobs. It goes on until ctx ends.
func (r *Room) sweep(ctx context.Context) error {
	sub := r.Store.Subscribe("Microsoft.BatchAI/")
	defer sub.Close()
	for {
		if err := r.sweepOnce(ctx); err != nil && ctx.Err() == nil {
			r.Log.Error("batch: remove what was deleted", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C:
		case <-r.swept:
		}
	}
}

func (r *Room) sweepOnce(ctx context.Context) error {
	errs := []error{r.endTerminations(ctx)}
	for _, typ := range []string{TypeExperiment, TypeWorkspace, TypeFileServer} {
		going, err := r.deleting(ctx, typ)
		errs = append(errs, err)
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
	return errors.Join(errs...)
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
func (r *Room) endTerminations(ctx context.Context) error {
	var open []store.Entry
	err := r.Store.View(ctx, func(tx *store.Tx) (err error) {
		open, err = tx.ListKV(bucketTerminate)
		return err
	})
	for _, e := range open {
		if err == nil {
			err = r.Store.Update(ctx, func(tx *store.Tx) error { return r.endTermination(tx, e.Key) })
		}
	}
	return err
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
