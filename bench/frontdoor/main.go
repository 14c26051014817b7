// Command frontdoor measures the data path of lido's load balancers beside no balancer at all, plain DNAT by one
// nftables rule, and HAProxy in TCP mode. Everything happens in network namespaces that end with the program.
// See bench/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
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
	flag.Parse()
	switch role := os.Getenv(insideEnv); role {
	case "":
		os.Exit(enclose())
	case "main":
		if err := run(*rounds, *seconds, strings.Split(*names, ",")); err != nil {
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

func run(rounds int, seconds float64, names []string) error {
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
	bulk, rate, delay := figure.New("GB/s"), figure.New("connections/s"), figure.New("µs")
	for round := range rounds + 1 {
		for i := range sites {
			s := sites[(i+round)%len(sites)]
			f, err := s.measure(ctx, seconds)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			if round == 0 { // fills caches
				continue
			}
			bulk.Add("one stream", s.name, f.bulk)
			rate.Add("64 client addresses", s.name, f.many.Rate)
			rate.Add("one client address", s.name, f.one.Rate)
			delay.Add("round trip p50", s.name, f.trip.P50)
			delay.Add("round trip p99", s.name, f.trip.P99)
			delay.Add("connect, idle p50", s.name, f.idle.P50)
			delay.Add("connect, idle p99", s.name, f.idle.P99)
			delay.Add("CPU time each, idle", s.name, f.idle.CPU)
			delay.Add("CPU time each, busy", s.name, f.many.CPU)
			delay.Add("connect, busy p50", s.name, f.many.P50)
			delay.Add("connect, busy p99", s.name, f.many.P99)
		}
	}
	bulk.Print(os.Stdout, "Bulk throughput")
	rate.Print(os.Stdout, "New connections, 32 at a time")
	delay.Print(os.Stdout, "Latency")
	return nil
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
