package gang

import (
	"slices"
	"sort"
	"time"
)

// Reservation is what the first job in order that does not fit is promised.
type Reservation struct {
	Job string
	At  time.Time // when, by the limits of what runs, it can start at the latest
}

// Reserved returns the reservation of the last decision. Its job is empty if there is none.
func (q *Queue) Reserved() Reservation { return q.reserved }

// Place returns what starts now, in the order of decision. The queue regards it as running from now on.
//
// Jobs start in order until one does not fit. For that one it is computed when it can start at the latest, and which
// nodes it can spare; then jobs after it start, in order, that end by then or use spare nodes only.
func (q *Queue) Place(now time.Time) (started []Placement) {
	price := q.shares.prices(now)
	q.reserved = Reservation{}
	for q.open > 0 {
		h := q.head(price)
		if h == nil {
			return started
		}
		if int(h.width) > q.open {
			return append(started, q.backfill(h, now, price)...)
		}
		started = append(started, q.place(h, now, reservation{}))
	}
	if h := q.head(price); h != nil {
		q.promise(h, now)
	}
	return started
}

// head returns the job whose turn it is: the first in order of those that the cluster can ever run.
func (q *Queue) head(price func(*person) float64) *job {
	can := hole{class: -1, ever: uint16(q.capacity())}
	for _, l := range q.levels {
		if l.head != nil && can.fits(l.head) {
			return l.head
		}
		l.head = nil
		if j := l.first(can, price); j != nil {
			return j
		}
	}
	return nil
}

// first returns the first job of a level, in order, that fits a hole: that of the person whose use counts least.
func (l *level) first(h hole, price func(*person) float64) *job {
	if l.head != nil && h.fits(l.head) {
		return l.head
	}
	var best *job
	var least float64
	for _, n := range l.lines {
		if !h.takes(&n.root.least) {
			continue
		}
		p := price(n.person)
		if best != nil && p > least {
			continue
		}
		if j := n.first(h); best == nil || p < least || before(j, best) < 0 {
			best, least = j, p
		}
	}
	return best
}

// backfill starts jobs after the head that don't delay it.
func (q *Queue) backfill(head *job, now time.Time, price func(*person) float64) (started []Placement) {
	r := q.reserve(head, now)
	for q.open > 0 {
		h := q.hole(r, now)
		j := q.next(h, price)
		if j == nil {
			break
		}
		if int(j.class) <= h.class {
			started = append(started, q.place(j, now, reservation{}))
			continue
		}
		started = append(started, q.place(j, now, r))
		r = q.reserve(head, now)
	}
	return started
}

// next returns the first job in order that fits a hole.
func (q *Queue) next(h hole, price func(*person) float64) *job {
	for _, l := range q.levels {
		if j := l.first(h, price); j != nil {
			return j
		}
	}
	return nil
}

// reservation is what a head is promised.
type reservation struct {
	head  *job
	at    time.Time // when it starts at the latest
	spare int       // nodes, of those free at that time, that it does not need
}

// reserve has a head keep its turn, and computes what it is promised.
func (q *Queue) reserve(head *job, now time.Time) reservation {
	l := head.line.level
	if l.head != head || q.renewed {
		l.head, l.due, q.renewed = head, now.Add(q.options.Provision), false
	}
	return q.promise(head, now)
}

// promise computes a head's reservation.
//
// Nodes that the cluster may have but has not yet count as free at the time they are due, so a head does not wait for
// running jobs if new nodes serve it sooner. They are the head's: what free nodes it needs besides is held. When they
// are late, others may use what a full cluster could spare.
func (q *Queue) promise(head *job, now time.Time) reservation {
	due := now.Add(q.options.Provision)
	if l := head.line.level; l.head == head {
		due = l.due
	}
	late := !due.After(now)
	if late {
		due = now
	}
	r := reservation{head: head}
	r.at = q.enough(int(head.width)-q.open, due)
	if r.at.Before(now) {
		r.at = now
	}
	r.spare = q.open + q.freeBy(r.at) - int(head.width)
	if late {
		r.spare += q.missing()
	}
	r.spare = max(0, r.spare)
	q.reserved = Reservation{head.id, r.at}
	return r
}

// enough returns when so many more nodes have a free slot, with those missing due at a time.
func (q *Queue) enough(n int, due time.Time) time.Time {
	busy := q.busy.nodes
	if n <= len(busy) && !busy[n-1].freeAt.After(due) {
		return busy[n-1].freeAt
	}
	n -= q.missing()
	if n <= 0 || !busy[n-1].freeAt.After(due) {
		return due
	}
	return busy[n-1].freeAt
}

// freeBy returns how many nodes without a free slot will have one at a time.
func (q *Queue) freeBy(t time.Time) int {
	busy := q.busy.nodes
	return sort.Search(len(busy), func(i int) bool { return busy[i].freeAt.After(t) })
}

// hole returns what is free for jobs that don't delay a reservation.
func (q *Queue) hole(r reservation, now time.Time) hole {
	h := hole{class: classWithin(r.at.Sub(now)), until: uint16(min(q.open, widest))}
	stays := 0
	if q.shared > 0 {
		q.eachFree(func(n *node) bool {
			if n.stays(r.at) {
				stays++
			}
			return true
		})
	}
	h.ever = uint16(min(q.open, stays+r.spare, widest))
	return h
}

// place starts a job on free nodes, the fullest first, and of those that a reservation needs no more than are spare.
func (q *Queue) place(j *job, now time.Time, r reservation) Placement {
	on := make([]*node, 0, j.width)
	spare := r.spare
	q.eachFree(func(n *node) bool {
		if r.head != nil && !n.stays(r.at) {
			if spare == 0 {
				return true
			}
			spare--
		}
		on = append(on, n)
		return len(on) < int(j.width)
	})
	slices.SortFunc(on, byName)
	q.dequeue(j)
	q.start(j, on, now)
	names := make([]string, len(on))
	for i, n := range on {
		names[i] = n.name
	}
	return Placement{j.id, names}
}

// eachFree calls fn with each node that takes work, the fullest first, until it returns false.
func (q *Queue) eachFree(fn func(*node) bool) {
	for _, s := range q.free {
		for _, n := range s.nodes {
			if !fn(n) {
				return
			}
		}
	}
}
