//go:build root

package frontdoor

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Two networks with the same prefix don't reach each other, but each reaches the other's public address.
func TestOverlap(t *testing.T) {
	d := newTestDoor(t)
	a, b := d.network(1), d.network(2)
	a1 := d.plug(&a, "a1")
	d.plug(&a, "a2")
	b1 := d.plug(&b, "b1") // has the same address as a1
	d.healthy(a)
	d.healthy(b)
	in := func(m *machine) client { return client{t, m.space.name} }
	if name, _ := in(b1).must("", "10.254.0.1:22"); name[0] != 'a' {
		t.Errorf("b1 asked pool a, got %s", name)
	}
	if name, _ := in(a1).must("", "10.254.0.2:22"); name != "b1" {
		t.Errorf("a1 asked pool b, got %s", name)
	}
	in(b1).refused("10.0.0.5:22") // a2's address
	for _, from := range []client{{t, "office"}, {t, "house"}, {t, ""}} {
		if name, _ := from.must("", "10.254.0.1:22"); name[0] != 'a' {
			t.Errorf("%q asked pool a, got %s", from.ns, name)
		}
		if name, _ := from.must("", "10.254.0.2:22"); name != "b1" {
			t.Errorf("%q asked pool b, got %s", from.ns, name)
		}
	}
	// Not even somebody who sends packets into the transit link gets further than the front end.
	output(t, "ip", "route", "add", "10.0.0.5/32", "dev", a.Link)
	defer run("ip", "route", "del", "10.0.0.5/32", "dev", a.Link)
	client{t, ""}.refused("10.0.0.5:22")
}

// Machines reach the world, and of the host nothing but what it opens to them.
func TestOutbound(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	m := d.plug(&n, "one")
	in := client{t, m.space.name}
	serveIn(t, "world", "203.0.113.1:80", "world")
	serveIn(t, "", "203.0.113.2:9999", "host")
	serveIn(t, "", "203.0.113.2:8443", "api")
	if name, seen := in.must("", "203.0.113.1:80"); name != "world" || seen != "203.0.113.2" {
		t.Errorf("the world (%s) saw the machine as %s", name, seen)
	}
	for _, to := range []string{"203.0.113.2:9999", "172.20.0.1:9999", "10.0.0.1:9999"} {
		in.refused(to)
	}
	in.refused("203.0.113.2:8443")
	if err := d.door.ApplyHost(t.Context(), Host{APIPorts: []uint16{8443}}); err != nil {
		t.Fatal(err)
	}
	in.must("", "203.0.113.2:8443")
	in.refused("203.0.113.2:9999")
	output(t, "ip", "-n", "world", "addr", "add", "169.254.7.7/32", "dev", "lo")
	defer run("ip", "-n", "world", "addr", "del", "169.254.7.7/32", "dev", "lo")
	serveIn(t, "world", "169.254.7.7:80", "metadata")
	in.refused("169.254.7.7:80")
	n.Subnets[0].NoOutbound = true
	d.apply(n)
	if took := in.refused("203.0.113.1:80"); took > 200*time.Millisecond {
		t.Errorf("refusing outbound took %v", took)
	}
	d.healthy(n)
	in.must("", "10.254.0.1:22") // its own pool is still there
	own := netip.MustParseAddr("10.254.0.50")
	n.FrontEnds = append(n.FrontEnds, FrontEnd{Addr: own})
	n.NATRules = []NATRule{{Addr: own, Backend: m.addr}}
	d.apply(n)
	in.must("", "203.0.113.1:80") // an address of its own is a way out, as in Azure
}

