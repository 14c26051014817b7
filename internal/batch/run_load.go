package batch

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/gang"
	"lido.dev/lido/internal/node"
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
			r.see(s)
		}
		r.mu.Unlock()
		if after == "" {
			break
		}
	}
	return err
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
			if !s.status.ended() || d.Deleting {
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
	if s.status.ended() {
		return s, nil
	}
	s.job = wish.Properties
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

// makePlan makes a job's plan, outside of the lock: volumes and images may take their time.
func (r *runner) makePlan(ctx context.Context, j *run) {
	r.mu.Lock()
	st := j.status
	r.mu.Unlock()
	in, err := r.planInput(ctx, j, st)
	if err == nil && in.Job.Container != nil {
		ctx, cancel := context.WithCancel(ctx)
		r.mu.Lock()
		j.cancel = cancel
		r.mu.Unlock()
		go func() {
			defer cancel()
			err := r.containers(ctx, in)
			r.planned(j, st, in, err)
		}()
		return
	}
	r.planned(j, st, in, err)
}

// planned takes in what came of making a plan.
func (r *runner) planned(j *run, st *jobStatus, in *planInput, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j.closed || j.status.Attempt != st.Attempt || len(j.status.Nodes) == 0 {
		return
	}
	j.making = false
	if err != nil {
		p := &Problem{Code: "JobSetupFailed", Message: "The job could not be set up: " + err.Error()}
		var known *Problem
		if errors.As(err, &known) {
			p = known
		}
		j.failure = p
	} else {
		j.plan = makePlan(*in)
	}
	r.dirty[j] = true
	r.wakeUp()
}

// Error makes a Problem pass for an error.
func (p *Problem) Error() string { return p.Message }

func (r *runner) planInput(ctx context.Context, j *run, st *jobStatus) (*planInput, error) {
	in := &planInput{ID: j.id, UID: j.uid, Attempt: st.Attempt, Root: r.root, Nodes: st.Nodes}
	err := r.room.Store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(j.key)
		if err != nil {
			return err
		}
		wish, _, err := readJob(r.room.Server, tx, d)
		in.Job = &wish
		if err != nil {
			return err
		}
		c, err := tx.Get(wish.Cluster.ID)
		if err != nil {
			return err
		}
		var cl struct{ Properties cluster }
		err = arm.Decode(c.Desired, &cl)
		in.User, in.Shared = cl.Properties.User.Name, cl.Properties.SlotsPerNode > 1
		return err
	})
	if err != nil {
		return in, err
	}
	if r.self {
		in.User = ""
	}
	id := arm.ParsePath(j.id)
	in.Mounts, err = r.volumes(ctx, &in.Job.Mounts, r.root+"/jobs/"+strings.Join(id.Names, "/")+"/mounts")
	return in, err
}

// containers has a job's image in its nodes.
func (r *runner) containers(ctx context.Context, in *planInput) error {
	if r.room.Containers == nil {
		return &Problem{Code: "ContainersUnavailable", Message: "This lido runs no container jobs."}
	}
	src := in.Job.Container.Source
	user, password := "", ""
	if c := src.Credentials; c != nil {
		user, password = c.Username, c.Password
	}
	image, err := r.room.Containers.Ensure(ctx, src.Server, src.Image, user, password, func(string) {})
	if err != nil {
		return &Problem{Code: "FailedStartingContainer", Message: "The image " + src.Image + " could not be had: " + err.Error(), Details: []variable{{"imageName", arm.String(src.Image)}}}
	}
	image.ShmSize = shmSize(in.Job.Container.ShmSize)
	for _, n := range in.Nodes {
		c := *image
		if c.Root, err = r.room.Containers.Attach(ctx, n.Machine, image.Root); err != nil {
			return &Problem{Code: "FailedStartingContainer", Message: "The image " + src.Image + " could not be put into node " + n.Node + ": " + err.Error()}
		}
		in.Containers = append(in.Containers, &c)
	}
	return nil
}

// shmSize reads docker's sizes: 64m, 2g. 0 means the default.
func shmSize(s string) int64 {
	s = strings.TrimSuffix(strings.ToLower(strings.TrimSpace(s)), "b")
	shift := 0
	for i, unit := range []string{"k", "m", "g", "t"} {
		if rest, ok := strings.CutSuffix(s, unit); ok {
			s, shift = rest, 10*(i+1)
		}
	}
	n, _ := strconv.ParseInt(s, 10, 40)
	return n << shift
}

func isGone(err error) bool {
	return errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrStale)
}

func itoa(n int) string { return strconv.Itoa(n) }

// volumes are a job's own volumes as its nodes mount them.
func (r *runner) volumes(ctx context.Context, v *mountVolumes, root string) ([]node.Mount, error) {
	servers, err := r.room.serverMounts(ctx, v)
	return volumesUnder(v, root, servers), err
}
