package batch

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestJobRuns(t *testing.T) {
	g := newRig(t, 1)
	g.submit("a", 1, custom("echo hello $AZ_BATCHAI_JOB_NAME; pwd; echo no >&2"), "")
	if st := g.ended("a"); st.State != stateSucceeded || *st.ExitCode != 0 || st.Attempt != 1 {
		t.Fatalf("%+v", st)
	}
	if out := g.output("a", "stdout.txt"); !strings.HasPrefix(out, "hello a\n") || !strings.HasSuffix(out, "/jobs/w/e/a/wd\n") {
		t.Errorf("stdout: %q", out)
	}
	g.submit("b", 1, custom("echo wrong >&2; exit 3"), "")
	st := g.ended("b")
	if st.State != stateFailed || *st.ExitCode != 3 || len(st.Errors) != 1 || st.Errors[0].Code != "JobFailed" {
		t.Fatalf("%+v", st)
	}
}

func TestJobOnTwoNodes(t *testing.T) {
	g := newRig(t, 2)
	g.submit("p", 2, `"pyTorchSettings":{"pythonScriptFilePath":"-c","pythonInterpreterPath":"/bin/bash","commandLineArgs":"'echo rank $RANK of $WORLD_SIZE'"}`,
		`,"jobPreparation":{"commandLine":"echo prepared"}`)
	st := g.ended("p")
	if st.State != stateSucceeded || len(st.Nodes) != 2 {
		t.Fatalf("%+v", st)
	}
	for i, want := range []string{"rank 0 of 2\n", "rank 1 of 2\n"} {
		if out := g.output("p", "stdout-"+strconv.Itoa(i)+".txt"); out != want {
			t.Errorf("stdout %d: %q", i, out)
		}
	}
	if out := g.output("p", "stdout-job_prep-*.txt"); out != "prepared\nprepared\n" {
		t.Errorf("preparation: %q", out)
	}
}

func TestPreparationFails(t *testing.T) {
	g := newRig(t, 2)
	g.submit("p", 2, custom("echo main"), `,"jobPreparation":{"commandLine":"exit 4"}`)
	st := g.ended("p")
	if st.State != stateFailed || *st.ExitCode != 4 || st.Errors[0].Code != "JobPreparationFailed" {
		t.Fatalf("%+v", st)
	}
	if out := g.output("p", "stdout.txt"); out != "" {
		t.Errorf("the job ran: %q", out)
	}
}

func TestTerminate(t *testing.T) {
	g := newRig(t, 1)
	g.submit("a", 1, custom("trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.02; done"), "")
	g.submit("b", 1, custom("echo b"), "")
	g.await("a", func(st jobStatus) bool { return strings.Contains(g.output("a", "stdout.txt"), "up") })
	g.must("POST", rigJobs+"b/terminate", "")
	if st := g.ended("b"); st.State != stateFailed || st.Errors[0].Code != "JobTerminated" || st.Attempt != 0 {
		t.Fatalf("b: %+v", st)
	}
	g.must("POST", rigJobs+"a/terminate", "")
	if st := g.ended("a"); st.State != stateFailed || st.Errors[0].Code != "JobTerminated" {
		t.Fatalf("a: %+v", st)
	}
	if out := g.output("a", "stdout.txt"); out != "up\nbye\n" {
		t.Errorf("stdout: %q", out)
	}
}

func TestDeleteRunning(t *testing.T) {
	g := newRig(t, 1)
	g.submit("a", 1, custom("echo up; sleep 60"), "")
	g.await("a", func(st jobStatus) bool { return strings.Contains(g.output("a", "stdout.txt"), "up") })
	g.must("DELETE", rigJobs+"a", "")
	g.await("a", func(jobStatus) bool { code, _ := g.call("GET", rigJobs+"a", ""); return code == 404 })
	g.submit("a", 1, custom("test ! -e left && touch left"), "")
	if st := g.ended("a"); st.State != stateSucceeded {
		t.Fatalf("%+v", st)
	}
	g.must("DELETE", rigJobs+"a", "")
	g.submit("a", 1, custom("test ! -e left"), "")
	if st := g.ended("a"); st.State != stateSucceeded {
		t.Fatalf("again: %+v", st)
	}
}

