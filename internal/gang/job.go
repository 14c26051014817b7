package gang

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// job is a queued or running job. There may be a hundred thousand: keep it small.
type job struct {
	id     string
	seq    int64
	limit  time.Duration
	person *person
	line   *line // while queued
	run    *run  // while running
	nodes  uint32
	width  uint16 // nodes, at most tooWide
	class  uint8  // of limit
}

// run is where a job runs.
type run struct {
	job   *job
	nodes []*node
	start time.Time
	end   time.Time // by its limit
}

// level is the queued jobs of one priority.
type level struct {
	priority Priority
	lines    []*line   // of people with jobs; in no order
	head     *job      // had its turn and did not fit; keeps its turn
	due      time.Time // when the nodes that are missing for head should be there
	size     int
}

// ReuseError says that a job's ID is in the queue already.
type ReuseError struct{ ID string }

func (e *ReuseError) Error() string { return fmt.Sprintf("job %q is queued or running already", e.ID) }

// Submit queues a job. A job that ran and is to run again is submitted with its first Seq and so keeps its place.
func (q *Queue) Submit(j Job) error {
	switch {
	case q.jobs[j.ID] != nil:
		return &ReuseError{j.ID}
	case j.Nodes < 1:
		return fmt.Errorf("job %q wants %d nodes; it must want at least 1", j.ID, j.Nodes)
	}
	if j.Limit <= 0 {
		j.Limit = DefaultLimit
	}
	n := &job{
		id: j.ID, seq: j.Seq, limit: j.Limit, person: q.shares.person(j.Person),
		nodes: uint32(min(j.Nodes, 1<<31)), width: uint16(min(j.Nodes, tooWide)), class: classOf(j.Limit),
	}
	q.jobs[j.ID] = n
	n.person.jobs++
	q.enqueue(n, q.level(j.Priority))
	return nil
}

// Withdraw removes a queued job. It returns false if there is none of that ID.
func (q *Queue) Withdraw(id string) bool {
	j := q.jobs[id]
	if j == nil || j.run != nil {
		return false
	}
	q.dequeue(j)
	q.drop(j)
	return true
}

// Started says that a queued job runs on these nodes since a time: it was found running after a restart. Nodes that
// the queue does not know yet are remembered.
func (q *Queue) Started(id string, nodes []string, at time.Time) error {
	j := q.jobs[id]
	if j == nil || j.run != nil {
		return fmt.Errorf("job %q is not queued, so it can't have been started", id)
	}
	on := make([]*node, 0, len(nodes))
	for _, name := range nodes {
		on = append(on, q.node(name))
	}
	slices.SortFunc(on, byName)
	q.dequeue(j)
	q.start(j, slices.Compact(on), at)
	return nil
}

// Finished says that a running job left its nodes, for whatever reason. Its person is charged for the time. It returns
// false if no job of that ID runs.
func (q *Queue) Finished(id string, at time.Time) bool {
	j := q.jobs[id]
	if j == nil || j.run == nil {
		return false
	}
	r := j.run
	q.change(r.nodes, func(n *node) { n.leave(r, at) })
	for _, n := range r.nodes {
		q.forget(n)
	}
	q.slots -= len(r.nodes)
	q.shares.stop(j.person, len(r.nodes), r.start, at)
	q.drop(j)
	return true
}

func (q *Queue) drop(j *job) {
	delete(q.jobs, j.id)
	j.person.jobs--
}

// Charge adds to what a person has used: nodes for a time that is over. Callers that make a queue anew charge what
// their ledger has of the last few half-lives.
func (q *Queue) Charge(person string, nodes int, from, to time.Time) {
	p := q.shares.person(person)
	q.shares.start(p, nodes, from)
	q.shares.stop(p, nodes, from, to)
}

// start has a job run on nodes. It is not queued any more.
func (q *Queue) start(j *job, on []*node, at time.Time) {
	r := &run{job: j, nodes: on, start: at, end: at.Add(j.limit)}
	j.run = r
	q.change(on, func(n *node) { n.runs = append(n.runs, r) })
	q.slots += len(on)
	q.shares.start(j.person, len(on), at)
}

// enqueue adds a job to its person's line.
func (q *Queue) enqueue(j *job, l *level) {
	if j.line = l.line(j.person); j.line == nil {
		j.line = l.open(j.person)
	}
	j.line.insert(j, q.roll)
	l.size++
	q.queued++
	q.widths[int(j.nodes)]++
}

// dequeue takes a job out of its line, and out of its turn.
func (q *Queue) dequeue(j *job) {
	l := j.line.level
	j.line.remove(j)
	if j.line.root == nil {
		l.drop(j.line)
	}
	if l.head == j {
		l.head = nil
	}
	if l.size--; l.size == 0 {
		q.levels = slices.DeleteFunc(q.levels, func(o *level) bool { return o == l })
	}
	q.queued--
	if q.widths[int(j.nodes)]--; q.widths[int(j.nodes)] == 0 {
		delete(q.widths, int(j.nodes))
	}
	j.line = nil
}

// level returns the level of a priority, a new one if there is none.
func (q *Queue) level(p Priority) *level {
	i, found := slices.BinarySearchFunc(q.levels, p, func(l *level, p Priority) int { return cmp.Compare(p, l.priority) })
	if !found {
		q.levels = slices.Insert(q.levels, i, &level{priority: p})
	}
	return q.levels[i]
}

// line returns a person's line, nil if there is none.
func (l *level) line(p *person) *line {
	for _, n := range p.lines {
		if n.level == l {
			return n
		}
	}
	return nil
}

// open starts a person's line.
func (l *level) open(p *person) *line {
	n := &line{level: l, person: p, index: len(l.lines)}
	l.lines = append(l.lines, n)
	p.lines = append(p.lines, n)
	return n
}

// drop ends an empty line.
func (l *level) drop(n *line) {
	end := len(l.lines) - 1
	l.lines[n.index] = l.lines[end]
	l.lines[n.index].index = n.index
	l.lines[end] = nil
	l.lines = l.lines[:end]
	n.person.lines = slices.DeleteFunc(n.person.lines, func(o *line) bool { return o == n })
}

// roll returns a number that looks random.
func (q *Queue) roll() uint32 {
	q.dice ^= q.dice << 13
	q.dice ^= q.dice >> 7
	q.dice ^= q.dice << 17
	return uint32(q.dice >> 32)
}
