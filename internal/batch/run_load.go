package batch

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/gang"
	"lido.dev/lido/internal/store"
)

// sighting is what a reading found out about a document.
type sighting struct {
	key       string
	doc       *store.Doc // nil if it is gone
	job       job        // without secrets
	status    jobStatus
	person    string
	terminate time.Time
}

// loadJobs finds the jobs that have not ended.
func (r *runner) loadJobs(ctx context.Context) error {
	err := r.room.Store.View(ctx, func(tx *store.Tx) error {
		clusters, err := tx.List(store.Query{Type: TypeCluster})
		for _, d := range clusters {
			r.seeCluster(d.ID, d)
		}
		return err
	})
	for after := ""; err == nil; {
		var found []*sighting
		if found, after, err = r.loadSome(ctx, after); len(found) == 0 && after == "" {
			break
		}
		r.mu.Lock()
		for _, s := range found {
			if s.status.ended() && !s.doc.Deleting {
				r.charge(s)
			} else {
				r.see(s)
			}
		}
		r.mu.Unlock()
		if after == "" {
			break
		}
	}
	return err
}

// chargedFor is how long ended jobs count for the order of people; after it they weigh an eighth.
const chargedFor = 3 * gang.DefaultHalfLife

// charge has a job that ended before this start count for its person.
func (r *runner) charge(s *sighting) {
	if st := &s.status; len(st.Nodes) > 0 && !st.Start.IsZero() && st.End.After(st.Start) {
		r.pool(s.job.clusterKey()).queue.Charge(s.person, len(st.Nodes), st.Start, st.End)
	}
}

const loadedAtOnce = 1000

func (r *runner) loadSome(ctx context.Context, after string) (found []*sighting, next string, err error) {
	err = r.room.Store.View(ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Type: TypeJob, After: after, Limit: loadedAtOnce})
		if err != nil {
			return err
		}
		for _, d := range docs {
			s, err := r.look(tx, d)
			if err != nil {
				return err
			}
			if !s.status.ended() || d.Deleting || r.room.Now().Sub(s.status.End) < chargedFor {
				found = append(found, s)
			}
		}
		if len(docs) == loadedAtOnce {
			next = store.Key(docs[len(docs)-1].ID)
		}
		return nil
	})
	return found, next, err
}

// look reads what the runner must know of a job's document. One that cannot be read counts as ended.
func (r *runner) look(tx *store.Tx, d *store.Doc) (*sighting, error) {
	s := &sighting{key: store.Key(d.ID), doc: d, person: submitter(d)}
	var wish struct{ Properties job }
	if err := errors.Join(arm.Decode(d.Status, &s.status), arm.Decode(d.Desired, &wish)); err != nil {
		r.log.Error("batch: read a job", "job", d.ID, "err", err)
		s.status.State = stateFailed
	}
	s.job = wish.Properties
	if s.status.ended() {
		return s, nil
	}
	t, err := terminationOf(tx, d)
	if t != nil {
		s.terminate = t.At
	}
	return s, err
}

// read looks at documents that changed.
func (r *runner) read(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	var found []*sighting
	err := r.room.Store.View(ctx, func(tx *store.Tx) error {
		for _, key := range keys {
			d, err := tx.Get(key)
			switch {
			case errors.Is(err, store.ErrNotFound):
				found = append(found, &sighting{key: key})
				continue
			case err != nil:
				return err
			case strings.EqualFold(d.Type, TypeCluster):
				r.seeCluster(key, d)
				continue
			}
			s, err := r.look(tx, d)
			if err != nil {
				return err
			}
			found = append(found, s)
		}
		return nil
	})
	var going []*store.Doc
	r.mu.Lock()
	for _, s := range found {
		if r.see(s) {
			going = append(going, s.doc)
		}
	}
	r.mu.Unlock()
	return errors.Join(err, r.gone(ctx, going))
}

// gone removes documents of jobs that had ended when they were deleted.
func (r *runner) gone(ctx context.Context, docs []*store.Doc) error {
	if len(docs) == 0 {
		return nil
	}
	return r.room.Store.Update(ctx, func(tx *store.Tx) error {
		for _, d := range docs {
			now, err := tx.Get(d.ID)
			if isGone(err) || err == nil && now.UID != d.UID {
				continue
			}
			if err == nil {
				err = r.room.Server.Gone(tx, now)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// see takes in what was read of a job. over tells that it has ended and is to be removed.
func (r *runner) see(s *sighting) (over bool) {
	j := r.byKey[s.key]
	switch {
	case s.doc == nil:
		if j != nil {
			j.deleting = true
			r.dirty[j] = true
		}
		return false
	case j != nil && j.uid != s.doc.UID:
		return false // the old one is not over yet; its end comes first
	case s.status.ended():
		return s.doc.Deleting && j == nil
	case j == nil:
		j = r.admit(s)
	}
	if !s.terminate.IsZero() && j.terminate.IsZero() {
		j.terminate = s.terminate
		r.dirty[j] = true
	}
	if s.doc.Deleting && !j.deleting {
		j.deleting = true
		r.dirty[j] = true
	}
	return false
}

// admit takes a job in that is new to the runner.
func (r *runner) admit(s *sighting) *run {
	d := s.doc
	p := r.pool(s.job.clusterKey())
	j := &run{id: d.ID, key: s.key, uid: d.UID, person: s.person, pool: p, limit: s.job.limit()}
	j.gang = gang.Job{ID: d.UID, Person: s.person, Priority: priorityOf(s.job.Priority), Nodes: max(1, int(s.job.NodeCount)), Seq: d.CreatedAt.UnixMicro(), Limit: j.limit}
	if s.status.State != "" {
		st := s.status
		j.status = &st
	}
	r.jobs[j.uid], r.byKey[j.key] = j, j
	if err := p.queue.Submit(j.gang); err != nil {
		r.log.Error("batch: queue a job", "job", d.ID, "err", err)
	}
	p.dirty = true
	if j.status != nil && len(j.status.Nodes) > 0 {
		names := make([]string, 0, len(j.status.Nodes))
		for _, n := range j.status.Nodes {
			names = append(names, n.Node)
		}
		p.queue.Started(j.uid, names, j.status.Start)
		r.attach(j)
		j.making = true
		r.dirty[j] = true
		r.unplanned = append(r.unplanned, j)
	}
	return j
}

func priorityOf(name string) gang.Priority {
	switch strings.ToLower(name) {
	case "low":
		return gang.Low
	case "high":
		return gang.High
	}
	return gang.Normal
}

// pool returns a cluster's queue, a new one if there is none.
func (r *runner) pool(key string) *pool {
	p := r.pools[key]
	if p == nil {
		p = &pool{key: key, queue: gang.New(gang.Options{}), nodes: map[string]nodeInfo{}, leave: map[string]string{}}
		r.pools[key] = p
	}
	return p
}

// seeCluster learns how many nodes a cluster can have.
func (r *runner) seeCluster(id string, d *store.Doc) {
	var wish struct{ Properties cluster }
	if arm.Decode(d.Desired, &wish) != nil {
		return
	}
	most := 0
	if m := wish.Properties.Scale.Manual; m != nil {
		most = int(m.Target)
	}
	if a := wish.Properties.Scale.Auto; a != nil {
		most = int(a.Maximum)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pool(store.Key(id))
	p.size = wish.Properties.VMSize
	if p.max != most {
		p.max, p.dirty = most, true
		p.queue.SetMaxNodes(most)
	}
}

func isGone(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrStale)
}

func itoa(n int) string { return strconv.Itoa(n) }
