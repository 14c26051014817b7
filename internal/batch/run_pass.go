package batch

import (
	"time"

	"lido.dev/lido/internal/node"
)

// batchOf is what one pass decided.
type batchOf struct {
	*runner
	now     time.Time
	status  map[*run]*jobStatus
	ended   []*run
	entries []Entry
	orders  []addressed
}

// decide decides about the running jobs of which something changed.
func (b *batchOf) decide() {
	for j := range b.dirty {
		delete(b.dirty, j)
		if j.closed {
			continue
		}
		if j.status == nil || len(j.status.Nodes) == 0 {
			b.decideQueued(j)
		} else {
			b.decideRunning(j)
		}
	}
}

// decideQueued ends a queued job that is to end.
func (b *batchOf) decideQueued(j *run) {
	if j.terminate.IsZero() && !j.deleting {
		return
	}
	j.pool.queue.Withdraw(j.uid())
	j.pool.dirty = true
	code := -1
	b.close(j, jobDecision{State: stateFailed, Code: &code, Errors: []Problem{{Code: "JobTerminated", Message: "The job was terminated while it was queued."}}})
}

func (b *batchOf) decideRunning(j *run) {
	b.open(j)
	st := j.status
	if (!j.terminate.IsZero() || j.deleting) && st.Terminate.IsZero() {
		next := *st
		next.Terminate, next.EndWhy = j.terminate, j.endWhy
		if next.Terminate.IsZero() {
			next.Terminate = b.now
		}
		next.State, next.StateSince = stateTerminating, b.now
		b.set(j, &next)
	}
	if j.putBack != nil && j.status.PutBack == nil {
		next := *j.status
		next.PutBack = j.putBack
		b.set(j, &next)
	}
	if j.plan == nil && j.making && j.cancel != nil && !j.status.Terminate.IsZero() {
		j.cancel()
	}
	if j.plan == nil && j.failure == nil && (j.making || j.status.Terminate.IsZero()) || b.dirBusy(j) {
		return
	}
	d := decideJob(b.view(j))
	b.order(j, d)
	if d.Done {
		b.finish(j, d)
	}
}

// view is what is known of a running job.
func (r *runner) view(j *run) *jobView {
	v := &jobView{Plan: j.plan, Status: j.status, Reports: j.reports, Ended: j.failure}
	for i, at := range j.status.Nodes {
		n := jobNode{Lost: j.lost[i]}
		if a := r.agents[at.Machine]; a != nil && a.instance == at.Instance {
			n.Heard, n.Away = true, !a.connected
		}
		v.Nodes = append(v.Nodes, n)
	}
	return v
}

// order notes the orders of a decision that were not sent yet.
func (b *batchOf) order(j *run, d jobDecision) {
	sent := j.sent
	add := func(s step, mark string, o node.Order) {
		at := j.status.Nodes[s.Node]
		if sent[mark] {
			return
		}
		o.Instance = at.Instance
		b.orders = append(b.orders, addressed{at.Machine, o, func() { sent[mark] = true }})
	}
	for _, s := range d.Run {
		add(s, s.Task.ID, node.Order{Run: &s.Task})
	}
	for _, s := range d.Stop {
		add(s, "-"+s.Task.ID, node.Order{Stop: s.Task.ID})
	}
}

// set notes a status that is to be written.
func (b *batchOf) set(j *run, st *jobStatus) {
	j.status = st
	b.status[j] = st
}

// finish takes a job off its nodes: it has ended, or goes back to the queue.
func (b *batchOf) finish(j *run, d jobDecision) {
	j.pool.queue.Finished(j.uid(), b.now)
	j.pool.dirty = true
	b.meter(j)
	b.forget(j)
	if d.Requeue != nil && !j.deleting {
		b.requeue(j, d)
		return
	}
	b.close(j, d)
}

// close ends a job.
func (b *batchOf) close(j *run, d jobDecision) {
	next := jobStatus{}
	if j.status != nil {
		next = *j.status
	}
	next.State, next.StateSince, next.End, next.ExitCode, next.Errors = d.State, b.now, b.now, d.Code, d.Errors
	next.PutBack = nil
	j.closed = true
	b.set(j, &next)
	b.ended = append(b.ended, j)
}

// requeue puts a job back to where it was in the queue.
func (b *batchOf) requeue(j *run, d jobDecision) {
	next := jobStatus{Status: j.status.Status, State: stateQueued, StateSince: b.now, Attempt: j.status.Attempt, Retries: j.status.Retries, Errors: []Problem{*d.Requeue}}
	if d.Lost {
		next.Retries++
	}
	b.set(j, &next)
	j.attempt = nil
	if err := j.pool.queue.Submit(j.gang); err != nil {
		b.log.Error("batch: put a job back", "job", j.id, "err", err)
	}
}

// forget has the agents forget what they know of the job's attempt, once its end is on the disk.
func (b *batchOf) forget(j *run) {
	delete(j.pool.runs, j)
	ids := map[string][]string{}
	if j.plan != nil {
		for _, ph := range j.plan.all() {
			for _, s := range ph.Steps {
				if _, known := j.reports[s.Task.ID]; known {
					machine := j.status.Nodes[s.Node].Machine
					ids[machine] = append(ids[machine], s.Task.ID)
				}
			}
		}
	}
	for _, at := range j.status.Nodes {
		a := b.agents[at.Machine]
		if a == nil {
			continue
		}
		delete(a.runs, j)
		if list := ids[at.Machine]; list != nil {
			b.orders = append(b.orders, addressed{machine: at.Machine, order: node.Order{Forget: list}})
		}
		if j.plan != nil && a.instance == at.Instance {
			if len(a.sweep) == 0 {
				a.waits = b.now
			}
			a.sweep = append(a.sweep, j.plan.Dir)
		}
	}
}

// place starts the jobs whose turn it is. Their status says so before their plans are made.
func (b *batchOf) place() (started []*run) {
	for _, p := range b.pools {
		if !p.dirty {
			continue
		}
		p.dirty = false
		for _, pl := range p.queue.Place(b.now) {
			j := b.jobs[pl.Job]
			b.start(j, pl.Nodes)
			started = append(started, j)
		}
		b.tellLoad(p)
	}
	return started
}

// tellLoad has a cluster's controller look, soon, if what jobs want of it has changed.
func (r *runner) tellLoad(p *pool) {
	d := p.queue.Demand(p.max)
	if d.Nodes != p.told.Nodes || d.Running != p.told.Running || len(p.leave) > 0 {
		p.told, p.news = d, true
	}
}

func (b *batchOf) start(j *run, names []string) {
	next := jobStatus{State: stateRunning, StateSince: b.now, Start: b.now, Attempt: 1}
	if j.status != nil {
		next.Status, next.Attempt, next.Retries = j.status.Status, j.status.Attempt+1, j.status.Retries
	}
	for _, name := range names {
		n := j.pool.nodes[name]
		next.Nodes = append(next.Nodes, placed{Node: name, Instance: n.Instance, Address: n.Address, Machine: n.Machine})
	}
	b.set(j, &next)
	b.attach(j)
}

// attach prepares a job that has its nodes for its plan, and for what its agents say.
func (r *runner) attach(j *run) {
	j.attempt = &attempt{making: true, reports: map[string]node.Report{}, sent: map[string]bool{}, lost: make([]*Problem, len(j.status.Nodes))}
	j.pool.runs[j] = true
	for _, at := range j.status.Nodes {
		r.agent(at.Machine).runs[j] = true
	}
}
