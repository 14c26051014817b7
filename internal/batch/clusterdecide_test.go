package batch

import (
	"slices"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
)

var t0 = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func manual(n int, option string) *cluster {
	return &cluster{Scale: scaleSettings{Manual: &manualScale{Target: arm.Int(n), Deallocation: option}}}
}

func auto(least, most, initial int) *cluster {
	return &cluster{Scale: scaleSettings{Auto: &autoScale{Minimum: arm.Int(least), Maximum: arm.Int(most), Initial: arm.Int(initial)}}}
}

// seen is a view of a cluster that has been looked at before.
func seen(w *cluster, target int) *clusterView {
	return &clusterView{Now: t0, Wish: w, Status: &clusterStatus{Target: target, Allocation: "steady", AllocationSince: t0.Add(-time.Hour)},
		Agents: map[string]agentView{}, Setups: map[string]setupView{}, Offered: map[string]string{}, Told: map[string]bool{},
		Load: clusterLoad{Idle: map[string]time.Time{}, Busy: map[string][]string{}}, IdleAfter: time.Minute}
}

// machine adds one in a state; it is named after its number.
func (v *clusterView) machine(name, state string) *clusterView {
	m := Machine{Name: name, ID: "vm-" + name, State: state}
	if state == "running" {
		m.Started = t0.Add(-10 * time.Minute)
	}
	v.Machines = append(v.Machines, m)
	return v
}

// ready adds a node that was set up and has been idle for a time, or has a job if that is negative.
func (v *clusterView) ready(name string, idle time.Duration) *clusterView {
	v.machine(name, "running")
	n := nodeInfo{Name: name, Machine: "vm-" + name, Started: t0.Add(-10 * time.Minute), Instance: "i-" + name, State: nodeIdle}
	n.Prepared = n.boot()
	v.Status.Nodes = append(v.Status.Nodes, n)
	v.Agents[n.Machine] = agentView{Instance: n.Instance, Connected: true, Since: t0.Add(-9 * time.Minute)}
	v.Offered[name] = n.Instance
	if idle < 0 {
		v.Load.Busy[name] = []string{"job"}
	} else {
		v.Load.Idle[name] = t0.Add(-idle)
	}
	return v
}

func (p *clusterPlan) state(name string) nodeState {
	for _, n := range p.Status.Nodes {
		if n.Name == name {
			return n.State
		}
	}
	return ""
}

func TestDecideTarget(t *testing.T) {
	first := seen(auto(0, 4, 2), 0)
	first.Status.AllocationSince = time.Time{}
	up := seen(auto(0, 4, 0), 0)
	up.Load.Wanted = 3
	over := seen(auto(1, 2, 0), 0)
	over.Load.Wanted = 9
	for name, c := range map[string]struct {
		v    *clusterView
		want int
	}{
		"manual":                       {seen(manual(3, ""), 0), 3},
		"initial":                      {first, 2},
		"up at once":                   {up, 3},
		"no more than the maximum":     {over, 2},
		"stays while idle is short":    {seen(auto(0, 4, 0), 1).ready("a", 59*time.Second), 1},
		"to zero when idle for long":   {seen(auto(0, 4, 0), 1).ready("a", time.Minute), 0},
		"not below the minimum":        {seen(auto(1, 4, 0), 1).ready("a", time.Hour), 1},
		"busy nodes stay":              {seen(auto(0, 4, 0), 2).ready("a", -1).ready("b", time.Hour), 1},
		"what comes up is not counted": {seen(auto(0, 4, 0), 1).machine("a", "creating"), 1},
	} {
		if p := decideCluster(c.v); p.Status.Target != c.want {
			t.Errorf("%s: target %d, want %d", name, p.Status.Target, c.want)
		}
	}
}

