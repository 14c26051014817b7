package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/frontdoor"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// retryAfter is how soon a plan that could not be carried out is tried again.
const retryAfter = 2 * time.Second

// reconciler carries plans out: one round at a time, each from a fresh snapshot.
type reconciler struct {
	room *Room
	kick chan struct{}

	mu      sync.Mutex
	started uint64             // rounds begun
	ended   uint64             // the last round that ended
	failure error              // of that round, if it did not get as far as plans
	failed  map[string]trouble // of that round, by key of the network
	turned  chan struct{}
	applied map[string]frontdoor.Network // by namespace
	covered map[string]string            // instance (key) -> its MAC, of the last round that went well
	host    *frontdoor.Host
}

// trouble is why a network is not as wished, and since when.
type trouble struct {
	since time.Time
	err   error
}

func (l *reconciler) init(r *Room) {
	l.room, l.kick, l.turned, l.applied = r, make(chan struct{}, 1), make(chan struct{}), map[string]frontdoor.Network{}
}

// Run carries plans out until ctx ends. Before it returns for the first time to its wait, what an earlier process left
// is taken over and what belongs to nothing is swept away.
func (r *Room) Run(ctx context.Context) error {
	sub := r.store.Subscribe("Microsoft.Network/")
	defer sub.Close()
	sub.Wake()
	swept := false
	for {
		retry, start := time.Duration(0), time.Now()
		if err := r.loop.round(ctx); err != nil && ctx.Err() == nil {
			r.log.Error("a network could not be made as wished; trying again", "error", err)
			retry = retryAfter
		} else if !swept {
			swept = r.loop.sweep(ctx)
		}
		if took := time.Since(start); r.loop.crowded() { // a round looks at all machines: take fewer then
			select {
			case <-ctx.Done():
			case <-time.After(min(2*took, 20*time.Millisecond)):
			}
		}
		if !r.loop.wait(ctx, sub.C, retry) {
			return nil
		}
	}
}

func (l *reconciler) wait(ctx context.Context, changed <-chan struct{}, retry time.Duration) bool {
	var again <-chan time.Time
	if retry > 0 {
		again = time.After(retry)
	}
	select {
	case <-ctx.Done():
		return false
	case <-changed:
	case <-l.kick:
	case <-again:
	}
	return true
}

// settle waits until a round that began after this call has ended, and returns how it went for one network.
func (l *reconciler) settle(ctx context.Context, vnetID string) error {
	l.mu.Lock()
	want := l.started + 1
	l.mu.Unlock()
	select {
	case l.kick <- struct{}{}:
	default:
	}
	for {
		l.mu.Lock()
		done, failure, turned := l.ended >= want, errors.Join(l.failure, l.failed[key(vnetID)].err), l.turned
		l.mu.Unlock()
		if done {
			return failure
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-turned:
		}
	}
}

// cover notes which machines the kernel is ready for.
func (l *reconciler) cover(all []*Attachment, failed map[string]error) {
	covered := make(map[string]string, len(all))
	for _, a := range all {
		nic := a.primary()
		if nic != nil && len(nic.IPs) > 0 && failed[key(parentOf(nic.IPs[0].Subnet))] == nil {
			covered[key(a.Owner.InstanceID)] = nic.MAC
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := make(map[string]trouble, len(failed))
	for id, err := range failed {
		t := trouble{l.room.server.Now(), err}
		if before, ok := l.failed[id]; ok {
			t.since = before.since
		}
		now[id] = t
	}
	l.covered, l.failed = covered, now
}

// trouble is a network's; its err is nil if there is none, or the network was not tried yet.
func (l *reconciler) trouble(vnetID string) trouble {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failed[key(vnetID)]
}

// crowd is how many machines make a round a matter of milliseconds.
const crowd = 100

func (l *reconciler) crowded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.covered) >= crowd
}

func (l *reconciler) covers(instanceID string, n machine.NIC) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	mac, ok := l.covered[key(instanceID)]
	return ok && mac == n.MAC
}

func (l *reconciler) round(ctx context.Context) error {
	l.mu.Lock()
	l.started++
	this := l.started
	l.mu.Unlock()
	planned, err := l.once(ctx)
	l.mu.Lock()
	l.ended, l.failure = this, nil
	if !planned {
		l.failure = err
	}
	close(l.turned)
	l.turned = make(chan struct{})
	l.mu.Unlock()
	return err
}

