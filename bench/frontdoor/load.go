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
	bulk                  float64 // GB/s
	many, one, idle, trip sample
}

// sample is what the client reports of a load.
type sample struct {
	Rate     float64 // per second
	P50, P99 float64 // µs
	CPU      float64 // µs of CPU time each, of the client and (added by the caller) the site's servers
	Count    int
}

func (s *site) measure(ctx context.Context, seconds float64) (f figures, err error) {
	for _, l := range []struct {
		kind string
		into *sample
	}{{"many", &f.many}, {"one", &f.one}, {"idle", &f.idle}, {"trip", &f.trip}} {
		if *l.into, err = s.load(ctx, l.kind, seconds); err != nil {
			return f, err
		}
	}
	b, err := s.load(ctx, "bulk", seconds)
	f.bulk = b.Rate
	return f, err
}

// load has a process in the client's namespace make a kind of load.
func (s *site) load(ctx context.Context, kind string, seconds float64) (out sample, err error) {
	cmd := in(ctx, s.client, "/proc/self/exe", s.target, fmt.Sprint(seconds))
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
	if err == nil {
		var s sample
		if s, err = client(role, args[0], time.Duration(seconds*float64(time.Second))); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(s)
		}
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func client(kind, to string, d time.Duration) (sample, error) {
	switch kind {
	case "many":
		return connections(to, d, 32, 64)
	case "one":
		return connections(to, d, 32, 1)
	case "idle":
		return connections(to, d, 1, 1)
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
	out := summary(took, time.Since(start))
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err == nil && out.Count > 0 {
		out.CPU = float64(u.Utime.Nano()+u.Stime.Nano()) / 1000 / float64(out.Count)
	}
	return out, failed
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
	return sample{Rate: float64(total) / time.Since(start).Seconds() / 1e9}, nil
}

func summary(took []time.Duration, d time.Duration) sample {
	if len(took) == 0 {
		return sample{}
	}
	slices.Sort(took)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	return sample{Rate: float64(len(took)) / d.Seconds(), P50: us(took[len(took)/2]), P99: us(took[len(took)*99/100]), Count: len(took)}
}
