package gang

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// model is the scheduler in the slowest and most obvious way: lists, looked through from the start each time.
type model struct {
	options Options
	nodes   []*modelNode // in order of name
	jobs    []*modelJob  // queued, in order of submission
	runs    []*modelRun
	uses    []modelUse
	heads   map[Priority]*modelHead // jobs that keep their turn
	renewed bool
	shares  shares // while it decides
}

type modelNode struct {
	name  string
	slots int
	taker bool
}

type modelJob struct{ Job }

type modelRun struct {
	job   *modelJob
	nodes []string
	start time.Time
}

// modelUse is use that is over.
type modelUse struct {
	person   string
	nodes    int
	from, to time.Time
}

type modelHead struct {
	job *modelJob
	due time.Time
}

func (r *modelRun) end() time.Time { return r.start.Add(r.job.Limit) }

// use is what somebody's use counts for.
func (m *model) use(person string, now time.Time) (sum float64) {
	decay := func(t time.Time) float64 { return math.Exp2(-now.Sub(t).Seconds() / m.options.HalfLife.Seconds()) }
	life := m.options.HalfLife.Seconds() / math.Ln2
	for _, u := range m.uses {
		if u.person == person {
			sum += float64(u.nodes) * life * (decay(u.to) - decay(u.from))
		}
	}
	for _, r := range m.runs {
		if r.job.Person == person {
			sum += float64(len(r.nodes)) * life * (1 - decay(r.start))
		}
	}
	return sum
}

// spare returns how many slots of a node are free now.
func (m *model) spare(n *modelNode) int {
	taken := 0
	for _, r := range m.runs {
		if slices.Contains(r.nodes, n.name) {
			taken++
		}
	}
	return max(0, n.slots-taken)
}

// open returns the nodes that take work and have a slot free, the fullest first.
func (m *model) open() (open []*modelNode) {
	for _, n := range m.nodes {
		if n.taker && m.spare(n) > 0 {
			open = append(open, n)
		}
	}
	slices.SortStableFunc(open, func(a, b *modelNode) int { return cmp.Compare(m.spare(a), m.spare(b)) })
	return open
}

// freeAt returns how many nodes have a slot free at a time, if all that runs ends at its limit.
func (m *model) freeAt(at time.Time) (count int) {
	for _, n := range m.nodes {
		taken := 0
		for _, r := range m.runs {
			if slices.Contains(r.nodes, n.name) && r.end().After(at) {
				taken++
			}
		}
		if n.taker && taken < n.slots {
			count++
		}
	}
	return count
}

func (m *model) takers() (count int) {
	for _, n := range m.nodes {
		if n.taker {
			count++
		}
	}
	return count
}

func (m *model) missing() int  { return max(0, m.options.MaxNodes-m.takers()) }
func (m *model) capacity() int { return max(m.options.MaxNodes, m.takers()) }

