package batch

import (
	"context"
	"errors"
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
	status    jobStatus
	wish      queuedWish // of a job that is new to the runner
	terminate time.Time
}

// queuedWish is what the runner must know of a job while it is queued.
type queuedWish struct {
	By         string `json:"submittedBy"`
	Properties struct {
		Priority    string      `json:"schedulingPriority"`
		Cluster     ref         `json:"cluster"`
		NodeCount   arm.Int     `json:"nodeCount"`
		Constraints constraints `json:"constraints"`
	}
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
		r.pool(store.Key(s.wish.Properties.Cluster.ID)).queue.Charge(s.wish.By, len(st.Nodes), st.Start, st.End)
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
			s, err := r.look(tx, d, false)
			if err != nil {
				return err
			}
			recent := s.status.ended() && r.room.Now().Sub(s.status.End) < chargedFor
			if recent {
				r.readWish(s)
			}
			if recent || !s.status.ended() || d.Deleting {
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
func (r *runner) look(tx *store.Tx, d *store.Doc, known bool) (*sighting, error) {
	s := &sighting{key: store.Key(d.ID), doc: d}
	if err := arm.Decode(d.Status, &s.status); err != nil {
		r.unreadable(s, err)
	}
	if !known && !s.status.ended() {
		r.readWish(s)
	}
	if s.status.ended() {
		return s, nil
	}
	t, err := terminationOf(tx, d)
	if t != nil {
		s.terminate = t.At
	}
	return s, err
}

func (r *runner) readWish(s *sighting) {
	if err := arm.Decode(s.doc.Desired, &s.wish); err != nil {
		r.unreadable(s, err)
	}
}

func (r *runner) unreadable(s *sighting, err error) {
	r.log.Error("batch: read a job", "job", s.doc.ID, "err", err)
	s.status.State = stateFailed
}

// known tells of documents' keys which incarnations the runner has: of those a change can only be an end or a wish for it.
func (r *runner) known(keys []string) map[string]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	uids := map[string]string{}
	for _, key := range keys {
		if j := r.byKey[key]; j != nil {
			uids[key] = j.uid()
		}
	}
	return uids
}

// read looks at documents that changed.
func (r *runner) read(ctx context.Context, keys []string) error {
	if len(keys) == 0 {
		return nil
	}
	var found []*sighting
	known := r.known(keys)
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
			s, err := r.look(tx, d, known[key] == d.UID)
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
	case j != nil && j.uid() != s.doc.UID:
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
	w := &s.wish.Properties
	p := r.pool(store.Key(w.Cluster.ID))
	j := &run{id: d.ID, key: s.key, pool: p, gang: gang.Job{ID: d.UID, Person: r.person(s.wish.By), Priority: priorityOf(w.Priority),
		Nodes: max(1, int(w.NodeCount)), Seq: d.CreatedAt.UnixMicro(), Limit: w.Constraints.limit()}}
	if s.status.State != "" {
		st := s.status
		j.status = &st
	}
	r.jobs[j.uid()], r.byKey[j.key] = j, j
	if err := p.queue.Submit(j.gang); err != nil {
		r.log.Error("batch: queue a job", "job", d.ID, "err", err)
	}
	p.dirty = true
	if j.status != nil && len(j.status.Nodes) > 0 {
		names := make([]string, 0, len(j.status.Nodes))
		for _, n := range j.status.Nodes {
			names = append(names, n.Node)
		}
		p.queue.Started(j.uid(), names, j.status.Start)
		r.attach(j)
		r.dirty[j] = true
		r.unplanned = append(r.unplanned, j)
	}
	return j
}

// person is a name that many jobs share.
func (r *runner) person(name string) string {
	if known, ok := r.people[name]; ok {
		return known
	}
	r.people[name] = name
	return name
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
		p = &pool{key: key, queue: gang.New(gang.Options{}), runs: map[*run]bool{}, nodes: map[string]nodeInfo{}, leave: map[string]string{}}
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