// Docker has the host drop all that it forwards but for what the chain DOCKER-USER lets through.
func TestDocker(t *testing.T) {
	if _, err := exec.LookPath("iptables"); err != nil {
		t.Skip("needs iptables, which comes with Docker")
	}
	d := newTestDoor(t)
	n := d.network(1)
	m := d.plug(&n, "one")
	d.healthy(n)
	serveIn(t, "world", "203.0.113.1:80", "world")
	t.Cleanup(func() { // runs before the door is purged
		for _, args := range [][]string{{"-P", "FORWARD", "ACCEPT"}, {"-F"}, {"-X"}} {
			output(t, "iptables", args...)
		}
	})
	for _, args := range [][]string{{"-N", "DOCKER-USER"}, {"-A", "DOCKER-USER", "-j", "RETURN"}, {"-I", "FORWARD", "-j", "DOCKER-USER"}, {"-P", "FORWARD", "DROP"}} {
		output(t, "iptables", args...)
	}
	house, in := client{t, "house"}, client{t, m.space.name}
	house.refused("10.254.0.1:22")
	for range 2 { // the second time there is nothing to do
		if err := d.door.ApplyHost(t.Context(), Host{}); err != nil {
			t.Fatal(err)
		}
	}
	house.must("", "10.254.0.1:22")
	in.must("", "203.0.113.1:80")
	if rules := output(t, "iptables", "-S", "DOCKER-USER"); strings.Count(rules, "ACCEPT") != 2 {
		t.Errorf("more or less than one rule each way:\n%s", rules)
	}
	if err := d.door.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if rules := output(t, "iptables", "-S", "DOCKER-USER"); strings.Contains(rules, "ACCEPT") {
		t.Errorf("left after Purge:\n%s", rules)
	}
}

