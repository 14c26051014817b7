package gang

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// machine drives a queue and its model with the same calls.
type machine struct {
	q       *Queue
	m       *model
	now     time.Time
	seq     int64
	over    []Job // finished, to be submitted again
	adopted bool  // so slots may be overcommitted
}

func newMachine(t *rapid.T) *machine {
	o := Options{
		MaxNodes:  rapid.IntRange(0, 8).Draw(t, "max"),
		Slots:     rapid.IntRange(1, 3).Draw(t, "slots"),
		HalfLife:  24 * time.Hour,
		Provision: 2 * time.Minute,
	}
	c := &machine{q: New(o), now: start}
	c.m = &model{options: o, heads: map[Priority]*modelHead{}}
	return c
}

func (c *machine) Submit(t *rapid.T) {
	for range rapid.IntRange(1, 12).Draw(t, "count") {
		c.seq++
		c.submit(Job{
			ID: fmt.Sprint("j", c.seq), Seq: c.seq,
			Person:   rapid.SampledFrom([]string{"ann", "bob", "cat"}).Draw(t, "person"),
			Priority: rapid.SampledFrom([]Priority{Low, Normal, Normal, Normal, High}).Draw(t, "priority"),
			Nodes:    rapid.IntRange(1, 7).Draw(t, "nodes"),
			Limit:    drawLimit(t),
		})
	}
}

func drawLimit(t *rapid.T) time.Duration {
	return time.Duration(math.Exp(rapid.Float64Range(0, 14).Draw(t, "limit")) * float64(time.Second))
}

func (c *machine) submit(j Job) {
	if err := c.q.Submit(j); err != nil {
		panic(err)
	}
	c.m.jobs = append(c.m.jobs, &modelJob{j})
}

func (c *machine) Requeue(t *rapid.T) {
	if len(c.over) == 0 {
		return
	}
	i := rapid.IntRange(0, len(c.over)-1).Draw(t, "job")
	c.submit(c.over[i])
	c.over = slices.Delete(c.over, i, i+1)
}

func (c *machine) Withdraw(t *rapid.T) {
	if len(c.m.jobs) == 0 {
		return
	}
	j := rapid.SampledFrom(c.m.jobs).Draw(t, "job")
	if !c.q.Withdraw(j.ID) {
		t.Fatal(j.ID)
	}
	c.m.unqueue(j)
}

func (c *machine) Finish(t *rapid.T) {
	if len(c.m.runs) == 0 {
		return
	}
	r := rapid.SampledFrom(c.m.runs).Draw(t, "run")
	if !c.q.Finished(r.job.ID, c.now) {
		t.Fatal(r.job.ID)
	}
	c.m.finish(r, c.now)
	c.over = append(c.over, r.job.Job)
}

func (c *machine) Adopt(t *rapid.T) {
	if len(c.m.jobs) == 0 || rapid.IntRange(0, 9).Draw(t, "seldom") > 0 {
		return
	}
	j := rapid.SampledFrom(c.m.jobs).Draw(t, "job")
	on := rapid.SliceOfNDistinct(rapid.IntRange(0, 9), j.Nodes, j.Nodes, rapid.ID).Draw(t, "nodes")
	var names []string
	for _, i := range on {
		names = append(names, fmt.Sprint("n", i))
	}
	at := c.now.Add(-time.Duration(rapid.IntRange(0, 100).Draw(t, "ago")) * time.Minute)
	if err := c.q.Started(j.ID, names, at); err != nil {
		t.Fatal(err)
	}
	c.m.adopt(j, names, at)
	c.adopted = true
}

func (c *machine) SetNode(t *rapid.T) {
	name, slots := drawNode(t), rapid.IntRange(1, 3).Draw(t, "slots")
	c.q.SetNode(name, slots, c.now)
	if n := c.m.node(name); n.slots > slots {
		c.adopted = true
	}
	n := c.m.node(name)
	n.slots, n.taker = slots, true
}

