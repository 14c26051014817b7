package gang

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// cluster runs jobs through a queue on nodes that neither come nor go, until all have run.
type cluster struct {
	*Queue
	t       *rapid.T
	now     time.Time
	jobs    map[string]Job
	lasts   map[string]time.Duration // how long each really runs
	started map[string]time.Time
	log     []Placement
	hold    map[Priority]Reservation // the first promise to each priority's head
}

func newCluster(t *rapid.T, nodes, slots int) *cluster {
	c := &cluster{New(Options{}), t, start, map[string]Job{}, map[string]time.Duration{}, map[string]time.Time{}, nil, map[Priority]Reservation{}}
	for i := range nodes {
		c.SetNode(fmt.Sprintf("n%02d", i), slots, start)
	}
	return c
}

// submit queues a job that runs for a part of its limit.
func (c *cluster) submit(j Job, part float64) {
	if err := c.Submit(j); err != nil {
		c.t.Fatal(err)
	}
	c.jobs[j.ID] = j
	c.lasts[j.ID] = time.Duration(float64(j.Limit) * part)
}

// decide places jobs, and checks that promises are kept.
func (c *cluster) decide() {
	placed := c.Place(c.now)
	c.log = append(c.log, placed...)
	for _, p := range placed {
		c.started[p.Job] = c.now
		r := c.hold[c.jobs[p.Job].Priority]
		if r.Job == p.Job && c.now.After(r.At) {
			c.t.Fatalf("%s started at %s, was promised %s", p.Job, c.now, r.At)
		}
	}
	r := c.Reserved()
	if r.Job == "" || c.open == 0 {
		return
	}
	if priority := c.jobs[r.Job].Priority; c.hold[priority].Job != r.Job {
		c.hold[priority] = r
	} else if r.At.After(c.hold[priority].At) {
		c.t.Fatalf("%s was promised %s, now %s", r.Job, c.hold[priority].At, r.At)
	}
}

// step goes on to the next end of a job. It returns false if none runs.
func (c *cluster) step() bool {
	var next string
	var at time.Time
	for id, s := range c.started {
		end := s.Add(c.lasts[id])
		if next == "" || end.Before(at) || end.Equal(at) && id < next {
			next, at = id, end
		}
	}
	if next == "" {
		return false
	}
	c.now = at
	delete(c.started, next)
	c.Finished(next, at)
	return true
}

func (c *cluster) drain() {
	for c.decide(); c.step(); c.decide() {
	}
}

// load submits drawn jobs, all of one priority, some of them while others run.
func (c *cluster) load(people, widest int, part func() float64) {
	n := rapid.IntRange(1, 60).Draw(c.t, "jobs")
	for i := range n {
		c.submit(Job{
			ID: fmt.Sprintf("j%02d", i), Seq: int64(i),
			Person: fmt.Sprint("p", rapid.IntRange(1, people).Draw(c.t, "person")),
			Nodes:  rapid.IntRange(1, widest).Draw(c.t, "nodes"),
			Limit:  drawLimit(c.t),
		}, part())
		if rapid.IntRange(0, 3).Draw(c.t, "go on") == 0 {
			c.decide()
			c.step()
		}
	}
	c.drain()
}

// Promises are checked in decide.
func TestAllRunAndPromisesAreKept(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(t, rapid.IntRange(1, 6).Draw(t, "nodes"), rapid.IntRange(1, 3).Draw(t, "slots"))
		widest := c.takers()
		c.load(3, widest, func() float64 { return rapid.SampledFrom([]float64{0.1, 0.5, 1}).Draw(t, "part") })
		if len(c.log) != len(c.jobs) {
			t.Fatalf("%d of %d jobs ran", len(c.log), len(c.jobs))
		}
	})
}

func TestSameCallsSamePlacements(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		seed := rapid.IntRange(0, 1<<16).Draw(t, "seed")
		run := func() []Placement { // draws the same jobs each time
			return rapid.Custom(func(t *rapid.T) []Placement {
				c := newCluster(t, 5, 2)
				c.load(4, 5, func() float64 { return 0.7 })
				return c.log
			}).Example(seed)
		}
		if diff := cmp.Diff(run(), run()); diff != "" {
			t.Fatal(diff)
		}
	})
}

// Jobs that are all alike leave no reason to overtake.
func TestFirstComeFirstServedWithinAPerson(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(t, 4, 1)
		width := rapid.IntRange(1, 4).Draw(t, "width")
		for i := range 40 {
			person := fmt.Sprint("p", rapid.IntRange(1, 3).Draw(t, "person"))
			c.submit(Job{ID: fmt.Sprintf("j%02d", i), Seq: int64(i), Person: person, Nodes: width, Limit: time.Hour}, 1)
		}
		c.drain()
		last := map[string]string{}
		for _, p := range c.log {
			person := c.jobs[p.Job].Person
			if last[person] > p.Job {
				t.Fatalf("%s started before %s", last[person], p.Job)
			}
			last[person] = p.Job
		}
	})
}

// Two people who always have jobs queued get the same share, whatever the width and the length of their jobs, but for
// the width of one job: there may never be room for one more of the wider jobs at once.
func TestSharesAreEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(t, 8, 1)
		minutes := [2]int{rapid.IntRange(10, 240).Draw(t, "minutes"), rapid.IntRange(10, 240).Draw(t, "minutes")}
		width := [2]int{rapid.IntRange(1, 4).Draw(t, "width"), rapid.IntRange(1, 4).Draw(t, "width")}
		seq := 0
		for until := start.Add(60 * time.Hour); c.now.Before(until); c.decide() {
			for i, p := range []string{"ann", "bob"} {
				for q := c.shares.person(p); q.jobs-q.running/width[i] < 10; {
					seq++
					c.submit(Job{ID: fmt.Sprintf("j%06d", seq), Seq: int64(seq), Person: p, Nodes: width[i], Limit: time.Duration(minutes[i]) * time.Minute}, 1)
				}
			}
			c.decide()
			c.step()
		}
		ann, bob := c.shares.used(c.shares.person("ann"), c.now), c.shares.used(c.shares.person("bob"), c.now)
		if half, one := (ann+bob)/2, c.shares.life(); ann < half-float64(width[0])*one || bob < half-float64(width[1])*one {
			t.Fatalf("ann's jobs of %d nodes, %d min got %.0f, bob's of %d, %d min got %.0f", width[0], minutes[0], ann, width[1], minutes[1], bob)
		}
	})
}

func TestHigherPriorityFirst(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCluster(t, 3, 1)
		for i := range 30 {
			c.submit(Job{
				ID: fmt.Sprintf("j%02d", i), Seq: int64(i), Person: "p", Nodes: 1, Limit: time.Hour,
				Priority: rapid.SampledFrom([]Priority{Low, Normal, High}).Draw(t, "priority"),
			}, 1)
		}
		c.drain()
		if !slices.IsSortedFunc(c.log, func(a, b Placement) int { return int(c.jobs[b.Job].Priority - c.jobs[a.Job].Priority) }) {
			t.Fatal(c.log)
		}
	})
}
