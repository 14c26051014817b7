package usage

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"lido.dev/lido/internal/batch"
	"lido.dev/lido/internal/store"
)

var _ batch.Ledger = (*Ledger)(nil)

var epoch = time.Date(2026, 11, 28, 22, 0, 0, 0, time.UTC)

func at(seconds int) time.Time { return epoch.Add(time.Duration(seconds) * time.Second) }

func open(t *testing.T) *Ledger {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "lido.db"))
	check0(t, err)
	t.Cleanup(func() { st.Close() })
	return New(st)
}

func write(l *Ledger, e batch.Entry) error {
	return l.store.Update(context.Background(), func(tx *store.Tx) error { return l.Write(tx, e) })
}

func check0(t interface {
	Helper()
	Fatal(...any)
}, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestSums(t *testing.T) {
	l := open(t)
	for _, e := range []batch.Entry{
		{Key: "m1", Kind: KindNode, Cluster: "/c/One", Person: "ann", Nodes: 1, Start: at(0), End: at(100)},
		{Key: "m2", Kind: KindNode, Cluster: "/c/one", Person: "ann", Nodes: 1, Start: at(50)},
		{Key: "j1/1", Kind: KindJob, Cluster: "/c/one", Job: "/j/1", Person: "bob", Nodes: 2, Start: at(60), End: at(90)},
	} {
		check0(t, write(l, e))
		check0(t, write(l, e)) // again: nothing changes
	}
	sums, err := l.Sums(t.Context(), Query{From: at(80)}, ByCluster, at(200))
	check0(t, err)
	if len(sums) != 1 {
		t.Fatalf("one cluster under two spellings makes %d sums", len(sums))
	}
	s := sums[0]
	if s.NodeSeconds != 20+120 || s.Nodes != 2 || s.Open != 1 || s.JobSeconds != 10 || s.JobNodeSeconds != 20 {
		t.Errorf("sum is %+v", s)
	}
	sums, err = l.Sums(t.Context(), Query{}, ByPerson, at(200))
	check0(t, err)
	if len(sums) != 2 || sums[0].Of != "ann" || sums[0].NodeSeconds != 250 || sums[1].JobSeconds != 30 {
		t.Errorf("sums are %+v", sums)
	}
}

func TestRecordRefuses(t *testing.T) {
	l := open(t)
	for _, e := range []batch.Entry{
		{Kind: KindNode, Start: at(0)},
		{Key: "k", Kind: "disk", Start: at(0)},
		{Key: "k", Kind: KindJob},
		{Key: "k", Kind: KindJob, Start: at(1), End: at(0)},
	} {
		if err := write(l, e); err == nil {
			t.Errorf("took %+v", e)
		}
	}
}

// Never is anything counted twice or lost: whatever is recorded, in whatever order and however often, each second of the
// last version of each span is in the sums of the hours that tile the time, and nothing else is.
func TestNothingTwice(t *testing.T) {
	l := open(t)
	round := 0
	rapid.Check(t, func(t *rapid.T) {
		round++
		cluster := fmt.Sprintf("/c/%d", round)
		last := map[string]batch.Entry{}
		for range rapid.IntRange(1, 30).Draw(t, "records") {
			e := drawEntry(t, cluster)
			last[e.Key] = e
			check0(t, write(l, e))
			if rapid.Bool().Draw(t, "again") {
				check0(t, write(l, e))
			}
		}
		now := at(rapid.IntRange(0, 500_000).Draw(t, "now"))
		for kind, want := range expected(last, now) {
			var got float64
			const step = 100_000 // crosses a month's end
			for from := 0; from < 500_000; from += step {
				sums, err := l.Sums(t.Context(), Query{From: at(from), To: at(from + step), Cluster: cluster, Kind: kind}, ByCluster, now)
				check0(t, err)
				for _, s := range sums {
					got += s.NodeSeconds + s.JobNodeSeconds
				}
			}
			if got != want {
				t.Fatalf("%s seconds: %v in the hours, %v in the spans", kind, got, want)
			}
		}
	})
}

func drawEntry(t *rapid.T, cluster string) batch.Entry {
	kind := rapid.SampledFrom([]string{KindNode, KindJob}).Draw(t, "kind")
	e := batch.Entry{Kind: kind, Cluster: cluster, Nodes: 1, Key: fmt.Sprint(cluster, kind, rapid.IntRange(0, 4).Draw(t, "key"))}
	if kind == KindJob {
		e.Nodes = rapid.IntRange(1, 4).Draw(t, "nodes")
	}
	start := rapid.IntRange(0, 400_000).Draw(t, "start")
	e.Start = at(start)
	if rapid.Bool().Draw(t, "ended") {
		e.End = at(start + rapid.IntRange(0, 400_000).Draw(t, "length"))
	}
	return e
}

// expected counts second by second of the spans alone.
func expected(last map[string]batch.Entry, now time.Time) map[string]float64 {
	want := map[string]float64{KindNode: 0, KindJob: 0}
	for _, e := range last {
		end := e.End
		if end.IsZero() || end.After(now) {
			end = now
		}
		if limit := at(500_000); end.After(limit) {
			end = limit
		}
		if end.After(e.Start) {
			want[e.Kind] += end.Sub(e.Start).Seconds() * float64(e.Nodes)
		}
	}
	return want
}