func TestDecideNodeComesUp(t *testing.T) {
	v := seen(manual(1, ""), 1).machine("a", "creating")
	if p := decideCluster(v); p.state("a") != nodePreparing || p.Count != 1 || p.Status.Allocation != "resizing" {
		t.Fatalf("creating: %+v", p)
	}
	v = seen(manual(1, ""), 1).machine("a", "running")
	if p := decideCluster(v); p.state("a") != nodeUnusable { // ten minutes without an agent is more than agentFirst
		if len(p.Drop) != 1 {
			t.Fatalf("no agent: %+v", p)
		}
	}
	v.Agents["vm-a"] = agentView{Instance: "i", Connected: true, Since: t0}
	p := decideCluster(v)
	if len(p.Setup) != 1 || p.state("a") != nodePreparing || p.Status.Allocation != "steady" {
		t.Fatalf("agent: %+v", p)
	}
	boot := p.Setup[0].boot()
	v.Setups[boot] = setupView{Running: true}
	if p = decideCluster(v); len(p.Setup) != 0 {
		t.Fatalf("set up twice: %+v", p)
	}
	v.Setups[boot] = setupView{Done: true}
	p = decideCluster(v)
	if len(p.Up) != 1 || p.state("a") != nodeIdle || p.Status.Nodes[0].Prepared != boot {
		t.Fatalf("set up: %+v", p)
	}
	// lido starts anew: the node is taken over without another set-up.
	v.Status, v.Setups, v.Offered = &p.Status, map[string]setupView{}, map[string]string{}
	if p = decideCluster(v); len(p.Up) != 1 || len(p.Setup) != 0 || p.state("a") != nodeIdle {
		t.Fatalf("adopted: %+v", p)
	}
}

func TestDecideLostNodes(t *testing.T) {
	stopped := seen(manual(1, ""), 1).ready("a", -1)
	stopped.Machines[0].State, stopped.Machines[0].Reason = "stopped", "The machine powered itself off."
	again := seen(manual(1, ""), 1).ready("a", -1)
	again.Machines[0].Started = t0
	agent := seen(manual(1, ""), 1).ready("a", -1)
	agent.Agents["vm-a"] = agentView{Since: t0.Add(-agentLost)}
	for name, v := range map[string]*clusterView{"stopped": stopped, "started anew": again, "agent away": agent} {
		p := decideCluster(v)
		if len(p.Down) != 1 || p.Down[0].Why.Message == "" || !slices.Equal(p.Drop, []string{"a"}) || p.Count != 1 {
			t.Errorf("%s: %+v", name, p)
		}
	}
	v := seen(manual(1, ""), 1).ready("a", -1)
	v.Agents["vm-a"] = agentView{Since: t0.Add(-time.Second)}
	if p := decideCluster(v); len(p.Down)+len(p.Drop) != 0 || p.state("a") != nodeRunning || p.Again.IsZero() {
		t.Errorf("agent away for a second: %+v", p)
	}
	v.Agents["vm-a"] = agentView{Since: t0.Add(-agentGrace)}
	if p := decideCluster(v); len(p.Down) != 1 || len(p.Drop) != 0 || p.state("a") != nodeUnusable || p.Status.Nodes[0].Reason == nil {
		t.Errorf("agent away for some time: %+v", p)
	}
	delete(v.Agents, "vm-a") // lido came up a moment ago
	v.Since = t0.Add(-time.Second)
	if p := decideCluster(v); len(p.Drop)+len(p.Down) != 0 || p.state("a") != nodeRunning {
		t.Errorf("agent not heard of yet: %+v", p)
	}
	v.Agents["vm-a"] = agentView{Connected: true, Instance: "other"}
	if p := decideCluster(v); len(p.Up) != 1 || p.Up[0].Instance != "other" || len(p.Setup) != 0 {
		t.Errorf("another agent: %+v", p)
	}
}

func TestDecideAllocationFailed(t *testing.T) {
	v := seen(manual(1, ""), 1).machine("a", "failed")
	v.Machines[0].Reason = "AllocationFailed: There is no memory"
	p := decideCluster(v)
	if p.state("a") != nodeUnusable || p.Status.Nodes[0].Reason.Code != codeAllocation || len(p.Status.Errors) != 1 || len(p.Drop) != 0 {
		t.Fatalf("%+v", p)
	}
}

