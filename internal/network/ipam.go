package network

import (
	"errors"
	"net/netip"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// hintKey remembers, among a subnet's addresses, which one was given out last: the next one is searched from there, so
// that an address rests for a while after its machine went.
const hintKey = "last"

// subnetByID finds a subnet and the network that it is in.
func subnetByID(tx *store.Tx, id string) (*vnet, *subnet, error) {
	d, err := tx.Get(parentOf(id))
	if err != nil {
		return nil, nil, err
	}
	v, err := readVNet(d)
	if err != nil {
		return nil, nil, err
	}
	if s := v.subnet(nameOf(id)); s != nil && strings.EqualFold(d.Type, typeVNet) {
		return v, s, nil
	}
	return nil, nil, store.ErrNotFound
}

// gatewayOf is the first address of a subnet: the router, DNS server and origin of probes.
func gatewayOf(p netip.Prefix) netip.Addr { return p.Masked().Addr().Next() }

// usable tells whether a machine may have an address: Azure keeps the first four of a subnet and the last.
func usable(p netip.Prefix, a netip.Addr) bool {
	first := p.Masked().Addr()
	for range 4 {
		if a == first {
			return false
		}
		first = first.Next()
	}
	return p.Contains(a) && p.Contains(a.Next())
}

// takeAddress gives owner an address of a subnet: the wished-for one, or a free one.
func takeAddress(tx *store.Tx, subnetID string, p netip.Prefix, wish netip.Addr, owner, at string) (netip.Addr, error) {
	bucket := bucketSubnet + key(subnetID)
	if wish.IsValid() {
		user, err := tx.GetKV(bucket, wish.String())
		if err == nil && key(string(user)) != key(owner) {
			return wish, arm.BadRequest("PrivateIPAddressInUse", at, "IP configuration %s is using the private IP address %v which is already allocated to resource %s.", owner, wish, user)
		}
		return wish, tx.SetKV(bucket, wish.String(), []byte(owner))
	}
	a, err := nextAddress(tx, bucket, p)
	if err != nil {
		return a, err
	}
	if !a.IsValid() {
		return a, arm.BadRequest("SubnetIsFull", at, "Subnet %s with address prefix %v does not have enough capacity for 1 IP addresses.", nameOf(subnetID), p)
	}
	if err := tx.SetKV(bucket, hintKey, []byte(a.String())); err != nil {
		return a, err
	}
	return a, tx.SetKV(bucket, a.String(), []byte(owner))
}

// nextAddress is the first free address after the one given out last, going round once. The zero Addr means none.
func nextAddress(tx *store.Tx, bucket string, p netip.Prefix) (netip.Addr, error) {
	start := p.Masked().Addr()
	if v, err := tx.GetKV(bucket, hintKey); err == nil {
		if a, err := netip.ParseAddr(string(v)); err == nil && p.Contains(a) {
			start = a
		}
	}
	a := start
	for range 1 << (32 - p.Bits()) {
		if a = a.Next(); !p.Contains(a) {
			a = p.Masked().Addr()
		}
		if !usable(p, a) {
			continue
		}
		_, err := tx.GetKV(bucket, a.String())
		if errors.Is(err, store.ErrNotFound) {
			return a, nil
		}
		if err != nil {
			return netip.Addr{}, err
		}
	}
	return netip.Addr{}, nil
}

// lease is an address that an internal front end has of a subnet.
type lease struct {
	Addr   netip.Addr `json:"addr"`
	Subnet string     `json:"subnet"` // id
}

// leaseOf returns a front end's lease; the zero lease if it has none.
func leaseOf(tx *store.Tx, id string) (lease, error) {
	var l lease
	err := tx.GetJSON(bucketLease, key(id), &l)
	if errors.Is(err, store.ErrNotFound) {
		return lease{}, nil
	}
	return l, err
}

// endLease gives a front end's address back, if it has one.
func endLease(tx *store.Tx, id string) error {
	l, err := leaseOf(tx, id)
	if err != nil || !l.Addr.IsValid() {
		return err
	}
	if err := tx.DeleteKV(bucketSubnet+key(l.Subnet), l.Addr.String()); err != nil {
		return err
	}
	return tx.DeleteKV(bucketLease, key(id))
}
