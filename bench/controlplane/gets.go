package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"lido.dev/lido/bench/figure"
	"lido.dev/lido/bench/rig"
)

// sharesPerAccount makes ten resources of each account: itself and its shares.
const sharesPerAccount = 9

// resource returns the id of the i-th resource.
func resource(l *rig.Lido, i int) string {
	account := l.ID(fmt.Sprintf("Microsoft.Storage/storageAccounts/bench%d", i/(sharesPerAccount+1)))
	if i%(sharesPerAccount+1) == 0 {
		return account
	}
	return fmt.Sprintf("%s/fileServices/default/shares/share%d", account, i)
}

// fill makes the resources.
func fill(ctx context.Context, l *rig.Lido, count int) error {
	account := map[string]any{"location": "local", "kind": "StorageV2", "sku": map[string]any{"name": "Standard_LRS"}, "tags": map[string]string{"team": "bench"}}
	for i := range count {
		body := account
		if i%(sharesPerAccount+1) != 0 {
			body = map[string]any{"properties": map[string]any{"shareQuota": 100}}
		}
		if err := l.Do(ctx, http.MethodPut, resource(l, i), body, nil); err != nil {
			return err
		}
	}
	return nil
}

// measureGets starts a lido for each count of resources and measures GETs of random ones, in turn, one after the other
// and eight at once.
func measureGets(ctx context.Context, counts []int, started []*rig.Lido, o options) error {
	if len(started) < len(counts) {
		return withLido(ctx, o, func(l *rig.Lido) error {
			if err := fill(ctx, l, counts[len(started)]); err != nil {
				return err
			}
			return measureGets(ctx, counts, append(started, l), o)
		})
	}
	if len(counts) == 0 {
		return nil
	}
	half, tail := figure.New("ms"), figure.New("ms")
	for range o.rounds {
		for _, clients := range []int{1, 8} {
			for i, l := range started {
				took, err := gets(ctx, l, counts[i], o.gets, clients)
				if err != nil {
					return err
				}
				row, peer := fmt.Sprintf("%d at once", clients), fmt.Sprintf("%d resources", counts[i])
				half.Add(row, peer, milliseconds(took[len(took)/2]))
				tail.Add(row, peer, milliseconds(took[len(took)*99/100]))
			}
		}
	}
	half.Print(os.Stdout, "GET of one resource over HTTPS, p50")
	tail.Print(os.Stdout, "GET of one resource over HTTPS, p99")
	return nil
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// gets returns how long each of n GETs took, in order.
func gets(ctx context.Context, l *rig.Lido, resources, n, clients int) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	errs := make([]error, clients)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := c; i < n && errs[c] == nil; i += clients {
				id := resource(l, rand.IntN(resources))
				start := time.Now()
				errs[c] = l.Do(ctx, http.MethodGet, id, nil, nil)
				took[i] = time.Since(start)
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	slices.Sort(took)
	return took, nil
}
