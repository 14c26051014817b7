//go:build root

package runc

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"lido.dev/lido/internal/machine"
)

// TestFortyMachines runs as many machines at once as a big box would, under the limits that Debian comes with: with one
// uid range for all, the 19th would hang for want of inotify instances and the 23rd for want of kernel keys.
func TestFortyMachines(t *testing.T) {
	if testing.Short() {
		t.Skip("takes long")
	}
	const n = 40
	for _, limit := range []string{"fs/inotify/max_user_instances", "kernel/keys/maxkeys"} {
		v, _ := os.ReadFile("/proc/sys/" + limit)
		t.Logf("%s = %s", limit, strings.TrimSpace(string(v)))
	}
	l := newLab(t)
	e := l.open(t)
	var specs []machine.Spec
	for i := range n {
		specs = append(specs, l.spec(fmt.Sprintf("m%02d", i)))
	}
	began := time.Now()
	each(t, specs, 4, func(s machine.Spec) error {
		return errors.Join(e.Create(t.Context(), s), e.Start(t.Context(), s.ID))
	})
	t.Logf("%d started after %v", n, time.Since(began))
	each(t, specs, 8, func(s machine.Spec) error {
		_, err := l.banner(s.NIC.Addresses[0].Addr(), 10*time.Minute) // an emulated host takes minutes
		return err
	})
	t.Logf("%d at their SSH banner after %v", n, time.Since(began))
	for _, s := range specs {
		up(t, e, s.ID)
	}
	for _, s := range specs {
		if i, err := e.Get(t.Context(), s.ID); err != nil || i.State != machine.Running || i.Boots != 1 {
			t.Errorf("%s: %v %+v", s.ID, err, i)
		}
	}
	began = time.Now()
	each(t, specs, 4, func(s machine.Spec) error { return e.Delete(t.Context(), s.ID) })
	t.Logf("%d deleted after %v", n, time.Since(began))
	for _, s := range specs {
		for _, f := range l.leftovers(t, s.ID) {
			t.Errorf("left over from %s: %s", s.ID, f)
		}
	}
}

// each calls f for all machines, so many at once.
func each(t testing.TB, specs []machine.Spec, atOnce int, f func(machine.Spec) error) {
	t.Helper()
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, s := range specs {
		g.Go(func() error {
			if err := f(s); err != nil {
				return fmt.Errorf("%s: %w", s.ID, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// BenchmarkLaunch measures from Create to the SSH banner, for one machine and for eight at once.
func BenchmarkLaunch(b *testing.B) {
	for _, n := range []int{1, 8} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			l := newLab(b)
			e := l.open(b)
			for b.Loop() {
				var specs []machine.Spec
				for i := range n {
					specs = append(specs, l.spec(fmt.Sprintf("m%d", i)))
				}
				each(b, specs, n, func(s machine.Spec) error {
					if err := errors.Join(e.Create(b.Context(), s), e.Start(b.Context(), s.ID)); err != nil {
						return err
					}
					_, err := l.banner(s.NIC.Addresses[0].Addr(), time.Minute)
					return err
				})
				b.StopTimer()
				each(b, specs, n, func(s machine.Spec) error { return e.Delete(b.Context(), s.ID) })
				b.StartTimer()
			}
		})
	}
}
