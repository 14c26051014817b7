// Command frontdoor measures the data path of lido's load balancers beside no balancer at all, plain DNAT by one
// nftables rule, and HAProxy in TCP mode. Everything happens in network namespaces that end with the program.
// See bench/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"lido.dev/lido/bench/figure"
)

// insideEnv marks the process that runs in namespaces of its own; its value is a role of load.go, or "main".
const insideEnv = "LIDO_BENCH_ROLE"

func main() {
	rounds := flag.Int("rounds", 5, "how often each is measured")
	seconds := flag.Float64("seconds", 1.5, "how long each measurement lasts")
	names := flag.String("peers", strings.Join(peerNames(), ","), "who is measured")
	loads := flag.String("loads", strings.Join(kinds, ","), "which kinds of load; steady needs many to know its rate")
	patience := flag.Duration("patience", 0, "how long to wait, altogether, for moments in which the computer does nothing else")
	flag.Parse()
	switch role := os.Getenv(insideEnv); role {
	case "":
		os.Exit(enclose())
	case "main":
		if err := run(*rounds, *seconds, &quiet{patience: *patience}, strings.Split(*names, ","), strings.Split(*loads, ",")); err != nil {
			fmt.Fprintln(os.Stderr, "frontdoor:", err)
			os.Exit(1)
		}
	default:
		play(role, flag.Args())
	}
}

// enclose runs this program again in network and mount namespaces of its own.
func enclose() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=main")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "frontdoor: needs root:", err)
		return 1
	}
	return 0
}

func run(rounds int, seconds float64, q *quiet, names, loads []string) error {
	ctx := context.Background()
	if err := hideHost(); err != nil {
		return err
	}
	var sites []*site
	for _, name := range names {
		s, err := newSite(ctx, name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		defer s.close()
		sites = append(sites, s)
	}
	t := newTables()
	steady := 0.0
	for round := range rounds + 1 {
		found := map[string]figures{}
		for i := range sites {
			s := sites[(i+round)%len(sites)]
			f, err := s.measure(ctx, q, loads, seconds, steady)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			found[s.name] = f
		}
		if round > 0 { // the first fills caches, and tells how much the slowest peer can take
			t.add(found)
			continue
		}
		for _, f := range found {
			if quarter := f.many.Rate / 4; steady == 0 || quarter < steady {
				steady = quarter
			}
		}
	}
	t.print(os.Stdout, steady)
	fmt.Println(q)
	return nil
}

// tables are all figures of all rounds.
type tables struct{ bulk, rate, cpu, quiet, steady, added, busy *figure.Table }

func newTables() *tables {
	us := func() *figure.Table { return figure.New("µs") }
	return &tables{bulk: figure.New("GB/s"), rate: figure.New("connections/s"), cpu: us(), quiet: us(), steady: us(), added: us(), busy: us()}
}

// add adds one round's figures, by peer.
func (t *tables) add(round map[string]figures) {
	direct, compare := round["none"]
	for _, name := range peerNames() {
		f, measured := round[name]
		if !measured {
			continue
		}
		for _, r := range []struct {
			table *figure.Table
			row   string
			of    sample
			value float64
		}{
			{t.bulk, "one stream", f.bulk, f.bulk.Rate},
			{t.rate, "64 client addresses", f.many, f.many.Rate},
			{t.rate, "one client address", f.one, f.one.Rate},
			{t.cpu, "MB of one stream", f.bulk, f.bulk.CPU},
			{t.cpu, "connection, idle", f.idle, f.idle.CPU},
			{t.cpu, "connection, steady", f.steady, f.steady.CPU},
			{t.cpu, "connection, busy", f.many, f.many.CPU},
			{t.quiet, "round trip p50", f.trip, f.trip.P50},
			{t.quiet, "round trip p99", f.trip, f.trip.P99},
			{t.quiet, "connect p50", f.idle, f.idle.P50},
			{t.quiet, "connect p99", f.idle, f.idle.P99},
			{t.steady, "connect p50", f.steady, f.steady.P50},
			{t.steady, "connect p99", f.steady, f.steady.P99},
			{t.busy, "connect p50", f.many, f.many.P50},
			{t.busy, "connect p99", f.many, f.many.P99},
		} {
			if r.of.Count > 0 {
				r.table.Add(r.row, name, r.value)
			}
		}
		if compare && name != "none" && f.steady.Count > 0 {
			t.added.Add("connect p50", name, f.steady.P50-direct.steady.P50)
			t.added.Add("connect p99", name, f.steady.P99-direct.steady.P99)
		}
	}
}

func (t *tables) print(w io.Writer, steady float64) {
	t.bulk.Print(w, "Bulk throughput")
	t.rate.Print(w, "New connections, 32 at a time")
	t.cpu.Print(w, "CPU time for each")
	t.quiet.Print(w, "Latency, one after the other")
	t.steady.Print(w, fmt.Sprintf("Latency at %.0f connections/s, a quarter of what the slowest takes", steady))
	t.added.Print(w, "The same, beyond that of no balancer in the same round")
	t.busy.Print(w, "Latency when all is busy, 32 at a time")
}

// hideHost makes the mount namespace private, with no network namespaces of the computer in sight.
func hideHost() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := os.MkdirAll("/run/netns", 0o755); err != nil {
		return err
	}
	return errors.Join(unix.Mount("tmpfs", "/run/netns", "tmpfs", 0, ""), unix.Mount("proc", "/proc", "proc", 0, ""),
		script("", "ip link set lo up"))
}
