package template

import (
	"math/big"
	"net/netip"
)

// cidr enters the functions on address ranges.
func (t table) cidr() {
	t.pure("parseCidr", "s", fnParseCidr)
	t.pure("cidrSubnet", "s i i", fnCidrSubnet)
	t.pure("cidrHost", "s i", fnCidrHost)
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, faultf("'%s' is not an address range in CIDR notation", s)
	}
	return p, nil
}

// plus returns the address n after a.
func plus(a netip.Addr, n *big.Int) (netip.Addr, bool) {
	sum := new(big.Int).SetBytes(a.AsSlice())
	sum.Add(sum, n)
	if sum.Sign() < 0 || sum.BitLen() > a.BitLen() {
		return a, false
	}
	out, _ := netip.AddrFromSlice(sum.FillBytes(make([]byte, a.BitLen()/8)))
	return out, true
}

// lastOf is the last address of a range.
func lastOf(p netip.Prefix) netip.Addr {
	last, _ := plus(p.Masked().Addr(), new(big.Int).Sub(power(p.Addr().BitLen()-p.Bits()), big.NewInt(1)))
	return last
}

func power(n int) *big.Int { return new(big.Int).Lsh(big.NewInt(1), uint(n)) }

func netmask(p netip.Prefix) netip.Addr {
	all := make([]byte, p.Addr().BitLen()/8)
	for i := range all {
		all[i] = 0xff
	}
	a, _ := netip.AddrFromSlice(all)
	return netip.PrefixFrom(a, p.Bits()).Masked().Addr()
}

func fnParseCidr(a []Value) (Value, error) {
	p, err := parsePrefix(a[0].s)
	if err != nil {
		return Value{}, err
	}
	network, last := p.Masked().Addr(), lastOf(p)
	var b objectBuilder
	b.set("network", StringValue(network.String()))
	b.set("netmask", StringValue(netmask(p).String()))
	first, end := network, last
	if network.Is4() {
		b.set("broadcast", StringValue(last.String()))
		if p.Bits() < 31 {
			first, end = network.Next(), last.Prev()
		}
	}
	b.set("firstUsable", StringValue(first.String()))
	b.set("lastUsable", StringValue(end.String()))
	b.set("cidr", IntValue(int64(p.Bits())))
	return b.value(), nil
}

func fnCidrSubnet(a []Value) (Value, error) {
	p, err := parsePrefix(a[0].s)
	if err != nil {
		return Value{}, err
	}
	size := p.Addr().BitLen()
	if a[1].n < int64(p.Bits()) || a[1].n > int64(size) {
		return Value{}, faultf("the new prefix length '%d' must be from %d to %d", a[1].n, p.Bits(), size)
	}
	bits := int(a[1].n)
	if a[2].n < 0 || big.NewInt(a[2].n).Cmp(power(bits-p.Bits())) >= 0 {
		return Value{}, faultf("the range '%s' has no part number '%d' of prefix length %d", a[0].s, a[2].n, bits)
	}
	start, _ := plus(p.Masked().Addr(), new(big.Int).Mul(big.NewInt(a[2].n), power(size-bits)))
	return StringValue(netip.PrefixFrom(start, bits).String()), nil
}

// fnCidrHost is a usable address of a range; number 0 is the first after the network's own.
func fnCidrHost(a []Value) (Value, error) {
	p, err := parsePrefix(a[0].s)
	if err != nil {
		return Value{}, err
	}
	host, ok := plus(p.Masked().Addr(), new(big.Int).Add(big.NewInt(a[1].n), big.NewInt(1)))
	last := lastOf(p)
	if a[1].n < 0 || !ok || !p.Contains(host) || p.Addr().Is4() && p.Bits() < 31 && host == last {
		return Value{}, faultf("the range '%s' has no usable address number '%d'", a[0].s, a[1].n)
	}
	return StringValue(host.String()), nil
}
