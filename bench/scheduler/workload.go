package main

import (
	"container/heap"
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// job is a job of the workload.
type job struct {
	id     string
	person string
	seq    int64
	nodes  int
	limit  time.Duration
	lasts  time.Duration // how long it really runs
}

// workload draws jobs. Half of them want one node, most others a power of two up to 64, some any number up to 256.
// Limits are log-normal around an hour with a heavy tail, between a minute and a week. Jobs run for a twentieth of
// their limit up to all of it. Some people submit much more than others.
type workload struct {
	draw   *rand.Rand
	people []string
	seq    int64
	widest int
}

func newWorkload(seed uint64, o options) *workload {
	w := &workload{draw: rand.New(rand.NewPCG(seed, 7)), widest: min(o.widest, o.nodes)}
	for i := range o.people {
		w.people = append(w.people, fmt.Sprint("person", i))
	}
	return w
}

func (w *workload) job() job {
	w.seq++
	limit := time.Duration(math.Exp(w.draw.NormFloat64()*1.7) * float64(time.Hour))
	limit = min(max(limit, time.Minute), 7*24*time.Hour)
	return job{
		id:     fmt.Sprintf("j%08d", w.seq),
		person: w.people[int(float64(len(w.people))*math.Pow(w.draw.Float64(), 2))],
		seq:    w.seq,
		nodes:  min(w.width(), w.widest),
		limit:  limit,
		lasts:  time.Duration((0.05 + 0.95*w.draw.Float64()) * float64(limit)),
	}
}

func (w *workload) width() int {
	switch p := w.draw.Float64(); {
	case p < 0.5:
		return 1
	case p < 0.85:
		return 2 << w.draw.IntN(6)
	}
	return 1 + w.draw.IntN(256)
}

// epoch is when simulated time begins.
var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// simulation runs jobs through a peer. The clock stands on the end of the last job that ended.
type simulation struct {
	peer    peer
	work    *workload
	length  int // of the queue, before a decision
	now     time.Time
	queued  map[string]job
	running ends
	took    []time.Duration // of decisions
	placed  int             // jobs
	nodes   int             // that they took
}

func newSimulation(p peer, w *workload, length int) *simulation {
	return &simulation{peer: p, work: w, length: length, now: epoch, queued: map[string]job{}}
}

// step has the next job end, and as many submitted as started last, and then the peer decide.
func (s *simulation) step() {
	var over end
	if len(s.running) > 0 {
		over = heap.Pop(&s.running).(end)
		s.now = over.at
	}
	jobs := make([]job, max(0, s.length-len(s.queued)))
	for i := range jobs {
		jobs[i] = s.work.job()
		s.queued[jobs[i].id] = jobs[i]
	}
	begin := time.Now()
	if over.id != "" {
		s.peer.finish(over.id, s.now)
	}
	for _, j := range jobs {
		s.peer.submit(j)
	}
	started := s.peer.place(s.now)
	s.took = append(s.took, time.Since(begin))
	for _, id := range started {
		j := s.queued[id]
		heap.Push(&s.running, end{id, s.now.Add(j.lasts)})
		s.nodes += j.nodes
		delete(s.queued, id)
	}
	s.placed += len(started)
}

// end is when a job ends.
type end struct {
	id string
	at time.Time
}

type ends []end

func (e ends) Len() int           { return len(e) }
func (e ends) Less(i, j int) bool { return e[i].at.Before(e[j].at) }
func (e ends) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *ends) Push(x any)        { *e = append(*e, x.(end)) }
func (e *ends) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}
