package batch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"lido.dev/lido/internal/gang"
	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// runner runs the jobs of all clusters. One goroutine decides and writes; others (agents, controllers, requests) only
// change what it decides by, under mu, and wake it. Nothing is sent to a node before what led to it is on the disk.
// No transaction is opened while mu is held: transactions may wait for mu.
type runner struct {
	room *Room
	log  *slog.Logger
	root string // where nodes keep files
	self bool   // jobs run as the agents themselves do, for tests without accounts

	wake   chan struct{}
	loaded chan struct{} // closed when the store's jobs are known; agents wait for it

	mu        sync.Mutex
	jobs      map[string]*run   // queued and running, by uid
	byKey     map[string]*run   // by the document's key
	pools     map[string]*pool  // by cluster key
	agents    map[string]*agent // by machine
	dirty     map[*run]bool     // running jobs to decide about
	unplanned []*run            // found running at the start: their plans are to be made
}

// run is a job that has not ended.
type run struct {
	id, key, uid, person string
	pool                 *pool
	gang                 gang.Job
	limit                time.Duration
	status               *jobStatus // as it will be in the store; nil for a job that never ran
	terminate            time.Time
	putBack              *Problem // it is to leave its nodes
	deleting             bool
	closed               bool // its end is decided

	// Of a job that was given its nodes.
	plan    *plan
	making  bool     // its plan is being made
	failure *Problem // it cannot be carried out
	cancel  context.CancelFunc
	reports map[string]node.Report
	sent    map[string]bool // tasks and, with a "-" before, stops
	lost    []*Problem      // by node
}

// pool is a cluster's queue and nodes.
type pool struct {
	key   string
	queue *gang.Queue
	max   int
	nodes map[string]nodeInfo
	leave map[string]string // nodes that are leaving: how
	dirty bool
	told  gang.Demand // as the controller was told last
	news  bool        // its controller is to be told
	woken time.Time   // when it was told last
	size  string
}

// agent is a machine's agent.
type agent struct {
	instance  string
	connected bool
	runs      map[*run]bool
	sweep     []string          // directories of ended jobs
	sweeping  map[string]string // sent: directory → task
}

func newRunner(room *Room) *runner {
	return &runner{room: room, log: room.Log, root: nodeRoot, wake: make(chan struct{}, 1), loaded: make(chan struct{}), jobs: map[string]*run{},
		byKey: map[string]*run{}, pools: map[string]*pool{}, agents: map[string]*agent{}, dirty: map[*run]bool{}}
}

// wakeUp has the loop look at what changed.
func (r *runner) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// run runs jobs until ctx ends.
func (r *runner) run(ctx context.Context) error {
	sub := r.room.Store.Follow(TypeJob, TypeCluster)
	defer sub.Close()
	if err := r.loadJobs(ctx); err != nil {
		return err
	}
	close(r.loaded)
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	r.wakeUp()
	var unread []string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C:
		case <-r.wake:
		case <-tick.C:
			r.tick()
		}
		unread = append(unread, sub.Changed()...)
		if err := r.read(ctx, unread); err == nil {
			unread = nil
		} else if ctx.Err() == nil { // the next tick tries again
			r.log.Error("batch: read changed jobs", "err", err)
		}
		r.pass(ctx)
	}
}

// tickEvery is how often the queues are looked at when nothing happens.
const tickEvery = 500 * time.Millisecond

// tick has all queues placed anew, for time alone may let a job start, and sweeps.
func (r *runner) tick() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, p := range r.pools {
		p.dirty = p.dirty || p.queue.Demand(1<<20).Queued > 0
	}
	for machine, a := range r.agents {
		r.sweep(machine, a)
	}
}

// pass decides, writes, and then sends.
func (r *runner) pass(ctx context.Context) {
	b := &batchOf{runner: r, now: r.room.Now(), status: map[*run]*jobStatus{}}
	r.mu.Lock()
	b.decide()
	placed := append(b.place(), r.unplanned...)
	r.unplanned = nil
	r.mu.Unlock()
	if !b.commit(ctx) {
		return
	}
	b.send()
	r.wakeControllers()
	for _, j := range placed {
		r.makePlan(ctx, j)
	}
	if len(placed) > 0 {
		r.pass(ctx) // their plans are made, or being made
	}
}

// batchOf is what one pass decided.
type batchOf struct {
	*runner
	now     time.Time
	status  map[*run]*jobStatus
	ended   []*run
	entries []Entry
	orders  []addressed
}

// addressed is an order to a machine's agent.
type addressed struct {
	machine string
	order   node.Order
	done    func() // if it could be sent
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
	j.pool.queue.Withdraw(j.uid)
	j.pool.dirty = true
	code := -1
	b.close(j, jobDecision{State: stateFailed, Code: &code, Errors: []Problem{{Code: "JobTerminated", Message: "The job was terminated while it was queued."}}})
}

