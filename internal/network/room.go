// Package network is Microsoft.Network: virtual networks, public addresses, load balancers, security groups and the
// interfaces of machines. It keeps wishes and addresses in the store and makes plans of them (decide.go) that a Door
// carries out; it does not touch the kernel itself.
//
// Where things live: a virtual network's subnets, a load balancer's parts and a security group's rules are kept inside
// their parent's document, whichever way they were written. Addresses are allocated in the store, in the transaction
// that creates their owner:
//
//	network.public      address → id of its public IP address, or of the interface configuration it belongs to
//	network.publicOf    key of a public IP address → its address
//	network.ip/SUBNET   address → id of the instance or internal front end that has it
//	network.frontend    key of an internal front end → its lease
//	network.attachment  key of the instance → Attachment
//	network.natports/R  of the NAT pool or rule with key R: key of the instance → port
//	network.natports#R  the same the other way round
//	network.number      uid of a virtual network → number of its namespace
//	network.home        key of a load balancer → key of the virtual network that its machines were last in
package network

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/frontdoor"
	"lido.dev/lido/internal/store"
)

// The buckets, as the package comment explains them.
const (
	bucketPublic     = "network.public"
	bucketPublicOf   = "network.publicOf"
	bucketSubnet     = "network.ip/" // + key of the subnet
	bucketLease      = "network.frontend"
	bucketAttachment = "network.attachment"
	bucketPorts      = "network.natports"
	bucketNumber     = "network.number"
	bucketHome       = "network.home"
)

// typeAttachment wakes the reconciler when machines come and go; it is no resource type.
const typeAttachment = "microsoft.network/attachments"

// The resource types.
const (
	typeVNet  = "Microsoft.Network/virtualNetworks"
	typePIP   = "Microsoft.Network/publicIPAddresses"
	typeLB    = "Microsoft.Network/loadBalancers"
	typeGroup = "Microsoft.Network/networkSecurityGroups"
	typeNIC   = "Microsoft.Network/networkInterfaces"
)

var apiVersions = []string{"2024-05-01", "2023-09-01", "2022-07-01", "2022-05-01", "2022-01-01", "2021-02-01", "2020-06-01",
	"2019-11-01", "2018-11-01", "2017-06-01", "2017-04-01", "2016-03-30", "2015-06-15"}

// Door carries plans out. *frontdoor.Door is one.
type Door interface {
	Apply(ctx context.Context, n frontdoor.Network) error
	ApplyHost(ctx context.Context, h frontdoor.Host) error
	Remove(ctx context.Context, namespace, link string) error
	Sweep(ctx context.Context, keep []string) error
	Status(namespace string) (frontdoor.Status, error)
	Taken(a netip.Addr) bool
	Namespace(number int) string
	Link(number int) string
}

// Options are what a room is told of its surroundings.
type Options struct {
	Public    []netip.Prefix // where public addresses are taken from
	Publish   []Publish
	ProxyARP  []string // links of the host on which it answers ARP for public addresses
	APIPorts  []uint16 // TCP ports of the host that machines may reach
	DNSSuffix string   // public names are LABEL.LOCATION.DNSSuffix; default "lido.internal"
	Log       *slog.Logger
}

// Publish opens a port of the host for one of a public address. To is ADDRESS:PORT, NAME:PORT or GROUP/NAME:PORT.
type Publish struct{ Listen, To string }

// Room is this package at work. Make one with New, serve its Types, and Run it.
type Room struct {
	server *arm.Server
	store  *store.Store
	door   Door
	opts   Options
	log    *slog.Logger

	mu   sync.Mutex
	busy map[string]int // sessions by instance key

	loop reconciler
}

// New returns a room that keeps its documents in the server's store.
func New(s *arm.Server, door Door, opts Options) *Room {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.DNSSuffix == "" {
		opts.DNSSuffix = "lido.internal"
	}
	r := &Room{server: s, store: s.Store, door: door, opts: opts, log: opts.Log, busy: map[string]int{}}
	r.loop.init(r)
	return r
}
