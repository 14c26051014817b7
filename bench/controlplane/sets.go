package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"lido.dev/lido/bench/figure"
	"lido.dev/lido/bench/rig"
)

// measureSets measures scale sets of growing size on the simulated engine, each gone before the next.
func measureSets(ctx context.Context, l *rig.Lido, sizes []int, rounds int) error {
	if _, err := l.MakeNetwork(ctx); err != nil {
		return err
	}
	up, list, memory := figure.New("s"), figure.New("ms"), figure.New("MiB")
	for range rounds {
		for _, n := range sizes {
			row := fmt.Sprint(n, " machines")
			if err := measureSet(ctx, l, n, func(running, listing time.Duration, resident float64) {
				up.Add(row, "lido", running.Seconds())
				list.Add(row, "lido", milliseconds(listing))
				memory.Add(row, "lido", resident)
			}); err != nil {
				return err
			}
		}
	}
	up.Print(os.Stdout, "Scale set, from PUT to all instances running (simulated)")
	list.Print(os.Stdout, "Scale set, list of its instances")
	memory.Print(os.Stdout, "lido's resident memory with the set running")
	return nil
}

func measureSet(ctx context.Context, l *rig.Lido, n int, add func(running, listing time.Duration, resident float64)) error {
	id := l.ID("Microsoft.Compute/virtualMachineScaleSets/bench")
	start := time.Now()
	if err := l.Put(ctx, id, l.Pool(n)); err != nil {
		return err
	}
	if err := allRunning(ctx, l, id, n); err != nil {
		return err
	}
	running := time.Since(start)
	start = time.Now()
	if got, _, err := instances(ctx, l, id+"/virtualMachines"); err != nil || got != n {
		return fmt.Errorf("listed %d of %d instances: %v", got, n, err)
	}
	listing := time.Since(start)
	resident, err := l.Memory()
	if err != nil {
		return err
	}
	add(running, listing, resident)
	return l.Delete(ctx, id)
}

// allRunning waits until each instance says that it runs.
func allRunning(ctx context.Context, l *rig.Lido, id string, n int) error {
	for {
		got, running, err := instances(ctx, l, id+"/virtualMachines?$expand=instanceView")
		if err != nil || got == n && running == n {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// instances counts a set's instances, and those that run, over all pages of the list.
func instances(ctx context.Context, l *rig.Lido, path string) (all, running int, err error) {
	for path != "" {
		var page struct {
			Value []struct {
				Properties struct {
					InstanceView struct{ Statuses []struct{ Code string } }
				}
			}
			NextLink string
		}
		if err := l.Do(ctx, http.MethodGet, path, nil, &page); err != nil {
			return 0, 0, err
		}
		all += len(page.Value)
		for _, v := range page.Value {
			for _, s := range v.Properties.InstanceView.Statuses {
				if s.Code == "PowerState/running" {
					running++
				}
			}
		}
		if path = page.NextLink; path != "" {
			path = "/" + strings.SplitN(path, "/", 4)[3]
		}
	}
	return all, running, nil
}