// serveIn greets on an address of a namespace, or of the host.
func serveIn(t testing.TB, ns, at, name string) {
	t.Helper()
	var l net.Listener
	var err error
	if ns == "" {
		l, err = net.Listen("tcp4", at)
	} else {
		s, e := openSpace(ns)
		if e != nil {
			t.Fatal(e)
		}
		defer s.close()
		l, err = listenIn(s, at)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go greet(l, name)
}

func TestPublish(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	d.plug(&n, "one")
	d.healthy(n)
	h := Host{Publish: []Publish{
		{Listen: netip.MustParseAddrPort("0.0.0.0:2222"), To: netip.MustParseAddrPort("10.254.0.1:22"), Protocol: TCP},
		{Listen: netip.MustParseAddrPort("172.20.0.1:8000"), To: netip.MustParseAddrPort("10.254.0.1:8000"), Protocol: TCP},
	}}
	if err := d.door.ApplyHost(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ from, to, seen string }{
		{"house", "172.20.0.1:2222", "172.20.1.1"},
		{"house", "172.20.0.1:8000", "172.20.1.1"},
		{"office", "10.0.0.1:2222", ""}, // masqueraded: its address lies within the network
		{"", "172.20.0.1:2222", ""},
		{"", "127.0.0.1:2222", ""},
	} {
		name, seen := client{t, c.from}.must("", c.to)
		if name != "one" || c.seen != "" && seen != c.seen {
			t.Errorf("from %q to %s: %s saw %s", c.from, c.to, name, seen)
		}
	}
	client{t, "house"}.refused("172.20.0.1:22")
	client{t, "office"}.refused("10.0.0.1:8000")
}

// TestPublishUnderSessions: publishing a port has the host track connections to it, also those that were open before.
// If the machine speaks first then, the host must not take it for a machine that opens a connection.
func TestPublishUnderSessions(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	m := d.plug(&n, "one")
	d.healthy(n)
	m.stop[1]() // what listens at 8000
	l, err := listenIn(m.space, "0.0.0.0:8000")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	office, err := client{t, "house"}.dial("", "10.254.0.1:8000")
	if err != nil {
		t.Fatal(err)
	}
	defer office.Close()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	h := Host{Publish: []Publish{{Listen: netip.MustParseAddrPort("0.0.0.0:2222"), To: netip.MustParseAddrPort("10.254.0.1:8000"), Protocol: TCP}}}
	if err := d.door.ApplyHost(t.Context(), h); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(server, "still here")
	if said, _, err := hello(office); err != nil || said != "still" {
		t.Errorf("after a port was published the machine was heard to say %q: %v", said, err)
	}
}

// A pool address out of the office's own range is answered for by ARP, so that neighbours need no route.
func TestProxyARP(t *testing.T) {
	d := newTestDoor(t)
	if err := d.door.ApplyHost(t.Context(), Host{ProxyARP: []string{"lan1"}, Public: []netip.Prefix{netip.MustParsePrefix("172.20.200.0/24")}}); err != nil {
		t.Fatal(err)
	}
	n := d.network(1)
	front := netip.MustParseAddr("172.20.200.1")
	n.FrontEnds = append(n.FrontEnds, FrontEnd{Addr: front})
	rule := n.Rules[0]
	rule.Addr = front
	n.Rules = append(n.Rules, rule)
	d.plug(&n, "one")
	d.healthy(n)
	if name, seen := (client{t, "house"}).must("", "172.20.200.1:22"); name != "one" || seen != "172.20.1.1" {
		t.Errorf("%s saw %s", name, seen)
	}
	if err := New("abc123", Options{}).Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := output(t, "ip", "neigh", "show", "proxy"); left != "" {
		t.Errorf("after a purge the host answers for %s", left)
	}
	d.apply(n)
	n.Rules, n.FrontEnds = n.Rules[:2], n.FrontEnds[:1]
	d.apply(n)
	if left := output(t, "ip", "neigh", "show", "proxy", "172.20.200.1", "dev", "lan1"); left != "" {
		t.Errorf("the host still answers for an address that is gone: %s", left)
	}
}

func everything() []PortRange { return []PortRange{{0, 65535}} }

// group is Azure's default rules and those given.
func group(rules ...SecurityRule) Group {
	def := func(name string, out, deny bool, prio int, from, to Tag) SecurityRule {
		return SecurityRule{Name: name, Outbound: out, Deny: deny, Priority: prio, Sources: []Peer{{Tag: from}}, Destinations: []Peer{{Tag: to}},
			SourcePorts: everything(), DestinationPorts: everything()}
	}
	return Group{ID: "group", Rules: append(rules,
		def("vnet", false, false, 65000, VirtualNetwork, VirtualNetwork), def("lb", false, false, 65001, LoadBalancer, Everywhere),
		def("deny", false, true, 65500, Everywhere, Everywhere), def("vnet out", true, false, 65000, VirtualNetwork, VirtualNetwork),
		def("internet", true, false, 65001, Everywhere, Internet), def("deny out", true, true, 65500, Everywhere, Everywhere))}
}

func inbound(prio int, deny bool, from Peer, port uint16) SecurityRule {
	return SecurityRule{Name: fmt.Sprint("rule ", prio), Priority: prio, Deny: deny, Protocol: TCP, Sources: []Peer{from},
		Destinations: []Peer{{Tag: Everywhere}}, SourcePorts: everything(), DestinationPorts: []PortRange{{port, port}}}
}

// Security rules hold for what comes through a front end, between machines of one subnet, and for what leaves.
func TestSecurity(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	one, two := d.plug(&n, "one"), d.plug(&n, "two")
	one.serve(d, 9000)
	two.serve(d, 9000)
	serveIn(t, "world", "203.0.113.1:80", "world")
	house, inOne := client{t, "house"}, client{t, one.space.name}

	n.Groups, n.Subnets[0].Group = []Group{group()}, "group"
	d.apply(n)
	d.healthy(n) // probes are let through by the load balancer's tag
	house.refused("10.254.0.1:22")
	inOne.must("", two.addr.String()+":9000")
	inOne.must("", "203.0.113.1:80")

	n.Groups = []Group{group(inbound(100, false, Peer{Tag: Internet}, 22), inbound(110, true, Peer{Tag: VirtualNetwork}, 9000),
		inbound(120, true, Peer{Tag: Everywhere}, 8000))}
	d.apply(n)
	house.must("", "10.254.0.1:22")
	house.refused("10.254.0.1:8000")
	inOne.refused(two.addr.String() + ":9000") // between machines of one subnet
	inOne.must("", two.addr.String()+":22")

	n.Subnets[0].Group = "" // the same on one interface only
	n.Machines[1].Group = "group"
	d.apply(n)
	inOne.refused(two.addr.String() + ":9000")
	client{t, two.space.name}.must("", one.addr.String()+":9000")

	noWorld := SecurityRule{Name: "no world", Priority: 100, Deny: true, Outbound: true, Sources: []Peer{{Tag: Everywhere}},
		Destinations: []Peer{{Prefix: netip.MustParsePrefix("203.0.113.0/24")}}, SourcePorts: everything(), DestinationPorts: []PortRange{{80, 81}, {443, 443}}}
	n.Groups, n.Subnets[0].Group, n.Machines[1].Group = []Group{group(noWorld)}, "group", ""
	d.apply(n)
	inOne.refused("203.0.113.1:80")

	n.Groups = []Group{group(inbound(100, true, Peer{Tag: LoadBalancer}, 22))} // even probes
	d.apply(n)
	eventually(t, "machines that probes must not reach are unhealthy", func() bool {
		s, _ := d.door.Status(n.Namespace)
		return !s.Backends[0].Healthy["ssh"] && !s.Backends[1].Healthy["ssh"]
	})
}

// A machine that uses another's address is not heard.
func TestSpoof(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	one, two := d.plug(&n, "one"), d.plug(&n, "two")
	in := client{t, one.space.name}
	in.must("", two.addr.String()+":22")
	output(t, "ip", "-n", one.space.name, "addr", "add", "10.0.0.77/24", "dev", "eth0")
	if _, _, err := in.ask("10.0.0.77", two.addr.String()+":22"); err == nil {
		t.Error("a machine was heard under an address that is not its own")
	}
}

// A machine that takes another's address, hardware address included, neither gets what is sent there nor is heard.
func TestTheft(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	one, two := d.plug(&n, "one"), d.plug(&n, "two")
	three := d.plug(&n, "three")
	for _, args := range [][]string{
		{"link", "set", "eth0", "down"}, {"link", "set", "eth0", "address", one.mac, "up"},
		{"addr", "add", one.addr.String() + "/24", "dev", "eth0"}, {"route", "replace", "default", "via", "10.0.0.1"},
	} {
		output(t, "ip", append([]string{"-n", two.space.name}, args...)...)
	}
	if _, _, err := (client{t, two.space.name}).ask(one.addr.String(), three.addr.String()+":22"); err == nil {
		t.Error("a machine was heard under another's address")
	}
	for range 5 {
		if name, _ := (client{t, three.space.name}).must("", one.addr.String()+":22"); name != "one" {
			t.Fatalf("%s answers at one's address", name)
		}
	}
}

func TestNames(t *testing.T) {
	resolver := &dns.Server{Addr: "127.0.0.1:0", Net: "udp", Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		r := new(dns.Msg).SetReply(q)
		rr, _ := dns.NewRR(q.Question[0].Name + " 60 IN A 198.51.100.7")
		r.Answer = append(r.Answer, rr)
		w.WriteMsg(r)
	})}
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	resolver.PacketConn = pc
	go resolver.ActivateAndServe()
	t.Cleanup(func() { resolver.Shutdown() })
	d := newTestDoor(t)
	d.door.opts.Resolvers = func() []string { return []string{pc.LocalAddr().String()} }
	n := d.network(1)
	one := d.plug(&n, "one")
	d.plug(&n, "Two")
	for name, want := range map[string]string{"two": "10.0.0.5", "two.lido.internal": "10.0.0.5", "ONE": "10.0.0.4", "example.org": "198.51.100.7"} {
		if got, err := lookup(one, name); err != nil || got != want {
			t.Errorf("%s: %q, %v; want %s", name, got, err, want)
		}
	}
	if got, err := lookup(one, "three.lido.internal"); err == nil {
		t.Errorf("a machine that does not exist is at %s", got)
	}
}

