//go:build root

package frontdoor

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
)

// clients are addresses of the house; where says which machine each reaches on a port.
func where(t testing.TB, clients int, to string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for i := 1; i <= clients; i++ {
		from := fmt.Sprintf("172.20.1.%d", i)
		out[from], _ = (client{t, "house"}).must(from, to)
	}
	return out
}

func moved(a, b map[string]string) int {
	n := 0
	for k, v := range a {
		if b[k] != v {
			n++
		}
	}
	return n
}

// One client gets one machine on all ports of a pool; a new machine takes over few clients and no session; sessions
// and choices survive a restart of the door, a flushed table, and forgotten connections.
func TestAffinity(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	for i := range 4 {
		d.plug(&n, fmt.Sprint("m", i))
	}
	d.healthy(n)
	const clients = 60
	before := where(t, clients, "10.254.0.1:22")
	if n := moved(before, where(t, clients, "10.254.0.1:8000")); n != 0 {
		t.Errorf("%d of %d clients get another machine on 8000 than on 22", n, clients)
	}
	sessions := openSessions(t, 20)

	d.plug(&n, "m4")
	d.healthy(n)
	after := where(t, clients, "10.254.0.1:22")
	t.Logf("4 → 5 machines: %d of %d clients moved", moved(before, after), clients)
	if n := moved(before, after); n > clients*3/10+3 {
		t.Errorf("4 → 5 machines: %d of %d clients moved", n, clients)
	}
	sessions.check("another machine", after)

	d.door.Close() // as if lido ended; what follows is its restart
	d.door = New("abc123", Options{})
	t.Cleanup(d.door.Close)
	d.apply(n)
	if n := moved(after, where(t, clients, "10.254.0.1:22")); n != 0 {
		t.Errorf("%d clients moved by a restart", n)
	}
	sessions.check("a restart", after)

	output(t, "ip", "netns", "exec", n.Namespace, "nft", "flush", "ruleset")
	d.apply(n)
	sessions.check("a flushed table", after)
	eventually(t, "sessions' clients keep their machines after a flush", func() bool {
		for from := range sessions.conns {
			if name, _, err := (client{t, "house"}).ask(from, "10.254.0.1:22"); err != nil || name != after[from] {
				return false
			}
		}
		return true
	})

	forgetConnections(t, n.Namespace)
	sessions.check("forgotten connections", after)
}

type sessions struct {
	testing.TB
	conns map[string]net.Conn
}

func openSessions(t testing.TB, count int) *sessions {
	t.Helper()
	s := &sessions{t, map[string]net.Conn{}}
	for i := 1; i <= count; i++ {
		from := fmt.Sprintf("172.20.1.%d", i)
		c, err := (client{t, "house"}).dial(from, "10.254.0.1:22")
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := hello(c); err != nil {
			t.Fatal(err)
		}
		s.conns[from] = c
		t.Cleanup(func() { c.Close() })
	}
	return s
}

// check fails the test if a session no longer works, or if its client would now get another machine.
func (s *sessions) check(after string, where map[string]string) {
	s.Helper()
	for from, c := range s.conns {
		c.SetDeadline(time.Now().Add(2 * time.Second))
		if _, err := c.Write([]byte("still there?\n")); err != nil {
			s.Errorf("session of %s after %s: %v", from, after, err)
			continue
		}
		b := make([]byte, 13)
		if _, err := c.Read(b); err != nil {
			s.Errorf("session of %s after %s: %v", from, after, err)
		}
		if name, _, err := (client{s.TB, "house"}).ask(from, "10.254.0.1:8000"); err != nil || name != where[from] && where[from] != "" {
			s.Errorf("client %s has a session and gets %s instead of %s after %s (%v)", from, name, where[from], after, err)
		}
	}
}

