package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
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
	APIPorts []uint16 // TCP ports of the host itself that machines may reach; all others are refused to them
	ProxyARP []string // links of the host on which it answers ARP for public front ends, as if they were neighbours
}

// Publish makes a port of the host lead to a front end's: for a box with one address.
type Publish struct {
	Listen   netip.AddrPort // an unspecified address means every one of the host's
	To       netip.AddrPort
	Protocol Protocol
}

// hostTable is the table of what all networks share.
func (d *Door) hostTable(h Host) *ruleset {
	links := "ld" + d.tag + "*"
	r := &ruleset{family: nftables.TableFamilyIPv4, name: "lido_" + d.tag}
	pre := base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept)
	out := base("output", nftables.ChainTypeNAT, nftables.ChainHookOutput, nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept)
	for _, p := range h.Publish {
		text := fmt.Sprintf("publish %v to %v", p.Listen, p.To)
		pre.add(text, publishMatch(p), publishTo(p))
		out.add(text, publishMatch(p), publishTo(p))
	}
	post := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	post.add("machines to the world", matchLink(expr.MetaKeyIIFNAME, links), notLink(expr.MetaKeyOIFNAME, links), masquerade())
	post.add("published on loopback", matchPrefix(offSource, netip.MustParsePrefix("127.0.0.0/8")),
		matchLink(expr.MetaKeyOIFNAME, links), masquerade())
	r.chains = []*chain{pre, out, post, hostInput(links, h)}
	return r
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
	r := &ruleset{family: nftables.TableFamilyIPv4, name: hostTableName(n.Link)}
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
	c := base("timeouts", nftables.ChainTypeFilter, nftables.ChainHookPrerouting, nftables.ChainPriorityMangle, nftables.ChainPolicyAccept)
	for _, f := range n.FrontEnds {
		if !f.Internal {
			c.add("to a front end", matchProtocol(TCP), matchPrefix(offDestination, netip.PrefixFrom(f.Addr, 32)),
				matchState(expr.CtStateBitNEW), exprs(&expr.Objref{Type: unix.NFT_OBJECT_CT_TIMEOUT, Name: name}))
		}
	}
	return c
}

func hostTableName(link string) string { return "lido_" + strings.TrimPrefix(link, "ld") }

// proxyARP makes the host answer for public front ends on the links that Host.ProxyARP names.
func proxyARP(n *Network, links []string) error {
	for _, name := range links {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("proxy ARP on %s: %w", name, err)
		}
		for _, f := range n.FrontEnds {
			if f.Internal {
				continue
			}
			err := netlink.NeighSet(&netlink.Neigh{LinkIndex: link.Attrs().Index, Family: netlink.FAMILY_V4,
				Flags: netlink.NTF_PROXY, IP: f.Addr.AsSlice()})
			if err != nil {
				return fmt.Errorf("proxy ARP for %v on %s: %w", f.Addr, name, err)
			}
		}
	}
	return nil
}

// answerDocker lets lido's traffic through Docker's forward policy (drop) by the chain Docker keeps for that purpose.
// Without Docker it does nothing.
func (d *Door) answerDocker(ctx context.Context) error {
	tool, err := exec.LookPath("iptables")
	if err != nil {
		return nil
	}
	if exec.CommandContext(ctx, tool, "-w", "-n", "-L", "DOCKER-USER").Run() != nil {
		return nil
	}
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

// Obstacle is something on the host that keeps packets from lido's networks, with what to do about it.
type Obstacle struct{ What, Remedy string }

// Obstacles looks for other tools' firewalls that drop what is forwarded. Rules of ours can't overrule a drop there.
func Obstacles() ([]Obstacle, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil, fmt.Errorf("list nftables chains: %w", err)
	}
	var out []Obstacle
	for _, ch := range chains {
		forward := ch.Hooknum != nil && *ch.Hooknum == *nftables.ChainHookForward && ch.Type == nftables.ChainTypeFilter
		if !forward || ch.Policy == nil || *ch.Policy != nftables.ChainPolicyDrop || strings.HasPrefix(ch.Table.Name, "lido") {
			continue
		}
		if hasChain(chains, ch.Table, "DOCKER-USER") {
			continue
		}
		out = append(out, Obstacle{
			What: fmt.Sprintf("the chain %q of the firewall table %q drops forwarded packets by default", ch.Name, ch.Table.Name),
			Remedy: "let packets from and to links named ld* through, for example: " +
				"iptables -I FORWARD -i ld+ -j ACCEPT; iptables -I FORWARD -o ld+ -j ACCEPT " +
				"(ufw: DEFAULT_FORWARD_POLICY=ACCEPT or the same lines in before.rules; firewalld: put ld* into the trusted zone)",
		})
	}
	return out, nil
}

func hasChain(chains []*nftables.Chain, t *nftables.Table, name string) bool {
	for _, c := range chains {
		if c.Name == name && c.Table.Name == t.Name && c.Table.Family == t.Family {
			return true
		}
	}
	return false
}
