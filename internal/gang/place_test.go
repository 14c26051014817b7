package gang

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

var start = time.Date(2026, 11, 23, 8, 0, 0, 0, time.UTC)

// world drives a queue with a clock and short words.
type world struct {
	t *testing.T
	*Queue
	now time.Time
	seq int64
}

func newWorld(t *testing.T, o Options, nodes, slots int) *world {
	w := &world{t, New(o), start, 0}
	for i := range nodes {
		w.SetNode(fmt.Sprintf("n%02d", i), slots, start)
	}
	return w
}

// submit queues jobs written as "id person nodes minutes priority".
func (w *world) submit(jobs ...string) {
	w.t.Helper()
	for _, text := range jobs {
		w.seq++
		j := Job{Seq: w.seq}
		var minutes float64
		if _, err := fmt.Sscan(text, &j.ID, &j.Person, &j.Nodes, &minutes, &j.Priority); err != nil {
			w.t.Fatal(text, err)
		}
		j.Limit = time.Duration(minutes * float64(time.Minute))
		if err := w.Submit(j); err != nil {
			w.t.Fatal(err)
		}
	}
}

// places has the queue decide, and compares what starts, in order.
func (w *world) places(want string) {
	w.t.Helper()
	var got []string
	for _, p := range w.Place(w.now) {
		got = append(got, p.Job)
	}
	if s := strings.Join(got, " "); s != want {
		w.t.Fatalf("started %q, want %q", s, want)
	}
}

func (w *world) finish(ids ...string) {
	w.t.Helper()
	for _, id := range ids {
		if !w.Finished(id, w.now) {
			w.t.Fatalf("%s does not run", id)
		}
	}
}

func (w *world) after(minutes float64) {
	w.now = w.now.Add(time.Duration(minutes * float64(time.Minute)))
}

func TestOrderOfPriority(t *testing.T) {
	w := newWorld(t, Options{}, 1, 1)
	w.submit("low a 1 10 -1000", "normal a 1 10 0", "high a 1 10 1000")
	for _, id := range []string{"high", "normal", "low"} {
		w.places(id)
		w.finish(id)
	}
}

func TestNewcomerDoesNotWaitBehindAnothersQueue(t *testing.T) {
	w := newWorld(t, Options{}, 2, 1)
	for i := range 1000 {
		w.submit(fmt.Sprintf("a%d alice 1 60 0", i))
	}
	w.places("a0 a1")
	w.submit("b bob 1 60 0")
	w.after(5)
	w.finish("a0")
	w.places("b")
}

func TestTurnsAlternateBetweenPeople(t *testing.T) {
	w := newWorld(t, Options{}, 4, 1)
	w.submit("a0 alice 1 60 0", "a1 alice 1 60 0", "a2 alice 1 60 0", "a3 alice 1 60 0", "b0 bob 1 60 0", "b1 bob 1 60 0")
	w.places("a0 b0 a1 b1")
}

func TestUseIsForgotten(t *testing.T) {
	w := newWorld(t, Options{}, 1, 1)
	w.Charge("alice", 10, start.Add(-4*time.Hour), start)
	w.Charge("bob", 10, start.Add(-100*time.Hour), start.Add(-90*time.Hour))
	w.submit("a alice 1 60 0", "b bob 1 60 0")
	w.places("b")
}

func TestBackfill(t *testing.T) {
	w := newWorld(t, Options{}, 4, 1)
	w.submit("run a 3 60 0")
	w.places("run")
	w.submit("wide a 3 60 0", "long a 1 90 0", "short a 1 30 0")
	w.places("long") // wide needs three of the four nodes, so one is spare for whatever long
	w.finish("long")
	w.submit("wider b 4 60 0", "long2 b 1 90 0", "short2 b 1 30 0")
	w.places("long2") // wide's turn came first; it still needs no more than three
	if r := w.Reserved(); r.Job != "wide" || !r.At.Equal(start.Add(time.Hour)) {
		t.Fatal(r)
	}
}

func TestHeadKeepsItsTurn(t *testing.T) {
	w := newWorld(t, Options{}, 2, 1)
	w.submit("run a 1 60 0")
	w.places("run")
	w.submit("wide a 2 60 0")
	w.places("")
	w.submit("newcomer b 1 61 0")
	w.places("")
	w.submit("quick b 1 30 0")
	w.places("quick")
	w.after(30)
	w.finish("quick")
	w.places("")
	w.after(30)
	w.finish("run")
	w.places("wide")
}

func TestTooWideBlocksNobody(t *testing.T) {
	w := newWorld(t, Options{MaxNodes: 3}, 2, 1)
	w.submit("huge a 4 60 1000", "small b 1 60 -1000")
	w.places("small")
	if e, ok := w.Explain("huge", w.now); !ok || !strings.Contains(e.String(), "can have 3") {
		t.Fatal(e)
	}
	w.SetMaxNodes(4)
	w.submit("small2 b 1 61 -1000")
	w.places("")
}