func (c *machine) DrainNode(t *rapid.T) {
	name := drawNode(t)
	c.q.DrainNode(name)
	c.m.node(name).taker = false
}

func (c *machine) RemoveNode(t *rapid.T) {
	name := drawNode(t)
	got := c.q.RemoveNode(name)
	c.m.node(name).taker = false
	var want []string
	for _, r := range c.m.runs {
		if slices.Contains(r.nodes, name) {
			want = append(want, r.job.ID)
		}
	}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Fatalf("jobs of %s are %v, want %v", name, got, want)
	}
}

func drawNode(t *rapid.T) string { return fmt.Sprint("n", rapid.IntRange(0, 9).Draw(t, "node")) }

func (c *machine) SetMax(t *rapid.T) {
	n := rapid.IntRange(0, 9).Draw(t, "max")
	c.m.renewed = c.m.renewed || n > c.m.options.MaxNodes
	c.m.options.MaxNodes = n
	c.q.SetMaxNodes(n)
}

func (c *machine) Wait(t *rapid.T) {
	c.now = c.now.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "seconds")) * time.Second)
}

// Place has both decide. The model takes over what people used, since its own figures differ by rounding and ties
// would be broken otherwise; checkPeople compares them.
func (c *machine) Place(t *rapid.T) {
	c.m.shares = shares{halfLife: c.q.shares.halfLife, epoch: c.q.shares.epoch, people: map[string]*person{}}
	for name, p := range c.q.shares.people {
		c.m.shares.people[name] = &person{name: name, settled: p.settled, running: p.running}
	}
	want, promised := c.m.place(c.now)
	got := c.q.Place(c.now)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatal("placements (-want +got):\n" + diff)
	}
	if c.q.Reserved() != promised {
		t.Fatalf("reserved %v, want %v", c.q.Reserved(), promised)
	}
}

func (c *machine) Check(t *rapid.T) {
	c.checkPeople(t)
	c.checkNodes(t)
	c.checkLines(t)
	c.checkDemand(t)
	c.checkExplain(t)
}

func (c *machine) checkPeople(t *rapid.T) {
	for name, p := range c.q.shares.people {
		got, want := c.q.shares.used(p, c.now), c.m.use(name, c.now)
		if math.Abs(got-want) > 1e-3+1e-9*math.Abs(want) {
			t.Fatalf("%s used %f, want %f", name, got, want)
		}
	}
}

func (c *machine) checkNodes(t *rapid.T) {
	for _, n := range c.q.nodes {
		if n.present && len(n.runs) > n.slots && !c.adopted {
			t.Fatalf("%s has %d jobs", n.name, len(n.runs))
		}
	}
	for i, s := range append(slices.Clone(c.q.free), c.q.busy) {
		for _, n := range s.nodes {
			if i < len(c.q.free) && n.spare() != i || !n.present || n.draining {
				t.Fatalf("%s is in set %d", n.name, i)
			}
		}
		if !slices.IsSortedFunc(s.nodes, s.compare) {
			t.Fatalf("set %d is out of order", i)
		}
	}
	for _, r := range c.m.runs {
		on := c.q.jobs[r.job.ID].run.nodes
		names := map[string]bool{}
		for _, n := range on {
			names[n.name] = true
		}
		if len(names) != r.job.Nodes {
			t.Fatalf("%s runs on %v", r.job.ID, names)
		}
	}
	if c.q.takers() != c.m.takers() || c.q.open != len(c.m.open()) {
		t.Fatalf("%d nodes, %d open; want %d, %d", c.q.takers(), c.q.open, c.m.takers(), len(c.m.open()))
	}
}

