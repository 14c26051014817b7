package gang

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Widths in the tree take two bytes.
const (
	widest  = math.MaxUint16 - 1 // nodes that a job can get
	tooWide = math.MaxUint16     // stands for all widths beyond
)

// chunkJobs is how many jobs a chunk holds at most.
const chunkJobs = 64

// line is one person's queued jobs of one priority, in order. It is a treap of chunks of jobs; each chunk knows of its
// subtree, for each class of limits, the narrowest job of that class or a lesser one. So the first job that fits a hole
// is found by one walk down the tree.
type line struct {
	level  *level
	person *person
	index  int // in level.lines
	root   *chunk
}

type chunk struct {
	jobs        []*job // at least one, in order
	left, right *chunk
	heap        uint32 // not less than the children's
	size        int32  // jobs in the subtree
	least       least  // of the subtree
}

// least holds for each class the width of the narrowest job whose limit is of that class or a lesser one.
type least [classes]uint16

// lower takes a job into account.
func (l *least) lower(j *job) {
	for c := int(j.class); c < classes && l[c] > j.width; c++ {
		l[c] = j.width
	}
}

// hole is what is free for a job: nodes until some time, and nodes for any time. Either will do.
type hole struct {
	class int    // of limits that end in time, -1 for none
	until uint16 // nodes for jobs of such limits
	ever  uint16 // nodes for jobs of any limit
}

// takes tells whether one of the jobs fits.
func (h hole) takes(l *least) bool {
	return l[classes-1] <= h.ever || h.class >= 0 && l[h.class] <= h.until
}

// fits tells whether a job fits.
func (h hole) fits(j *job) bool {
	return j.width <= h.ever || int(j.class) <= h.class && j.width <= h.until
}

// before orders the jobs of a line.
func before(a, b *job) int {
	if c := cmp.Compare(a.seq, b.seq); c != 0 {
		return c
	}
	return strings.Compare(a.id, b.id)
}

// first returns the first job that fits a hole, nil if there is none.
func (l *line) first(h hole) *job {
	c := l.root
	for c != nil && h.takes(&c.least) {
		if c.left != nil && h.takes(&c.left.least) {
			c = c.left
			continue
		}
		if i := slices.IndexFunc(c.jobs, h.fits); i >= 0 {
			return c.jobs[i]
		}
		c = c.right
	}
	return nil
}

// rank returns how many jobs of the line are before one of them.
func (l *line) rank(j *job) int {
	n := 0
	for c := l.root; c != nil; {
		switch {
		case before(j, c.jobs[0]) < 0:
			c = c.left
		case before(j, c.jobs[len(c.jobs)-1]) > 0:
			n += c.left.count() + len(c.jobs)
			c = c.right
		default:
			i, _ := slices.BinarySearchFunc(c.jobs, j, before)
			return n + c.left.count() + i
		}
	}
	return n
}

// insert adds a job.
func (l *line) insert(j *job, roll func() uint32) {
	c := l.find(j)
	switch {
	case c == nil:
		l.root = newChunk([]*job{j}, roll())
	case len(c.jobs) == chunkJobs:
		l.divide(c, roll())
		l.insert(j, roll)
	default:
		l.grow(c, j)
	}
}

// find returns the chunk that a job belongs in, nil if there is no chunk.
func (l *line) find(j *job) *chunk {
	c := l.root
	for c != nil {
		next := c
		if before(j, c.jobs[0]) < 0 {
			next = c.left
		} else if before(j, c.jobs[len(c.jobs)-1]) > 0 {
			next = c.right
		}
		if next == nil || next == c {
			return c
		}
		c = next
	}
	return nil
}

// grow puts a job into the chunk that it belongs in.
func (l *line) grow(into *chunk, j *job) {
	for c := l.root; ; {
		c.size++
		c.least.lower(j)
		if c == into {
			break
		}
		if before(j, c.jobs[0]) < 0 {
			c = c.left
		} else {
			c = c.right
		}
	}
	i, _ := slices.BinarySearchFunc(into.jobs, j, before)
	into.jobs = slices.Insert(into.jobs, i, j)
}

