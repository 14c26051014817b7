package sim_test

import (
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/machinetest"
	"lido.dev/lido/internal/machine/sim"
)

func TestContract(t *testing.T) {
	machinetest.Run(t, func(t *testing.T) (machine.Engine, machinetest.Fixture) {
		e := sim.New(sim.Config{Fail: func(s machine.Spec) error {
			if s.Root == "/broken" {
				return errors.New("the image has no init")
			}
			return nil
		}})
		return e, fixture(e)
	})
}

func fixture(e *sim.Engine) machinetest.Fixture {
	spec := func(root string) func(string) machine.Spec {
		return func(id string) machine.Spec { return machine.Spec{ID: id, Hostname: id, Root: root} }
	}
	events := map[machinetest.Event]func(string) error{
		machinetest.PowersOff: e.PowerOff, machinetest.Reboots: e.Reboot, machinetest.Crashes: e.Crash,
	}
	return machinetest.Fixture{
		Spec: spec("/image"), Broken: spec("/broken"),
		Dir:       func(t *testing.T) string { return t.TempDir() },
		Leftovers: func(*testing.T, string) []string { return nil },
		Does: func(t *testing.T, id string, ev machinetest.Event) {
			if err := events[ev](id); err != nil {
				t.Fatal(err)
			}
		},
	}
}

// TestThousands keeps simulated machines cheap enough for tests of scale.
func TestThousands(t *testing.T) {
	const n = 5000
	e := sim.New(sim.Config{})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			id := fmt.Sprintf("m%d", i)
			if err := errors.Join(e.Create(t.Context(), machine.Spec{ID: id}), e.Start(t.Context(), id)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	infos, err := e.List(t.Context())
	if err != nil || len(infos) != n {
		t.Fatalf("%d machines, %v", len(infos), err)
	}
	if per := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / n; per > 8192 {
		t.Errorf("%d bytes per machine", per)
	}
}