func forgetConnections(t testing.TB, namespace string) {
	t.Helper()
	s, err := openSpace(namespace)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	c, err := conntrack.Dial(&netlink.Config{NetNS: int(s.fd)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
}

func TestUnhealthyAndGone(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	one := d.plug(&n, "one")
	d.plug(&n, "two")
	d.healthy(n)
	c := client{t, "house"}

	var victim string
	for from, name := range where(t, 30, "10.254.0.1:22") {
		if name == "one" {
			victim = from
		}
	}
	conn, err := c.dial(victim, "10.254.0.1:22")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	hello(conn)

	for _, stop := range one.stop { // its services end: all go to the other
		stop()
	}
	start := time.Now()
	eventually(t, "clients of a machine without services go to the other", func() bool {
		name, _, err := c.ask(victim, "10.254.0.1:22")
		return err == nil && name == "two"
	})
	t.Logf("an unhealthy machine was left after %v (probes every 200 ms, 2 failures)", time.Since(start).Round(time.Millisecond))
	one.stop = nil
	one.serve(d, 22, 8000)
	start = time.Now()
	eventually(t, "the machine that is back gets clients", func() bool {
		for i := 1; i <= 30; i++ {
			if name, _, err := c.ask(fmt.Sprintf("172.20.1.%d", i), "10.254.0.1:22"); err == nil && name == "one" {
				return true
			}
		}
		return false
	})
	t.Logf("a machine that came back had clients after %v", time.Since(start).Round(time.Millisecond))

	one.unplug() // the machine dies; its session must end, not hang
	n.Machines, n.Pools[0].Backends = n.Machines[1:], n.Pools[0].Backends[1:]
	d.apply(n)
	d.settle(n)
	conn.SetDeadline(time.Now().Add(3 * time.Second))
	start = time.Now()
	for err = nil; err == nil; {
		if _, err = conn.Write([]byte("hello?\n")); err == nil {
			_, err = conn.Read(make([]byte, 100))
		}
	}
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		t.Errorf("the session with a dead machine hangs: %v", err)
	}
	t.Logf("the session with a dead machine ended after %v: %v", time.Since(start).Round(time.Millisecond), err)
}

// A draining machine keeps its sessions, and their clients, and gets nobody new.
func TestDraining(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	d.plug(&n, "one")
	d.plug(&n, "two")
	d.healthy(n)
	before := where(t, 40, "10.254.0.1:22")
	s := openSessions(t, 10)
	n.Pools[0].Backends[0].Draining = true
	d.apply(n)
	d.settle(n)
	s.check("draining", before)
	strays := 0
	for from, name := range where(t, 40, "10.254.0.1:22") {
		if _, open := s.conns[from]; name == "one" && !open {
			strays++ // its slot is that of a client with a session
		}
	}
	if strays > 3 {
		t.Errorf("%d of 30 clients without a session were sent to the draining machine", strays)
	}
	for from, c := range s.conns {
		c.Close()
		delete(s.conns, from)
	}
	eventually(t, "the drained machine gets nobody", func() bool {
		d.settle(n)
		for _, name := range where(t, 40, "10.254.0.1:22") {
			if name == "one" {
				return false
			}
		}
		return true
	})
}

// Without a machine to give, a front end refuses at once; the next machine serves at once.
func TestEmptyPool(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	d.apply(n)
	if took := (client{t, "house"}).refused("10.254.0.1:22"); took > 200*time.Millisecond {
		t.Errorf("refusing took %v", took)
	}
	m := d.plug(&n, "one")
	start := time.Now()
	eventually(t, "the new machine serves", func() bool {
		name, _, err := (client{t, "house"}).ask("", "10.254.0.1:22")
		return err == nil && name == "one"
	})
	t.Logf("a new machine served %v after its services began", time.Since(start).Round(time.Millisecond))
	m.unplug()
	n.Machines, n.Pools[0].Backends = nil, nil
	d.apply(n)
	if took := (client{t, "house"}).refused("10.254.0.1:8000"); took > 200*time.Millisecond {
		t.Errorf("refusing took %v", took)
	}
}

// settle decides a network's slots with its open connections, as the door does by itself a little later.
func (d *testDoor) settle(n Network) {
	d.Helper()
	if err := d.door.rooms[n.Namespace].settle(); err != nil {
		d.Fatal(err)
	}
}

// The table is the same whatever was there before: nothing, half of it, or something else.
func TestConverges(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	d.plug(&n, "one")
	d.healthy(n)
	for _, harm := range [][]string{
		{"ip", "link", "del", n.Link},
		{"ip", "-n", n.Namespace, "addr", "flush", "dev", "lo"},
		{"ip", "-n", n.Namespace, "route", "flush", "default"},
		{"ip", "netns", "exec", n.Namespace, "nft", "delete", "table", "ip", "lido"},
		{"ip", "netns", "exec", n.Namespace, "nft", "flush", "chain", "ip", "lido", "prerouting"},
		{"ip", "netns", "exec", n.Namespace, "nft", "flush", "map", "ip", "lido", "slots"},
		{"ip", "netns", "exec", n.Namespace, "nft", "add", "rule", "ip", "lido", "prerouting", "drop"},
		{"ip", "netns", "exec", n.Namespace, "sysctl", "-qw", "net.ipv4.ip_forward=0"},
		{"ip", "-n", n.Namespace, "link", "set", "mone", "down"},
		{"ip", "-n", n.Namespace, "route", "del", n.Machines[0].Addr.String()},
		{"nft", "flush", "ruleset"},
		{"ip", "route", "flush", "dev", n.Link},
	} {
		output(t, harm[0], harm[1:]...)
		d.apply(n)
		if err := d.door.ApplyHost(context.Background(), Host{}); err != nil {
			t.Fatal(err)
		}
		if _, _, err := (client{t, "house"}).ask("", "10.254.0.1:22"); err != nil {
			t.Errorf("after %v: %v", harm, err)
		}
	}
	other := New("abc123", Options{})
	if err := other.Sweep(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if left := other.found(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// A door that is told of a network again and again changes nothing the second time.
func TestQuiet(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	n.Groups = []Group{{ID: "g", Rules: []SecurityRule{{Name: "all", Priority: 100, Sources: []Peer{{Tag: Internet}}, Destinations: []Peer{{Prefix: netip.MustParsePrefix("10.0.0.0/24")}},
		SourcePorts: everything(), DestinationPorts: []PortRange{{20, 30}, {8000, 8000}}}}}}
	n.Subnets[0].Group = "g"
	d.plug(&n, "one")
	d.healthy(n)
	r := d.door.rooms[n.Namespace]
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range []*ruleset{routed(&r.plan, r.tables)} {
		if changed, err := rs.sync(r.conn); err != nil || changed {
			t.Errorf("table %s was changed again (%v)", rs.name, err)
		}
	}
}