// divide makes two chunks of a full one. The last chunk keeps most of its jobs, since jobs mostly come at the end.
func (l *line) divide(c *chunk, heap uint32) {
	low, rest := split(l.root, c.jobs[0])
	high := rest.withoutFirst()
	at := chunkJobs / 2
	if high == nil {
		at = chunkJobs - 1
	}
	upper := newChunk(slices.Clone(c.jobs[at:]), heap)
	clear(c.jobs[at:])
	c.jobs = c.jobs[:at]
	c.left, c.right = nil, nil
	c.pull()
	l.root = merge(merge(low, c), merge(upper, high))
}

// remove takes a job out.
func (l *line) remove(j *job) {
	c := l.find(j)
	l.root = l.root.remove(j)
	if len(c.jobs) > 0 && len(c.jobs) <= chunkJobs/4 {
		l.join(c)
	}
}

// join makes one chunk of a sparse one and a neighbour, if that leaves room.
func (l *line) join(c *chunk) {
	prev, next := l.beside(c)
	if next != nil && len(c.jobs)+len(next.jobs) <= chunkJobs*3/4 {
		l.absorb(c, next)
	}
	if prev != nil && len(prev.jobs)+len(c.jobs) <= chunkJobs*3/4 {
		l.absorb(prev, c)
	}
}

// beside returns the chunks before and after one.
func (l *line) beside(c *chunk) (prev, next *chunk) {
	for at := l.root; at != nil; {
		switch {
		case before(at.jobs[0], c.jobs[0]) < 0:
			prev, at = at, at.right
		case at == c:
			at = c.left // all chunks there are before c; those after it are to the right
			for r := c.right; r != nil; r = r.left {
				next = r
			}
		default:
			next, at = at, at.left
		}
	}
	return prev, next
}

// absorb moves the jobs of a chunk to the one before it.
func (l *line) absorb(c, next *chunk) {
	low, rest := split(l.root, c.jobs[0])
	high := rest.withoutFirst().withoutFirst()
	c.jobs = append(c.jobs, next.jobs...)
	c.left, c.right = nil, nil
	c.pull()
	l.root = merge(merge(low, c), high)
}

func (c *chunk) remove(j *job) *chunk {
	c.size--
	switch {
	case before(j, c.jobs[0]) < 0:
		c.left = c.left.remove(j)
	case before(j, c.jobs[len(c.jobs)-1]) > 0:
		c.right = c.right.remove(j)
	case len(c.jobs) == 1:
		c.jobs = nil
		return merge(c.left, c.right)
	default:
		i, _ := slices.BinarySearchFunc(c.jobs, j, before)
		c.jobs = slices.Delete(c.jobs, i, i+1)
	}
	if c.least[j.class] == j.width { // else a narrower one counted
		c.pull()
	}
	return c
}

func newChunk(jobs []*job, heap uint32) *chunk {
	c := &chunk{jobs: jobs, heap: heap}
	c.pull()
	return c
}

// pull computes what a chunk knows of its subtree from its children and jobs.
func (c *chunk) pull() {
	c.size = int32(c.left.count() + c.right.count() + len(c.jobs))
	switch {
	case c.left == nil && c.right == nil:
		c.least = noJobs
	case c.right == nil:
		c.least = c.left.least
	case c.left == nil:
		c.least = c.right.least
	default:
		for i := range c.least {
			c.least[i] = min(c.left.least[i], c.right.least[i])
		}
	}
	for _, j := range c.jobs {
		c.least.lower(j)
	}
}

var noJobs = func() (l least) {
	for i := range l {
		l[i] = math.MaxUint16
	}
	return l
}()

func (c *chunk) count() int {
	if c == nil {
		return 0
	}
	return int(c.size)
}

// split parts a tree into the chunks that begin before a job and the others.
func split(c *chunk, at *job) (low, high *chunk) {
	if c == nil {
		return nil, nil
	}
	if before(c.jobs[0], at) < 0 {
		c.right, high = split(c.right, at)
		c.pull()
		return c, high
	}
	low, c.left = split(c.left, at)
	c.pull()
	return low, c
}

// withoutFirst returns a tree without its first chunk.
func (c *chunk) withoutFirst() *chunk {
	if c.left == nil {
		return c.right
	}
	c.left = c.left.withoutFirst()
	c.pull()
	return c
}

// merge joins two trees, all of the first before all of the second.
func merge(a, b *chunk) *chunk {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.heap >= b.heap:
		a.right = merge(a.right, b)
		a.pull()
		return a
	}
	b.left = merge(a, b.left)
	b.pull()
	return b
}