func (b *batchOf) decideRunning(j *run) {
	st := j.status
	if (!j.terminate.IsZero() || j.deleting) && st.Terminate.IsZero() {
		next := *st
		next.Terminate = j.terminate
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
	add := func(s step, mark string, o node.Order) {
		at := j.status.Nodes[s.Node]
		if j.sent[mark] {
			return
		}
		o.Instance = at.Instance
		b.orders = append(b.orders, addressed{at.Machine, o, func() { j.sent[mark] = true }})
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
	j.pool.queue.Finished(j.uid, b.now)
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
	next.Waiting, next.PutBack = "", nil
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
	j.putBack, j.plan, j.failure, j.reports, j.sent, j.lost = nil, nil, nil, nil, nil, nil
	if err := j.pool.queue.Submit(j.gang); err != nil {
		b.log.Error("batch: put a job back", "job", j.id, "err", err)
	}
}

// forget has the agents forget what they know of the job's attempt, once its end is on the disk.
func (b *batchOf) forget(j *run) {
	ids := map[string][]string{}
	if j.plan != nil {
		for _, ph := range append(append([]phase{}, j.plan.Phases...), j.plan.Clean) {
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
			a.sweep = append(a.sweep, j.plan.Dir)
		}
	}
}

// meter notes what the attempt used.
func (b *batchOf) meter(j *run) {
	e := Entry{Key: j.uid + "/" + itoa(j.status.Attempt), Kind: "job", Cluster: j.pool.key, Job: j.id, Person: j.person, Size: j.pool.size, Nodes: len(j.status.Nodes)}
	use := map[string]node.Usage{}
	where := map[string]string{}
	if j.plan != nil {
		for _, ph := range j.plan.Phases {
			for _, s := range ph.Steps {
				where[s.Task.ID] = j.status.Nodes[s.Node].Node
			}
		}
	}
	for id, r := range j.reports {
		if !r.Start.IsZero() && (e.Start.IsZero() || r.Start.Before(e.Start)) {
			e.Start = r.Start
		}
		if r.End.After(e.End) {
			e.End = r.End
		}
		if u := use[where[id]]; r.Usage.CPU >= u.CPU {
			use[where[id]] = r.Usage
		}
	}
	if e.Start.IsZero() {
		return
	}
	if e.End.Before(e.Start) || anyLost(j.lost) {
		e.End = b.now
	}
	for _, u := range use {
		e.Usage.CPU += u.CPU
		e.Usage.PeakMemory += u.PeakMemory
		e.Usage.Read += u.Read
		e.Usage.Written += u.Written
	}
	b.entries = append(b.entries, e)
}

func anyLost(lost []*Problem) bool {
	for _, l := range lost {
		if l != nil {
			return true
		}
	}
	return false
}

// wakeEvery is how often a cluster's controller looks at its jobs while they come and go.
const wakeEvery = 100 * time.Millisecond

// wakeControllers wakes the controllers of clusters whose jobs changed.
func (r *runner) wakeControllers() {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.room.Now()
	for _, p := range r.pools {
		if p.news && now.Sub(p.woken) >= wakeEvery {
			p.news, p.woken = false, now
			r.room.clusters.wakeCluster(p.key)
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
	j.making = true
}

// attach prepares a job that has its nodes for what its agents say.
func (r *runner) attach(j *run) {
	j.reports, j.sent, j.lost = map[string]node.Report{}, map[string]bool{}, make([]*Problem, len(j.status.Nodes))
	for _, at := range j.status.Nodes {
		r.agent(at.Machine).runs[j] = true
	}
}

func (r *runner) agent(machine string) *agent {
	a := r.agents[machine]
	if a == nil {
		a = &agent{runs: map[*run]bool{}, sweeping: map[string]string{}}
		r.agents[machine] = a
	}
	return a
}

// commit writes what was decided, again and again until it is on the disk. It returns false if ctx ended before.
func (b *batchOf) commit(ctx context.Context) bool {
	if len(b.status) == 0 && len(b.entries) == 0 {
		return true
	}
	for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		err := b.room.Store.Update(ctx, b.write)
		if err == nil {
			b.drop()
			return true
		}
		b.log.Error("batch: write jobs' states", "err", err)
		pause(ctx, wait)
	}
	return false
}

// drop forgets ended jobs.
func (b *batchOf) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.ended {
		delete(b.jobs, j.uid)
		if b.byKey[j.key] == j {
			delete(b.byKey, j.key)
		}
	}
}

// write writes it in a transaction.
func (b *batchOf) write(tx *store.Tx) error {
	for j, st := range b.status {
		err := tx.SetStatus(j.key, j.uid, st)
		if isGone(err) {
			continue
		}
		if err != nil {
			return err
		}
		if !j.deleting || !j.closed {
			continue
		}
		d, err := tx.Get(j.key)
		if err == nil {
			err = b.room.Server.Gone(tx, d)
		}
		if err != nil {
			return err
		}
	}
	return b.writeEntries(tx)
}

// writeEntries writes the ledger's entries along, if it can.
func (b *batchOf) writeEntries(tx *store.Tx) error {
	l, ok := b.room.Ledger.(interface {
		Write(*store.Tx, Entry) error
	})
	if !ok {
		return nil
	}
	for _, e := range b.entries {
		if err := l.Write(tx, e); err != nil {
			b.log.Error("batch: meter a job", "err", err)
		}
	}
	return nil
}

// send sends the orders.
func (b *batchOf) send() {
	for _, o := range b.orders {
		if b.room.Agents.Send(o.machine, o.order) != nil || o.done == nil {
			continue
		}
		b.mu.Lock()
		o.done()
		b.mu.Unlock()
	}
}
