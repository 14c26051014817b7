package store

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// fill puts n documents of about 1 KiB in 100 groups.
func fill(b *testing.B, s *Store, n int) {
	b.Helper()
	desired, _ := json.Marshal(map[string]any{"location": "local", "properties": map[string]any{"text": string(make([]byte, 150))}})
	update(b, s, func(tx *Tx) error {
		for i := range n {
			if err := tx.Put(&Doc{ID: benchID(i), Type: fmt.Sprintf("test.zoo/type%d", i%10), Desired: desired}, now); err != nil {
				return err
			}
		}
		return nil
	})
}

func benchID(i int) string {
	return fmt.Sprintf("/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g%d/providers/Test.Zoo/type%d/r%d", i%100, i%10, i)
}

func report(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
}

func benchmark(b *testing.B, op func(tx *Tx, i int) error, write bool) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := fresh(b)
			fill(b, s, n)
			var took []time.Duration
			run := s.View
			if write {
				run = s.Update
			}
			for b.Loop() {
				start := time.Now()
				if err := run(b.Context(), func(tx *Tx) error { return op(tx, rand.IntN(n)) }); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(start))
			}
			report(b, took)
		})
	}
}

func BenchmarkGet(b *testing.B) {
	benchmark(b, func(tx *Tx, i int) error { _, err := tx.Get(benchID(i)); return err }, false)
}

func BenchmarkListGroup(b *testing.B) {
	benchmark(b, func(tx *Tx, i int) error {
		_, err := tx.List(Query{Under: fmt.Sprintf("/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g%d", i%100)})
		return err
	}, false)
}

func BenchmarkListType(b *testing.B) {
	benchmark(b, func(tx *Tx, i int) error {
		_, err := tx.List(Query{Type: "test.zoo/type3", Limit: 1000})
		return err
	}, false)
}

func BenchmarkPut(b *testing.B) {
	benchmark(b, func(tx *Tx, i int) error {
		return tx.Put(&Doc{ID: benchID(i), Type: "test.zoo/type0", Desired: []byte(fmt.Sprint(rand.Int()))}, now)
	}, true)
}

// BenchmarkPutTogether is BenchmarkPut by eight writers at once, who share syncs of the disk.
func BenchmarkPutTogether(b *testing.B) {
	s := fresh(b)
	fill(b, s, 10_000)
	b.ResetTimer()
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			err := s.Update(b.Context(), func(tx *Tx) error {
				return tx.Put(&Doc{ID: benchID(rand.IntN(10_000)), Type: "test.zoo/type0", Desired: []byte(fmt.Sprint(rand.Int()))}, now)
			})
			if err != nil {
				b.Error(err)
			}
		}
	})
}
