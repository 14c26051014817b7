package main

import (
	"slices"
	"time"
)

// linear is EASY backfill in its plainest form: one list of jobs in order of submission, looked through at every
// decision. It does less than lido's: it counts free nodes but names none, and knows no people and no priorities.
type linear struct {
	free    int
	queue   []waiting
	running map[string]ending
}

type waiting struct {
	id    string
	nodes int
	limit time.Duration
}

type ending struct {
	nodes int
	at    time.Time // by its limit
}

func (l *linear) submit(j job) { l.queue = append(l.queue, waiting{j.id, j.nodes, j.limit}) }

func (l *linear) finish(id string, now time.Time) {
	l.free += l.running[id].nodes
	delete(l.running, id)
}

func (l *linear) place(now time.Time) (started []string) {
	for len(l.queue) > 0 && l.queue[0].nodes <= l.free {
		started = append(started, l.start(l.queue[0], now))
		l.queue = l.queue[1:]
	}
	if len(l.queue) == 0 || l.free == 0 {
		return started
	}
	at, spare := l.reserve(l.queue[0].nodes, now)
	rest := l.queue[1:]
	kept := rest[:0]
	for i, j := range rest {
		ends := !now.Add(j.limit).After(at)
		if j.nodes > l.free || !ends && j.nodes > spare {
			kept = append(kept, j)
			continue
		}
		if !ends {
			spare -= j.nodes
		}
		if started = append(started, l.start(j, now)); l.free == 0 {
			kept = append(kept, rest[i+1:]...)
			break
		}
	}
	clear(rest[len(kept):])
	l.queue = l.queue[:1+len(kept)]
	return started
}

func (l *linear) start(j waiting, now time.Time) string {
	l.free -= j.nodes
	l.running[j.id] = ending{j.nodes, now.Add(j.limit)}
	return j.id
}

// reserve returns when enough nodes are free, and how many more than enough.
func (l *linear) reserve(nodes int, now time.Time) (at time.Time, spare int) {
	all := make([]ending, 0, len(l.running))
	for _, e := range l.running {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b ending) int { return a.at.Compare(b.at) })
	free := l.free
	for i, e := range all {
		if free += e.nodes; free >= nodes && (i+1 == len(all) || all[i+1].at.After(e.at)) {
			return e.at, free - nodes
		}
	}
	return now, 0
}
