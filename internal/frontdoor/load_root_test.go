//go:build root

package frontdoor

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"sort"
	"strings"
	"sync"
	"testing"
	"time"
)

// load is the whole work of a process that TestMain starts as a load's client: a process of its own, so that it lives
// in the client's namespace with all its threads. spec is "to seconds parallel who-closes-first".
func load(spec string) string {
	var to, first string
	var seconds, parallel int
	fmt.Sscan(spec, &to, &seconds, &parallel, &first)
	var mu sync.Mutex
	var all []time.Duration
	var failed int
	per := make([]int, seconds+10)
	var wg sync.WaitGroup
	start := time.Now()
	for range parallel {
		wg.Go(func() {
			var mine []time.Duration
			bad := 0
			for time.Since(start) < time.Duration(seconds)*time.Second {
				t := time.Now()
				if err := short(to, first == "client"); err != nil {
					bad++
					continue
				}
				mine = append(mine, time.Since(t))
				mu.Lock()
				per[int(time.Since(start).Seconds())]++
				mu.Unlock()
			}
			mu.Lock()
			all, failed = append(all, mine...), failed+bad
			mu.Unlock()
		})
	}
	wg.Wait()
	sort.Slice(all, func(i, j int) bool { return all[i] < all[j] })
	if len(all) == 0 {
		return fmt.Sprint("none, failed ", failed)
	}
	return fmt.Sprintf("%6.0f/s p50 %v p99 %v max %v failed %d, by second %v", float64(len(all))/float64(seconds),
		all[len(all)/2], all[len(all)*99/100], all[len(all)-1], failed, per[:seconds])
}

func short(to string, closeFirst bool) error {
	c, err := net.DialTimeout("tcp4", to, 5*time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	if closeFirst {
		_, err = io.ReadFull(c, make([]byte, 1))
		return err
	}
	_, err = io.Copy(io.Discard, c)
	return err
}

func loadFrom(t testing.TB, ns, spec string) string {
	t.Helper()
	args := []string{"netns", "exec", ns, os.Args[0]}
	cmd := exec.Command("ip", args...)
	cmd.Env = append(os.Environ(), "LIDO_TEST_LOAD="+spec)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return strings.TrimSpace(string(out))
}

func serveShort(t testing.TB, m *machine, at string, closeFirst bool) {
	l, err := listenIn(m.space, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				c.Write([]byte("x"))
				if !closeFirst {
					io.Copy(io.Discard, c)
				}
				c.Close()
			}()
		}
	}()
}

// One client that opens thousands of short connections a second comes back to its ports while they are still
// remembered. A connection that stalls for that reason waits for its first packet's repetition, a second or more.
func TestShortConnections(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	for i := range n.Rules {
		n.Rules[i].Probe = nil
	}
	m := d.plug(&n, "one")
	for _, f := range m.stop {
		f()
	}
	serveShort(t, m, "0.0.0.0:8000", true)
	// Without this the client's own kernel runs out of ports, with and without a door in between.
	output(t, "ip", "netns", "exec", "house", "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1", "net.ipv4.ip_local_port_range=40000 42000")
	defer run("ip", "netns", "exec", "house", "sysctl", "-qw", "net.ipv4.ip_local_port_range=32768 60999")
	out := loadFrom(t, "house", "10.254.0.1:8000 4 32 server")
	t.Log(out)
	_, rest, _ := strings.Cut(out, "p99 ") // one lost packet on a busy computer is no stall
	late, err := time.ParseDuration(strings.Fields(rest + " ?")[0])
	if err != nil || late > 500*time.Millisecond || !strings.Contains(out, "failed 0") {
		t.Errorf("connections stall: %s", out)
	}
}
