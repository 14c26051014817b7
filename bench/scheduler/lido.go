package main

import (
	"fmt"
	"time"

	"lido.dev/lido/internal/gang"
)

// lido is lido's scheduler.
type lido struct{ queue *gang.Queue }

func newLido(nodes, slots int) lido {
	q := gang.New(gang.Options{MaxNodes: nodes, Slots: slots})
	for i := range nodes {
		q.SetNode(fmt.Sprintf("node%04d", i), slots, time.Time{})
	}
	return lido{q}
}

func (l lido) submit(j job) {
	if err := l.queue.Submit(gang.Job{ID: j.id, Person: j.person, Seq: j.seq, Nodes: j.nodes, Limit: j.limit}); err != nil {
		panic(err)
	}
}

func (l lido) finish(id string, now time.Time) { l.queue.Finished(id, now) }

func (l lido) place(now time.Time) (started []string) {
	for _, p := range l.queue.Place(now) {
		started = append(started, p.Job)
	}
	return started
}
