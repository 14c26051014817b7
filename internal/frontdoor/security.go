package frontdoor

import (
	"net/netip"
	"slices"
	"sort"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
)

// groupMaps maps a machine's address to the chain of its interface's security group, out and in.
func groupMaps(n *Network) (out, in *set) {
	out = mapOf("nic_out", nftables.TypeIPAddr, nftables.TypeVerdict)
	in = mapOf("nic_in", nftables.TypeIPAddr, nftables.TypeVerdict)
	for _, m := range n.Machines {
		if m.Group != "" {
			out.elements = append(out.elements, jumpTo(groupChain(m.Group, true), ip4(m.Addr)))
			in.elements = append(in.elements, jumpTo(groupChain(m.Group, false), ip4(m.Addr)))
		}
	}
	return out, in
}

func groupChain(id string, outbound bool) string {
	if outbound {
		return "sg_" + shortHash(id) + "_out"
	}
	return "sg_" + shortHash(id) + "_in"
}

// groupJumps passes a new connection through the groups it must satisfy, in Azure's order: leaving, the interface's
// and then the subnet's; arriving, the subnet's and then the interface's.
func groupJumps(n *Network) []rule {
	c := &chain{}
	inside := notLink(expr.MetaKeyIIFNAME, uplink)
	c.add("leaving", inside, exprs(loadIP(offSource, reg1), verdictOf("nic_out", reg1)))
	for _, s := range n.Subnets {
		if s.Group != "" {
			c.add("leaving "+s.Name, inside, matchPrefix(offSource, s.Prefix), jump(groupChain(s.Group, true)))
		}
	}
	return append(c.rules, inwardJumps(n)...)
}

func inwardJumps(n *Network) []rule {
	c := &chain{}
	inside := notLink(expr.MetaKeyOIFNAME, uplink)
	for _, s := range n.Subnets {
		if s.Group != "" {
			c.add("arriving "+s.Name, inside, matchPrefix(offDestination, s.Prefix), jump(groupChain(s.Group, false)))
		}
	}
	c.add("arriving", inside, exprs(loadIP(offDestination, reg1), verdictOf("nic_in", reg1)))
	return c.rules
}

// groupChains has two chains per group. Allow returns, so that the next group is asked as well; deny drops.
func groupChains(n *Network) []*chain {
	var out []*chain
	for _, g := range n.Groups {
		for _, outbound := range []bool{true, false} {
			c := &chain{spec: nftables.Chain{Name: groupChain(g.ID, outbound)}}
			for _, r := range inOrder(g.Rules, outbound) {
				for _, match := range matches(n, r) {
					c.add(r.Name, match, verdict(r))
				}
			}
			out = append(out, c)
		}
	}
	return out
}

func inOrder(rules []SecurityRule, outbound bool) []SecurityRule {
	var out []SecurityRule
	for _, r := range rules {
		if r.Outbound == outbound {
			out = append(out, r)
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return out[i].Priority < out[j].Priority })
	return out
}

func verdict(r SecurityRule) []expr.Any {
	if r.Deny {
		return drop()
	}
	return leave()
}

// matches spells a rule out: one match for every combination of its peers and ports.
func matches(n *Network, r SecurityRule) [][]expr.Any {
	out := [][]expr.Any{matchProtocol(r.Protocol)}
	out = product(out, peers(n, r.Sources, offSource))
	out = product(out, peers(n, r.Destinations, offDestination))
	if r.Protocol != ICMP && r.Protocol != ESP && r.Protocol != AH {
		out = product(out, ports(r.Protocol, r.SourcePorts, 0))
		out = product(out, ports(r.Protocol, r.DestinationPorts, 2))
	}
	return out
}

func product(a, b [][]expr.Any) [][]expr.Any {
	var out [][]expr.Any
	for _, x := range a {
		for _, y := range b {
			out = append(out, slices.Concat(x, y))
		}
	}
	return out
}

func peers(n *Network, ps []Peer, offset uint32) [][]expr.Any {
	var out [][]expr.Any
	each := func(prefixes []netip.Prefix) {
		for _, p := range prefixes {
			out = append(out, matchPrefix(offset, p))
		}
	}
	for _, p := range ps {
		switch p.Tag {
		case Everywhere:
			out = append(out, nil)
		case VirtualNetwork:
			each(n.Prefixes)
		case LoadBalancer:
			each(gateways(n))
		case Internet:
			var outside []expr.Any
			for _, prefix := range n.Prefixes {
				outside = append(outside, comparePrefix(offset, prefix, expr.CmpOpNeq)...)
			}
			out = append(out, outside)
		default:
			each([]netip.Prefix{p.Prefix})
		}
	}
	return out
}

func gateways(n *Network) []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.Subnets {
		out = append(out, netip.PrefixFrom(s.Gateway, 32))
	}
	return out
}

// ports matches any of the ranges. Naming ports of every protocol means TCP and UDP, which have some.
func ports(p Protocol, ranges []PortRange, offset uint32) [][]expr.Any {
	var out [][]expr.Any
	for _, r := range ranges {
		m := matchPorts(offset, r)
		if p != Any || m == nil {
			out = append(out, m)
			continue
		}
		for _, with := range []Protocol{TCP, UDP} {
			out = append(out, slices.Concat(matchProtocol(with), m))
		}
	}
	return out
}