func lookup(m *machine, name string) (addr string, err error) {
	err = m.space.do(func() error {
		c, err := net.Dial("udp", "10.0.0.1:53")
		if err != nil {
			return err
		}
		defer c.Close()
		conn := &dns.Conn{Conn: c}
		conn.SetDeadline(time.Now().Add(2 * time.Second))
		if err := conn.WriteMsg(new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeA)); err != nil {
			return err
		}
		r, err := conn.ReadMsg()
		if err != nil {
			return err
		}
		if len(r.Answer) == 0 {
			return fmt.Errorf("%s", dns.RcodeToString[r.Rcode])
		}
		addr = r.Answer[0].(*dns.A).A.String()
		return nil
	})
	return addr, err
}

// Internal front ends, NAT rules, a machine's own address, and HTTP probes.
func TestOtherWaysIn(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	inner := netip.MustParseAddr("10.0.0.99")
	n.FrontEnds = append(n.FrontEnds, FrontEnd{Addr: inner, Internal: true}, FrontEnd{Addr: netip.MustParseAddr("10.254.0.50")})
	internal := n.Rules[0]
	internal.Addr = inner
	web := Rule{ID: "web", Addr: inner, Protocol: TCP, Port: 80, BackendPort: 8080, Pool: "pool", Distribution: Default,
		Probe: &Probe{ID: "web", HTTP: true, Port: 8080, Path: "healthz", Interval: 100 * time.Millisecond, Failures: 1}}
	n.Rules = append(n.Rules, internal, web)
	one, two := d.plug(&n, "one"), d.plug(&n, "two")
	n.NATRules = []NATRule{
		{Addr: netip.MustParseAddr("10.254.0.1"), Protocol: TCP, Port: 50000, Backend: one.addr, BackendPort: 22},
		{Addr: netip.MustParseAddr("10.254.0.1"), Protocol: TCP, Port: 50001, Backend: two.addr, BackendPort: 22},
		{Addr: netip.MustParseAddr("10.254.0.50"), Backend: two.addr},
	}
	d.apply(n)
	d.healthy(n)
	for _, m := range []*machine{one, two} {
		client{t, m.space.name}.must("", "10.0.0.99:22")
	}
	house := client{t, "house"}
	for to, want := range map[string]string{"10.254.0.1:50000": "one", "10.254.0.1:50001": "two", "10.254.0.50:8000": "two"} {
		if name, _ := house.must("", to); name != want {
			t.Errorf("%s is %s, not %s", to, name, want)
		}
	}
	status := http.StatusServiceUnavailable
	serveHTTP(t, two, &status)
	serveIn(t, "house", "172.20.1.9:80", "house")
	output(t, "ip", "netns", "exec", n.Namespace, "nft", "-st", "list", "table", "ip", "lido")
	if _, seen := (client{t, two.space.name}).must("", "172.20.1.9:80"); seen != "172.20.0.1" {
		t.Errorf("the house saw a machine as %s, not as the host", seen)
	}
	inOne := client{t, one.space.name}
	time.Sleep(300 * time.Millisecond)
	if c, err := inOne.dial("", "10.0.0.99:80"); err == nil {
		c.Close()
		t.Error("a machine whose probe answers 503 was given a connection")
	}
	status = http.StatusOK
	eventually(t, "the machine whose probe answers 200 is given connections", func() bool {
		c, err := inOne.dial("", "10.0.0.99:80")
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	house.must("", "10.254.0.1:22") // the other rules of the pool don't care
}

func serveHTTP(t testing.TB, m *machine, status *int) {
	l, err := listenIn(m.space, "0.0.0.0:8080")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" {
			t.Errorf("probe asks %s", r.URL)
		}
		w.WriteHeader(*status)
	})}
	go s.Serve(l)
	t.Cleanup(func() { s.Shutdown(context.Background()) })
}