func TestDecideSetupFailures(t *testing.T) {
	v := seen(manual(1, ""), 1)
	dropped := 0
	for i := range 8 {
		name := string(rune('a' + i))
		v.Machines = nil
		v.machine(name, "running")
		v.Agents["vm-"+name] = agentView{Instance: "i", Connected: true, Since: v.Now}
		boot := nodeInfo{Machine: "vm-" + name, Started: v.Machines[0].Started}.boot()
		v.Setups[boot] = setupView{Failure: &Problem{Code: "NodeSetupTaskFailed", Message: "exit code 3"}}
		p := decideCluster(v)
		if p.state(name) != nodeUnusable || len(p.Status.Errors) != 1 || len(p.Drop) != 0 {
			t.Fatalf("node %s: %+v", name, p)
		}
		v.Status = &p.Status
		if v.Now = v.Now.Add(time.Hour); len(decideCluster(v).Drop) == 0 {
			break
		}
		p = decideCluster(v)
		v.Status, dropped = &p.Status, dropped+1
	}
	if dropped != setupRetries {
		t.Errorf("%d fresh nodes were tried, want %d", dropped, setupRetries)
	}
}

func TestDecideShrink(t *testing.T) {
	v := seen(manual(1, leaveTerminate), 3).ready("busy", -1).ready("idle", time.Second).machine("new", "creating")
	p := decideCluster(v)
	if !slices.Equal(p.Drop, []string{"new"}) || !slices.Equal(p.Leave, []string{"idle"}) || p.Option != leaveTerminate || p.Count != 2 || p.Status.Allocation != "resizing" {
		t.Fatalf("first: %+v", p)
	}
	v.Status, v.Told = &p.Status, map[string]bool{"idle": true}
	v.Machines = v.Machines[:2]
	p = decideCluster(v)
	if !slices.Equal(p.Drop, []string{"idle"}) || len(p.Leave) != 0 || p.Count != 1 {
		t.Fatalf("second: %+v", p)
	}
	// A busy node that leaves stays until its job has ended.
	v = seen(manual(0, leaveWait), 1).ready("busy", -1)
	p = decideCluster(v)
	v.Status, v.Told = &p.Status, map[string]bool{"busy": true}
	if p = decideCluster(v); len(p.Drop) != 0 || p.Count != 1 || p.state("busy") != nodeLeaving {
		t.Fatalf("busy: %+v", p)
	}
	delete(v.Load.Busy, "busy")
	if p = decideCluster(v); !slices.Equal(p.Drop, []string{"busy"}) || p.Count != 0 {
		t.Fatalf("done: %+v", p)
	}
}

func TestLowPriorityIsTaken(t *testing.T) {
	low := seen(manual(2, ""), 2).ready("a", -1).ready("b", time.Second)
	low.Wish.VMPriority = priorityLow
	names := chooseVictims(low.Status.Nodes, nil, 1)
	if len(names) != 1 {
		t.Fatalf("victims %v", names)
	}
	low.Evict = map[string]Problem{"b": {Code: codePreempted, Message: "taken"}}
	low.Short = true
	p := decideCluster(low)
	if !slices.Equal(p.Drop, []string{"b"}) || p.Down[0].Why.Code != codePreempted || p.Count != 1 || !strings.Contains(p.Status.Errors[0].Message, "low priority") {
		t.Fatalf("%+v", p)
	}
	low.Evict, low.Short = nil, false
	low.Machines = low.Machines[:1]
	if p = decideCluster(low); p.Count != 2 {
		t.Fatalf("later: count %d", p.Count)
	}
}

func TestTakeLowOnce(t *testing.T) {
	f := newFixture(t)
	c := newClusters(f.Room)
	nodes := seen(manual(3, ""), 3).ready("a", -1).ready("b", 0).ready("d", 0).Status.Nodes
	low := &clusterControl{all: c, id: ws + "/clusters/low", key: "low", wake: make(chan struct{}, 1), low: true, nodes: nodes, evict: map[string]Problem{}}
	by := &clusterControl{all: c, id: ws + "/clusters/first", key: "first", wake: make(chan struct{}, 1), evict: map[string]Problem{}}
	c.controls = map[string]*clusterControl{"low": low, "first": by}
	short := []nodeInfo{{Name: "x", Reason: &Problem{Code: codeAllocation}}}
	by.shortOf(short)
	clear(low.evict) // it was dropped, and its memory is on its way
	by.shortOf(short)
	if len(low.evict) != 0 {
		t.Errorf("another node is taken for the same shortage: %v", low.evict)
	}
	f.now = f.now.Add(evictPatience)
	by.shortOf(short)
	if len(low.evict) != 1 {
		t.Errorf("that was not enough, and no other is taken: %v", low.evict)
	}
	by.shortOf(nil)
	if c.anyShort() {
		t.Error("still short")
	}
}
