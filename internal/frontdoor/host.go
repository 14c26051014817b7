package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Host is what the networks of one lido share on the host's side.
type Host struct {
	Publish  []Publish
	APIPorts []uint16       // TCP ports of the host itself that machines may reach; all others are refused to them
	ProxyARP []string       // links of the host on which it answers ARP for public front ends, as if they were neighbours
	Public   []netip.Prefix // where public front ends' addresses come from
}

// Publish makes a port of the host lead to a front end's: for a box with one address.
type Publish struct {
	Listen   netip.AddrPort // an unspecified address means every one of the host's
	To       netip.AddrPort
	Protocol Protocol
}

// hostTable is the table of what all networks share.
func (d *Door) hostTable(h Host, f face) *ruleset {
	links := "ld" + d.tag + "*"
	r := &ruleset{name: "lido_" + d.tag}
	pre := base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept)
	out := base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept)
	for _, p := range h.Publish {
		text := fmt.Sprintf("publish %v to %v", p.Listen, p.To)
		pre.add(text, publishMatch(p), publishTo(p))
		out.add(text, publishMatch(p), publishTo(p))
	}
	post := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	post.add("from front ends, also if the connection is new to the host", exprs(loadIP(offSource, reg1), inSet("balanced", reg1)), accept())
	post.add("machines to the world", matchLink(expr.MetaKeyIIFNAME, links), notLink(expr.MetaKeyOIFNAME, links), masquerade())
	post.add("published on loopback", matchPrefix(offSource, netip.MustParsePrefix("127.0.0.0/8")),
		matchLink(expr.MetaKeyOIFNAME, links), masquerade())
	r.chains = append([]*chain{pre, out, post, hostInput(links, h)}, untracked(r, h, f)...)
	return r
}

// untracked keeps the host from tracking connections to front ends: the network's own namespace does, and doing it
// twice costs a sixth of what a short connection takes. Tracked remain those that the host translates or ends itself:
// what is published, clients within a network's prefix, and the host's own.
func untracked(r *ruleset, h Host, f face) []*chain {
	balanced := &set{spec: nftables.Set{Name: "balanced", KeyType: nftables.TypeIPAddr}}
	for _, a := range f.balanced {
		balanced.elements = append(balanced.elements, key(ip4(a)))
	}
	r.sets = append(r.sets, balanced)
	c := base("untracked", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityRaw, nftables.ChainPolicyAccept)
	in, out := &chain{spec: nftables.Chain{Name: "inward"}}, &chain{spec: nftables.Chain{Name: "outward"}}
	c.add("to front ends", exprs(loadIP(offDestination, reg1), inSet("balanced", reg1)), goTo(in.spec.Name))
	c.add("from front ends", exprs(loadIP(offSource, reg1), inSet("balanced", reg1)), goTo(out.spec.Name))
	for _, p := range h.Publish {
		only := PortRange{p.To.Port(), p.To.Port()}
		to := netip.PrefixFrom(p.To.Addr(), 32)
		text := fmt.Sprintf("published %v", p.To)
		in.add(text, matchPrefix(offDestination, to), matchProtocol(p.Protocol), matchPorts(2, only), accept())
		out.add(text, matchPrefix(offSource, to), matchProtocol(p.Protocol), matchPorts(0, only), accept())
	}
	for _, p := range f.prefixes {
		in.add("clients within a network's prefix", matchPrefix(offSource, p), accept())
	}
	in.add("the rest", exprs(&expr.Notrack{}))
	out.add("but to the host itself", notLocal(), exprs(&expr.Notrack{}))
	return []*chain{c, in, out}
}

