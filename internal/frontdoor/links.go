package frontdoor

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// transitRange is where transit links get their addresses: set aside for carriers, so rarely in use in an office.
var transitRange = netip.MustParsePrefix("100.64.0.0/10")

// transit is the link between the host and a namespace: the host's address, then the namespace's.
type transit struct{ host, inside netip.Addr }

// linkUp makes the transit link if need be and returns its addresses. It runs in the host's namespace.
func linkUp(n *Network, s *space) (transit, error) {
	link, err := netlink.LinkByName(n.Link)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: linkAttrs(n.Link), PeerName: uplink, PeerNamespace: netlink.NsFd(s.fd)})
		if err == nil {
			link, err = netlink.LinkByName(n.Link)
		}
	}
	if err != nil {
		return transit{}, fmt.Errorf("transit link %s: %w", n.Link, err)
	}
	t, err := transitOf(n, link)
	if err != nil {
		return t, err
	}
	if err := ensureAddrs(link, []netip.Prefix{netip.PrefixFrom(t.host, 31)}); err != nil {
		return t, err
	}
	return t, netlink.LinkSetUp(link)
}

func linkAttrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// transitOf is what the plan says, or what the link has, or a free pair.
func transitOf(n *Network, link netlink.Link) (transit, error) {
	if n.Transit.IsValid() {
		return pairOf(n.Transit.Masked().Addr()), nil
	}
	have, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return transit{}, fmt.Errorf("addresses of %s: %w", n.Link, err)
	}
	for _, a := range have {
		if p := prefixOf(a.IPNet); p.Bits() == 31 && transitRange.Contains(p.Addr()) {
			return pairOf(p.Masked().Addr()), nil
		}
	}
	return freeTransit(n.Namespace)
}

func pairOf(first netip.Addr) transit { return transit{host: first, inside: first.Next()} }

// freeTransit picks a pair that no route of the host covers more closely than the default route, starting at a place
// that depends on the name.
func freeTransit(name string) (transit, error) {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{}, 0)
	if err != nil {
		return transit{}, fmt.Errorf("list routes: %w", err)
	}
	var taken []netip.Prefix
	for _, r := range routes {
		if p := prefixOf(r.Dst); p.IsValid() && p.Bits() > 0 {
			taken = append(taken, p)
		}
	}
	h := sha256.Sum256([]byte(name))
	start := uint32(h[0])<<16 | uint32(h[1])<<8 | uint32(h[2])
	for i := range uint32(1 << 16) {
		first := transitAddr((start + i*7919) & (1<<21 - 1))
		pair := netip.PrefixFrom(first, 31)
		if !slices.ContainsFunc(taken, pair.Overlaps) {
			return pairOf(first), nil
		}
	}
	return transit{}, fmt.Errorf("no free address pair in %v for the transit link; the host routes all of it elsewhere", transitRange)
}

// transitAddr is the first address of the i-th /31 of the transit range.
func transitAddr(i uint32) netip.Addr {
	a := transitRange.Addr().As4()
	n := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	n += i * 2
	return netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)})
}

func prefixOf(n *net.IPNet) netip.Prefix {
	if n == nil {
		return netip.Prefix{}
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	if !ok {
		return netip.Prefix{}
	}
	return netip.PrefixFrom(a.Unmap(), ones)
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: net.IP(p.Addr().AsSlice()), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// ensureAddrs makes a link's IPv4 addresses exactly these.
func ensureAddrs(link netlink.Link, want []netip.Prefix) error {
	have, err := netlink.AddrList(link, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", link.Attrs().Name, err)
	}
	var there []netip.Prefix
	for _, a := range have {
		p := prefixOf(a.IPNet)
		there = append(there, p)
		if !slices.Contains(want, p) {
			if err := netlink.AddrDel(link, &a); err != nil {
				return fmt.Errorf("take %v from %s: %w", p, link.Attrs().Name, err)
			}
		}
	}
	for _, p := range want {
		if slices.Contains(there, p) {
			continue
		}
		if err := netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(p)}); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("give %v to %s: %w", p, link.Attrs().Name, err)
		}
	}
	return nil
}

// inside makes the links, addresses and routes of the namespace; to be called inside it.
func inside(n *Network, t transit) error {
	if err := setSysctls(); err != nil {
		return err
	}
	if err := loopbackUp(n); err != nil {
		return err
	}
	if err := uplinkUp(t); err != nil {
		return err
	}
	if err := holes(n); err != nil {
		return err
	}
	links, err := netlink.LinkList()
	if err != nil {
		return fmt.Errorf("list links: %w", err)
	}
	if err := gatewaysUp(n, links); err != nil {
		return err
	}
	return ways(n, links)
}

// loopbackUp gives lo the internal front ends' addresses, so that ARP for them is answered.
func loopbackUp(n *Network) error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	addrs := []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}
	for _, f := range n.FrontEnds {
		if f.Internal {
			addrs = append(addrs, netip.PrefixFrom(f.Addr, 32))
		}
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		return fmt.Errorf("loopback: %w", err)
	}
	return ensureAddrs(lo, addrs)
}

// holes lets what comes to a public front end and is not translated vanish. Were the addresses the namespace's own,
// it would reset every session whenever somebody flushes the rules.
func holes(n *Network) error {
	have, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Type: unix.RTN_BLACKHOLE}, netlink.RT_FILTER_TYPE)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	want := map[netip.Prefix]bool{}
	for _, f := range n.FrontEnds {
		if !f.Internal {
			want[netip.PrefixFrom(f.Addr, 32)] = true
		}
	}
	for _, r := range have {
		if p := prefixOf(r.Dst); want[p] {
			delete(want, p)
		} else if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("remove route to %v: %w", p, err)
		}
	}
	for p := range want {
		if err := netlink.RouteReplace(&netlink.Route{Dst: ipNet(p), Type: unix.RTN_BLACKHOLE}); err != nil {
			return fmt.Errorf("route to %v: %w", p, err)
		}
	}
	return nil
}

