package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/nftables"
)

// room is the running side of one network: what the door holds while it keeps it.
type room struct {
	door   *Door
	name   string
	prober *prober
	names  *names
	face   atomic.Pointer[face] // of the plan

	stop context.CancelFunc
	done sync.WaitGroup

	mu     sync.Mutex // held while the kernel is changed
	plan   Network
	space  *space
	conn   *nftables.Conn
	tables map[uint32]Slots // as last written
	known  []Machine        // when connections of dead machines were last looked for; nil before

	unsettled chan struct{} // holds a wish to settle
}

func newRoom(d *Door, name string) *room {
	ctx, stop := context.WithCancel(context.Background())
	r := &room{door: d, name: name, stop: stop, names: newNames(d.opts), unsettled: make(chan struct{}, 1)}
	r.face.Store(&face{})
	r.prober = newProber(ctx, r.dial, func() { r.healthChanged(ctx) })
	r.done.Go(func() { r.resync(ctx) })
	r.done.Go(func() { r.settleOn(ctx) })
	return r
}

func (r *room) close() {
	r.stop()
	r.done.Wait()
	r.prober.wait()
	r.names.close()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closeSpaceLocked()
}

func (r *room) closeSpaceLocked() {
	if r.space == nil {
		return
	}
	r.conn.CloseLasting()
	r.space.close()
	r.space, r.conn = nil, nil
}

func (r *room) apply(n Network) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.plan.Namespace == ""
	r.plan = n
	r.face.Store(faceOf(&n))
	if err := r.syncLocked(first); err != nil {
		return err
	}
	r.prober.set(n)
	return nil
}

// face is what the host has to know of a network.
type face struct {
	fronts   []netip.Addr // public ones
	balanced []netip.Addr // those of them that only lead in: no machine goes out under one
	prefixes []netip.Prefix
}

func faceOf(n *Network) *face {
	f := &face{prefixes: n.Prefixes}
	for _, front := range n.FrontEnds {
		if front.Internal {
			continue
		}
		f.fronts = append(f.fronts, front.Addr)
		if !slices.ContainsFunc(n.NATRules, func(r NATRule) bool { return r.Addr == front.Addr && r.Protocol == Any }) {
			f.balanced = append(f.balanced, front.Addr)
		}
	}
	return f
}

// syncLocked makes links, rules, routes and names match the plan. Order matters: rules stand before the host sends
// anything in.
func (r *room) syncLocked(first bool) error {
	if err := r.openLocked(); err != nil {
		return err
	}
	t, err := linkUp(&r.plan, r.space)
	if err != nil {
		return err
	}
	if err := r.space.do(func() error { return inside(&r.plan, t) }); err != nil {
		return err
	}
	if first {
		r.adoptLocked()
	}
	if err := r.rulesLocked(); err != nil {
		return err
	}
	if err := r.hostLocked(t); err != nil {
		return err
	}
	return r.names.serve(r.space, &r.plan)
}

func (r *room) hostLocked(t transit) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	if _, err := networkHostTable(&r.plan).sync(c); err != nil {
		return err
	}
	for name, value := range map[string]string{"ipv4/conf/" + r.plan.Link + "/route_localnet": "1",
		"ipv4/conf/" + r.plan.Link + "/rp_filter": "0", "ipv6/conf/" + r.plan.Link + "/disable_ipv6": "1"} {
		if err := setSysctl("net/"+name, value); err != nil {
			return err
		}
	}
	return hostRoutes(&r.plan, t)
}

// openLocked opens the namespace, again if somebody removed it.
func (r *room) openLocked() error {
	if r.space != nil && isNamespace(r.name) {
		return nil
	}
	r.closeSpaceLocked()
	s, err := openSpace(r.name)
	if err != nil {
		return err
	}
	c, err := nftables.New(nftables.WithNetNSFd(int(s.fd)), nftables.AsLasting())
	if err != nil {
		s.close()
		return fmt.Errorf("talk to nftables in %q: %w", r.name, err)
	}
	r.space, r.conn = s, c
	return nil
}

// adoptLocked takes over what an earlier process left: the slot tables, and the health that they imply, so that a
// restart moves and refuses nobody.
func (r *room) adoptLocked() {
	tables, err := readTables(r.conn, &r.plan)
	if err != nil {
		r.door.opts.Log.Warn("could not read the slot tables; they are made anew", "network", r.plan.ID, "error", err)
	}
	r.tables = tables
	for k, number := range tableNumbers(&r.plan) {
		for _, a := range tables[number] {
			if k.probe != "" && k.probe != "-" && a.IsValid() {
				r.prober.assume(k.probe, a)
			}
		}
	}
}