func TestHeadWaitsForNodesThatCome(t *testing.T) {
	w := newWorld(t, Options{MaxNodes: 4, Provision: 10 * time.Minute}, 2, 1)
	w.submit("wide a 3 60 0", "long b 1 60 0", "quick b 1 9 0")
	w.places("quick") // long would hold a node that wide needs when the others come
	w.after(9)
	w.finish("quick")
	w.SetNode("n02", 1, w.now)
	w.places("wide")
	w.SetNode("n03", 1, w.now)
	w.places("long")
}

func TestLateNodesAreNotWaitedFor(t *testing.T) {
	w := newWorld(t, Options{MaxNodes: 4, Provision: 10 * time.Minute}, 2, 1)
	w.submit("wide a 3 60 0", "long b 1 60 0", "long2 b 1 60 0")
	w.places("")
	w.after(10)
	w.places("long") // one of four can be spared
	w.SetNode("n02", 1, w.now)
	w.places("")
	w.SetNode("n03", 1, w.now)
	w.places("wide")
}

func TestSlots(t *testing.T) {
	w := newWorld(t, Options{}, 2, 2)
	w.submit("gang a 2 60 0", "one a 1 60 0", "two a 1 60 0", "three a 1 60 0")
	w.places("gang one two")
	for _, n := range w.Nodes() {
		if len(n.Jobs) != 2 {
			t.Fatal(n)
		}
	}
}

func TestPackingKeepsNodesFree(t *testing.T) {
	w := newWorld(t, Options{}, 3, 2)
	w.submit("one a 1 60 0")
	w.places("one")
	w.submit("two a 1 60 0")
	w.places("two")
	if idle := w.Idle(); len(idle) != 2 || idle[0].Name != "n01" {
		t.Fatal(idle)
	}
}

func TestRequeueKeepsItsPlace(t *testing.T) {
	w := newWorld(t, Options{}, 2, 1)
	w.submit("first a 2 60 0", "second a 2 60 0")
	w.places("first")
	if jobs := w.RemoveNode("n01"); len(jobs) != 1 || jobs[0] != "first" {
		t.Fatal(jobs)
	}
	w.finish("first")
	if err := w.Submit(Job{ID: "first", Person: "a", Nodes: 2, Seq: 1, Limit: time.Hour}); err != nil {
		t.Fatal(err)
	}
	w.places("")
	w.SetNode("n05", 1, w.now)
	w.places("first")
}

func TestAdoptBeforeItsNodesAreKnown(t *testing.T) {
	w := newWorld(t, Options{}, 0, 1)
	w.submit("old a 2 60 0", "new a 1 60 0")
	if err := w.Started("old", []string{"n1", "n0"}, start); err != nil {
		t.Fatal(err)
	}
	w.SetNode("n0", 1, start)
	w.SetNode("n1", 1, start)
	w.places("")
	w.after(10)
	w.finish("old")
	w.places("new")
	if idle := w.Idle(); len(idle) != 1 || !idle[0].Since.Equal(w.now) {
		t.Fatal(idle)
	}
}

func TestDemand(t *testing.T) {
	w := newWorld(t, Options{}, 2, 1)
	w.submit("run a 2 60 0")
	w.places("run")
	w.submit("two a 2 60 0", "three a 3 60 0", "huge a 30 60 0")
	if d := w.Demand(20); d != (Demand{Nodes: 7, Widest: 3, Queued: 2, Running: 2}) {
		t.Fatal(d)
	}
	if d := w.Demand(5); d.Nodes != 5 {
		t.Fatal(d)
	}
}

func TestSubmitRefuses(t *testing.T) {
	w := newWorld(t, Options{}, 1, 1)
	w.submit("a a 1 1 0")
	for _, j := range []Job{{ID: "a", Nodes: 1}, {ID: "b"}, {ID: "c", Nodes: -1}} {
		if err := w.Submit(j); err == nil {
			t.Error(j)
		}
	}
}

func TestExplain(t *testing.T) {
	w := newWorld(t, Options{}, 2, 1)
	w.submit("run a 1 60 0")
	w.places("run")
	w.submit("wide a 2 60 0", "huge a 9 60 0", "third a 2 60 0", "other b 2 60 0", "low c 1 90 -1000")
	w.places("")
	for id, want := range map[string]string{
		"wide":  "It needs 2 nodes; the cluster has 2, 1 of them free. Before it: the turn of others who used less.",
		"other": "It is next. It needs 2 nodes; the cluster has 2, 1 of them free.",
		"huge":  "It needs 9 nodes and the cluster can have 2. Make the cluster larger or the job narrower.",
		"third": "It needs 2 nodes; the cluster has 2, 1 of them free. Before it: 2 jobs of yours, the turn of others who used less.",
		"low":   "It needs 1 node; the cluster has 2, 1 of them free. Before it: 4 jobs of higher priority.",
	} {
		if got, ok := w.Explain(id, w.now); !ok || got.String() != want {
			t.Errorf("%s: %q, want %q", id, got, want)
		}
	}
	if _, ok := w.Explain("run", w.now); ok {
		t.Error("a job that runs does not wait")
	}
}
