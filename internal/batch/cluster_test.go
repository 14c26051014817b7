package batch

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// memoryFleet is a fleet whose machines run at once.
type memoryFleet struct {
	mu       sync.Mutex
	machines []Machine
	next     int
	removed  bool
	notify   func(string)
	hear     func(node.Event)
}

func (f *memoryFleet) Apply(_ context.Context, s FleetSpec) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.machines) < s.Count {
		f.machines = append(f.machines, Machine{Name: fmt.Sprint("n", f.next), ID: fmt.Sprint("vm-", f.next), Address: "10.0.0.4", State: "running",
			Started: time.Date(2026, 11, 23, 11, 0, f.next, 0, time.UTC)})
		go f.hear(node.Event{Machine: fmt.Sprint("vm-", f.next), Hello: &node.Hello{Instance: "a"}})
		f.next++
	}
	return nil
}

func (f *memoryFleet) Drop(_ context.Context, _ string, names []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machines = slices.DeleteFunc(f.machines, func(m Machine) bool { return slices.Contains(names, m.Name) })
	return nil
}

func (f *memoryFleet) Remove(context.Context, string) (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machines, f.removed = nil, true
	return true, nil
}

func (f *memoryFleet) Machines(context.Context, string) ([]Machine, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.machines), nil
}

func (f *memoryFleet) Watch(ctx context.Context, notify func(string)) error {
	<-ctx.Done()
	return nil
}

// stop ends a machine by itself.
func (f *memoryFleet) stop(i int, at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.machines[i].State, f.machines[i].Stopped = "stopped", at
}

// Send has every task end well at once, and counts it.
type memoryAgents struct {
	mu   sync.Mutex
	ran  []string
	hear func(node.Event)
}

func (a *memoryAgents) Send(machine string, o node.Order) error {
	if o.Run != nil {
		a.mu.Lock()
		a.ran = append(a.ran, o.Run.ID)
		a.mu.Unlock()
		go a.hear(node.Event{Machine: machine, Report: &node.Report{ID: o.Run.ID, Job: o.Run.Job, State: node.Ended}})
	}
	return nil
}

// TestClusterLife: nodes come up, a restart of lido takes them over as they are, one that stopped meanwhile is replaced
// and metered to its own end, and a deletion leaves nothing.
func TestClusterLife(t *testing.T) {
	f := newFixture(t)
	fleet, agents, ledger := &memoryFleet{}, &memoryAgents{}, &book{entries: map[string]Entry{}}
	start := func() (stop func()) {
		c := f.Config
		c.Fleet, c.Agents, c.Ledger = fleet, agents, ledger
		r := New(c)
		fleet.hear, agents.hear = r.Hear, r.Hear
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		for _, m := range fleet.machines {
			r.Hear(node.Event{Machine: m.ID, Hello: &node.Hello{Instance: "a"}})
		}
		return func() { cancel(); <-done }
	}
	stop := start()
	id := ws + "/clusters/c"
	f.must("PUT", id, edit(t, clusterBody, "scaleSettings", `{"manual":{"targetNodeCount":2}}`), 200)
	counts := func(path string, want any) {
		t.Helper()
		for range 500 {
			if _, m := f.call("GET", id, ""); at(m, "properties.allocationState") == "steady" && at(m, "properties."+path) == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		_, m := f.call("GET", id, "")
		t.Fatalf("%s is not %v: %v", path, want, m)
	}
	counts("nodeStateCounts.preparingNodeCount", 0.0)
	counts("currentNodeCount", 2.0)
	idle := func(n int) {
		t.Helper()
		for range 500 {
			var st clusterStatus
			f.inTx(func(tx *store.Tx) error {
				d, err := tx.Get(id)
				if err == nil {
					_, st, err = readCluster(f.Server, tx, d)
				}
				return err
			})
			up := 0
			for _, i := range st.Nodes {
				if i.State == nodeIdle && i.Prepared == i.boot() {
					up++
				}
			}
			if up == n {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("no %d idle nodes", n)
	}
	idle(2)
	stop()
	if len(agents.ran) != 2 || !strings.HasPrefix(agents.ran[0], setupJob) {
		t.Fatalf("set up by %v", agents.ran)
	}

	died := f.now.Add(-time.Minute)
	first := fleet.machines[0]
	fleet.stop(0, died)
	stop = start()
	for range 500 {
		if e := ledger.get(nodeInfo{Machine: first.ID, Started: first.Started}.boot()); !e.End.IsZero() {
			if !e.End.Equal(died) || !e.Start.Equal(first.Started) {
				t.Errorf("metered %v to %v", e.Start, e.End)
			}
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	idle(2)
	if len(agents.ran) != 3 {
		t.Errorf("three machines were set up by %v", agents.ran)
	}
	f.must("DELETE", id, "", 202)
	for range 500 {
		if code, _ := f.call("GET", id, ""); code == 404 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.must("GET", id, "", 404)
	stop()
	if !fleet.removed {
		t.Error("the machines were not removed")
	}
	for key, e := range ledger.entries {
		if e.End.IsZero() || len(ledger.entries) != 3 {
			t.Errorf("entry %s of %d: %+v", key, len(ledger.entries), e)
		}
	}
}