// rulesLocked writes all rules, with slot tables that are decided without looking at the open connections: the kernel
// takes long to list them. If they matter, settle follows.
func (r *room) rulesLocked() error {
	found := r.prober.findings()
	if err := r.writeLocked(decideTables(&r.plan, r.tables, found, provisionally)); err != nil {
		return err
	}
	blind := decideTables(&r.plan, r.tables, found, finally(nil))
	if r.machinesGoneLocked() || !maps.Equal(blind, r.tables) {
		select {
		case r.unsettled <- struct{}{}:
		default:
		}
	}
	return nil
}

func (r *room) writeLocked(tables map[uint32]Slots) error {
	_, err := routed(&r.plan, tables).sync(r.conn)
	if err == nil {
		r.tables = tables
	}
	return err
}

// machinesGoneLocked tells whether machines are gone whose connections were not looked for yet.
func (r *room) machinesGoneLocked() bool {
	if r.known == nil {
		return true // of an earlier process
	}
	return slices.ContainsFunc(r.known, func(m Machine) bool {
		return !slices.ContainsFunc(r.plan.Machines, func(o Machine) bool { return o.Addr == m.Addr })
	})
}

// settleOn decides again, with the open connections, whenever rulesLocked asks for it.
func (r *room) settleOn(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.unsettled:
		}
		if err := r.settle(); err != nil && ctx.Err() == nil {
			r.door.opts.Log.Error("slots could not be settled; trying again soon", "network", r.name, "error", err)
		}
	}
}

func (r *room) settle() error {
	flows, err := r.flows()
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.space == nil {
		return nil
	}
	tables := decideTables(&r.plan, r.tables, r.prober.findings(), finally(liveFlows(&r.plan, flows)))
	if err := r.writeLocked(tables); err != nil {
		return err
	}
	r.known = slices.Clone(r.plan.Machines)
	return r.forgetDeadLocked(flows)
}

func (r *room) healthChanged(ctx context.Context) {
	r.mu.Lock()
	var err error
	if ctx.Err() == nil && r.space != nil {
		err = r.rulesLocked()
	}
	id := r.plan.ID
	r.mu.Unlock()
	if err != nil {
		r.door.opts.Log.Error("rules could not follow a backend's health; trying again soon", "network", id, "error", err)
	}
	r.door.opts.OnHealth(id)
}

// resync repairs what others changed and lets draining backends go.
func (r *room) resync(ctx context.Context) {
	tick := time.NewTicker(resyncEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.mu.Lock()
		var err error
		if r.plan.Namespace != "" {
			err = r.syncLocked(false)
		}
		r.mu.Unlock()
		err = errors.Join(err, r.door.syncHost(ctx))
		if err != nil {
			r.door.opts.Log.Error("network could not be compared with the kernel; trying again", "network", r.name, "error", err)
		}
	}
}

// Status is what a network's backends are like now.
type Status struct {
	Backends []BackendStatus
}

// BackendStatus is one backend of one pool.
type BackendStatus struct {
	Pool    string
	Addr    netip.Addr
	Healthy map[string]bool // by probe
	Slots   int             // of 256
	Flows   int             // open connections through the pool
}

// Status returns what is known of a network's backends, nothing for a network that was not applied.
func (d *Door) Status(namespace string) (Status, error) {
	d.mu.Lock()
	r := d.rooms[namespace]
	d.mu.Unlock()
	if r == nil {
		return Status{}, nil
	}
	return r.status()
}

func (r *room) status() (Status, error) {
	flows, err := r.flows()
	if errors.Is(err, errNoSpace) {
		return Status{}, nil
	}
	if err != nil {
		return Status{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	live, found, numbers := liveFlows(&r.plan, flows), r.prober.findings(), tableNumbers(&r.plan)
	var s Status
	for _, p := range r.plan.Pools {
		held := map[netip.Addr]int{}
		for _, a := range r.tables[numbers[tableKey{pool: p.ID}]] {
			held[a]++
		}
		for _, b := range p.Backends {
			st := BackendStatus{Pool: p.ID, Addr: b.Addr, Slots: held[b.Addr], Healthy: map[string]bool{}}
			for _, probe := range probesOf(&r.plan, p.ID) {
				st.Healthy[probe] = found.healthy(probe, b.Addr)
			}
			for _, slot := range live[p.ID] {
				st.Flows += slot[b.Addr]
			}
			s.Backends = append(s.Backends, st)
		}
	}
	return s, nil
}
