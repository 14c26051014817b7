// Command scheduler measures what a decision of the gang scheduler costs on a simulated cluster, and how that grows
// with the queue: a job ends, another is submitted, and it is decided what starts. Beside it runs a backfill that looks
// at every queued job, as most schedulers do. See bench/README.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"lido.dev/lido/bench/figure"
)

func main() {
	var o options
	flag.IntVar(&o.rounds, "rounds", 5, "how often each is measured")
	flag.StringVar(&o.queues, "queues", "100,1000,10000,100000", "how many jobs are queued")
	flag.IntVar(&o.nodes, "nodes", 1000, "nodes of the cluster")
	flag.IntVar(&o.slots, "slots", 1, "jobs that a node runs at a time")
	flag.IntVar(&o.widest, "widest", 256, "nodes that a job wants at most")
	flag.IntVar(&o.people, "people", 20, "people who submit jobs")
	flag.DurationVar(&o.period, "period", 2*time.Second, "how long one measurement lasts")
	flag.StringVar(&o.peers, "peers", "linear,lido", "who is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "scheduler:", err)
		os.Exit(1)
	}
}

type options struct {
	rounds, nodes, slots, widest, people int
	queues, peers                        string
	period                               time.Duration
}

// peer is a scheduler under test.
type peer interface {
	submit(j job)
	finish(id string, now time.Time)
	place(now time.Time) (started []string)
}

// newPeer returns a peer with the nodes of the cluster, all free.
func newPeer(name string, o options) (peer, error) {
	switch name {
	case "lido":
		return newLido(o.nodes, o.slots), nil
	case "linear":
		return &linear{free: o.nodes * o.slots, running: map[string]ending{}}, nil
	}
	return nil, fmt.Errorf("%q is no peer; there are linear and lido", name)
}

// tables are what is measured.
type tables struct {
	mean, tail, rate, width, memory *figure.Table
}

func run(ctx context.Context, o options) error {
	t := tables{figure.New("µs"), figure.New("µs"), figure.New("1/s"), figure.New("nodes"), figure.New("bytes")}
	queues, peers := strings.Split(o.queues, ","), strings.Split(o.peers, ",")
	for round := range o.rounds {
		for _, text := range queues {
			queue, err := strconv.Atoi(text)
			if err != nil || queue < 1 {
				return fmt.Errorf("-queues: %q is not a number of jobs", text)
			}
			for _, name := range peers {
				if err := measure(ctx, t, name, queue, uint64(round), o); err != nil {
					return err
				}
			}
		}
	}
	t.mean.Print(os.Stdout, "A decision, mean")
	t.tail.Print(os.Stdout, "A decision, slowest hundredth")
	t.rate.Print(os.Stdout, "Placements")
	t.width.Print(os.Stdout, "Nodes of a job that started, mean")
	t.memory.Print(os.Stdout, "Memory of a queued job in the scheduler, with its ID of 9 characters")
	if err := printRunnerMemory(ctx, queues, o); err != nil {
		return err
	}
	fmt.Println("\nA decision's mean cost against that with the shortest queue")
	for _, name := range peers {
		for _, text := range queues {
			fmt.Printf("%8s  %8s queued  %8.2f\n", name, text, t.mean.Median(text, name)/t.mean.Median(queues[0], name))
		}
	}
	return nil
}

func printRunnerMemory(ctx context.Context, queues []string, o options) error {
	memory := figure.New("bytes")
	for _, text := range queues {
		queue, _ := strconv.Atoi(text)
		perJob, err := runnerMemory(ctx, queue, 1, o)
		if err != nil {
			return err
		}
		memory.Add(text, "lido", perJob)
	}
	memory.Print(os.Stdout, "Memory of a queued job in the whole batch pool, scheduler included, with ids as ARM has them")
	return nil
}

// measure fills a queue and has it decide for a while.
func measure(ctx context.Context, t tables, name string, queue int, seed uint64, o options) error {
	p, err := newPeer(name, o)
	if err != nil {
		return err
	}
	if err := measureMemory(t, name, queue, seed, o); err != nil {
		return err
	}
	s := newSimulation(p, newWorkload(seed, o), queue)
	for range 1 + 3*o.nodes { // the first fills queue and cluster
		s.step()
	}
	s.took, s.placed, s.nodes = nil, 0, 0
	for end := time.Now().Add(o.period); time.Now().Before(end); {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		s.step()
	}
	s.report(t, name, queue)
	return nil
}

// measureMemory fills a queue of which nothing else knows the jobs.
func measureMemory(t tables, name string, queue int, seed uint64, o options) error {
	p, err := newPeer(name, o)
	if err != nil {
		return err
	}
	w := newWorkload(seed, o)
	before := inUse()
	for range queue {
		p.submit(w.job())
	}
	t.memory.Add(strconv.Itoa(queue), name, float64(inUse()-before)/float64(queue))
	runtime.KeepAlive(p)
	return nil
}

// inUse returns the heap's bytes in use.
func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// report adds the figures of a simulation.
func (s *simulation) report(t tables, name string, queue int) {
	var sum time.Duration
	for _, d := range s.took {
		sum += d
	}
	slices.Sort(s.took)
	row := strconv.Itoa(queue)
	t.mean.Add(row, name, float64(sum.Nanoseconds())/1e3/float64(len(s.took)))
	t.tail.Add(row, name, float64(s.took[len(s.took)*99/100].Nanoseconds())/1e3)
	t.rate.Add(row, name, float64(s.placed)/sum.Seconds())
	t.width.Add(row, name, float64(s.nodes)/float64(s.placed))
}
