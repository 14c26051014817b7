package batch

import (
	"strconv"
	"time"

	"lido.dev/lido/internal/node"
)

// openAfter is how long a job runs until the ledger is told that it does; of shorter ones it learns when they end.
const openAfter = time.Minute

// opens tells whether the ledger is to be told that a job runs.
func (r *runner) opens(j *run, now time.Time) bool {
	return !j.opened && !j.closed && now.Sub(j.status.Start) >= openAfter
}

// open tells the ledger of a job that has run for a while.
func (b *batchOf) open(j *run) {
	if !b.opens(j, b.now) {
		return
	}
	j.opened = true
	e := b.entry(j)
	if e.Start.IsZero() {
		e.Start = j.status.Start
	}
	e.End = time.Time{}
	b.entries = append(b.entries, e)
}

// meter notes what the attempt used, in the end.
func (b *batchOf) meter(j *run) {
	e := b.entry(j)
	if e.Start.IsZero() && (j.opened || b.now.Sub(j.status.Start) >= openAfter) {
		e.Start = j.status.Start
	}
	if e.Start.IsZero() {
		return
	}
	if e.End.Before(e.Start) || anyLost(j.lost) {
		e.End = b.now
	}
	j.opened = false
	b.entries = append(b.entries, e)
}

// entry is what the agents' reports say that the attempt used. A report tells what all of the job took in its node up to
// then: the last of a node counts.
func (b *batchOf) entry(j *run) Entry {
	e := Entry{Key: j.uid() + "/" + strconv.Itoa(j.status.Attempt), Kind: "job", Cluster: j.pool.key, Job: j.id, Person: j.gang.Person, Size: j.pool.size, Nodes: len(j.status.Nodes)}
	use := map[string]node.Usage{}
	where := map[string]string{}
	if j.plan != nil {
		for _, ph := range j.plan.all() {
			for _, s := range ph.Steps {
				where[s.Task.ID] = j.status.Nodes[s.Node].Node
			}
		}
	}
	for id, r := range j.reports {
		if !r.Start.IsZero() && (e.Start.IsZero() || r.Start.Before(e.Start)) {
			e.Start = r.Start
		}
		if r.End.After(e.End) {
			e.End = r.End
		}
		if u := use[where[id]]; r.Usage.CPU >= u.CPU {
			use[where[id]] = r.Usage
		}
	}
	for _, u := range use {
		e.Usage.CPU += u.CPU
		e.Usage.PeakMemory += u.PeakMemory
		e.Usage.Read += u.Read
		e.Usage.Written += u.Written
	}
	return e
}

func anyLost(lost []*Problem) bool {
	for _, l := range lost {
		if l != nil {
			return true
		}
	}
	return false
}
