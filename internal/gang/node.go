package gang

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// node is a node of the cluster, or the memory of one that jobs are still said to run on.
type node struct {
	name     string
	present  bool
	draining bool
	slots    int
	runs     []*run
	since    time.Time // when it had its last job, or came
	freeAt   time.Time // while it has no slot free: when it will have one
	in       int       // the set that it is in: notIn, inBusy, or a number of free slots
}

const (
	notIn  = -1
	inBusy = 0
)

// spare returns how many slots are free.
func (n *node) spare() int { return max(0, n.slots-len(n.runs)) }

// leave ends a run on the node.
func (n *node) leave(r *run, at time.Time) {
	n.runs = slices.DeleteFunc(n.runs, func(o *run) bool { return o == r })
	n.since = at
}

// stays tells whether a node that has a slot free will have one at a time, even if a job takes one until later.
func (n *node) stays(at time.Time) bool {
	return n.spare() > 1 || slices.ContainsFunc(n.runs, func(r *run) bool { return !r.end.After(at) })
}

// SetNode says that a node takes work, and how many jobs it may run at a time. A node that was draining no longer is.
// Its idle time begins at the given time if it is new.
func (q *Queue) SetNode(name string, slots int, at time.Time) {
	n := q.node(name)
	q.change([]*node{n}, func(n *node) {
		if !n.present {
			n.since = at
		}
		n.present, n.draining, n.slots = true, false, max(1, slots)
	})
}

// DrainNode says that a node takes no new work. What runs there runs on.
func (q *Queue) DrainNode(name string) {
	if n := q.nodes[name]; n != nil {
		q.change([]*node{n}, func(n *node) { n.draining = true })
	}
}

// RemoveNode says that a node is gone, and returns the jobs that ran there, in order of ID. They count as running, on
// their other nodes too, until the caller says that they finished.
func (q *Queue) RemoveNode(name string) (jobs []string) {
	n := q.nodes[name]
	if n == nil {
		return nil
	}
	q.change([]*node{n}, func(n *node) { n.present, n.draining = false, false })
	q.forget(n)
	return n.jobs()
}

// NodeView is what the queue knows of a node.
type NodeView struct {
	Name     string
	Slots    int
	Draining bool
	Jobs     []string  // that run there, in order of ID
	Since    time.Time // when its last job ended, or when it came
}

