package batch

import (
	"testing"
	"time"

	"lido.dev/lido/internal/node"
)

// What a job took in a node is counted once, though the report of each of its tasks tells it.
func TestMeterCountsANodeOnce(t *testing.T) {
	start := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	task := func(n int, id string) step { return step{Node: n, Task: node.Task{ID: id}} }
	j := &run{pool: &pool{}, status: &jobStatus{Attempt: 1, Nodes: []placed{{Node: "n0"}, {Node: "n1"}}}}
	j.attempt = &attempt{reports: map[string]node.Report{},
		plan: &plan{Phases: []phase{{phaseMain, []step{task(0, "main/0"), task(1, "main/1")}}},
			Clean: phase{phaseClean, []step{task(0, "clean/0"), task(1, "clean/1")}}}}
	for id, u := range map[string]node.Usage{
		"main/0": {CPU: 3 * time.Second, PeakMemory: 100, Read: 10, Written: 20}, "clean/0": {CPU: 4 * time.Second, PeakMemory: 100, Read: 10, Written: 21},
		"main/1": {CPU: time.Second, PeakMemory: 50}, "clean/1": {CPU: time.Second, PeakMemory: 50},
	} {
		j.reports[id] = node.Report{ID: id, Start: start, End: start.Add(time.Minute), Usage: u}
	}
	e := (&batchOf{}).entry(j)
	if want := (node.Usage{CPU: 5 * time.Second, PeakMemory: 150, Read: 10, Written: 21}); e.Usage != want || e.Nodes != 2 {
		t.Errorf("%+v, want %+v", e, want)
	}
}
