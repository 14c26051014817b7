package doctor

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/ti-mo/conntrack"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func networkChecks() []Check {
	return []Check{
		{Name: "network namespaces", Required: true, Try: tryLinks,
			Why: "each virtual network is a namespace with veth pairs, and a bridge without ports for each gateway", Get: "modprobe veth bridge"},
		{Name: "nftables", Required: true, Try: tryNftables,
			Why: "load balancers, security groups and outbound NAT are nftables rules", Get: "modprobe nf_tables nft_chain_nat nft_ct nft_hash; a kernel with CONFIG_NF_TABLES"},
		{Name: "connection tracking", Required: true, Try: tryConntrack,
			Why: "sessions stay with their machine, and those of a dead one are cut", Get: "modprobe nf_conntrack_netlink"},
		{Name: "IP forwarding", Try: tryForwarding,
			Why: "other computers reach the pools through this host", Get: "nothing to do: lido up turns it on, and says so with --dry-run"},
		{Name: "forward policy", Try: tryForwardPolicy,
			Why: "a firewall of the host that drops forwarded packets cuts the pools off", Get: "allow the links ld* in that chain (Docker's own drop is answered by lido up, in DOCKER-USER)"},
		{Name: "address ranges", Try: tryRanges,
			Why: "lido uses 100.64.0.0/10 for its links and, unless configured, 10.254.0.0/24 for pools", Get: "set publicAddresses in lido's configuration to a free range"},
	}
}

func tryLinks(context.Context, Host) (string, error) {
	err := isolated(unix.CLONE_NEWNET, func() error {
		bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "lidobr"}}
		if err := netlink.LinkAdd(bridge); err != nil {
			return fmt.Errorf("bridge: %w", err)
		}
		veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "lidov0", MasterIndex: bridge.Index}, PeerName: "lidov1"}
		if err := netlink.LinkAdd(veth); err != nil {
			return fmt.Errorf("veth pair: %w", err)
		}
		return nil
	})
	return "tried: bridge and veth in a new namespace", err
}

// tryNftables loads a rule of the kinds that a load balancer needs: hash the client's address, look a backend up in a
// map, rewrite the destination.
func tryNftables(context.Context, Host) (string, error) {
	err := isolated(unix.CLONE_NEWNET, func() error {
		c, err := nftables.New()
		if err != nil {
			return err
		}
		table := c.AddTable(&nftables.Table{Family: nftables.TableFamilyIPv4, Name: "lido_doctor"})
		accept := nftables.ChainPolicyAccept
		chain := c.AddChain(&nftables.Chain{Name: "pre", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPrerouting, Priority: nftables.ChainPriorityNATDest, Policy: &accept})
		slots := &nftables.Set{Table: table, Name: "slots", IsMap: true, KeyType: nftables.TypeInteger, DataType: nftables.TypeIPAddr}
		if err := c.AddSet(slots, nil); err != nil {
			return err
		}
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Payload{DestRegister: 2, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: 4},
			&expr.Hash{SourceRegister: 2, DestRegister: 1, Length: 4, Modulus: 256, Seed: 1, Type: expr.HashTypeJenkins},
			&expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: slots.Name, SetID: slots.ID},
			&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: 1},
		}})
		post := c.AddChain(&nftables.Chain{Name: "post", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource})
		c.AddRule(&nftables.Rule{Table: table, Chain: post, Exprs: []expr.Any{&expr.Ct{Register: 1, Key: expr.CtKeySTATUS}, &expr.Masq{}}})
		return c.Flush()
	})
	return "tried: hash, map, DNAT and masquerade in a new namespace", err
}

func tryConntrack(context.Context, Host) (string, error) {
	err := isolated(unix.CLONE_NEWNET, func() error {
		c, err := conntrack.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Dump(nil)
		return err
	})
	return "tried: dumped in a new namespace", err
}

func tryForwarding(context.Context, Host) (string, error) {
	on, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		return "", err
	}
	if strings.TrimSpace(string(on)) == "1" {
		return "on", nil
	}
	return "off; lido up turns it on", nil
}

// tryForwardPolicy looks at the chains that see forwarded packets, iptables' among them (they are nftables chains too).
func tryForwardPolicy(ctx context.Context, _ Host) (string, error) {
	docker := exec.CommandContext(ctx, "iptables", "-w", "-n", "-L", "DOCKER-USER").Run() == nil
	c, err := nftables.New()
	if err != nil {
		return "", needsRoot(err)
	}
	chains, err := c.ListChains()
	if err != nil {
		return "", needsRoot(err)
	}
	for _, ch := range chains {
		drops := ch.Policy != nil && *ch.Policy == nftables.ChainPolicyDrop
		if !drops || ch.Type != nftables.ChainTypeFilter || ch.Hooknum == nil || *ch.Hooknum != *nftables.ChainHookForward {
			continue
		}
		if docker && ch.Name == "FORWARD" && ch.Table.Name == "filter" {
			return "Docker drops forwarded packets; lido up allows its own links in DOCKER-USER", nil
		}
		return "", fmt.Errorf("the chain %q of table %q drops forwarded packets by default", ch.Name, ch.Table.Name)
	}
	return "no chain drops forwarded packets by default", nil
}

var ownRanges = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("10.254.0.0/24")}

// tryRanges looks for routes of others into lido's ranges. lido's own links (ld...) don't count.
func tryRanges(context.Context, Host) (string, error) {
	routes, err := netlink.RouteList(nil, netlink.FAMILY_V4)
	if err != nil {
		return "", err
	}
	for _, r := range routes {
		if r.Dst == nil || r.Dst.IP.IsUnspecified() {
			continue
		}
		ip, ok := netip.AddrFromSlice(r.Dst.IP.To4())
		ones, _ := r.Dst.Mask.Size()
		if !ok {
			continue
		}
		for _, own := range ownRanges {
			if own.Overlaps(netip.PrefixFrom(ip, ones)) && !lidoLink(r.LinkIndex) {
				return "", fmt.Errorf("this host has a route to %s, inside %s", r.Dst, own)
			}
		}
	}
	return "free", nil
}

func lidoLink(index int) bool {
	link, err := netlink.LinkByIndex(index)
	return err == nil && strings.HasPrefix(link.Attrs().Name, "ld")
}
