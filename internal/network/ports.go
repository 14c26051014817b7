package network

import (
	"errors"
	"sort"
	"strconv"

	"lido.dev/lido/internal/store"
)

// portTable says which port of a NAT pool or rule leads to which instance (by key).
type portTable map[string]int

// A portTable is kept in two buckets, so that a machine that comes or goes touches its own entry.
func byInstance(rangeKey string) string { return bucketPorts + "/" + rangeKey }
func byPort(rangeKey string) string     { return bucketPorts + "#" + rangeKey }

// eachBalancer calls f for every load balancer that a machine is in a pool of, with the virtual network it is in there.
func eachBalancer(tx *store.Tx, a *Attachment, f func(lb *balancer, vnetID string) error) error {
	seen := map[string]bool{}
	for _, nic := range a.Interfaces {
		for _, ip := range nic.IPs {
			for _, pool := range append(append([]string{}, ip.Pools...), ip.NATPools...) {
				id := parentOf(pool)
				if seen[key(id)] {
					continue
				}
				seen[key(id)] = true
				lb, err := lbOf(tx, pool)
				if errors.Is(err, store.ErrNotFound) {
					continue
				}
				if err != nil {
					return err
				}
				if err := f(lb, parentOf(ip.Subnet)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// joined brings what depends on a machine's pools up to date: its NAT ports, and the network that its load balancers
// work in.
func (r *Room) joined(tx *store.Tx, a *Attachment) error {
	return eachBalancer(tx, a, func(lb *balancer, vnetID string) error {
		if err := tx.SetKV(bucketHome, key(lb.ID), []byte(key(vnetID))); err != nil {
			return err
		}
		for _, g := range lb.ranges() {
			if !a.inPool(g.members) {
				continue
			}
			if err := givePort(tx, g, a); err != nil {
				return err
			}
		}
		return nil
	})
}

// left takes a machine's NAT ports back.
func (r *Room) left(tx *store.Tx, a *Attachment) error {
	return eachBalancer(tx, a, func(lb *balancer, _ string) error {
		for _, g := range lb.ranges() {
			if err := takePort(tx, g.key, key(a.Owner.InstanceID)); err != nil {
				return err
			}
		}
		return nil
	})
}

// givePort gives a machine a port of a range: the first one plus its number, as Azure does, or else the lowest free
// one. A machine beyond the range's size gets none.
func givePort(tx *store.Tx, g portRange, a *Attachment) error {
	instance := key(a.Owner.InstanceID)
	if _, err := tx.GetKV(byInstance(g.key), instance); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	port := g.first + a.Owner.number()
	free, err := portFree(tx, g, port)
	if err == nil && !free {
		port, free, err = lowestFree(tx, g)
	}
	if err != nil || !free {
		return err
	}
	if err := tx.SetKV(byInstance(g.key), instance, []byte(strconv.Itoa(port))); err != nil {
		return err
	}
	return tx.SetKV(byPort(g.key), strconv.Itoa(port), []byte(instance))
}

func portFree(tx *store.Tx, g portRange, port int) (bool, error) {
	if port > g.last {
		return false, nil
	}
	_, err := tx.GetKV(byPort(g.key), strconv.Itoa(port))
	if errors.Is(err, store.ErrNotFound) {
		return true, nil
	}
	return false, err
}

// lowestFree returns a port past the range's last if none is free.
func lowestFree(tx *store.Tx, g portRange) (port int, free bool, err error) {
	for port = g.first; port <= g.last; port++ {
		if free, err := portFree(tx, g, port); err != nil || free {
			return port, free, err
		}
	}
	return port, false, nil
}

func takePort(tx *store.Tx, rangeKey, instance string) error {
	port, err := tx.GetKV(byInstance(rangeKey), instance)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := tx.DeleteKV(byPort(rangeKey), string(port)); err != nil {
		return err
	}
	return tx.DeleteKV(byInstance(rangeKey), instance)
}

// assignPorts goes through all of a load balancer's ranges after it was written: machines that are no longer members,
// or whose port is no longer in the range, give theirs back; members without one get one, in the order of their numbers.
func (r *Room) assignPorts(tx *store.Tx, lb *balancer) error {
	ranges := lb.ranges()
	if len(ranges) == 0 {
		return nil
	}
	all, err := attachments(tx)
	if err != nil {
		return err
	}
	sort.SliceStable(all, func(i, j int) bool { return all[i].Owner.number() < all[j].Owner.number() })
	for _, g := range ranges {
		if err := reassign(tx, g, all); err != nil {
			return err
		}
	}
	return nil
}

func reassign(tx *store.Tx, g portRange, all []*Attachment) error {
	members := map[string]bool{}
	for _, a := range all {
		if a.inPool(g.members) {
			members[key(a.Owner.InstanceID)] = true
		}
	}
	old, err := portsOf(tx, g.key)
	if err != nil {
		return err
	}
	for instance, port := range old {
		if members[instance] && port >= g.first && port <= g.last {
			continue
		}
		if err := takePort(tx, g.key, instance); err != nil {
			return err
		}
	}
	for _, a := range all {
		if members[key(a.Owner.InstanceID)] {
			if err := givePort(tx, g, a); err != nil {
				return err
			}
		}
	}
	return nil
}

// portsOf reads all ports of a range.
func portsOf(tx *store.Tx, rangeKey string) (portTable, error) {
	entries, err := tx.ListKV(byInstance(rangeKey))
	if err != nil {
		return nil, err
	}
	t := portTable{}
	for _, e := range entries {
		if t[e.Key], err = strconv.Atoi(string(e.Value)); err != nil {
			return nil, err
		}
	}
	return t, nil
}

// dropRange forgets all ports of a range.
func dropRange(tx *store.Tx, rangeKey string) error {
	return errors.Join(tx.DeleteBucket(byInstance(rangeKey)), tx.DeleteBucket(byPort(rangeKey)))
}

// NATPorts returns the ports of a NAT pool by the keys of the instances that they lead to.
func (r *Room) NATPorts(tx *store.Tx, poolID string) (map[string]int, error) {
	return portsOf(tx, key(poolID))
}
