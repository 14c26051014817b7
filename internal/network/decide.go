package network

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"sort"
	"strings"
	"time"

	"lido.dev/lido/internal/frontdoor"
)

// snapshot is all that plans are made of, at one moment.
type snapshot struct {
	vnets       []*vnet
	numbers     map[string]int // by uid
	balancers   []*balancer
	addresses   map[string]netip.Addr // of front ends, by key
	homes       map[string]string     // network of each load balancer, by keys
	groups      []*group
	attachments []*Attachment
	ports       map[string]portTable // by key of the NAT pool or rule
	sessions    map[string]int       // by instance key
	names       map[netip.Addr]string
}

// naming says what namespaces and links are called.
type naming interface {
	Namespace(number int) string
	Link(number int) string
}

// plan works out what each network is to be in the kernel. It is pure.
func plan(s *snapshot, n naming) []frontdoor.Network {
	var out []frontdoor.Network
	for _, v := range s.vnets {
		out = append(out, planNetwork(s, v, n))
	}
	return out
}

func planNetwork(s *snapshot, v *vnet, names naming) frontdoor.Network {
	number := s.numbers[v.UID]
	n := frontdoor.Network{ID: v.ID, Namespace: names.Namespace(number), Link: names.Link(number),
		Prefixes: v.prefixes(), Zone: zoneOf(v)}
	groups := map[string]bool{}
	for i := range v.Properties.Subnets {
		sub := &v.Properties.Subnets[i]
		n.Subnets = append(n.Subnets, planSubnet(sub))
		groups[key(sub.group())] = true
	}
	for _, a := range s.attachments {
		planMachine(&n, s, v, a, groups)
	}
	for _, lb := range s.balancers {
		if homeOf(s, lb) == key(v.ID) {
			planBalancer(&n, s, lb)
		}
	}
	for _, g := range s.groups {
		if groups[key(g.ID)] {
			if compiled, err := compile(g); err == nil { // it was checked when it was written
				n.Groups = append(n.Groups, compiled)
			}
		}
	}
	sort.Slice(n.Machines, func(i, j int) bool { return n.Machines[i].Addr.Less(n.Machines[j].Addr) })
	return n
}

// zoneOf is the DNS suffix of a network's machines.
func zoneOf(v *vnet) string { return strings.ToLower(nameOf(v.ID)) + ".lido.internal" }

// gatewayLink names the link that has a subnet's gateway address.
func gatewayLink(subnet string) string {
	h := fnv.New32a()
	h.Write([]byte(strings.ToLower(subnet)))
	return fmt.Sprintf("gw%08x", h.Sum32())
}

func planSubnet(s *subnet) frontdoor.Subnet {
	out := frontdoor.Subnet{Name: s.Name, Link: gatewayLink(s.Name), Prefix: s.prefix(), Gateway: gatewayOf(s.prefix())}
	if id := s.group(); id != "" {
		out.Group = key(id)
	}
	if open := s.Properties.DefaultOutboundAccess; open != nil {
		out.NoOutbound = !bool(*open)
	}
	return out
}

// planMachine adds a machine's addresses that are in this network.
func planMachine(n *frontdoor.Network, s *snapshot, v *vnet, a *Attachment, groups map[string]bool) {
	for i := range a.Interfaces {
		nic := &a.Interfaces[i]
		for _, ip := range nic.IPs {
			if !strings.EqualFold(parentOf(ip.Subnet), v.ID) {
				continue
			}
			m := frontdoor.Machine{Addr: ip.Addr, MAC: nic.MAC, Link: linkOf(nic.IPs[0].Addr)}
			if nic.Group != "" {
				m.Group = key(nic.Group)
				groups[m.Group] = true
			}
			if nic.Primary && ip.Primary && a.Owner.ComputerName != "" {
				m.Names = []string{strings.ToLower(a.Owner.ComputerName)}
			}
			n.Machines = append(n.Machines, m)
			if ip.Public.IsValid() {
				n.FrontEnds = append(n.FrontEnds, frontdoor.FrontEnd{Addr: ip.Public})
				n.NATRules = append(n.NATRules, frontdoor.NATRule{Addr: ip.Public, Backend: ip.Addr})
			}
		}
	}
}

// homeOf is the key of the network that a load balancer works in: that of its internal front ends, or of its machines.
func homeOf(s *snapshot, lb *balancer) string {
	for _, f := range lb.Properties.FrontEnds {
		if f.Properties.Subnet != nil {
			return key(parentOf(f.Properties.Subnet.ID))
		}
	}
	return s.homes[key(lb.ID)]
}

