package gang

import (
	"fmt"
	"strings"
	"time"
)

// Demand is what autoscaling goes by.
type Demand struct {
	Nodes   int // that would let all queued and running jobs run at once
	Widest  int // nodes that the widest queued job wants
	Queued  int // queued jobs
	Running int // slots taken
}

// Demand tells what the jobs want of a cluster that may have as many as most nodes. Jobs wider than that are left out.
func (q *Queue) Demand(most int) Demand {
	d := Demand{Running: q.slots}
	slots := q.slots
	for width, n := range q.widths {
		if width <= most {
			slots += width * n
			d.Queued += n
			d.Widest = max(d.Widest, width)
		}
	}
	d.Nodes = min(most, max(d.Widest, (slots+q.options.Slots-1)/q.options.Slots))
	return d
}

// Wait is why a job waits.
type Wait struct {
	Needs int // nodes that it wants
	Free  int // nodes with a free slot
	Nodes int // nodes that take work
	Max   int // nodes that the cluster can have

	Head   bool      // it is its turn
	By     time.Time // of a head: when it starts at the latest
	Higher int       // queued jobs of higher priority
	Own    int       // its person's jobs before it
	People int       // other people with jobs of its priority whose turn comes first
}

// Explain tells why a queued job waits. It returns false if there is none of that ID.
func (q *Queue) Explain(id string, now time.Time) (Wait, bool) {
	j := q.jobs[id]
	if j == nil || j.run != nil {
		return Wait{}, false
	}
	w := Wait{Needs: int(j.nodes), Free: q.open, Nodes: q.takers(), Max: q.options.MaxNodes, Own: j.line.rank(j)}
	if q.reserved.Job == id {
		w.Head, w.By = true, q.reserved.At
	}
	own := j.line.level
	for _, l := range q.levels {
		if l == own {
			break
		}
		w.Higher += l.size
	}
	price := q.shares.prices(now)
	for _, n := range own.lines {
		if n.person != j.person && price(n.person) < price(j.person) {
			w.People++
		}
	}
	return w, true
}

// String tells the job's person why it waits.
func (w Wait) String() string {
	if w.Needs > max(w.Max, w.Nodes) {
		return fmt.Sprintf("It needs %s and the cluster can have %d. Make the cluster larger or the job narrower.", count(w.Needs, "node"), max(w.Max, w.Nodes))
	}
	has := fmt.Sprint(w.Nodes)
	if w.Max > w.Nodes {
		has = fmt.Sprintf("%d of at most %d", w.Nodes, w.Max)
	}
	text := fmt.Sprintf("It needs %s; the cluster has %s, %d of them free.", count(w.Needs, "node"), has, w.Free)
	if w.Head {
		return "It is next. " + text
	}
	var before []string
	if w.Higher > 0 {
		before = append(before, count(w.Higher, "job")+" of higher priority")
	}
	if w.Own > 0 {
		before = append(before, count(w.Own, "job")+" of yours")
	}
	if w.People > 0 {
		before = append(before, "the turn of others who used less")
	}
	if before == nil {
		return text
	}
	return text + " Before it: " + strings.Join(before, ", ") + "."
}

func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
