package batch

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lido.dev/lido/internal/arm"
)

// clusterWorld is what a cluster's decisions act on: machines that come up by and by, agents, and a scheduler.
type clusterWorld struct {
	clusterView
	next     int
	capacity int
	jobs     map[string]bool // nodes with a job
	wanted   int
	idle     map[string]time.Time
}

func newClusterWorld(w *cluster) *clusterWorld {
	return &clusterWorld{clusterView: clusterView{Now: t0, Since: t0, Wish: w, Status: &clusterStatus{}, IdleAfter: time.Minute,
		Agents: map[string]agentView{}, Setups: map[string]setupView{}, Offered: map[string]string{}, Told: map[string]bool{}},
		jobs: map[string]bool{}, idle: map[string]time.Time{}}
}

// step decides once and carries the decision out, as a controller does.
func (w *clusterWorld) step(t *rapid.T) {
	w.Load = clusterLoad{Wanted: w.wanted, Idle: map[string]time.Time{}, Busy: map[string][]string{}}
	for name := range w.Offered {
		if w.jobs[name] {
			w.Load.Busy[name] = []string{"job"}
		} else {
			w.Load.Idle[name] = w.idle[name]
		}
	}
	p := decideCluster(&w.clusterView)
	for _, name := range p.Drop {
		if lost := slices.ContainsFunc(p.Down, func(l nodeLoss) bool { return l.Name == name }); w.Offered[name] != "" && !lost {
			t.Fatalf("node %s is dropped and its scheduler is not told", name)
		}
		if w.jobs[name] && w.healthy(name) {
			t.Fatalf("node %s is well, has a job and is dropped", name)
		}
	}
	for _, n := range p.Status.Nodes {
		if n.State == nodeUnusable && (n.Reason == nil || n.Reason.Message == "") {
			t.Fatalf("node %s is unusable without a reason", n.Name)
		}
	}
	for _, l := range p.Down {
		delete(w.Offered, l.Name)
		delete(w.Told, l.Name)
		delete(w.jobs, l.Name)
	}
	w.Machines = slices.DeleteFunc(w.Machines, func(m Machine) bool { return slices.Contains(p.Drop, m.Name) })
	for _, name := range p.Drop {
		delete(w.jobs, name)
	}
	for w.capacity = p.Count; len(w.Machines) < w.capacity; w.next++ {
		w.Machines = append(w.Machines, Machine{Name: fmt.Sprint("n", w.next), ID: fmt.Sprint("vm-", w.next), State: "creating"})
	}
	for _, n := range p.Setup {
		w.Setups[n.boot()] = setupView{Running: true}
	}
	for _, n := range p.Up {
		w.Offered[n.Name] = n.Instance
		w.idle[n.Name] = w.Now
		delete(w.Told, n.Name)
	}
	for _, name := range p.Leave {
		w.Told[name] = true
		if p.Option != leaveWait {
			delete(w.jobs, name)
		}
	}
	w.Status, w.New = &p.Status, false
}

func (w *clusterWorld) healthy(name string) bool {
	i := slices.IndexFunc(w.Machines, func(m Machine) bool { return m.Name == name })
	j := slices.IndexFunc(w.Status.Nodes, func(n nodeInfo) bool { return n.Name == name })
	if i < 0 || j < 0 {
		return false
	}
	m, n := w.Machines[i], w.Status.Nodes[j]
	return m.State == "running" && m.Started.Equal(n.Started) && n.Prepared != "" && w.Agents[m.ID].Connected
}

// happen lets the world go on by chance.
func (w *clusterWorld) happen(t *rapid.T) {
	w.Now = w.Now.Add(time.Duration(rapid.IntRange(0, 20).Draw(t, "seconds")) * time.Second)
	for i := range w.Machines {
		m := &w.Machines[i]
		boot := nodeInfo{Machine: m.ID, Started: m.Started}.boot()
		switch rapid.IntRange(0, 30).Draw(t, "event") {
		case 0:
			m.State, m.Started = "running", w.Now
			w.Agents[m.ID] = agentView{}
			delete(w.jobs, m.Name)
		case 1:
			if m.State == "running" {
				w.Agents[m.ID] = agentView{Instance: fmt.Sprint(w.Now.Unix()), Connected: true, Since: w.Now}
			}
		case 2:
			w.Agents[m.ID] = agentView{Since: w.Now}
		case 3:
			m.State, m.Reason, m.Stopped = "stopped", "It was switched off.", w.Now
		case 4:
			w.Setups[boot] = setupView{Failure: &Problem{Code: "NodeSetupTaskFailed", Message: "exit code 1"}}
		case 5, 6:
			if w.Setups[boot].Running {
				w.Setups[boot] = setupView{Done: true}
			}
		case 7, 9, 10, 11, 12:
			w.jobs[m.Name] = w.Offered[m.Name] != "" && !w.Told[m.Name]
		case 8:
			delete(w.jobs, m.Name)
			w.idle[m.Name] = w.Now
		}
	}
	w.wanted = rapid.IntRange(0, 5).Draw(t, "wanted")
	if n := rapid.IntRange(0, 10).Draw(t, "resize"); n < 4 {
		w.Wish, w.New = &cluster{Scale: scaleSettings{Manual: &manualScale{Target: arm.Int(n), Deallocation: leaveWait}}}, true
	}
}

// calm lets everything go well; jobs may end.
func (w *clusterWorld) calm(end bool) {
	w.Now = w.Now.Add(time.Second)
	for i := range w.Machines {
		m := &w.Machines[i]
		if m.State == "creating" {
			m.State, m.Started = "running", w.Now
		}
		if m.State == "running" && !w.Agents[m.ID].Connected {
			w.Agents[m.ID] = agentView{Instance: "calm", Connected: true, Since: w.Now}
		}
		if boot := (nodeInfo{Machine: m.ID, Started: m.Started}).boot(); w.Setups[boot].Running {
			w.Setups[boot] = setupView{Done: true}
		}
		if end && w.jobs[m.Name] {
			delete(w.jobs, m.Name)
			w.idle[m.Name] = w.Now
		}
	}
	if end {
		w.wanted = 0
	}
}

// TestDecideProperty: whatever happens, no node that is well loses a job that it may end, no node is unusable without a
// reason, and when peace returns the cluster comes to be as wished for.
func TestDecideProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wish := auto(rapid.IntRange(0, 2).Draw(t, "min"), 4, 0)
		w := newClusterWorld(wish)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "calm") {
				w.calm(rapid.Bool().Draw(t, "jobs end"))
			} else {
				w.happen(t)
			}
			w.step(t)
		}
		n := rapid.IntRange(0, 5).Draw(t, "target")
		w.Wish, w.New = &cluster{Scale: scaleSettings{Manual: &manualScale{Target: arm.Int(n), Deallocation: leaveWait}}}, true
		for range 400 {
			w.calm(true)
			w.step(t)
		}
		if len(w.Machines) != n || w.Status.Allocation != "steady" || len(w.Offered) != n {
			t.Fatalf("%d machines and %d nodes at work where %d are wanted; %s", len(w.Machines), len(w.Offered), n, w.Status.Allocation)
		}
	})
}