// once applies every plan that differs from what was last applied, and removes networks that are gone. planned says
// that it got as far as having plans.
func (l *reconciler) once(ctx context.Context) (planned bool, err error) {
	s, host, err := l.room.snapshot(ctx)
	if err != nil {
		return false, err
	}
	errs := []error{l.applyHost(ctx, host)}
	wanted, failed := map[string]bool{}, map[string]error{}
	for _, n := range plan(s, l.room.door) {
		wanted[n.Namespace] = true
		if err := l.apply(ctx, n); err != nil {
			failed[key(n.ID)] = err
			errs = append(errs, err)
		}
	}
	l.cover(s.attachments, failed)
	return true, errors.Join(append(errs, l.removeOthers(ctx, wanted))...)
}

func (l *reconciler) applyHost(ctx context.Context, host frontdoor.Host) error {
	if l.host != nil && reflect.DeepEqual(*l.host, host) {
		return nil
	}
	l.host = nil
	if err := l.room.door.ApplyHost(ctx, host); err != nil {
		return err
	}
	l.host = &host
	return nil
}

func (l *reconciler) apply(ctx context.Context, n frontdoor.Network) error {
	if have, ok := l.applied[n.Namespace]; ok && reflect.DeepEqual(have, n) {
		return nil
	}
	l.applied[n.Namespace] = frontdoor.Network{Link: n.Link} // to be applied again, or removed
	if err := l.room.door.Apply(ctx, n); err != nil {
		return err
	}
	l.applied[n.Namespace] = n
	return nil
}

// removeOthers removes the networks that are no longer wanted.
func (l *reconciler) removeOthers(ctx context.Context, wanted map[string]bool) error {
	var errs []error
	for namespace, n := range l.applied {
		if wanted[namespace] {
			continue
		}
		if err := l.room.door.Remove(ctx, namespace, n.Link); err != nil {
			errs = append(errs, err)
			continue
		}
		delete(l.applied, namespace)
	}
	return errors.Join(errs...)
}

// sweep removes what a crash left of networks that no longer exist.
func (l *reconciler) sweep(ctx context.Context) bool {
	var keep []string
	for namespace := range l.applied {
		keep = append(keep, namespace)
	}
	if err := l.room.door.Sweep(ctx, keep); err != nil {
		l.room.log.Error("leftovers of networks could not be removed", "error", err)
		return false
	}
	return true
}

// numberOf is the number of a network's namespace.
func numberOf(tx *store.Tx, uid string) (int, error) {
	v, err := tx.GetKV(bucketNumber, uid)
	if err != nil {
		return 0, fmt.Errorf("number of network %s: %w", uid, err)
	}
	return strconv.Atoi(string(v))
}

// giveNumber gives a network the next number. Numbers are not used again.
func giveNumber(tx *store.Tx, uid string) error {
	last := 0
	if v, err := tx.GetKV(bucketNumber, "last"); err == nil {
		last, _ = strconv.Atoi(string(v))
	}
	next := []byte(strconv.Itoa(last + 1))
	if err := tx.SetKV(bucketNumber, "last", next); err != nil {
		return err
	}
	return tx.SetKV(bucketNumber, uid, next)
}

// snapshot reads all that plans are made of.
func (r *Room) snapshot(ctx context.Context) (*snapshot, frontdoor.Host, error) {
	if err := r.numberAll(ctx); err != nil {
		return nil, frontdoor.Host{}, err
	}
	s := &snapshot{numbers: map[string]int{}, addresses: map[string]netip.Addr{}, homes: map[string]string{}, ports: map[string]portTable{}}
	var host frontdoor.Host
	err := r.store.View(ctx, func(tx *store.Tx) error {
		steps := []func(*store.Tx, *snapshot) error{readVNets, readBalancers, readGroups, readMembers}
		for _, step := range steps {
			if err := step(tx, s); err != nil {
				return err
			}
		}
		host = r.hostPlan(tx)
		return nil
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	s.sessions = make(map[string]int, len(r.busy))
	for k, n := range r.busy {
		s.sessions[k] = n
	}
	return s, host, err
}

// numberAll gives new networks their numbers. A document is stored after it is admitted, so this is the first moment
// at which its uid is known.
func (r *Room) numberAll(ctx context.Context) error {
	var fresh []string
	err := r.store.View(ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Type: typeVNet})
		for _, d := range docs {
			if _, err := tx.GetKV(bucketNumber, d.UID); errors.Is(err, store.ErrNotFound) {
				fresh = append(fresh, d.UID)
			}
		}
		return err
	})
	if err != nil || len(fresh) == 0 {
		return err
	}
	return r.store.Update(ctx, func(tx *store.Tx) error {
		for _, uid := range fresh {
			if err := giveNumber(tx, uid); err != nil {
				return err
			}
		}
		return nil
	})
}