// order returns the queued jobs in order.
func (m *model) order(now time.Time) []*modelJob {
	jobs := slices.Clone(m.jobs)
	price := m.shares.prices(now)
	waits := func(j *modelJob) int {
		if h := m.heads[j.Priority]; h != nil && h.job == j {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(jobs, func(a, b *modelJob) int {
		return cmp.Or(cmp.Compare(b.Priority, a.Priority), cmp.Compare(waits(a), waits(b)),
			cmp.Compare(price(m.shares.person(a.Person)), price(m.shares.person(b.Person))), cmp.Compare(a.Seq, b.Seq))
	})
	return jobs
}

// place decides.
func (m *model) place(now time.Time) (started []Placement, promised Reservation) {
	for {
		head := m.head(now)
		if head == nil {
			return started, promised
		}
		open := m.open()
		if head.Nodes > len(open) {
			if len(open) > 0 {
				m.keepTurn(head, now)
			}
			at, late := m.promise(head, now)
			promised = Reservation{head.ID, at}
			for m.backfill(head, at, late, now, &started) {
			}
			return started, promised
		}
		started = append(started, m.start(head, open[:head.Nodes], now))
	}
}

func (m *model) head(now time.Time) *modelJob {
	for _, j := range m.order(now) {
		if j.Nodes <= m.capacity() {
			return j
		}
		if h := m.heads[j.Priority]; h != nil && h.job == j {
			delete(m.heads, j.Priority)
			return m.head(now)
		}
	}
	return nil
}

func (m *model) keepTurn(head *modelJob, now time.Time) {
	if h := m.heads[head.Priority]; h == nil || h.job != head || m.renewed {
		m.heads[head.Priority] = &modelHead{head, now.Add(m.options.Provision)}
		m.renewed = false
	}
}

// promise returns the earliest time at which a job can start if all that runs ends at its limit and all nodes that are
// missing come when due.
func (m *model) promise(head *modelJob, now time.Time) (at time.Time, late bool) {
	due := now.Add(m.options.Provision)
	if h := m.heads[head.Priority]; h != nil && h.job == head {
		due = h.due
	}
	late = !due.After(now)
	times := []time.Time{now, due}
	for _, r := range m.runs {
		times = append(times, r.end())
	}
	slices.SortFunc(times, time.Time.Compare)
	for _, t := range times {
		if t.Before(now) {
			continue
		}
		free := m.freeAt(t)
		if !t.Before(due) {
			free += m.missing()
		}
		if free >= head.Nodes {
			return t, late
		}
	}
	panic("a head that never fits")
}

// backfill starts the first job in order that does not delay a head, if there is one.
func (m *model) backfill(head *modelJob, at time.Time, late bool, now time.Time, started *[]Placement) bool {
	for _, j := range m.order(now) {
		if on := m.harmless(j, head, at, late, now); on != nil {
			*started = append(*started, m.start(j, on, now))
			return true
		}
	}
	return false
}

// harmless returns the nodes that a job may have before a head's turn, nil if it has to wait.
func (m *model) harmless(j, head *modelJob, at time.Time, late bool, now time.Time) []*modelNode {
	open := m.open()
	if j.Nodes > len(open) {
		return nil
	}
	if !now.Add(bound(j.Limit)).After(at) {
		return open[:j.Nodes]
	}
	spare := m.freeAt(at) - head.Nodes
	if late {
		spare += m.missing()
	}
	var on []*modelNode
	for _, n := range open {
		before := m.freeAt(at)
		r := &modelRun{job: &modelJob{Job{Limit: at.Sub(now) + 1}}, nodes: []string{n.name}, start: now}
		m.runs = append(m.runs, r)
		after := m.freeAt(at)
		m.runs = m.runs[:len(m.runs)-1]
		if after < before {
			if spare <= 0 {
				continue
			}
			spare--
		}
		if on = append(on, n); len(on) == j.Nodes {
			return on
		}
	}
	return nil
}

func (m *model) start(j *modelJob, on []*modelNode, now time.Time) Placement {
	p := Placement{Job: j.ID}
	for _, n := range on {
		p.Nodes = append(p.Nodes, n.name)
	}
	slices.Sort(p.Nodes)
	m.adopt(j, p.Nodes, now)
	m.shares.start(m.shares.person(j.Person), j.Nodes, now)
	return p
}

func (m *model) adopt(j *modelJob, nodes []string, at time.Time) {
	m.runs = append(m.runs, &modelRun{j, nodes, at})
	m.unqueue(j)
}

func (m *model) unqueue(j *modelJob) {
	m.jobs = slices.DeleteFunc(m.jobs, func(o *modelJob) bool { return o == j })
	if h := m.heads[j.Priority]; h != nil && h.job == j {
		delete(m.heads, j.Priority)
	}
}

func (m *model) finish(r *modelRun, at time.Time) {
	m.uses = append(m.uses, modelUse{r.job.Person, len(r.nodes), r.start, at})
	m.runs = slices.DeleteFunc(m.runs, func(o *modelRun) bool { return o == r })
}

func (m *model) node(name string) *modelNode {
	i, found := slices.BinarySearchFunc(m.nodes, name, func(n *modelNode, name string) int { return cmp.Compare(n.name, name) })
	if !found {
		m.nodes = slices.Insert(m.nodes, i, &modelNode{name: name})
	}
	return m.nodes[i]
}

// bounds are the bounds of the classes of limits.
var bounds = func() (all []time.Duration) {
	for i := 1; i <= 16; i++ {
		all = append(all, time.Duration(i)*time.Hour/512)
	}
	for octave := 1; octave <= 14; octave++ {
		for i := 9; i <= 16; i++ {
			all = append(all, time.Duration(i<<octave)*time.Hour/512)
		}
	}
	return all
}()

// bound returns what a job of a limit is taken to need when it passes another.
func bound(limit time.Duration) time.Duration {
	for _, b := range bounds {
		if b >= limit {
			return b
		}
	}
	return math.MaxInt64 / 2
}
