package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// figures are what one round says of one site.
type figures struct {
	bulk, many, one, idle, steady, trip sample
}

// sample is what the client reports of a load.
type sample struct {
	Rate     float64 // per second; of bulk, GB/s
	P50, P99 float64 // µs
	CPU      float64 // µs of CPU time each (of bulk, per MB), of the client and (added by the caller) the site's servers
	Count    int
}

// kinds of load, in the order that they are made in.
var kinds = []string{"many", "one", "idle", "steady", "trip", "bulk"}

// measure makes the given kinds of load in turn. steady is the rate of the load of that name; 0 leaves it out.
func (s *site) measure(ctx context.Context, q *quiet, which []string, seconds, steady float64) (f figures, err error) {
	for _, l := range []struct {
		kind string
		into *sample
	}{{"many", &f.many}, {"one", &f.one}, {"idle", &f.idle}, {"steady", &f.steady}, {"trip", &f.trip}, {"bulk", &f.bulk}} {
		if !slices.Contains(which, l.kind) || l.kind == "steady" && steady == 0 {
			continue
		}
		q.await()
		if *l.into, err = s.load(ctx, l.kind, seconds, steady); err != nil {
			return f, err
		}
	}
	return f, nil
}

// load has a process in the client's namespace make a kind of load.
func (s *site) load(ctx context.Context, kind string, seconds, rate float64) (out sample, err error) {
	cmd := in(ctx, s.client, "/proc/self/exe", s.target, fmt.Sprint(seconds), fmt.Sprint(rate))
	cmd.Env = append(os.Environ(), insideEnv+"="+kind)
	cmd.Stderr = os.Stderr
	before := s.cpuTime()
	data, err := cmd.Output()
	if err != nil {
		return out, fmt.Errorf("%s: %w: %s", kind, err, data)
	}
	if err := json.Unmarshal(data, &out); err != nil {
		return out, err
	}
	if out.Count > 0 {
		out.CPU += float64((s.cpuTime() - before).Nanoseconds()) / 1000 / float64(out.Count)
	}
	return out, nil
}

// cpuTime is how long the site's servers have been on a CPU, with the work of the kernel that was done in their stead.
func (s *site) cpuTime() (sum time.Duration) {
	for _, p := range s.procs {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", p.Process.Pid))
		for _, t := range tasks {
			var on int64
			if data, err := os.ReadFile(t); err == nil {
				fmt.Sscan(string(data), &on)
			}
			sum += time.Duration(on)
		}
	}
	return sum
}