func (c *machine) checkLines(t *rapid.T) {
	queued := 0
	for i, l := range c.q.levels {
		if i > 0 && c.q.levels[i-1].priority <= l.priority {
			t.Fatal("levels are out of order")
		}
		n := 0
		for i, line := range l.lines {
			if line.index != i || line.level != l || line.root == nil {
				t.Fatal("a line is lost")
			}
			n += len(checkLine(t, line))
		}
		if n != l.size || n == 0 {
			t.Fatalf("level has %d jobs, not %d", n, l.size)
		}
		queued += n
	}
	if queued != len(c.m.jobs) || queued != c.q.queued {
		t.Fatalf("%d jobs queued, want %d", queued, len(c.m.jobs))
	}
}

// checkLine checks what the chunks know, and returns the jobs in order.
func checkLine(t interface{ Fatal(...any) }, l *line) (all []*job) {
	var walk func(*chunk) []*job
	walk = func(c *chunk) []*job {
		if c == nil {
			return nil
		}
		jobs := slices.Concat(walk(c.left), c.jobs, walk(c.right))
		want := noJobs
		for _, j := range jobs {
			want.lower(j)
		}
		if c.least != want || int(c.size) != len(jobs) || len(c.jobs) == 0 || len(c.jobs) > chunkJobs {
			t.Fatal("a chunk knows wrong things")
		}
		for _, o := range []*chunk{c.left, c.right} {
			if o != nil && o.heap > c.heap {
				t.Fatal("not a heap")
			}
		}
		return jobs
	}
	all = walk(l.root)
	if !slices.IsSortedFunc(all, before) {
		t.Fatal("out of order")
	}
	for i, j := range all {
		if l.rank(j) != i || j.line != l {
			t.Fatal("wrong rank")
		}
	}
	return all
}

func (c *machine) checkDemand(t *rapid.T) {
	want := Demand{}
	for _, r := range c.m.runs {
		want.Running += len(r.nodes)
	}
	slots := want.Running
	for _, j := range c.m.jobs {
		if j.Nodes <= 5 {
			want.Queued++
			slots += j.Nodes
			want.Widest = max(want.Widest, j.Nodes)
		}
	}
	for want.Nodes < 5 && (want.Nodes < want.Widest || want.Nodes*c.m.options.Slots < slots) {
		want.Nodes++
	}
	if got := c.q.Demand(5); got != want {
		t.Fatal(cmp.Diff(want, got))
	}
}

func (c *machine) checkExplain(t *rapid.T) {
	for _, j := range c.m.jobs {
		want := Wait{Needs: j.Nodes, Free: len(c.m.open()), Nodes: c.m.takers(), Max: c.m.options.MaxNodes}
		for _, o := range c.m.jobs {
			if o.Priority > j.Priority {
				want.Higher++
			}
			if o.Priority == j.Priority && o.Person == j.Person && o.Seq < j.Seq {
				want.Own++
			}
		}
		got, ok := c.q.Explain(j.ID, c.now)
		if got.Head != (c.q.Reserved().Job == j.ID) || got.People > 2 || got.String() == "" {
			t.Fatalf("%s: %+v", j.ID, got)
		}
		got.Head, got.By, got.People = false, time.Time{}, 0
		if !ok || got != want {
			t.Fatalf("%s: %+v, want %+v", j.ID, got, want)
		}
	}
}

func TestQueueDecidesAsItsModel(t *testing.T) { rapid.Check(t, decidesAsItsModel) }

func FuzzQueue(f *testing.F) { f.Fuzz(rapid.MakeFuzz(decidesAsItsModel)) }

func decidesAsItsModel(t *rapid.T) {
	c := newMachine(t)
	for range rapid.IntRange(0, 6).Draw(t, "nodes") {
		c.SetNode(t)
	}
	t.Repeat(map[string]func(*rapid.T){
		"submit": c.Submit, "requeue": c.Requeue, "withdraw": c.Withdraw, "finish": c.Finish, "finish more": c.Finish,
		"adopt": c.Adopt, "set": c.SetNode, "drain": c.DrainNode, "remove": c.RemoveNode, "max": c.SetMax,
		"wait": c.Wait, "place": c.Place, "place more": c.Place, "": c.Check,
	})
}
