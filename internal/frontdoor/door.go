package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// resyncEvery is how often a network is compared with the kernel without being asked to.
const resyncEvery = 10 * time.Second

// Options are what a door may be told besides its tag. The zero value is good.
type Options struct {
	Log      *slog.Logger
	OnHealth func(network string) // called after a backend's health changed; must not block
	// Resolvers returns where names of others are asked, as HOST:PORT; nil means the host's own.
	Resolvers func() []string
}

// Door keeps the networks of one lido in the kernel. Its methods are safe for concurrent use.
type Door struct {
	tag  string
	opts Options

	hostMu sync.Mutex // held while the host's side is changed

	mu    sync.Mutex
	rooms map[string]*room // by namespace
	host  *Host            // as last applied; nil before
}

// New returns a door for the lido with this tag (six characters that all its names on the host carry).
func New(tag string, opts Options) *Door {
	if opts.Log == nil {
		opts.Log = slog.New(slog.DiscardHandler)
	}
	if opts.OnHealth == nil {
		opts.OnHealth = func(string) {}
	}
	if opts.Resolvers == nil {
		opts.Resolvers = hostResolvers
	}
	return &Door{tag: tag, opts: opts, rooms: map[string]*room{}}
}

// Namespace is the name of a network's namespace, by its number.
func (d *Door) Namespace(number int) string { return fmt.Sprintf("lido-%s-v%d", d.tag, number) }

// Link is the name of a network's transit link on the host, by its number.
func (d *Door) Link(number int) string { return fmt.Sprintf("ld%st%d", d.tag, number) }

// Apply makes the kernel match the plan, whatever it finds, and keeps it so until the next Apply or Remove: it probes
// the backends, answers names, and mends what others broke.
func (d *Door) Apply(ctx context.Context, n Network) error {
	d.mu.Lock()
	r := d.rooms[n.Namespace]
	if r == nil {
		r = newRoom(d, n.Namespace)
		d.rooms[n.Namespace] = r
	}
	d.mu.Unlock()
	before := r.face.Load()
	if err := r.apply(n); err != nil {
		return fmt.Errorf("network %s: %w", n.ID, err)
	}
	if reflect.DeepEqual(before, r.face.Load()) {
		return nil
	}
	return d.syncHost(ctx)
}

// ApplyHost makes the host's side match, and keeps it so: routing on, publishing, what machines may reach of the host.
func (d *Door) ApplyHost(ctx context.Context, h Host) error {
	d.mu.Lock()
	d.host = &h
	d.mu.Unlock()
	return d.syncHost(ctx)
}

// syncHost compares the host's side with what was last applied, if anything was.
func (d *Door) syncHost(ctx context.Context) error {
	d.hostMu.Lock()
	defer d.hostMu.Unlock()
	d.mu.Lock()
	h := d.host
	d.mu.Unlock()
	if h == nil {
		return nil
	}
	if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
		return err
	}
	c, err := nftables.New()
	if err != nil {
		return err
	}
	f := d.faces()
	if _, err := d.hostTable(*h, f).sync(c); err != nil {
		return err
	}
	return errors.Join(proxyARP(*h, f.fronts), d.answerDocker(ctx))
}

// faces is what all networks show to the host, together.
func (d *Door) faces() face {
	d.mu.Lock()
	defer d.mu.Unlock()
	var all face
	for _, name := range slices.Sorted(maps.Keys(d.rooms)) {
		f := d.rooms[name].face.Load()
		all.fronts = append(all.fronts, f.fronts...)
		all.balanced = append(all.balanced, f.balanced...)
		all.prefixes = append(all.prefixes, f.prefixes...)
	}
	return all
}

// Remove ends a network: its namespace, link, routes and rules. Removing one that isn't there does nothing.
func (d *Door) Remove(ctx context.Context, namespace, link string) error {
	d.mu.Lock()
	r := d.rooms[namespace]
	delete(d.rooms, namespace)
	d.mu.Unlock()
	if r != nil {
		r.close()
	}
	return errors.Join(removeNetwork(namespace, link), d.syncHost(ctx))
}

func removeNetwork(namespace, link string) error {
	var errs []error
	if l, err := netlink.LinkByName(link); err == nil {
		errs = append(errs, forgetProxies(l), netlink.LinkDel(l))
	}
	errs = append(errs, removeSpace(namespace))
	if c, err := nftables.New(); err == nil {
		errs = append(errs, dropTable(c, hostTableName(link)))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove network %s: %w", namespace, err)
	}
	return nil
}

// Sweep removes every network of this lido whose namespace is not among keep: what a crash left behind.
func (d *Door) Sweep(ctx context.Context, keep []string) error {
	var errs []error
	for _, namespace := range d.found() {
		if slices.Contains(keep, namespace) {
			continue
		}
		link := "ld" + d.tag + "t" + strings.TrimPrefix(namespace, "lido-"+d.tag+"-v")
		errs = append(errs, d.Remove(ctx, namespace, link))
	}
	return errors.Join(errs...)
}

// found lists the namespaces that this lido's names on the host tell of, by namespace or by link.
func (d *Door) found() []string {
	var out []string
	entries, _ := os.ReadDir(namespaceDir)
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "lido-"+d.tag+"-v") {
			out = append(out, e.Name())
		}
	}
	links, _ := netlink.LinkList()
	for _, l := range links {
		if number, ok := strings.CutPrefix(l.Attrs().Name, "ld"+d.tag+"t"); ok {
			out = append(out, "lido-"+d.tag+"-v"+number)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Purge removes every trace of this lido's networks from the host.
func (d *Door) Purge(ctx context.Context) error {
	d.mu.Lock()
	if d.host != nil {
		d.host = &Host{ProxyARP: d.host.ProxyARP, Public: d.host.Public}
	}
	d.mu.Unlock()
	err := d.Sweep(ctx, nil)
	d.forgetDocker(ctx)
	c, nerr := nftables.New()
	if nerr == nil {
		nerr = dropTable(c, "lido_"+d.tag)
	}
	return errors.Join(err, nerr)
}

// Close stops probing and answering names. The networks go on carrying traffic.
func (d *Door) Close() {
	d.mu.Lock()
	rooms := d.rooms
	d.rooms = map[string]*room{}
	d.mu.Unlock()
	for _, r := range rooms {
		r.close()
	}
}

// Taken tells whether the host uses an address, or sends it elsewhere than to this door's networks.
func (d *Door) Taken(a netip.Addr) bool {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Dst: ipNet(netip.PrefixFrom(a, 32))}, netlink.RT_FILTER_DST)
	if err != nil {
		return false
	}
	for _, r := range routes {
		link, err := netlink.LinkByIndex(r.LinkIndex)
		if err != nil || !strings.HasPrefix(link.Attrs().Name, "ld"+d.tag+"t") {
			return true
		}
	}
	local, err := netlink.AddrList(nil, netlink.FAMILY_V4)
	return err == nil && slices.ContainsFunc(local, func(l netlink.Addr) bool { return prefixOf(l.IPNet).Addr() == a })
}
