// Command slurm measures batch jobs that do nothing: how many end in a second, and how long one takes from being submitted
// until its end is known, with lido and with Slurm, on equally many nodes and slots of this computer. See bench/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lido.dev/lido/bench/figure"
)

// peer is a batch system with some nodes.
type peer interface {
	// burst submits n jobs that do nothing and returns when all have ended.
	burst(ctx context.Context, n int) error
	// one submits such a job and returns when it is known to have ended.
	one(ctx context.Context) error
	close() error
}

type options struct {
	rounds, jobs, singles int
	slots, peers          string
	images, bin           string
}

const nodes = 8

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 3, "how often each is measured")
	flag.IntVar(&o.jobs, "jobs", 20, "jobs of a burst for each slot (at most 2,000 in all)")
	flag.IntVar(&o.singles, "singles", 10, "single jobs in a round")
	flag.StringVar(&o.slots, "slots", "1,32", "slots of each of the 8 nodes")
	flag.StringVar(&o.peers, "peers", "slurm,lido", "who is measured")
	flag.StringVar(&o.images, "images", "", "directory of lido's built images (default: the tests' cache)")
	flag.StringVar(&o.bin, "lido", "bin/lido", "the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "slurm:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	t := tables{figure.New("jobs/s"), figure.New("ms"), figure.New("ms")}
	for i, word := range strings.Split(o.slots, ",") {
		slots, err := strconv.Atoi(word)
		if err != nil {
			return err
		}
		if err := measure(ctx, o, slots, i == 0, t); err != nil {
			return err
		}
	}
	t.rate.Print(os.Stdout, "Jobs that end in a second")
	t.cost.Print(os.Stdout, "CPU time of a job in a burst")
	t.latency.Print(os.Stdout, "One job, from submitting it to knowing its end")
	return nil
}

// measure measures all peers with so many slots a node.
func measure(ctx context.Context, o options, slots int, first bool, t tables) (err error) {
	var peers []peer
	defer func() {
		for _, p := range peers {
			err = errors.Join(err, p.close())
		}
	}()
	labels := strings.Split(o.peers, ",")
	for _, name := range labels {
		p, err := newPeer(ctx, name, o, slots, first)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		peers = append(peers, p)
		if err := p.burst(ctx, 2*nodes); err != nil { // fill caches
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	row := fmt.Sprintf("%d slots", nodes*slots)
	jobs := min(nodes*slots*o.jobs, 2000)
	for range o.rounds {
		for i, p := range peers {
			if err := t.burst(ctx, p, row, labels[i], jobs); err != nil {
				return fmt.Errorf("%s: %w", labels[i], err)
			}
			for range o.singles {
				took, err := timed(func() error { return p.one(ctx) })
				if err != nil {
					return fmt.Errorf("%s: %w", labels[i], err)
				}
				t.latency.Add(row, labels[i], float64(took.Microseconds())/1000)
			}
		}
	}
	return nil
}

// tables are what is measured.
type tables struct{ rate, latency, cost *figure.Table }

// burst measures a burst: how fast it is, and what it costs a peer that can tell.
func (t tables) burst(ctx context.Context, p peer, row, label string, jobs int) error {
	m, ok := p.(meter)
	var before, after spent
	var err error
	if ok {
		if before, err = m.spent(); err != nil {
			return err
		}
	}
	took, err := timed(func() error { return p.burst(ctx, jobs) })
	if err != nil {
		return err
	}
	t.rate.Add(row, label, float64(jobs)/took.Seconds())
	if !ok {
		return nil
	}
	if after, err = m.spent(); err != nil {
		return err
	}
	sum := 0.0
	for _, who := range slices.Sorted(maps.Keys(after)) {
		each := (after[who] - before[who]) / float64(jobs)
		t.cost.Add(row+": "+who, label, each)
		sum += each
	}
	t.cost.Add(row+": all", label, sum)
	return nil
}

func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

func newPeer(ctx context.Context, name string, o options, slots int, first bool) (peer, error) {
	switch name {
	case "slurm":
		return startSlurm(ctx, slots, first)
	case "lido":
		return startLido(ctx, o, slots)
	}
	return nil, errors.New("no such peer")
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