func uplinkUp(t transit) error {
	up, err := netlink.LinkByName(uplink)
	if err != nil {
		return fmt.Errorf("link %s: %w", uplink, err)
	}
	if err := ensureAddrs(up, []netip.Prefix{netip.PrefixFrom(t.inside, 31)}); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(up); err != nil {
		return fmt.Errorf("link %s: %w", uplink, err)
	}
	for _, name := range []string{"rp_filter", "proxy_arp"} { // meant for machines' links
		if err := setSysctl("net/ipv4/conf/"+uplink+"/"+name, "0"); err != nil {
			return err
		}
	}
	all := &net.IPNet{IP: net.IPv4zero.To4(), Mask: net.CIDRMask(0, 32)}
	err = netlink.RouteReplace(&netlink.Route{LinkIndex: up.Attrs().Index, Dst: all, Gw: t.host.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
	if err != nil {
		return fmt.Errorf("default route: %w", err)
	}
	return nil
}

func gatewaysUp(n *Network, links []netlink.Link) error {
	for _, l := range links {
		wanted := slices.ContainsFunc(n.Subnets, func(s Subnet) bool { return s.Link == l.Attrs().Name })
		if l.Type() == "bridge" && !wanted {
			if err := netlink.LinkDel(l); err != nil {
				return fmt.Errorf("remove gateway %s: %w", l.Attrs().Name, err)
			}
		}
	}
	for _, s := range n.Subnets {
		if err := gatewayUp(n, s); err != nil {
			return fmt.Errorf("subnet %q: %w", s.Name, err)
		}
	}
	return nil
}

// gatewayUp makes the link that has the subnet's gateway address: a bridge that never has a port, so nothing leaves by it.
func gatewayUp(n *Network, s Subnet) error {
	br, err := netlink.LinkByName(s.Link)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		attrs := linkAttrs(s.Link)
		if err = netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs}); err == nil {
			br, err = netlink.LinkByName(s.Link)
		}
	}
	if err != nil {
		return fmt.Errorf("gateway %s: %w", s.Link, err)
	}
	if err := ensureAddrs(br, []netip.Prefix{netip.PrefixFrom(s.Gateway, s.Prefix.Bits())}); err != nil {
		return err
	}
	if err := netlink.LinkSetUp(br); err != nil {
		return fmt.Errorf("gateway %s: %w", s.Link, err)
	}
	return neighbours(n, s, br)
}

// neighbours lets packets to machines whose link isn't there vanish, as if the machine were silent. Without an entry
// clients were told that there is no such host, and would give up on a machine that is about to start.
func neighbours(n *Network, s Subnet, br netlink.Link) error {
	want := map[netip.Addr]net.HardwareAddr{}
	for _, m := range n.Machines {
		if hw := hardwareAddr(m.MAC); hw != nil && s.Prefix.Contains(m.Addr) {
			want[m.Addr] = hw
		}
	}
	have, err := netlink.NeighList(br.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("neighbours: %w", err)
	}
	for _, e := range have {
		a, _ := netip.AddrFromSlice(e.IP)
		if hw, ok := want[a.Unmap()]; ok && e.State == netlink.NUD_PERMANENT && slices.Equal(hw, e.HardwareAddr) {
			delete(want, a.Unmap())
		} else if !ok && e.State == netlink.NUD_PERMANENT {
			if err := netlink.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
				return fmt.Errorf("forget neighbour %v: %w", a, err)
			}
		}
	}
	for a, hw := range want {
		if err := setNeighbour(br, a, hw); err != nil {
			return fmt.Errorf("neighbour %v: %w", a, err)
		}
	}
	return nil
}

// setNeighbour says for good which hardware address an address over a link has.
func setNeighbour(link netlink.Link, a netip.Addr, hw net.HardwareAddr) error {
	return netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT,
		IP: a.AsSlice(), HardwareAddr: hw})
}

func hardwareAddr(mac string) net.HardwareAddr {
	hw, err := net.ParseMAC(mac)
	if err != nil || len(hw) != 6 {
		return nil
	}
	return hw
}

// hostRoutes makes the host's routes over a transit link lead to exactly the public front ends.
func hostRoutes(n *Network, t transit) error {
	link, err := netlink.LinkByName(n.Link)
	if err != nil {
		return fmt.Errorf("transit link %s: %w", n.Link, err)
	}
	want := map[netip.Prefix]bool{}
	for _, f := range n.FrontEnds {
		if !f.Internal {
			want[netip.PrefixFrom(f.Addr, 32)] = true
		}
	}
	have, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{LinkIndex: link.Attrs().Index},
		netlink.RT_FILTER_OIF)
	if err != nil {
		return fmt.Errorf("routes of %s: %w", n.Link, err)
	}
	for _, r := range have {
		if p := prefixOf(r.Dst); r.Gw != nil && !want[p] {
			if err := netlink.RouteDel(&r); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("remove route to %v: %w", p, err)
			}
		}
	}
	for p := range want {
		err := netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(p),
			Gw: t.inside.AsSlice(), Src: t.host.AsSlice(), Flags: int(netlink.FLAG_ONLINK)})
		if err != nil {
			return fmt.Errorf("route to %v: %w", p, err)
		}
	}
	return nil
}