func TestTimeLimit(t *testing.T) {
	g := newRig(t, 1)
	g.submit("a", 1, custom("sleep 60"), `,"constraints":{"maxWallClockTime":"PT0.2S"}`)
	if st := g.ended("a"); st.State != stateFailed || st.Errors[0].Code != "JobTimeout" {
		t.Fatalf("%+v", st)
	}
}

func TestNodeLost(t *testing.T) {
	g := newRig(t, 2)
	g.submit("a", 2, custom("echo up; sleep 0.5"), "")
	g.await("a", func(st jobStatus) bool { return strings.Contains(g.output("a", "stdout.txt"), "up") })
	g.agents["n1"].stop()
	g.startAgent("n1")
	st := g.await("a", func(st jobStatus) bool { return st.Attempt == 2 })
	if st.Retries != 1 {
		t.Errorf("%+v", st)
	}
	if st := g.ended("a"); st.State != stateSucceeded {
		t.Fatalf("%+v", st)
	}
}

// TestNodeGoneMeanwhile: a node's machine goes while lido is down. The controller, which looks at the machines, finds
// it among the busy ones, and the job runs again elsewhere.
func TestNodeGoneMeanwhile(t *testing.T) {
	g := newRig(t, 2)
	g.submit("a", 1, custom("echo up; sleep 0.7"), "")
	st := g.await("a", func(st jobStatus) bool { return strings.Contains(g.output("a", "stdout.txt"), "up") })
	gone := st.Nodes[0].Node
	g.down()
	g.agents[gone].stop()
	g.up()
	if busy := g.room.jobs.load(rigCluster).Busy; len(busy[gone]) != 1 {
		t.Fatalf("busy: %v", busy)
	}
	g.room.jobs.nodeDown(rigCluster, gone, Problem{Code: "NodeLost", Message: "It is gone."})
	st = g.ended("a")
	if st.State != stateSucceeded || st.Attempt != 2 || st.Nodes[0].Node == gone {
		t.Errorf("%+v", st)
	}
}

func TestNodeLeaves(t *testing.T) {
	g := newRig(t, 2)
	g.submit("a", 1, custom("echo up; sleep 0.5"), "")
	st := g.await("a", func(st jobStatus) bool { return strings.Contains(g.output("a", "stdout.txt"), "up") })
	g.room.jobs.nodeLeaving(rigCluster, st.Nodes[0].Node, "requeue")
	now := g.ended("a")
	if now.State != stateSucceeded || now.Attempt != 2 || now.Retries != 0 || now.Nodes[0].Node == st.Nodes[0].Node {
		t.Errorf("requeue: %+v", now)
	}
	g.submit("b", 1, custom("echo up; sleep 60"), "")
	st = g.await("b", func(st jobStatus) bool { return strings.Contains(g.output("b", "stdout.txt"), "up") })
	g.room.jobs.nodeLeaving(rigCluster, st.Nodes[0].Node, "terminate")
	if st := g.ended("b"); st.State != stateFailed || st.Errors[0].Code != "JobTerminated" {
		t.Errorf("terminate: %+v", st)
	}
	g.submit("c", 1, custom("true"), "")
	g.await("c", func(jobStatus) bool {
		return strings.Contains(g.room.jobs.waiting(strings.ToLower(rigJobs+"c")), "It needs 1 node")
	})
}

// TestMetering: an attempt is metered by when its processes ran, whether lido was there or not.
func TestMetering(t *testing.T) {
	g := newRig(t, 2)
	g.submit("a", 2, custom("echo up; sleep 0.3"), "")
	g.await("a", func(jobStatus) bool { return strings.Contains(g.output("a", "stdout.txt"), "up") })
	g.down()
	time.Sleep(600 * time.Millisecond)
	g.up()
	g.ended("a")
	g.book.mu.Lock()
	defer g.book.mu.Unlock()
	if len(g.book.entries) != 1 {
		t.Fatalf("%+v", g.book.entries)
	}
	for key, e := range g.book.entries {
		took := e.End.Sub(e.Start)
		if !strings.HasSuffix(key, "/1") || e.Kind != "job" || e.Nodes != 2 || e.Person != "ada" || e.Size != "STANDARD_D1" || e.Job != rigJobs+"a" || took < 300*time.Millisecond || took > 550*time.Millisecond {
			t.Errorf("%s: %+v, %v", key, e, took)
		}
	}
}
