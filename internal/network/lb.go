package network

import (
	"fmt"
	"net/netip"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/frontdoor"
	"lido.dev/lido/internal/store"
)

// lbLists are the lists of a load balancer whose entries are resources of their own.
var lbLists = []string{"frontendIPConfigurations", "backendAddressPools", "loadBalancingRules", "probes", "inboundNatRules",
	"outboundRules", "inboundNatPools"}

// balancer is a load balancer as lido reads it.
type balancer struct {
	ID  string `json:"-"`
	SKU struct {
		Name string `json:"name"`
	} `json:"sku"`
	Properties struct {
		FrontEnds []frontEnd `json:"frontendIPConfigurations"`
		Pools     []named    `json:"backendAddressPools"`
		Rules     []lbRule   `json:"loadBalancingRules"`
		Probes    []probe    `json:"probes"`
		NATRules  []natRule  `json:"inboundNatRules"`
		NATPools  []natPool  `json:"inboundNatPools"`
		Outbound  []outbound `json:"outboundRules"`
	} `json:"properties"`
}

type named struct {
	Name string `json:"name"`
}

type frontEnd struct {
	Name       string `json:"name"`
	Properties struct {
		PublicIPAddress  *ref   `json:"publicIPAddress"`
		Subnet           *ref   `json:"subnet"`
		PrivateIPAddress string `json:"privateIPAddress"`
		Allocation       string `json:"privateIPAllocationMethod"`
		PublicIPPrefix   *ref   `json:"publicIPPrefix"`
	} `json:"properties"`
}

type lbRule struct {
	Name       string `json:"name"`
	Properties struct {
		FrontEnd     *ref     `json:"frontendIPConfiguration"`
		Pool         *ref     `json:"backendAddressPool"`
		Pools        []ref    `json:"backendAddressPools"`
		Probe        *ref     `json:"probe"`
		Protocol     string   `json:"protocol"`
		FrontendPort arm.Int  `json:"frontendPort"`
		BackendPort  arm.Int  `json:"backendPort"`
		IdleMinutes  arm.Int  `json:"idleTimeoutInMinutes"`
		FloatingIP   arm.Bool `json:"enableFloatingIP"`
		Distribution string   `json:"loadDistribution"`
	} `json:"properties"`
}

func (r *lbRule) pool() string {
	switch p := r.Properties; {
	case p.Pool != nil:
		return p.Pool.ID
	case len(p.Pools) > 0:
		return p.Pools[0].ID
	}
	return ""
}

type probe struct {
	Name       string `json:"name"`
	Properties struct {
		Protocol string  `json:"protocol"`
		Port     arm.Int `json:"port"`
		Interval arm.Int `json:"intervalInSeconds"`
		Number   arm.Int `json:"numberOfProbes"`
		Path     string  `json:"requestPath"`
	} `json:"properties"`
}

type natRule struct {
	Name       string `json:"name"`
	Properties struct {
		FrontEnd     *ref     `json:"frontendIPConfiguration"`
		Pool         *ref     `json:"backendAddressPool"`
		Protocol     string   `json:"protocol"`
		FrontendPort arm.Int  `json:"frontendPort"`
		First        arm.Int  `json:"frontendPortRangeStart"`
		Last         arm.Int  `json:"frontendPortRangeEnd"`
		BackendPort  arm.Int  `json:"backendPort"`
		FloatingIP   arm.Bool `json:"enableFloatingIP"`
		IdleMinutes  arm.Int  `json:"idleTimeoutInMinutes"`
	} `json:"properties"`
}

type natPool struct {
	Name       string `json:"name"`
	Properties struct {
		FrontEnd    *ref    `json:"frontendIPConfiguration"`
		Protocol    string  `json:"protocol"`
		First       arm.Int `json:"frontendPortRangeStart"`
		Last        arm.Int `json:"frontendPortRangeEnd"`
		BackendPort arm.Int `json:"backendPort"`
		IdleMinutes arm.Int `json:"idleTimeoutInMinutes"`
	} `json:"properties"`
}

type outbound struct {
	Name       string `json:"name"`
	Properties struct {
		FrontEnds []ref `json:"frontendIPConfigurations"`
		Pool      *ref  `json:"backendAddressPool"`
	} `json:"properties"`
}

