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

// A process of its own is the load's client, so that it lives in the client's namespace with all its threads:
// LIDO_TEST_LOAD="to seconds parallel who-closes-first".
func init() {
	if spec := os.Getenv("LIDO_TEST_LOAD"); spec != "" {
		fmt.Println(load(spec))
		os.Exit(0)
	}
}

func load(spec string) string {
	var to, first string
	var seconds, parallel int
	fmt.Sscan(spec, &to, &seconds, &parallel, &first)
	var mu sync.Mutex
	var all []time.Duration
	var failed int
	per := make([]int, seconds+3)
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

func TestShortConnections(t *testing.T) {
	if os.Getenv("LIDO_TEST_LONG") == "" {
		t.Skip("long; set LIDO_TEST_LONG")
	}
	d := newTestDoor(t)
	n := d.network(1)
	for i := range n.Rules {
		n.Rules[i].Probe = nil
	}
	m := d.plug(&n, "one")
	for _, f := range m.stop {
		f()
	}
	serveShort(t, m, "0.0.0.0:22", false)
	serveShort(t, m, "0.0.0.0:8000", true)
	serveDirect(t)
	// Without this the client's own kernel runs out of ports, with and without a door in between: 300 connections/s.
	output(t, "ip", "netns", "exec", "house", "sysctl", "-qw", "net.ipv4.tcp_tw_reuse=1")
	t.Log("direct, server closes first", loadFrom(t, "house", "172.20.0.1:8000 8 32 server"))
	t.Log("direct, client closes first", loadFrom(t, "house", "172.20.0.1:22 12 32 client"))
	for _, tw := range strings.Fields(os.Getenv("LIDO_TEST_LONG")) {
		if tw != "-" {
			output(t, "ip", "netns", "exec", n.Namespace, "sysctl", "-qw", "net.netfilter.nf_conntrack_tcp_timeout_time_wait="+tw)
		}
		t.Log("tw", tw, "server closes first", loadFrom(t, "house", "10.254.0.1:8000 12 32 server"))
		t.Log("tw", tw, "client closes first", loadFrom(t, "house", "10.254.0.1:22 12 32 client"))
	}
}

func serveDirect(t testing.TB) {
	for at, closeFirst := range map[string]bool{"172.20.0.1:22": false, "172.20.0.1:8000": true} {
		l, err := net.Listen("tcp4", at)
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
}
