package usage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"lido.dev/lido/internal/batch"
	"lido.dev/lido/internal/store"
)

// The kinds of entries.
const (
	KindNode = "node"
	KindJob  = "job"
)

// By says what entries are added up by.
type By string

// What entries can be added up by.
const (
	ByPerson  By = "person"
	ByCluster By = "cluster"
	ByJob     By = "job" // only jobs' entries
)

// ParseBy reads a By.
func ParseBy(s string) (By, error) {
	switch b := By(s); b {
	case ByPerson, ByCluster, ByJob:
		return b, nil
	}
	return "", fmt.Errorf("usage cannot be added up by %q: it is one of %s, %s, %s", s, ByPerson, ByCluster, ByJob)
}

// Sum is what one person, cluster or job used.
type Sum struct {
	Of              string    `json:"of"`              // the person, or the id of the cluster or job; empty if not known
	Nodes           int       `json:"nodes"`           // how many nodes' spans are in it
	NodeSeconds     float64   `json:"nodeSeconds"`     // that nodes were there, with work or without
	Jobs            int       `json:"jobs"`            // how many runs of jobs are in it
	JobSeconds      float64   `json:"jobSeconds"`      // that jobs ran, by the clock
	JobNodeSeconds  float64   `json:"jobNodeSeconds"`  // the same, times the nodes that each ran on
	CPUSeconds      float64   `json:"cpuSeconds"`      // that jobs' processes were on a CPU
	PeakMemoryBytes int64     `json:"peakMemoryBytes"` // of the run that took most; its nodes added up
	BytesRead       int64     `json:"bytesRead"`
	BytesWritten    int64     `json:"bytesWritten"`
	First           time.Time `json:"first"` // when the first began
	Open            int       `json:"open"`  // how many last yet
}

// Sums adds up what a query chooses. A span counts as far as it is inside the query's times; one that lasts yet
// counts until now. CPU time, bytes and memory are known of a whole span only and count where it overlaps at all. Largest first.
func (l *Ledger) Sums(ctx context.Context, q Query, by By, now time.Time) ([]Sum, error) {
	if q.To.IsZero() || q.To.After(now) {
		q.To = now
	}
	entries, err := l.Entries(ctx, q)
	if err != nil {
		return nil, err
	}
	return add(entries, q, by), nil
}

// add is the pure half of Sums. q.To is the end of what lasts yet.
func add(entries []batch.Entry, q Query, by By) []Sum {
	sums := map[string]*Sum{}
	for _, e := range entries {
		of := label(e, by)
		if by == ByJob && e.Kind != KindJob {
			continue
		}
		s := sums[store.Key(of)]
		if s == nil {
			s = &Sum{Of: of, First: e.Start}
			sums[store.Key(of)] = s
		}
		s.add(e, overlap(e, q.From, q.To).Seconds())
	}
	out := make([]Sum, 0, len(sums))
	for _, s := range sums {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b Sum) int {
		return cmp.Or(cmp.Compare(b.NodeSeconds, a.NodeSeconds), cmp.Compare(b.JobNodeSeconds, a.JobNodeSeconds), cmp.Compare(a.Of, b.Of))
	})
	return out
}

func label(e batch.Entry, by By) string {
	switch by {
	case ByCluster:
		return e.Cluster
	case ByJob:
		return e.Job
	}
	return e.Person
}

func (s *Sum) add(e batch.Entry, seconds float64) {
	if e.Start.Before(s.First) {
		s.First = e.Start
	}
	if e.End.IsZero() {
		s.Open++
	}
	if e.Kind == KindNode {
		s.Nodes++
		s.NodeSeconds += seconds
		return
	}
	s.Jobs++
	s.JobSeconds += seconds
	s.JobNodeSeconds += seconds * float64(max(e.Nodes, 1))
	s.CPUSeconds += e.Usage.CPU.Seconds()
	s.PeakMemoryBytes = max(s.PeakMemoryBytes, e.Usage.PeakMemory)
	s.BytesRead += e.Usage.Read
	s.BytesWritten += e.Usage.Written
}

// overlap is how long a span is inside [from, to); one without an end lasts until to.
func overlap(e batch.Entry, from, to time.Time) time.Duration {
	start, end := e.Start, e.End
	if start.Before(from) {
		start = from
	}
	if end.IsZero() || end.After(to) {
		end = to
	}
	return max(end.Sub(start), 0)
}
