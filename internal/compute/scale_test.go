package compute

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/machine/sim"
)

// TestScale makes sets of growing size: time and memory per instance must not grow with the set.
func TestScale(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	sizes := []int{10, 100, 1000}
	per := map[int]time.Duration{}
	for _, n := range sizes {
		l := newLab(t, sim.Config{}, nil)
		start := time.Now()
		l.succeed(l.put(setPath, setBody(n, "")))
		up := time.Since(start)
		start = time.Now()
		if got := len(values(l.get(setPath + "/virtualMachines?$expand=instanceView"))); got != n {
			t.Errorf("%d instances listed, want %d", got, n)
		}
		listed := time.Since(start)
		infos, _ := l.engine.List(t.Context())
		for _, m := range infos {
			if m.Boots != 1 || !strings.HasSuffix(m.ID, "-1") {
				t.Errorf("machine %s of %s was started %d times", m.ID, m.Spec.Labels[labelInstance], m.Boots)
			}
		}
		var mem runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&mem)
		start = time.Now()
		_, _, h := l.call("DELETE", setPath, "")
		l.succeed(h)
		t.Logf("%4d instances: up in %v, list %v, heap %d KiB, deleted in %v", n, up.Round(time.Millisecond), listed.Round(time.Millisecond), mem.HeapAlloc>>10, time.Since(start).Round(time.Millisecond))
		l.empty()
		per[n] = up / time.Duration(n)
	}
	if per[1000] > 3*per[100] {
		t.Errorf("not linear: %v", fmt.Sprint(per))
	}
}