// hostInput is what machines may reach of the host itself.
func hostInput(links string, h Host) *chain {
	c := base("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter, nftables.ChainPolicyAccept)
	from := matchLink(expr.MetaKeyIIFNAME, links)
	c.add("replies", from, matchState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
	for _, p := range h.APIPorts {
		c.add("API", from, matchProtocol(TCP), matchPorts(2, PortRange{p, p}), accept())
	}
	c.add("nothing else of the host", from, refuse())
	return c
}

func publishMatch(p Publish) []expr.Any {
	at := matchLocal()
	if !p.Listen.Addr().IsUnspecified() {
		at = matchPrefix(offDestination, netip.PrefixFrom(p.Listen.Addr(), 32))
	}
	at = append(at, matchProtocol(p.Protocol)...)
	return append(at, matchPorts(2, PortRange{p.Listen.Port(), p.Listen.Port()})...)
}

func publishTo(p Publish) []expr.Any {
	return exprs(&expr.Immediate{Register: reg1, Data: ip4(p.To.Addr())},
		&expr.Immediate{Register: reg2, Data: port(p.To.Port())}, dnat(true))
}

// networkHostTable is the table of one network on the host. A client whose address lies within the network's prefixes
// could not be answered from inside, so it is given the host's address on the transit link.
func networkHostTable(n *Network) *ruleset {
	r := &ruleset{name: hostTableName(n.Link)}
	post := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	for _, p := range n.Prefixes {
		post.add("client within the network's own prefix", matchLink(expr.MetaKeyOIFNAME, n.Link), matchPrefix(offSource, p), masquerade())
	}
	r.chains = []*chain{post, forgetSoon(r, n)}
	return r
}

// forgetSoon keeps the host from remembering closed connections to front ends for the kernel's two minutes: a client
// that comes back to the same port by then would stall.
func forgetSoon(r *ruleset, n *Network) *chain {
	const name, fiveDays = "short", 5 * 24 * time.Hour
	r.objects = []*nftables.NamedObj{{Name: name, Type: nftables.ObjTypeCtTimeout, Obj: timeoutPolicy(TCP, fiveDays)}}
	before := nftables.ChainPriorityRef(*nftables.ChainPriorityNATDest - 1)
	c := base("timeouts", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, before, nftables.ChainPolicyAccept)
	for _, f := range n.FrontEnds {
		if !f.Internal {
			c.add("to a front end", matchProtocol(TCP), matchPrefix(offDestination, netip.PrefixFrom(f.Addr, 32)),
				exprs(&expr.Objref{Type: unix.NFT_OBJECT_CT_TIMEOUT, Name: name}))
		}
	}
	return c
}

func hostTableName(link string) string { return "lido_" + strings.TrimPrefix(link, "ld") }

// proxyARP makes the host answer for exactly these addresses, of those in h.Public, on the links that h.ProxyARP names.
func proxyARP(h Host, fronts []netip.Addr) error {
	for _, name := range h.ProxyARP {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("answer ARP on %s: %w", name, err)
		}
		if err := proxyOn(link, h.Public, fronts); err != nil {
			return fmt.Errorf("answer ARP on %s: %w", name, err)
		}
	}
	return nil
}

func proxyOn(link netlink.Link, public []netip.Prefix, fronts []netip.Addr) error {
	entry := func(a netip.Addr) *netlink.Neigh {
		return &netlink.Neigh{LinkIndex: link.Attrs().Index, Family: netlink.FAMILY_V4, Flags: netlink.NTF_PROXY, IP: a.AsSlice()}
	}
	have, err := netlink.NeighProxyList(link.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, e := range have {
		a, _ := netip.AddrFromSlice(e.IP)
		ours := slices.ContainsFunc(public, func(p netip.Prefix) bool { return p.Contains(a.Unmap()) })
		if ours && !slices.Contains(fronts, a.Unmap()) {
			if err := netlink.NeighDel(entry(a.Unmap())); err != nil && !errors.Is(err, unix.ENOENT) {
				return err
			}
		}
	}
	for _, a := range fronts {
		if err := netlink.NeighSet(entry(a)); err != nil {
			return err
		}
	}
	return nil
}

// forgetProxies stops answering ARP for the front ends behind a transit link.
func forgetProxies(transit netlink.Link) error {
	routes, err := netlink.RouteList(transit, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("routes of %s: %w", transit.Attrs().Name, err)
	}
	entries, err := netlink.NeighProxyList(0, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("proxy ARP entries: %w", err)
	}
	for _, e := range entries {
		behind := func(r netlink.Route) bool { return r.Gw != nil && r.Dst != nil && r.Dst.IP.Equal(e.IP) }
		if !slices.ContainsFunc(routes, behind) {
			continue
		}
		if err := netlink.NeighDel(&e); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("proxy ARP for %v: %w", e.IP, err)
		}
	}
	return nil
}

// HasDocker tells whether Docker's chain for the rules of others is there.
func HasDocker(ctx context.Context) bool {
	return exec.CommandContext(ctx, "iptables", "-w", "-n", "-L", "DOCKER-USER").Run() == nil
}

// answerDocker lets lido's traffic through Docker's forward policy (drop) by the chain Docker keeps for that purpose.
// Without Docker it does nothing.
func (d *Door) answerDocker(ctx context.Context) error {
	if !HasDocker(ctx) {
		return nil
	}
	const tool = "iptables"
	links := "ld" + d.tag + "+"
	var errs []error
	for _, side := range []string{"-i", "-o"} {
		rule := []string{"DOCKER-USER", side, links, "-j", "ACCEPT"}
		if exec.CommandContext(ctx, tool, append([]string{"-w", "-C"}, rule...)...).Run() == nil {
			continue
		}
		out, err := exec.CommandContext(ctx, tool, append([]string{"-w", "-I"}, rule...)...).CombinedOutput()
		if err != nil {
			errs = append(errs, fmt.Errorf("let lido's traffic through Docker's firewall: %w: %s", err, out))
		}
	}
	return errors.Join(errs...)
}

// forgetDocker takes back what answerDocker did.
func (d *Door) forgetDocker(ctx context.Context) {
	tool, err := exec.LookPath("iptables")
	if err != nil {
		return
	}
	for _, side := range []string{"-i", "-o"} {
		_ = exec.CommandContext(ctx, tool, "-w", "-D", "DOCKER-USER", side, "ld"+d.tag+"+", "-j", "ACCEPT").Run()
	}
}
