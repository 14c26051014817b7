package frontdoor

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// ways mends the routes to machines, over the links that are there. Who connects a machine routes to it at once, but a
// link that was down for a moment has lost its routes. To be called inside the namespace.
func ways(n *Network, links []netlink.Link) error {
	byName := make(map[string]netlink.Link, len(links))
	for _, l := range links {
		byName[l.Attrs().Name] = l
	}
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return fmt.Errorf("list routes: %w", err)
	}
	over := make(map[netip.Prefix]int, len(routes))
	for _, r := range routes {
		over[prefixOf(r.Dst)] = r.LinkIndex
	}
	for _, m := range n.Machines {
		link, ok := byName[m.Link]
		if !ok || over[netip.PrefixFrom(m.Addr, 32)] == link.Attrs().Index {
			continue
		}
		if err := wayTo(m, link, gatewayFor(n, m.Addr)); err != nil {
			return fmt.Errorf("route to machine %v: %w", m.Addr, err)
		}
	}
	return nil
}

func gatewayFor(n *Network, a netip.Addr) netip.Addr {
	for _, s := range n.Subnets {
		if s.Prefix.Contains(a) {
			return s.Gateway
		}
	}
	return netip.Addr{}
}

func wayTo(m Machine, link netlink.Link, from netip.Addr) error {
	if link.Attrs().Flags&net.FlagUp == 0 {
		if err := netlink.LinkSetUp(link); err != nil {
			return err
		}
	}
	if hw := hardwareAddr(m.MAC); hw != nil {
		if err := setNeighbour(link, m.Addr, hw); err != nil {
			return err
		}
	}
	return netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(netip.PrefixFrom(m.Addr, 32)), Src: from.AsSlice(), Scope: netlink.SCOPE_LINK})
}
