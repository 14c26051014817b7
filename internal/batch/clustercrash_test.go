package batch

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestCrashWait(t *testing.T) {
	for n, want := range map[int]time.Duration{1: 0, 2: 10 * time.Second, 3: 20 * time.Second, 4: 40 * time.Second, 7: crashBackoffMost, 1000: crashBackoffMost} {
		if got := crashWait(n); got != want {
			t.Errorf("the %dth waits %s, want %s", n, got, want)
		}
	}
}

// crashLoop has each fresh node's machine stop some time after it came up, for an hour, and returns how many there were.
func crashLoop(t interface{ Fatalf(string, ...any) }, v *clusterView, lives time.Duration, anew bool) (machines int) {
	end := v.Now.Add(time.Hour)
	for machines = 0; v.Now.Before(end); machines++ {
		name := fmt.Sprint("n", machines)
		v.Machines, v.Offered = nil, map[string]string{}
		nodes := v.Status.Nodes
		v.ready(name, -1)
		v.Machines[0].Started = v.Now
		n := v.Status.Nodes[len(nodes)]
		n.Started = v.Now
		n.Prepared = n.boot()
		v.Status.Nodes = []nodeInfo{n}
		v.Now = v.Now.Add(lives)
		if m := &v.Machines[0]; anew {
			m.Started = v.Now
		} else {
			m.State, m.Stopped, m.Reason = "stopped", v.Now, "Its init was killed."
		}
		downs := 0
		for {
			p := decideCluster(v)
			v.Status = &p.Status
			for _, l := range p.Down {
				downs++
				delete(v.Offered, l.Name)
				delete(v.Load.Busy, l.Name)
			}
			if downs == 0 {
				t.Fatalf("%s stopped and its job was not told", name)
			}
			if len(p.Drop) > 0 {
				break
			}
			if r := p.Status.Nodes[0].Reason; p.state(name) != nodeUnusable || r == nil || !strings.Contains(r.Message, "in a row") || !strings.Contains(r.Message, "fresh node") {
				t.Fatalf("%s is kept without its reason: %+v", name, p.Status.Nodes[0])
			}
			if p.Again.IsZero() || !p.Again.After(v.Now) {
				t.Fatalf("%s is kept, and nobody looks again: %s", name, p.Again)
			}
			v.Now = p.Again
		}
	}
	return machines
}

func TestCrashLoopBacksOff(t *testing.T) {
	for _, anew := range []bool{false, true} {
		v := seen(manual(1, ""), 1)
		if n := crashLoop(t, v, time.Second, anew); n < 10 || n > 20 { // 0, 10, 20, 40, 80, 160, then each 300 s
			t.Errorf("%d machines in an hour (started anew: %v)", n, anew)
		}
		v.Machines = nil
		p := decideCluster(v)
		if len(p.Status.Errors) != 1 || !strings.Contains(p.Status.Errors[0].Message, "in a row") {
			t.Errorf("while a fresh node comes the cluster says %+v", p.Status.Errors)
		}
		v.Now = v.Now.Add(crashYoung)
		if p = decideCluster(v); p.Status.Crashes != nil || len(p.Status.Errors) != 0 {
			t.Errorf("that is not forgotten: %+v", p.Status)
		}
	}
}

func TestCrashLoopNeverFaster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lives := time.Duration(rapid.IntRange(1, int(crashYoung/time.Second)-1).Draw(t, "seconds")) * time.Second
		v := seen(manual(1, ""), 1)
		most := 7 + int(time.Hour/(crashBackoffMost+lives))
		if lives > crashYoung-crashBackoffMost { // it counts as over by then
			most = 7 + int(time.Hour/lives)
		}
		if n := crashLoop(t, v, lives, rapid.Bool().Draw(t, "anew")); n > most {
			t.Fatalf("%d machines that live %s, in an hour; want at most %d", n, lives, most)
		}
	})
}

func TestCrashExceptions(t *testing.T) {
	lost := func(v *clusterView) *clusterView {
		for i := range v.Machines {
			v.Machines[i].State, v.Machines[i].Stopped = "stopped", v.Machines[i].Started.Add(time.Minute)
		}
		return v
	}
	together := lost(seen(manual(2, ""), 2).ready("a", -1).ready("b", -1))
	if p := decideCluster(together); len(p.Drop) != 2 || p.Status.Crashes.Count != 1 {
		t.Errorf("nodes that are lost together are not one loss: %+v", p)
	}
	loop := &crashes{Count: 3, At: t0.Add(-time.Minute), RetryAt: t0.Add(-time.Second), Last: Problem{Code: "NodeLost", Message: "in a row"}}
	old := lost(seen(manual(1, ""), 1).ready("a", -1))
	old.Status.Crashes = loop
	old.Machines[0].Stopped = old.Machines[0].Started.Add(crashYoung)
	if p := decideCluster(old); len(p.Drop) != 1 || p.Status.Crashes.Count != 3 {
		t.Errorf("a node that lived long is not replaced at once: %+v", p)
	}
	leaving := lost(seen(manual(0, ""), 0).ready("a", -1))
	leaving.Status.Crashes, leaving.Status.Nodes[0].State = loop, nodeLeaving
	if p := decideCluster(leaving); len(p.Drop) != 1 || p.Count != 0 {
		t.Errorf("a node that leaves is kept: %+v", p)
	}
	kept := lost(seen(manual(1, ""), 1).ready("a", -1))
	kept.Status.Crashes = loop
	p := decideCluster(kept)
	if len(p.Drop) != 0 || p.state("a") != nodeUnusable || loop.Count != 3 {
		t.Errorf("a fourth in a row is not kept: %+v", p)
	}
	kept.Status, kept.New, kept.Offered = &p.Status, true, nil
	if p = decideCluster(kept); len(p.Drop) != 1 {
		t.Errorf("a changed cluster is not tried at once: %+v", p)
	}
}

func TestStoppedBeforeSetup(t *testing.T) {
	v := seen(manual(1, ""), 1).machine("a", "running")
	v.Agents["vm-a"] = agentView{Instance: "i", Connected: true, Since: t0}
	p := decideCluster(v)
	v.Status = &p.Status
	v.Machines[0].Started = t0
	for range 3 {
		p = decideCluster(v)
		if v.Status = &p.Status; p.state("a") != nodeUnusable || len(p.Setup) != 0 || p.Status.SetupFailures != 1 || p.Status.Errors[0].Code != "NodeLost" {
			t.Fatalf("started anew before it was set up: %+v", p)
		}
	}
	if v.Now = t0.Add(setupBackoff); len(decideCluster(v).Drop) != 1 {
		t.Error("it is not replaced")
	}
}
