//go:build root

package frontdoor

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestMain runs the tests in network and mount namespaces of their own: "the host" is one of them, and everything
// that the tests make ends with the process.
func TestMain(m *testing.M) {
	if spec := os.Getenv("LIDO_TEST_LOAD"); spec != "" {
		fmt.Println(load(spec))
		return
	}
	if os.Getenv("LIDO_TEST_HOST") == "" {
		cmd := exec.Command(os.Args[0], os.Args[1:]...)
		cmd.Env = append(os.Environ(), "LIDO_TEST_HOST=1")
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
		if cmd.Run() != nil {
			os.Exit(1)
		}
		return
	}
	prepareHost()
	os.Exit(m.Run())
}

func prepareHost() {
	check := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	check(unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
	check(os.MkdirAll(namespaceDir, 0o755))
	check(unix.Mount("tmpfs", namespaceDir, "tmpfs", 0, ""))
	lo, err := netlink.LinkByName("lo")
	check(err)
	check(netlink.LinkSetUp(lo))
	// The world: one neighbour beyond the host.
	check(run("ip", "netns", "add", "world"))
	check(run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", "world"))
	check(run("ip", "addr", "add", "203.0.113.2/24", "dev", "eth0"))
	check(run("ip", "link", "set", "eth0", "up"))
	check(run("ip", "-n", "world", "addr", "add", "203.0.113.1/24", "dev", "eth0"))
	check(run("ip", "-n", "world", "link", "set", "eth0", "up"))
	check(run("ip", "-n", "world", "link", "set", "lo", "up"))
	check(run("ip", "route", "add", "default", "via", "203.0.113.1"))
	// An office LAN that has the same numbers as the networks inside.
	check(run("ip", "netns", "add", "office"))
	check(run("ip", "link", "add", "lan0", "type", "veth", "peer", "name", "eth0", "netns", "office"))
	check(run("ip", "addr", "add", "10.0.0.1/16", "dev", "lan0"))
	check(run("ip", "link", "set", "lan0", "up"))
	check(run("ip", "-n", "office", "addr", "add", "10.0.0.5/16", "dev", "eth0"))
	check(run("ip", "-n", "office", "link", "set", "eth0", "up"))
	check(run("ip", "-n", "office", "link", "set", "lo", "up"))
	check(run("ip", "-n", "office", "route", "add", "default", "via", "10.0.0.1"))
	// And a client elsewhere in the house, with many addresses.
	check(run("ip", "netns", "add", "house"))
	check(run("ip", "link", "add", "lan1", "type", "veth", "peer", "name", "eth0", "netns", "house"))
	check(run("ip", "addr", "add", "172.20.0.1/16", "dev", "lan1"))
	check(run("ip", "link", "set", "lan1", "up"))
	check(run("ip", "-n", "house", "addr", "add", "172.20.1.1/16", "dev", "eth0"))
	for i := 2; i <= 60; i++ {
		check(run("ip", "-n", "house", "addr", "add", fmt.Sprintf("172.20.1.%d/16", i), "dev", "eth0"))
	}
	check(run("ip", "-n", "house", "link", "set", "eth0", "up"))
	check(run("ip", "-n", "house", "link", "set", "lo", "up"))
	check(run("ip", "-n", "house", "route", "add", "default", "via", "172.20.0.1"))
}

func run(name string, args ...string) error {
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

func output(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// testDoor is a door with a network and machines plugged into it.
type testDoor struct {
	testing.TB
	door *Door
}

func newTestDoor(t testing.TB) *testDoor {
	level := slog.LevelWarn
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	d := New("abc123", Options{Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))})
	t.Cleanup(func() {
		d.Close()
		if err := d.Purge(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := d.ApplyHost(t.Context(), Host{}); err != nil {
		t.Fatal(err)
	}
	return &testDoor{t, d}
}

func (d *testDoor) apply(n Network) {
	d.Helper()
	n.Machines, n.Pools = slices.Clone(n.Machines), slices.Clone(n.Pools) // tests go on changing theirs
	for i := range n.Pools {
		n.Pools[i].Backends = slices.Clone(n.Pools[i].Backends)
	}
	if err := d.door.Apply(d.Context(), n); err != nil {
		d.Fatal(err)
	}
}

// network is a plan like the pool's: 10.0.0.0/16, one subnet, one front end with rules for 22 and 8000.
func (d *testDoor) network(number int) Network {
	prefix := netip.MustParsePrefix("10.0.0.0/24")
	front := netip.AddrFrom4([4]byte{10, 254, 0, byte(number)})
	ssh := &Probe{ID: "ssh", Port: 22, Interval: 200 * time.Millisecond, Failures: 2}
	rule := func(p uint16) Rule {
		return Rule{ID: fmt.Sprint("rule", p), Addr: front, Protocol: TCP, Port: p, BackendPort: p, Pool: "pool",
			Probe: ssh, Distribution: SourceIP, IdleTimeout: 30 * time.Minute}
	}
	return Network{
		ID: fmt.Sprint("net", number), Namespace: d.door.Namespace(number), Link: d.door.Link(number),
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Zone: "lido.internal",
		Subnets:   []Subnet{{Name: "machines", Link: "gw0", Prefix: prefix, Gateway: prefix.Addr().Next()}},
		FrontEnds: []FrontEnd{{Addr: front}},
		Pools:     []Pool{{ID: "pool"}},
		Rules:     []Rule{rule(22), rule(8000)},
	}
}

// machine is a namespace plugged into a subnet, with servers that say its name and their client's address.
type machine struct {
	name  string
	addr  netip.Addr
	mac   string
	space *space
	stop  []func()
}

// plug adds a machine to a plan and to its first subnet.
func (d *testDoor) plug(n *Network, name string) *machine {
	d.Helper()
	s := n.Subnets[0]
	addr := s.Prefix.Addr()
	for range 4 + len(n.Machines) {
		addr = addr.Next()
	}
	m := &machine{name: name, addr: addr, mac: fmt.Sprintf("02:1d:0a:00:00:%02x", addr.As4()[3])}
	n.Machines = append(n.Machines, Machine{Addr: addr, MAC: m.mac, Link: "m" + name, Names: []string{name}})
	n.Pools[0].Backends = append(n.Pools[0].Backends, Backend{Addr: addr})
	d.apply(*n)
	m.connect(d, n, s)
	m.serve(d, 22, 8000)
	return m
}

func (m *machine) connect(d *testDoor, n *Network, s Subnet) {
	d.Helper()
	ns := n.Namespace + "-" + m.name
	sp, err := openSpace(ns)
	if err != nil {
		d.Fatal(err)
	}
	m.space = sp
	link := "m" + m.name
	for _, args := range [][]string{
		{"-n", n.Namespace, "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", ns},
		{"-n", n.Namespace, "link", "set", link, "up"},
		{"-n", n.Namespace, "neigh", "replace", m.addr.String(), "lladdr", m.mac, "dev", link, "nud", "permanent"},
		{"-n", n.Namespace, "route", "replace", m.addr.String(), "dev", link, "src", s.Gateway.String()},
		{"-n", ns, "link", "set", "eth0", "address", m.mac, "up"},
		{"-n", ns, "link", "set", "lo", "up"},
		{"-n", ns, "addr", "add", fmt.Sprintf("%v/%d", m.addr, s.Prefix.Bits()), "dev", "eth0"},
		{"-n", ns, "route", "add", "default", "via", s.Gateway.String()},
	} {
		if err := run("ip", args...); err != nil {
			d.Fatal(err)
		}
	}
	d.Cleanup(func() { m.unplug() })
}

func (m *machine) unplug() {
	for _, f := range m.stop {
		f()
	}
	m.stop = nil
	if m.space != nil {
		m.space.close()
		removeSpace(m.space.name)
		m.space = nil
	}
}

// serve listens on ports; a client is told the machine's name, its own address, and then hears its lines again.
func (m *machine) serve(d *testDoor, ports ...int) {
	d.Helper()
	for _, port := range ports {
		l, err := listenIn(m.space, fmt.Sprintf("0.0.0.0:%d", port))
		if err != nil {
			d.Fatal(err)
		}
		m.stop = append(m.stop, func() { l.Close() })
		go greet(l, m.name)
	}
}

func listenIn(s *space, at string) (l net.Listener, err error) {
	err = s.do(func() error {
		l, err = net.Listen("tcp4", at)
		return err
	})
	return l, err
}

func greet(l net.Listener, name string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr())
			io.Copy(c, c)
		}()
	}
}

// client is where connections come from: a namespace, or the host if its name is empty.
type client struct {
	testing.TB
	ns string
}

func (c client) dial(from, to string) (net.Conn, error) {
	var conn net.Conn
	dial := func() (err error) {
		dialer := net.Dialer{Timeout: 2 * time.Second}
		if from != "" {
			dialer.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
		}
		conn, err = dialer.Dial("tcp4", to)
		return err
	}
	if c.ns == "" {
		return conn, dial()
	}
	s, err := openSpace(c.ns)
	if err != nil {
		return nil, err
	}
	defer s.close()
	err = s.do(dial)
	return conn, err
}

// ask connects and returns the machine's name and the address that it saw.
func (c client) ask(from, to string) (name, seen string, err error) {
	conn, err := c.dial(from, to)
	if err != nil {
		return "", "", err
	}
	defer conn.Close()
	return hello(conn)
}

func hello(conn net.Conn) (name, seen string, err error) {
	conn.SetReadDeadline(time.Now().Add(2 * time.Second))
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", "", err
	}
	name, addr, _ := strings.Cut(strings.TrimSpace(line), " ")
	host, _, _ := net.SplitHostPort(addr)
	return name, host, nil
}

// must is ask, failing the test if it does not work.
func (c client) must(from, to string) (name, seen string) {
	c.Helper()
	name, seen, err := c.ask(from, to)
	if err != nil {
		c.Fatalf("from %s to %s: %v", c.ns, to, err)
	}
	return name, seen
}

// refused fails the test if a connection comes about; it returns how long being refused took.
func (c client) refused(to string) time.Duration {
	c.Helper()
	start := time.Now()
	name, _, err := c.ask("", to)
	if err == nil {
		c.Fatalf("from %s to %s: reached %s", c.ns, to, name)
	}
	return time.Since(start)
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for start := time.Now(); time.Since(start) < 5*time.Second; time.Sleep(10 * time.Millisecond) {
		if f() {
			return
		}
	}
	t.Fatal("not within 5 s: " + what)
}

// healthy waits until all of a network's backends are.
func (d *testDoor) healthy(n Network) {
	d.Helper()
	eventually(d, "all machines healthy", func() bool {
		s, err := d.door.Status(n.Namespace)
		if err != nil {
			d.Fatal(err)
		}
		for _, b := range s.Backends {
			if !b.Healthy["ssh"] || b.Slots == 0 {
				return false
			}
		}
		return len(s.Backends) > 0
	})
}
