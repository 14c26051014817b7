package batch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"lido.dev/lido/internal/gang"
	"lido.dev/lido/internal/node"
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
	people    map[string]string // each name once, for all the jobs that have it
	pools     map[string]*pool  // by cluster key
	agents    map[string]*agent // by machine
	dirty     map[*run]bool     // running jobs to decide about
	unplanned []*run            // found running at the start: their plans are to be made
}

// run is a job that has not ended. There may be a hundred thousand that are queued: keep it small.
type run struct {
	id, key   string
	pool      *pool
	gang      gang.Job   // its ID is the document's UID
	status    *jobStatus // as it will be in the store; nil for a job that never ran
	terminate time.Time
	deleting  bool
	closed    bool // its end is decided
	*attempt       // nil while it is queued
}

func (j *run) uid() string { return j.gang.ID }

// attempt is what is known of a job that was given its nodes.
type attempt struct {
	putBack *Problem // it is to leave its nodes
	endWhy  *Problem // why it is terminated, if no person asked for it
	plan    *plan
	making  bool     // its plan is being made
	opened  bool     // the ledger knows that it runs
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
	runs  map[*run]bool // jobs that have their nodes
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
	waits     time.Time         // since when the first of sweep does
}

func newRunner(room *Room) *runner {
	return &runner{room: room, log: room.Log, root: nodeRoot, wake: make(chan struct{}, 1), loaded: make(chan struct{}), jobs: map[string]*run{},
		byKey: map[string]*run{}, people: map[string]string{}, pools: map[string]*pool{}, agents: map[string]*agent{}, dirty: map[*run]bool{}}
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
	now := r.room.Now()
	for machine, a := range r.agents {
		if len(a.sweep) >= sweepAtOnce || now.Sub(a.waits) >= sweepAfter {
			r.sweep(machine, a)
		}
		for j := range a.runs {
			if r.opens(j, now) {
				r.dirty[j] = true
			}
		}
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

func (r *runner) agent(machine string) *agent {
	a := r.agents[machine]
	if a == nil {
		a = &agent{runs: map[*run]bool{}, sweeping: map[string]string{}}
		r.agents[machine] = a
	}
	return a
}
