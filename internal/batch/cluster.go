package batch

import (
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// clusters are the controllers of all clusters: each makes and keeps its cluster's nodes.
type clusters struct {
	room  *Room
	began time.Time

	mu       sync.Mutex
	agents   map[string]agentView       // by machine id
	reports  map[string]node.Report     // of set-up tasks, by id
	home     map[string]string          // machine id → key of its cluster
	controls map[string]*clusterControl // by the cluster's key
}

// clusterControl is the controller of one cluster. What is not guarded belongs to its own goroutine.
type clusterControl struct {
	all *clusters
	id  string
	key string

	wake chan struct{}

	uid       string
	keys      clusterKeys
	offered   map[string]string  // nodes that the scheduler has, with the agent's instance
	told      map[string]bool    // nodes that the scheduler was told are leaving
	begun     map[string]string  // set-up tasks that were sent, by id, with the agent's instance
	leaveFrom time.Time          // when a deleted cluster's jobs were told to end
	evict     map[string]Problem // guarded by all.mu: nodes that are taken for others
	short     int                // guarded by all.mu: nodes that get no memory
	taken     int                // guarded by all.mu: nodes of low priority that it took
	tookAt    time.Time          // guarded by all.mu: when
	low       bool               // guarded by all.mu: of low priority
	nodes     []nodeInfo         // guarded by all.mu: as they were written last
}

func newClusters(r *Room) *clusters {
	return &clusters{room: r, agents: map[string]agentView{}, reports: map[string]node.Report{}, home: map[string]string{}, controls: map[string]*clusterControl{}}
}

// run runs the controllers until ctx ends.
func (c *clusters) run(ctx context.Context) error {
	sub := c.room.Store.Subscribe(TypeCluster)
	defer sub.Close()
	sub.Wake()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { c.watchFleet(ctx) })
	c.began = c.room.Now()
	known := map[string]int64{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-sub.C:
		}
		err := c.look(ctx, known, func(ctl *clusterControl) { wg.Go(func() { ctl.run(ctx) }) })
		if err != nil && ctx.Err() == nil {
			c.room.Log.Error("batch: look at the clusters", "err", err)
			pause(ctx, time.Second)
			sub.Wake()
		}
	}
}

// look starts controllers of clusters that have none and wakes those whose wish changed.
func (c *clusters) look(ctx context.Context, known map[string]int64, start func(*clusterControl)) error {
	var versions []store.Version
	err := c.room.Store.View(ctx, func(tx *store.Tx) (err error) {
		versions, err = tx.Versions(TypeCluster)
		return err
	})
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range versions {
		ctl := c.controls[store.Key(v.ID)]
		if ctl == nil {
			ctl = &clusterControl{all: c, id: v.ID, key: store.Key(v.ID), wake: make(chan struct{}, 1), evict: map[string]Problem{}}
			c.controls[ctl.key] = ctl
			start(ctl)
		}
		if known[v.UID] != v.Generation {
			known[v.UID] = v.Generation
			ctl.wakeUp()
		}
	}
	return nil
}

func (c *clusters) watchFleet(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.room.Fleet.Watch(ctx, c.wakeCluster); err != nil && ctx.Err() == nil {
			c.room.Log.Error("batch: watch the clusters' machines", "err", err)
			pause(ctx, time.Second)
		}
	}
}

// wakeCluster makes a cluster's controller look again.
func (c *clusters) wakeCluster(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ctl := c.controls[store.Key(id)]; ctl != nil {
		ctl.wakeUp()
	}
}

func (ctl *clusterControl) wakeUp() {
	select {
	case ctl.wake <- struct{}{}:
	default:
	}
}

// setupJob begins the Job of all set-up tasks; the cluster's key follows.
const setupJob = "setup:"

// isSetup tells whether a task is the controller's.
func isSetup(job string) bool { return strings.HasPrefix(job, setupJob) }

// hear takes what an agent says. Reports of jobs' tasks are not for it.
func (c *clusters) hear(e node.Event) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.room.Now()
	switch {
	case e.Hello != nil:
		c.agents[e.Machine] = agentView{Instance: e.Hello.Instance, Connected: true, Since: now}
		for _, r := range e.Hello.Tasks {
			if isSetup(r.Job) {
				c.reports[r.ID] = r
			}
		}
	case e.Gone:
		a := c.agents[e.Machine]
		a.Connected, a.Since = false, now
		c.agents[e.Machine] = a
	case e.Report != nil:
		if !isSetup(e.Report.Job) {
			return
		}
		c.reports[e.Report.ID] = *e.Report
	}
	c.wakeHome(e.Machine)
}

// wakeHome wakes the controller of a machine, or all if the machine is so new that nobody knows it.
func (c *clusters) wakeHome(machine string) {
	key, known := c.home[machine]
	for k, ctl := range c.controls {
		if !known || k == key {
			ctl.wakeUp()
		}
	}
}

// run makes passes until ctx ends or the cluster is gone. After a pass it rests twice as long as that took, so that a
// thousand nodes that start together cost some dozen passes.
func (ctl *clusterControl) run(ctx context.Context) {
	ctl.offered, ctl.told, ctl.begun = map[string]string{}, map[string]bool{}, map[string]string{}
	var timer <-chan time.Time
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case <-ctl.wake:
		case <-timer:
		}
		began := time.Now()
		again, err := ctl.pass(ctx)
		if errors.Is(err, store.ErrNotFound) && ctl.retire() {
			return
		}
		wait := lookEvery
		if !again.IsZero() {
			wait = max(again.Sub(ctl.all.room.Now()), 0)
		}
		if err == nil {
			failures = 0
		} else if ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
			failures++
			wait = min(time.Second<<min(failures, 5), lookEvery)
			ctl.all.room.Log.Error("batch: cluster", "cluster", ctl.id, "err", err, "again", wait)
		}
		pause(ctx, min(max(2*time.Since(began), shortRest), time.Second))
		timer = time.After(min(wait, lookEvery))
	}
}

// shortRest is the least pause between passes, so that short jobs that come and go do not keep a controller busy.
const shortRest = 25 * time.Millisecond

// lookEvery is how often a cluster is looked at when nothing happens.
const lookEvery = 30 * time.Second

// retire ends a controller whose cluster is gone, unless there is one of that name again.
func (ctl *clusterControl) retire() bool {
	c := ctl.all
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(ctl.wake) > 0 {
		return false
	}
	delete(c.controls, ctl.key)
	c.wakeLow()
	for m, key := range c.home {
		if key == ctl.key {
			c.forgetMachine(m)
		}
	}
	return true
}

// forgetMachine drops what is known of a machine that is gone. The caller holds c.mu.
func (c *clusters) forgetMachine(machine string) {
	delete(c.home, machine)
	delete(c.agents, machine)
	for id := range c.reports {
		if strings.Contains(id, ":"+machine+"@") {
			delete(c.reports, id)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