// Nodes returns the nodes that are there, in order of name.
func (q *Queue) Nodes() []NodeView {
	var all []NodeView
	for _, n := range q.nodes {
		if n.present {
			all = append(all, NodeView{n.name, n.slots, n.draining, n.jobs(), n.since})
		}
	}
	slices.SortFunc(all, func(a, b NodeView) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// Idle returns the nodes without a job, the longest idle first.
func (q *Queue) Idle() []NodeView {
	idle := slices.DeleteFunc(q.Nodes(), func(n NodeView) bool { return len(n.Jobs) > 0 })
	slices.SortStableFunc(idle, func(a, b NodeView) int { return a.Since.Compare(b.Since) })
	return idle
}

func (n *node) jobs() []string {
	var ids []string
	for _, r := range n.runs {
		ids = append(ids, r.job.id)
	}
	slices.Sort(ids)
	return ids
}

// node returns the node of that name, a new absent one if there is none.
func (q *Queue) node(name string) *node {
	n := q.nodes[name]
	if n == nil {
		n = &node{name: name, in: notIn}
		q.nodes[name] = n
	}
	return n
}

// forget drops a node that is gone and that nothing is said to run on.
func (q *Queue) forget(n *node) {
	if !n.present && len(n.runs) == 0 {
		delete(q.nodes, n.name)
	}
}

// change changes nodes and keeps them in the sets that they belong in.
func (q *Queue) change(nodes []*node, by func(*node)) {
	q.eachSet(nodes, func(in int, some []*node) {
		q.set(in).remove(some)
		q.count(in, some, -1)
	})
	for _, n := range nodes {
		by(n)
		n.settle()
	}
	q.eachSet(nodes, func(in int, some []*node) {
		q.set(in).add(some)
		q.count(in, some, 1)
	})
}

// settle has a node say which set it belongs in.
func (n *node) settle() {
	switch {
	case !n.present || n.draining:
		n.in = notIn
	case n.spare() > 0:
		n.in = n.spare()
	default:
		n.in, n.freeAt = inBusy, n.nextFree()
	}
}

// eachSet calls fn for the nodes of each set.
func (q *Queue) eachSet(nodes []*node, fn func(in int, some []*node)) {
	q.scratch = append(q.scratch[:0], nodes...)
	slices.SortStableFunc(q.scratch, func(a, b *node) int { return a.in - b.in })
	for rest := q.scratch; len(rest) > 0; {
		n := 1
		for n < len(rest) && rest[n].in == rest[0].in {
			n++
		}
		if rest[0].in != notIn {
			fn(rest[0].in, rest[:n])
		}
		rest = rest[n:]
	}
	clear(q.scratch)
}

func (q *Queue) set(in int) *nodeSet {
	if in == inBusy {
		return &q.busy
	}
	for len(q.free) <= in {
		q.free = append(q.free, nodeSet{compare: byName})
	}
	return &q.free[in]
}

// count counts nodes that were added to a set or removed.
func (q *Queue) count(in int, nodes []*node, sign int) {
	if in != inBusy {
		q.open += sign * len(nodes)
	}
	for _, n := range nodes {
		if n.slots > 1 {
			q.shared += sign
		}
	}
}

// nextFree returns when a node without a free slot will have one.
func (n *node) nextFree() time.Time {
	if len(n.runs) == 1 {
		return n.runs[0].end
	}
	ends := make([]time.Time, 0, len(n.runs))
	for _, r := range n.runs {
		ends = append(ends, r.end)
	}
	slices.SortFunc(ends, time.Time.Compare)
	return ends[len(ends)-n.slots]
}

// nodeSet is an ordered set of nodes. A sorted slice: to move a thousand pointers is cheaper than to walk a tree.
type nodeSet struct {
	nodes   []*node
	compare func(a, b *node) int
}

func byName(a, b *node) int { return strings.Compare(a.name, b.name) }

func byFreeAt(a, b *node) int {
	return cmp.Or(a.freeAt.Compare(b.freeAt), strings.Compare(a.name, b.name))
}

// add adds nodes that are not in the set. It changes their order in the given slice.
func (s *nodeSet) add(nodes []*node) {
	slices.SortFunc(nodes, s.compare)
	end := len(s.nodes)
	s.nodes = append(s.nodes, nodes...)
	for i, n := range slices.Backward(nodes) { // each that is behind moves once, past all that remain to be added
		at := s.find(s.nodes[:end], n)
		copy(s.nodes[at+i+1:], s.nodes[at:end])
		s.nodes[at+i] = n
		end = at
	}
}

// remove removes nodes that are in the set. It changes their order in the given slice.
func (s *nodeSet) remove(nodes []*node) {
	slices.SortFunc(nodes, s.compare)
	to, from := -1, 0
	for _, n := range nodes {
		at := from
		if s.nodes[from] != n {
			at += s.find(s.nodes[from:], n)
		}
		if to < 0 {
			to = at
		} else {
			to += copy(s.nodes[to:], s.nodes[from:at])
		}
		from = at + 1
	}
	to += copy(s.nodes[to:], s.nodes[from:])
	clear(s.nodes[to:])
	s.nodes = s.nodes[:to]
}

// find returns where a node is or belongs in a part of the set.
func (s *nodeSet) find(in []*node, n *node) int {
	if len(in) == 0 || s.compare(in[len(in)-1], n) < 0 {
		return len(in)
	}
	at, _ := slices.BinarySearchFunc(in, n, s.compare)
	return at
}
