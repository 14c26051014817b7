package network

import (
	"errors"
	"sort"

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
				if err := r.memberOf(tx, lb, parentOf(ip.Subnet)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (r *Room) memberOf(tx *store.Tx, lbID, vnetID string) error {
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
	return r.assignPorts(tx, lb, vnetID)
}

// assignPorts gives every machine of a NAT pool or rule a port, and takes those of machines that are gone. vnetID, if
// known, is remembered as the network that the load balancer works in.
func (r *Room) assignPorts(tx *store.Tx, lb *balancer, vnetID string) error {
	if vnetID != "" {
		if err := tx.SetKV(bucketHome, key(lb.ID), []byte(key(vnetID))); err != nil {
			return err
		}
	}
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
		if err := tx.SetJSON(bucketPorts, g.key, spread(g, old, all)); err != nil {
			return err
		}
	}
	return nil
}

func portsOf(tx *store.Tx, rangeKey string) (portTable, error) {
	t := portTable{}
	err := tx.GetJSON(bucketPorts, rangeKey, &t)
	if errors.Is(err, store.ErrNotFound) {
		return t, nil
	}
	return t, err
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
