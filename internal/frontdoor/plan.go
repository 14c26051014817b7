// Package frontdoor is the kernel side of one virtual network: a network namespace of its own with gateways, routes,
// packet rules, names, probes and the load balancers' front ends. It is told a plan, Network, and makes the kernel
// match it; it knows nothing of the API that the plan was made from.
//
// See DESIGN.md for the path of a packet and the invariants.
package frontdoor

import (
	"net/netip"
	"time"
)

// Network is all that is to be true of one virtual network. Apply makes it so, from whatever state it finds.
type Network struct {
	ID        string         // stable over the network's life; names it in logs and Status
	Namespace string         // its network namespace, a name under /run/netns
	Link      string         // the host's end of the transit link, at most 15 bytes
	Transit   netip.Prefix   // /31 of the transit link; the zero Prefix lets the door choose a free one
	Prefixes  []netip.Prefix // the network's address space
	Zone      string         // DNS suffix of its machines
	Subnets   []Subnet
	Machines  []Machine
	FrontEnds []FrontEnd
	Pools     []Pool
	Rules     []Rule
	NATRules  []NATRule
	Groups    []Group
}

// Subnet is a part of the network's addresses with a gateway.
type Subnet struct {
	Name       string
	Link       string       // name of the link in the namespace that has the gateway's address, at most 15 bytes
	Prefix     netip.Prefix // machines' addresses are within
	Gateway    netip.Addr   // also the DNS server
	NoOutbound bool         // machines here do not reach the world, unless under an address of their own
	Group      string       // id of the security group of all of it, or empty
}

// Machine is an address in use, whether or not anything answers at it yet.
type Machine struct {
	Addr  netip.Addr
	MAC   string   // its hardware address
	Link  string   // the namespace's end of its link, which who connects the machine makes and routes to it over
	Names []string // resolve to Addr, alone and under Zone
	Group string   // id of the security group of this interface, or empty
}

// FrontEnd is an address of a load balancer. A public one is also routed to from the host.
type FrontEnd struct {
	Addr     netip.Addr
	Internal bool // within the network's own prefixes: not routed from the host
}

// Pool is a set of backends that share one slot table, so one client gets one machine on all of the pool's rules.
type Pool struct {
	ID       string
	Backends []Backend
}

// Backend is a machine that takes connections for a pool.
type Backend struct {
	Addr     netip.Addr
	Draining bool    // keeps what it has, gets nothing new
	Load     float64 // how busy it is, 0 idle to 1 full; only ever compared
}

// Protocol is an IP protocol that rules can name.
type Protocol uint8

// The protocols. Any matches every protocol.
const (
	Any  Protocol = 0
	ICMP Protocol = 1
	TCP  Protocol = 6
	UDP  Protocol = 17
	ESP  Protocol = 50
	AH   Protocol = 51
)

// Distribution says which part of a connection chooses its backend.
type Distribution uint8

// The distributions, as Azure names them.
const (
	Default          Distribution = iota // addresses, ports and protocol
	SourceIP                             // both addresses
	SourceIPProtocol                     // both addresses and the protocol
)

// Rule sends connections to a front end's port on to a pool.
type Rule struct {
	ID           string
	Addr         netip.Addr // the front end
	Protocol     Protocol   // TCP, UDP or Any (all ports; Port and BackendPort are then 0)
	Port         uint16
	BackendPort  uint16
	Pool         string
	Probe        *Probe // nil: backends are taken as healthy
	Distribution Distribution
	IdleTimeout  time.Duration // 0 keeps the kernel's
}

// Probe says how a backend's health is found.
type Probe struct {
	ID       string // names the probe; rules with the same one share its findings
	HTTP     bool
	TLS      bool // HTTP over TLS, certificate unchecked
	Port     uint16
	Path     string // of an HTTP probe
	Interval time.Duration
	Failures int // so many in a row make a backend unhealthy; one success makes it healthy
}

// NATRule sends one port of a front end to one machine, or with protocol Any everything.
type NATRule struct {
	Addr        netip.Addr
	Protocol    Protocol
	Port        uint16
	Backend     netip.Addr
	BackendPort uint16
	IdleTimeout time.Duration
}

// Group is a set of security rules, for both directions, with the defaults that apply when none matches written out.
type Group struct {
	ID    string
	Rules []SecurityRule
}

// SecurityRule is one rule of a group. A rule of lower priority number comes first.
type SecurityRule struct {
	Name             string
	Priority         int
	Outbound         bool
	Deny             bool
	Protocol         Protocol
	Sources          []Peer // empty matches none
	SourcePorts      []PortRange
	Destinations     []Peer
	DestinationPorts []PortRange
}

// Peer is one side of a security rule: a prefix, or one of the tags.
type Peer struct {
	Prefix netip.Prefix
	Tag    Tag
}

// Tag is a set of addresses by meaning.
type Tag uint8

// The tags.
const (
	NoTag          Tag = iota // Prefix counts
	Everywhere                // any address
	VirtualNetwork            // the network's prefixes
	Internet                  // everything else
	LoadBalancer              // where probes come from
)

// PortRange is inclusive; 0-65535 is every port.
type PortRange struct{ First, Last uint16 }