func readVNets(tx *store.Tx, s *snapshot) error {
	docs, err := tx.List(store.Query{Type: typeVNet})
	if err != nil {
		return err
	}
	for _, d := range docs {
		number, err := numberOf(tx, d.UID)
		if errors.Is(err, store.ErrNotFound) {
			continue // made just now; the next round has it
		}
		if err != nil {
			return err
		}
		v, err := readVNet(d)
		if err != nil {
			return err
		}
		s.vnets, s.numbers[d.UID] = append(s.vnets, v), number
	}
	return nil
}

func readBalancers(tx *store.Tx, s *snapshot) error {
	docs, err := tx.List(store.Query{Type: typeLB})
	if err != nil {
		return err
	}
	for _, d := range docs {
		lb, err := readLB(d)
		if err != nil {
			return err
		}
		s.balancers = append(s.balancers, lb)
		for i := range lb.Properties.FrontEnds {
			f := &lb.Properties.FrontEnds[i]
			a, err := frontAddr(tx, lb.ID, f)
			if err != nil {
				return err
			}
			s.addresses[key(lb.ID+"/frontendIPConfigurations/"+f.Name)] = a
		}
		if home, err := tx.GetKV(bucketHome, key(lb.ID)); err == nil {
			s.homes[key(lb.ID)] = string(home)
		}
		for _, g := range lb.ranges() {
			if s.ports[g.key], err = portsOf(tx, g.key); err != nil {
				return err
			}
		}
	}
	return nil
}

func readGroups(tx *store.Tx, s *snapshot) error {
	docs, err := tx.List(store.Query{Type: typeGroup})
	if err != nil {
		return err
	}
	for _, d := range docs {
		g, err := readGroup(d)
		if err != nil {
			return err
		}
		s.groups = append(s.groups, g)
	}
	return nil
}

func readMembers(tx *store.Tx, s *snapshot) (err error) {
	s.attachments, err = attachments(tx)
	return err
}

// hostPlan is what all networks share on the host. What is published to an address that does not exist yet waits for it.
func (r *Room) hostPlan(tx *store.Tx) frontdoor.Host {
	h := frontdoor.Host{APIPorts: r.opts.APIPorts, ProxyARP: r.opts.ProxyARP, Public: r.opts.Public}
	for _, p := range r.opts.Publish {
		listen, err := listenAddr(p.Listen)
		if err != nil {
			r.log.Error("cannot publish", "listen", p.Listen, "error", err)
			continue
		}
		to, ok := publishTarget(tx, p.To)
		if ok {
			h.Publish = append(h.Publish, frontdoor.Publish{Listen: listen, To: to, Protocol: frontdoor.TCP})
		}
	}
	return h
}

func listenAddr(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if host == "" {
		host = "0.0.0.0"
	}
	return netip.ParseAddrPort(net.JoinHostPort(host, port))
}

// publishTarget resolves ADDRESS:PORT, NAME:PORT or GROUP/NAME:PORT.
func publishTarget(tx *store.Tx, s string) (netip.AddrPort, bool) {
	if to, err := netip.ParseAddrPort(s); err == nil {
		return to, true
	}
	name, port, ok := strings.Cut(s, ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if !ok || err != nil {
		return netip.AddrPort{}, false
	}
	docs, err := tx.List(store.Query{Type: typePIP})
	if err != nil {
		return netip.AddrPort{}, false
	}
	for _, d := range docs {
		id := arm.ParsePath(d.ID)
		if !strings.EqualFold(id.Name(), name) && !strings.EqualFold(id.Group()+"/"+id.Name(), name) {
			continue
		}
		if a, err := publicOf(tx, d.ID); err == nil && a.IsValid() {
			return netip.AddrPortFrom(a, uint16(n)), true
		}
	}
	return netip.AddrPort{}, false
}