// play is what this program does in its other roles: the machine's servers, and the client's loads.
func play(role string, args []string) {
	if role == "serve" {
		serve()
		return
	}
	seconds, err := strconv.ParseFloat(args[1], 64)
	rate, rerr := strconv.ParseFloat(args[2], 64)
	if err = errors.Join(err, rerr); err == nil {
		var s sample
		if s, err = client(role, args[0], time.Duration(seconds*float64(time.Second)), rate); err == nil {
			s.CPU = ownCPU(s.Count)
			err = json.NewEncoder(os.Stdout).Encode(s)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

// ownCPU is how long this process has been on a CPU for each of so many things, in µs.
func ownCPU(count int) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil || count == 0 {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1000 / float64(count)
}

func client(kind, to string, d time.Duration, rate float64) (sample, error) {
	switch kind {
	case "many":
		return connections(to, d, 32, 64)
	case "one":
		return connections(to, d, 32, 1)
	case "idle":
		return connections(to, d, 1, 1)
	case "steady":
		return steady(to, d, rate, 64)
	case "trip":
		return roundTrips(to, d)
	}
	return bulk(to, d)
}

// serve: on port 22 a byte and goodbye, on 23 as much as is taken, on 24 an echo.
func serve() {
	for port, answer := range map[int]func(net.Conn){
		22: func(c net.Conn) { c.Write([]byte{'x'}) },
		23: func(c net.Conn) {
			buf := make([]byte, 256<<10)
			for {
				if _, err := c.Write(buf); err != nil {
					return
				}
			}
		},
		24: func(c net.Conn) { io.Copy(c, c) },
	} {
		l, err := net.Listen("tcp4", fmt.Sprintf(":%d", port))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				go func() { defer c.Close(); answer(c) }()
			}
		}()
	}
	select {}
}

// connections opens connections in parallel, reads a byte from each and is closed upon.
func connections(to string, d time.Duration, parallel, addresses int) (sample, error) {
	var mu sync.Mutex
	var took []time.Duration
	var failed error
	var wg sync.WaitGroup
	start := time.Now()
	for worker := range parallel {
		wg.Go(func() {
			var mine []time.Duration
			var err error
			for i := worker; time.Since(start) < d && err == nil; i += parallel {
				begin := time.Now()
				err = connect(to+":22", clientAddress(i%addresses))
				mine = append(mine, time.Since(begin))
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, mine...)
			if err != nil {
				failed = err
			}
		})
	}
	wg.Wait()
	return summary(took, time.Since(start)), failed
}

// steady opens connections at a fixed rate, however long those before take. Each one's time counts from the moment at
// which it was due, so that what waits behind a slow one counts as slow too.
func steady(to string, d time.Duration, rate float64, addresses int) (sample, error) {
	took, errs := make([]time.Duration, int(d.Seconds()*rate)), make([]error, int(d.Seconds()*rate))
	var wg sync.WaitGroup
	runtime.LockOSThread() // the pace has a thread of its own; the runtime's timers are too coarse
	start := time.Now()
	for i := range took {
		due := start.Add(time.Duration(float64(i) / rate * float64(time.Second)))
		if wait := time.Until(due); wait > 0 {
			ts := unix.NsecToTimespec(wait.Nanoseconds())
			_ = unix.Nanosleep(&ts, nil)
		}
		wg.Go(func() {
			errs[i] = connect(to+":22", clientAddress(i%addresses))
			took[i] = time.Since(due)
		})
	}
	wg.Wait()
	return summary(took, time.Since(start)), errors.Join(errs...)
}

func connect(to, from string) error {
	dialer := net.Dialer{Timeout: 10 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Control: portAtConnect}
	c, err := dialer.Dial("tcp4", to)
	if err != nil {
		return err
	}
	defer c.Close()
	buf := make([]byte, 1)
	if _, err = io.ReadFull(c, buf); err != nil {
		return err
	}
	_, err = c.Read(buf) // the other side closes first, as sshd and HTTP servers mostly do
	if err == io.EOF {
		err = nil
	}
	return err
}

// portAtConnect has the kernel choose the port when it knows where to, as it does for clients that don't bind.
func portAtConnect(_, _ string, c syscall.RawConn) (err error) {
	cerr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	})
	return errors.Join(cerr, err)
}

// roundTrips sends a byte over one connection and waits for it, again and again.
func roundTrips(to string, d time.Duration) (sample, error) {
	c, err := net.Dial("tcp4", to+":24")
	if err != nil {
		return sample{}, err
	}
	defer c.Close()
	var took []time.Duration
	buf := []byte(strings.Repeat("x", 64))
	for start := time.Now(); time.Since(start) < d; {
		begin := time.Now()
		if _, err := c.Write(buf); err != nil {
			return sample{}, err
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return sample{}, err
		}
		took = append(took, time.Since(begin))
	}
	return summary(took, d), nil
}

// bulk takes as much as comes; its rate is in GB/s.
func bulk(to string, d time.Duration) (sample, error) {
	c, err := net.Dial("tcp4", to+":23")
	if err != nil {
		return sample{}, err
	}
	defer c.Close()
	buf := make([]byte, 256<<10)
	start, total := time.Now(), 0
	for time.Since(start) < d {
		n, err := c.Read(buf)
		if err != nil {
			return sample{}, err
		}
		total += n
	}
	return sample{Rate: float64(total) / time.Since(start).Seconds() / 1e9, Count: total / 1e6}, nil
}

func summary(took []time.Duration, d time.Duration) sample {
	if len(took) == 0 {
		return sample{}
	}
	slices.Sort(took)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	return sample{Rate: float64(len(took)) / d.Seconds(), P50: us(took[len(took)/2]), P99: us(took[len(took)*99/100]), Count: len(took)}
}