// Connections have the rule's idle timeout.
func TestIdleTimeout(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	n.Rules[1].IdleTimeout = 4 * time.Minute
	one := d.plug(&n, "one")
	for port, idle := range map[uint16]time.Duration{50000: 5 * time.Minute, 50001: 30 * time.Minute, 50002: 0} {
		n.NATRules = append(n.NATRules, NATRule{Addr: n.FrontEnds[0].Addr, Protocol: TCP, Port: port, Backend: one.addr, BackendPort: 22, IdleTimeout: idle})
	}
	d.apply(n)
	d.healthy(n)
	for to, least := range map[string]int{"10.254.0.1:22": 1790, "10.254.0.1:8000": 230, "10.254.0.1:50000": 290, "10.254.0.1:50001": 1790, "10.254.0.1:50002": 431990} {
		c, err := client{t, "house"}.dial("", to)
		if err != nil {
			t.Fatal(err)
		}
		hello(c)
		port := c.LocalAddr().(*net.TCPAddr).Port
		out := output(t, "ip", "netns", "exec", n.Namespace, "conntrack", "-L", "-p", "tcp", "--orig-port-src", fmt.Sprint(port))
		var seconds int
		_, entry, _ := strings.Cut(out, "tcp      6 ")
		fmt.Sscan(entry, &seconds)
		if seconds < least || seconds > least+10 {
			t.Errorf("%s: idle timeout is %d s, want about %d:\n%s", to, seconds, least+10, out)
		}
		c.Close()
	}
}
