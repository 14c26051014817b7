package batch

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// makePlan makes a job's plan, outside of the lock: volumes and images may take their time.
func (r *runner) makePlan(ctx context.Context, j *run) {
	r.mu.Lock()
	st, at := j.status, j.attempt
	r.mu.Unlock()
	in, err := r.planInput(ctx, j, st)
	if err == nil && in.Job.Container != nil {
		ctx, cancel := context.WithCancel(ctx)
		r.mu.Lock()
		at.cancel = cancel
		r.mu.Unlock()
		go func() {
			defer cancel()
			err := r.containers(ctx, in)
			r.planned(j, at, in, err)
		}()
		return
	}
	r.planned(j, at, in, err)
}

// planned takes in what came of making a plan.
func (r *runner) planned(j *run, at *attempt, in *planInput, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if j.closed || j.attempt != at {
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
	in := &planInput{ID: j.id, UID: j.uid(), Attempt: st.Attempt, Root: r.root, Nodes: st.Nodes}
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
		in.Cluster = volumesUnder(&cl.Properties.Setup.Mounts, mountRoot, nil)
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

// volumes are a job's own volumes as its nodes mount them.
func (r *runner) volumes(ctx context.Context, v *mountVolumes, root string) ([]node.Mount, error) {
	servers, err := r.room.serverMounts(ctx, v)
	return volumesUnder(v, root, servers), err
}
