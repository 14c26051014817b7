// Package gang decides which queued jobs start now, and on which nodes. A job wants several nodes at once, all or none.
// Queue is the queue of one cluster.
//
// It is pure: no clock, no I/O, no goroutines, no locks. Callers serialise their calls and say what time it is. The same
// calls in the same order give the same placements. See DESIGN.md for the order of jobs and for what a decision costs.
package gang

import "time"

// Priority orders jobs before everything else: greater goes first.
type Priority int

// The priorities that Batch AI names.
const (
	Low    Priority = -1000
	Normal Priority = 0
	High   Priority = 1000
)

// DefaultLimit is the limit of a job that has none, Batch AI's.
const DefaultLimit = 7 * 24 * time.Hour

// Job is what the queue must know of a job.
type Job struct {
	ID       string // unique in the queue
	Person   string // whose share it uses
	Priority Priority
	Nodes    int           // how many distinct nodes it takes a slot of, at least 1
	Seq      int64         // place among its person's jobs of the same priority: lesser goes first
	Limit    time.Duration // longest that it may run; 0 means DefaultLimit
}

// Placement says that a job starts now, and where.
type Placement struct {
	Job   string
	Nodes []string // in order of name
}

// Options are a queue's settings. Zero values mean the defaults.
type Options struct {
	MaxNodes  int           // see Queue.SetMaxNodes
	Slots     int           // slots of a node that is not there yet; default 1
	HalfLife  time.Duration // after which use counts half in fair sharing; default 24 h
	Provision time.Duration // within which a missing node is expected to come; default 2 min
}

// Defaults of Options.
const (
	DefaultHalfLife  = 24 * time.Hour
	DefaultProvision = 2 * time.Minute
)

// Queue holds a cluster's nodes, its queued jobs and its running ones.
type Queue struct {
	options Options
	renewed bool // MaxNodes grew since the last decision

	jobs   map[string]*job
	levels []*level // with queued jobs, highest priority first
	queued int
	slots  int         // that running jobs take
	widths map[int]int // queued jobs by width

	nodes  map[string]*node
	free   []nodeSet // nodes that take work, by how many slots are free; index 0 is empty
	busy   nodeSet   // nodes that take work and have no slot free, by when they will
	open   int       // nodes in free
	shared int       // nodes in free or busy with more than one slot

	scratch  []*node
	shares   shares
	reserved Reservation
	dice     uint64 // for the shape of trees, not for decisions
}

// New returns an empty queue.
func New(o Options) *Queue {
	if o.Slots < 1 {
		o.Slots = 1
	}
	if o.HalfLife <= 0 {
		o.HalfLife = DefaultHalfLife
	}
	if o.Provision <= 0 {
		o.Provision = DefaultProvision
	}
	return &Queue{
		options: o,
		jobs:    map[string]*job{},
		widths:  map[int]int{},
		nodes:   map[string]*node{},
		busy:    nodeSet{compare: byFreeAt},
		shares:  shares{halfLife: o.HalfLife, people: map[string]*person{}},
		dice:    1,
	}
}

// SetMaxNodes says how many nodes the cluster can have. Those that it has not yet are taken to come within
// Options.Provision once a job waits for them, so a caller that learns that they can't come must say a smaller number.
func (q *Queue) SetMaxNodes(n int) {
	q.renewed = q.renewed || n > q.options.MaxNodes
	q.options.MaxNodes = n
}

// missing returns how many nodes may still come.
func (q *Queue) missing() int { return max(0, q.options.MaxNodes-q.takers()) }

// takers returns how many nodes there are that take work.
func (q *Queue) takers() int { return q.open + len(q.busy.nodes) }

// capacity returns how many nodes a job can ever get.
func (q *Queue) capacity() int { return min(max(q.options.MaxNodes, q.takers()), widest) }
