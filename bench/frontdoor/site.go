package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"lido.dev/lido/internal/frontdoor"
)

// front is the address that clients connect to, but for those without a balancer.
const front = "10.254.0.1"

// backend is the machine's address.
const backend = "10.0.0.4"

// site is one peer's own world: a client, a host that routes (and balances), a machine behind its bridge.
type site struct {
	name                  string
	client, host, machine string // namespaces; host is empty where it is the program's own
	target                string
	procs                 []*exec.Cmd
	closers               []func()
}

// peers in the order they are measured. "dnat" and "haproxy" balance on the host itself; "dnat-ns" is plain DNAT in a
// namespace behind the host, as lido has one for each virtual network.
var peers = []struct {
	name  string
	setUp func(context.Context, *site) error
}{
	{"none", setUpNone}, {"dnat", setUpDNAT}, {"dnat-ns", setUpDNATInNamespace}, {"haproxy", setUpHAProxy}, {"lido", setUpLido},
}

func peerNames() []string {
	var out []string
	for _, p := range peers {
		out = append(out, p.name)
	}
	return out
}

func newSite(ctx context.Context, name string) (*site, error) {
	s := &site{name: name, client: "client-" + name, host: "host-" + name, machine: "machine-" + name, target: front}
	for _, p := range peers {
		if p.name != name {
			continue
		}
		if name == "lido" {
			s.host = ""
		}
		if err := s.makeClient(); err != nil {
			return nil, err
		}
		if err := p.setUp(ctx, s); err != nil {
			s.close()
			return nil, err
		}
		return s, s.serve()
	}
	return nil, fmt.Errorf("no such peer; there are %s", strings.Join(peerNames(), ", "))
}

// makeClient makes the client's and the host's namespaces, and the link between them. The client has 64 addresses.
func (s *site) makeClient() error {
	lines := []string{"ip netns add " + s.client, "ip netns add " + s.machine}
	here := ""
	if s.host != "" {
		lines = append(lines, "ip netns add "+s.host)
		here = " netns " + s.host
	}
	lines = append(lines, "ip link add lan"+here+" type veth peer name eth0 netns "+s.client)
	if err := script("", lines...); err != nil {
		return err
	}
	if err := script(s.host, "ip link set lo up", "ip addr add 172.20.0.1/16 dev lan", "ip link set lan up",
		"sysctl -qw net.ipv4.ip_forward=1"); err != nil {
		return err
	}
	lines = []string{"ip link set lo up", "ip link set eth0 up"}
	for i := range 64 {
		lines = append(lines, "ip addr add "+clientAddress(i)+"/16 dev eth0")
	}
	return script(s.client, append(lines, "ip route add default via 172.20.0.1")...)
}

func clientAddress(i int) string { return fmt.Sprintf("172.20.1.%d", 1+i) }

// onBridge and routed are ways to connect a machine's link, m0: as most hosts do, and as lido does.
const (
	onBridge = "ip link set m0 master br0"
	routed   = "ip neigh add " + backend + " lladdr " + machineMAC + " dev m0; ip route add " + backend + " dev m0 src 10.0.0.1"
)

// plugMachine connects the machine's namespace to another.
func (s *site) plugMachine(into, how string) error {
	if err := script(into, "ip link add m0 type veth peer name eth0 netns "+s.machine, "ip link set m0 up", how); err != nil {
		return err
	}
	return script(s.machine, "ip link set lo up", "ip link set eth0 address "+machineMAC+" up", "ip addr add "+backend+"/24 dev eth0",
		"ip route add default via 10.0.0.1")
}

const machineMAC = "02:1d:0a:00:00:04"

func (s *site) flat() error {
	if err := script(s.host, "ip link add br0 type bridge", "ip addr add 10.0.0.1/24 dev br0", "ip link set br0 up"); err != nil {
		return err
	}
	return s.plugMachine(s.host, onBridge)
}

func setUpNone(_ context.Context, s *site) error {
	s.target = backend
	return s.flat()
}

const plainDNAT = `nft 'add table ip plain; add chain ip plain pre { type nat hook prerouting priority dstnat; }; add rule ip plain pre ip daddr ` + front + ` dnat to ` + backend + `'`

func setUpDNAT(_ context.Context, s *site) error {
	if err := s.flat(); err != nil {
		return err
	}
	return script(s.host, plainDNAT)
}