func readLB(d *store.Doc) (*balancer, error) {
	lb := &balancer{ID: d.ID}
	if !strings.EqualFold(d.Type, typeLB) {
		return lb, fmt.Errorf("%s is not a load balancer", d.ID)
	}
	return lb, arm.Decode(d.Desired, lb)
}

func (b *balancer) frontEnd(id string) *frontEnd {
	for i, f := range b.Properties.FrontEnds {
		if strings.EqualFold(b.ID+"/frontendIPConfigurations/"+f.Name, id) {
			return &b.Properties.FrontEnds[i]
		}
	}
	return nil
}

func (b *balancer) probe(id string) *probe {
	for i, p := range b.Properties.Probes {
		if strings.EqualFold(b.ID+"/probes/"+p.Name, id) {
			return &b.Properties.Probes[i]
		}
	}
	return nil
}

func (b *balancer) hasPool(id string) bool {
	for _, p := range b.Properties.Pools {
		if strings.EqualFold(b.ID+"/backendAddressPools/"+p.Name, id) {
			return true
		}
	}
	return false
}

// has tells whether an id names a part of this load balancer.
func (b *balancer) has(id string) bool {
	for _, p := range b.Properties.NATPools {
		if strings.EqualFold(b.ID+"/inboundNatPools/"+p.Name, id) {
			return true
		}
	}
	return b.hasPool(id) || b.frontEnd(id) != nil || b.probe(id) != nil
}

// portRange is what a NAT pool, or a NAT rule for a backend pool, spreads over its machines.
type portRange struct {
	key          string // of the NAT pool or rule
	name         string
	members      string // key of the pool whose machines get ports
	frontEnd     string
	protocol     frontdoor.Protocol
	first, last  int
	backendPort  uint16
	idleMinutes  int
	rule         bool   // a NAT rule, not a NAT pool
	protocolName string // as written
}

func (b *balancer) ranges() []portRange {
	var out []portRange
	for _, p := range b.Properties.NATPools {
		q := p.Properties
		proto, _ := balancedProtocol(q.Protocol)
		id := b.ID + "/inboundNatPools/" + p.Name
		out = append(out, portRange{key: key(id), name: p.Name, members: key(id), frontEnd: refID(q.FrontEnd), protocol: proto,
			first: int(q.First), last: int(q.Last), backendPort: uint16(q.BackendPort), idleMinutes: int(q.IdleMinutes), protocolName: q.Protocol})
	}
	for _, n := range b.Properties.NATRules {
		q := n.Properties
		if q.Pool == nil {
			continue
		}
		proto, _ := balancedProtocol(q.Protocol)
		out = append(out, portRange{key: key(b.ID + "/inboundNatRules/" + n.Name), name: n.Name, members: key(q.Pool.ID), frontEnd: refID(q.FrontEnd),
			protocol: proto, first: int(q.First), last: int(q.Last), backendPort: uint16(q.BackendPort), idleMinutes: int(q.IdleMinutes), rule: true, protocolName: q.Protocol})
	}
	return out
}

func refID(r *ref) string {
	if r == nil {
		return ""
	}
	return r.ID
}

func balancedProtocol(s string) (frontdoor.Protocol, bool) {
	switch strings.ToLower(s) {
	case "tcp":
		return frontdoor.TCP, true
	case "udp":
		return frontdoor.UDP, true
	case "all":
		return frontdoor.Any, true
	}
	return 0, false
}

func distributionOf(s string) (frontdoor.Distribution, bool) {
	switch strings.ToLower(s) {
	case "", "default":
		return frontdoor.Default, true
	case "sourceip":
		return frontdoor.SourceIP, true
	case "sourceipprotocol":
		return frontdoor.SourceIPProtocol, true
	}
	return 0, false
}

// frontAddr is a front end's address: the public IP address's, or its own in a subnet.
func frontAddr(tx *store.Tx, lb string, f *frontEnd) (netip.Addr, error) {
	if f.Properties.PublicIPAddress != nil {
		return publicOf(tx, f.Properties.PublicIPAddress.ID)
	}
	l, err := leaseOf(tx, lb+"/frontendIPConfigurations/"+f.Name)
	return l.Addr, err
}
