package network

import (
	"errors"
	"fmt"
	"sort"
	"strconv"

	"lido.dev/lido/internal/store"
)

// portTable says which port of a NAT pool or rule leads to which instance (by key).
type portTable map[string]int

// membersChanged brings what depends on a machine's pools up to date: NAT ports, and the network that a load balancer
// belongs to.
func (r *Room) membersChanged(tx *store.Tx, a *Attachment) error {
	seen := map[string]bool{}
	for _, nic := range a.Interfaces {
		for _, ip := range nic.IPs {
			for _, pool := range append(append([]string{}, ip.Pools...), ip.NATPools...) {
				lb := parentOf(pool)
				if seen[key(lb)] {
					continue
				}
				seen[key(lb)] = true
				if err := r.memberOf(tx, lb, parentOf(ip.Subnet), a); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// memberOf brings the ports of one machine of a load balancer up to date.
func (r *Room) memberOf(tx *store.Tx, lbID, vnetID string, a *Attachment) error {
	d, err := tx.Get(lbID)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	lb, err := readLB(d)
	if err != nil {
		return err
	}
	if vnetID != "" {
		if err := tx.SetKV(bucketHome, key(lb.ID), []byte(key(vnetID))); err != nil {
			return err
		}
	}
	_, err = tx.GetKV(bucketAttachment, key(a.Owner.InstanceID))
	gone := errors.Is(err, store.ErrNotFound)
	if err != nil && !gone {
		return err
	}
	for _, g := range lb.ranges() {
		if !a.inPool(g.members) {
			continue
		}
		if ok, err := usualPort(tx, g, a, gone); err != nil {
			return err
		} else if !ok {
			return r.assignPorts(tx, lb)
		}
	}
	return nil
}

// usualPort gives a machine the port that its number stands for, or takes it back, without looking at the others: in a
// set of a thousand that is what keeps making them from taking a million steps. It returns false if it is not so simple.
func usualPort(tx *store.Tx, g portRange, a *Attachment, gone bool) (bool, error) {
	port, instance := g.first+a.Owner.number(), key(a.Owner.InstanceID)
	holder, err := tx.GetKV(portsBucket(g.key), portKey(port))
	free := errors.Is(err, store.ErrNotFound)
	switch {
	case err != nil && !free:
		return false, err
	case gone && string(holder) == instance:
		return true, tx.DeleteKV(portsBucket(g.key), portKey(port))
	case !gone && string(holder) == instance:
		return true, nil
	case !gone && free && port <= g.last:
		return true, tx.SetKV(portsBucket(g.key), portKey(port), []byte(instance))
	}
	return false, nil
}

// assignPorts gives every machine of a NAT pool or rule a port, and takes those of machines that are gone.
func (r *Room) assignPorts(tx *store.Tx, lb *balancer) error {
	ranges := lb.ranges()
	if len(ranges) == 0 {
		return nil
	}
	all, err := attachments(tx)
	if err != nil {
		return err
	}
	for _, g := range ranges {
		old, err := portsOf(tx, g.key)
		if err != nil {
			return err
		}
		if err := setPorts(tx, g.key, old, spread(g, old, all)); err != nil {
			return err
		}
	}
	return nil
}

// A range's ports are kept one by one: port -> key of the instance.
func portsBucket(rangeKey string) string { return bucketPorts + " " + rangeKey }

func portKey(port int) string { return fmt.Sprintf("%05d", port) }

func setPorts(tx *store.Tx, rangeKey string, old, now portTable) error {
	for instance, port := range old {
		if now[instance] == port {
			continue
		}
		if err := tx.DeleteKV(portsBucket(rangeKey), portKey(port)); err != nil {
			return err
		}
	}
	for instance, port := range now {
		if old[instance] == port {
			continue
		}
		if err := tx.SetKV(portsBucket(rangeKey), portKey(port), []byte(instance)); err != nil {
			return err
		}
	}
	return nil
}

func portsOf(tx *store.Tx, rangeKey string) (portTable, error) {
	entries, err := tx.ListKV(portsBucket(rangeKey))
	if err != nil {
		return nil, err
	}
	t := make(portTable, len(entries))
	for _, e := range entries {
		if t[string(e.Value)], err = strconv.Atoi(e.Key); err != nil {
			return nil, fmt.Errorf("ports of %s: %w", rangeKey, err)
		}
	}
	return t, nil
}

// spread decides the ports: a machine keeps the one it has; a new one gets the range's first port plus its number, as
// in Azure, or else the lowest free one. Machines beyond the range's size get none.
func spread(g portRange, old portTable, all []*Attachment) portTable {
	out, used := portTable{}, map[int]bool{}
	var fresh []*Attachment
	for _, a := range all {
		k := key(a.Owner.InstanceID)
		if !a.inPool(g.members) {
			continue
		}
		if port, ok := old[k]; ok && port >= g.first && port <= g.last && !used[port] {
			out[k], used[port] = port, true
		} else {
			fresh = append(fresh, a)
		}
	}
	sort.SliceStable(fresh, func(i, j int) bool { return fresh[i].Owner.number() < fresh[j].Owner.number() })
	for _, a := range fresh {
		port := g.first + a.Owner.number()
		if port > g.last || used[port] {
			for port = g.first; used[port]; port++ {
			}
		}
		if port <= g.last {
			out[key(a.Owner.InstanceID)], used[port] = port, true
		}
	}
	return out
}