func setUpDNATInNamespace(_ context.Context, s *site) error {
	ns := "net-" + s.name
	if err := script("", "ip netns add "+ns); err != nil {
		return err
	}
	if err := script(s.host, "ip link add transit type veth peer name up0 netns "+ns, "ip addr add 100.64.0.0/31 dev transit",
		"ip link set transit up", "ip route add "+front+" via 100.64.0.1"); err != nil {
		return err
	}
	if err := script(ns, "ip link set lo up", "ip addr add 100.64.0.1/31 dev up0", "ip link set up0 up", "ip route add default via 100.64.0.0",
		"sysctl -qw net.ipv4.ip_forward=1", "ip link add br0 type bridge", "ip addr add 10.0.0.1/24 dev br0", "ip link set br0 up", plainDNAT); err != nil {
		return err
	}
	return s.plugMachine(ns, onBridge)
}

const haproxyConfig = `
global
  maxconn 4000
defaults
  mode tcp
  timeout connect 10s
  timeout client 1m
  timeout server 1m
listen short
  bind ` + front + `:22
  server m ` + backend + `:22
listen bulk
  bind ` + front + `:23
  server m ` + backend + `:23
listen echo
  bind ` + front + `:24
  server m ` + backend + `:24
`

func setUpHAProxy(_ context.Context, s *site) error {
	if err := s.flat(); err != nil {
		return err
	}
	if err := script(s.host, "ip addr add "+front+"/32 dev lo"); err != nil {
		return err
	}
	f, err := os.CreateTemp("", "lido-bench-*.cfg")
	if err != nil {
		return err
	}
	s.closers = append(s.closers, func() { os.Remove(f.Name()) })
	if _, err := f.WriteString(haproxyConfig); err != nil {
		return err
	}
	f.Close()
	return s.start(s.host, nil, "haproxy", "-db", "-q", "-f", f.Name())
}

func setUpLido(ctx context.Context, s *site) error {
	door := frontdoor.New("bench1", frontdoor.Options{})
	s.closers = append(s.closers, door.Close)
	if err := door.ApplyHost(ctx, frontdoor.Host{}); err != nil {
		return err
	}
	n := lidoPlan(door)
	if err := door.Apply(ctx, n); err != nil {
		return err
	}
	return s.plugMachine(n.Namespace, routed)
}

// lidoPlan is a network as the pool's template makes it.
func lidoPlan(door *frontdoor.Door) frontdoor.Network {
	address, machine := netip.MustParseAddr(front), netip.MustParseAddr(backend)
	prefix := netip.MustParsePrefix("10.0.0.0/24")
	n := frontdoor.Network{
		ID: "bench", Namespace: door.Namespace(1), Link: door.Link(1), Prefixes: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}, Zone: "lido.internal",
		Subnets:   []frontdoor.Subnet{{Name: "machines", Link: "gw0", Prefix: prefix, Gateway: prefix.Addr().Next()}},
		Machines:  []frontdoor.Machine{{Addr: machine, MAC: machineMAC, Link: "m0", Names: []string{"m"}}},
		FrontEnds: []frontdoor.FrontEnd{{Addr: address}},
		Pools:     []frontdoor.Pool{{ID: "pool", Backends: []frontdoor.Backend{{Addr: machine}}}},
	}
	for _, port := range []uint16{22, 23, 24} {
		n.Rules = append(n.Rules, frontdoor.Rule{ID: fmt.Sprint("rule", port), Addr: address, Protocol: frontdoor.TCP, Port: port, BackendPort: port,
			Pool: "pool", Distribution: frontdoor.SourceIP, IdleTimeout: 4 * time.Minute})
	}
	return n
}

// serve starts the machine's servers.
func (s *site) serve() error {
	if err := s.start(s.machine, []string{insideEnv + "=serve"}, "/proc/self/exe"); err != nil {
		return err
	}
	var err error
	for range 100 {
		if _, err = s.load(context.Background(), "idle", 0.01, 0); err == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	return fmt.Errorf("the machine does not answer: %w", err)
}

func (s *site) start(ns string, env []string, args ...string) error {
	cmd := in(context.Background(), ns, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s.procs = append(s.procs, cmd)
	return cmd.Start()
}

func (s *site) close() {
	for _, p := range s.procs {
		if p.Process != nil {
			p.Process.Kill()
			p.Wait()
		}
	}
	for _, f := range s.closers {
		f()
	}
}

// in returns a command that runs in a namespace, or in the program's own if that is empty.
func in(ctx context.Context, ns string, args ...string) *exec.Cmd {
	if args[0] == "/proc/self/exe" {
		if exe, err := os.Executable(); err == nil {
			args[0] = exe
		}
	}
	if ns != "" {
		args = append([]string{"ip", "netns", "exec", ns}, args...)
	}
	return exec.CommandContext(ctx, args[0], args[1:]...)
}

// script runs shell lines in a namespace.
func script(ns string, lines ...string) error {
	text := "set -e\n" + strings.Join(lines, "\n")
	out, err := in(context.Background(), ns, "sh", "-c", text).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s\n%s", err, out, text)
	}
	return nil
}