func planBalancer(n *frontdoor.Network, s *snapshot, lb *balancer) {
	for i := range lb.Properties.FrontEnds {
		f := &lb.Properties.FrontEnds[i]
		if a := s.front(lb, f); a.IsValid() {
			n.FrontEnds = append(n.FrontEnds, frontdoor.FrontEnd{Addr: a, Internal: f.Properties.PublicIPAddress == nil})
		}
	}
	for _, p := range lb.Properties.Pools {
		n.Pools = append(n.Pools, planPool(s, key(lb.ID+"/backendAddressPools/"+p.Name)))
	}
	for i := range lb.Properties.Rules {
		if rule, ok := planRule(s, lb, &lb.Properties.Rules[i]); ok {
			n.Rules = append(n.Rules, rule)
		}
	}
	for _, g := range lb.ranges() {
		n.NATRules = append(n.NATRules, planRange(s, lb, g)...)
	}
}

func (s *snapshot) front(lb *balancer, f *frontEnd) netip.Addr {
	return s.addresses[key(lb.ID+"/frontendIPConfigurations/"+f.Name)]
}

func (s *snapshot) frontByID(lb *balancer, id string) netip.Addr {
	if f := lb.frontEnd(id); f != nil {
		return s.front(lb, f)
	}
	return netip.Addr{}
}

func planPool(s *snapshot, pool string) frontdoor.Pool {
	out := frontdoor.Pool{ID: pool}
	for _, a := range s.attachments {
		for _, nic := range a.Interfaces {
			for _, ip := range nic.IPs {
				if containsFold(ip.Pools, pool) {
					out.Backends = append(out.Backends, frontdoor.Backend{Addr: ip.Addr, Draining: a.Draining, Load: load(s.sessions[key(a.Owner.InstanceID)])})
				}
			}
		}
	}
	return out
}

// load turns a count of sessions into the front door's scale, where only the order counts.
func load(sessions int) float64 { return 1 - 1/float64(1+sessions) }

func containsFold(list []string, s string) bool {
	for _, x := range list {
		if strings.EqualFold(x, s) {
			return true
		}
	}
	return false
}

func planRule(s *snapshot, lb *balancer, r *lbRule) (frontdoor.Rule, bool) {
	p := r.Properties
	out := frontdoor.Rule{ID: r.Name, Addr: s.frontByID(lb, refID(p.FrontEnd)), Port: uint16(p.FrontendPort), BackendPort: uint16(p.BackendPort),
		Pool: key(r.pool()), IdleTimeout: time.Duration(p.IdleMinutes) * time.Minute}
	out.Protocol, _ = balancedProtocol(p.Protocol)
	out.Distribution, _ = distributionOf(p.Distribution)
	if p.Probe != nil {
		if q := lb.probe(p.Probe.ID); q != nil {
			out.Probe = planProbe(lb, q)
		}
	}
	return out, out.Addr.IsValid() && r.pool() != ""
}

func planProbe(lb *balancer, p *probe) *frontdoor.Probe {
	protocol := strings.ToLower(p.Properties.Protocol)
	return &frontdoor.Probe{ID: key(lb.ID + "/probes/" + p.Name), HTTP: protocol != "tcp", TLS: protocol == "https", Port: uint16(p.Properties.Port),
		Path: p.Properties.Path, Interval: time.Duration(p.Properties.Interval) * time.Second, Failures: int(p.Properties.Number)}
}

func planRange(s *snapshot, lb *balancer, g portRange) []frontdoor.NATRule {
	front := s.frontByID(lb, g.frontEnd)
	if !front.IsValid() {
		return nil
	}
	var out []frontdoor.NATRule
	for _, a := range s.attachments {
		port, ok := s.ports[g.key][key(a.Owner.InstanceID)]
		ip := a.memberAddress(g.members)
		if !ok || !ip.IsValid() {
			continue
		}
		out = append(out, frontdoor.NATRule{Addr: front, Protocol: g.protocol, Port: uint16(port), Backend: ip, BackendPort: g.backendPort,
			IdleTimeout: time.Duration(g.idleMinutes) * time.Minute})
	}
	return out
}

// memberAddress is the address by which a machine is in a backend or NAT pool.
func (a *Attachment) memberAddress(pool string) netip.Addr {
	if _, ip := a.member(pool); ip != nil {
		return ip.Addr
	}
	return netip.Addr{}
}

func (a *Attachment) member(pool string) (*Interface, *IPConfiguration) {
	for i := range a.Interfaces {
		for j := range a.Interfaces[i].IPs {
			ip := &a.Interfaces[i].IPs[j]
			if containsFold(ip.Pools, pool) || containsFold(ip.NATPools, pool) {
				return &a.Interfaces[i], ip
			}
		}
	}
	return nil, nil
}
