package frontdoor

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Registers. A 16-byte register (reg1, reg2) is four 4-byte ones (word...).
const (
	reg1  = 1
	reg2  = 2
	word0 = unix.NFT_REG32_00
	word1 = unix.NFT_REG32_01
	word2 = unix.NFT_REG32_02
	word3 = unix.NFT_REG32_03
)

// Offsets in an IPv4 header.
const (
	offSource      = 12
	offDestination = 16
)

func exprs(e ...expr.Any) []expr.Any { return e }

func payload(base expr.PayloadBase, offset, length, reg uint32) expr.Any {
	return &expr.Payload{OperationType: expr.PayloadLoad, Base: base, Offset: offset, Len: length, DestRegister: reg}
}

func loadIP(offset, reg uint32) expr.Any {
	return payload(expr.PayloadBaseNetworkHeader, offset, 4, reg)
}

// loadPort loads a port, at offset 0 the source's and at 2 the destination's.
func loadPort(offset, reg uint32) expr.Any {
	return payload(expr.PayloadBaseTransportHeader, offset, 2, reg)
}

func loadProtocol(reg uint32) expr.Any { return &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: reg} }

func equal(data []byte) expr.Any { return &expr.Cmp{Op: expr.CmpOpEq, Register: reg1, Data: data} }

// matchLink matches the link a packet came in by (MetaKeyIIFNAME) or leaves by (MetaKeyOIFNAME). A name that ends in
// "*" matches by prefix.
func matchLink(key expr.MetaKey, name string) []expr.Any {
	return exprs(&expr.Meta{Key: key, Register: reg1}, equal(linkName(name)))
}

func notLink(key expr.MetaKey, name string) []expr.Any {
	return exprs(&expr.Meta{Key: key, Register: reg1}, &expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: linkName(name)})
}

func linkName(name string) []byte {
	if n := len(name); n > 0 && name[n-1] == '*' {
		return []byte(name[:n-1])
	}
	b := make([]byte, 16)
	copy(b, name)
	return b
}

func matchProtocol(p Protocol) []expr.Any {
	if p == Any {
		return nil
	}
	return exprs(loadProtocol(reg1), equal([]byte{byte(p)}))
}

// matchPrefix matches the address at offset of the IPv4 header. A prefix of length 0 matches without looking.
func matchPrefix(offset uint32, p netip.Prefix) []expr.Any {
	return comparePrefix(offset, p, expr.CmpOpEq)
}

func comparePrefix(offset uint32, p netip.Prefix, op expr.CmpOp) []expr.Any {
	if p.Bits() == 0 && op == expr.CmpOpEq {
		return nil
	}
	mask := binary.BigEndian.AppendUint32(nil, ^uint32(0)<<(32-p.Bits()))
	a := p.Masked().Addr().As4()
	return exprs(loadIP(offset, reg1),
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 4, Mask: mask, Xor: make([]byte, 4)},
		&expr.Cmp{Op: op, Register: reg1, Data: a[:]})
}

// matchPorts matches the port at offset of the transport header.
func matchPorts(offset uint32, r PortRange) []expr.Any {
	if r.First == 0 && r.Last == 65535 {
		return nil
	}
	if r.First == r.Last {
		return exprs(loadPort(offset, reg1), equal(port(r.First)))
	}
	return exprs(loadPort(offset, reg1),
		&expr.Range{Op: expr.CmpOpEq, Register: reg1, FromData: port(r.First), ToData: port(r.Last)})
}

// matchState matches connection states, a sum of expr.CtStateBit...
func matchState(bits uint32) []expr.Any {
	return matchBits(&expr.Ct{Key: expr.CtKeySTATE, Register: reg1}, binaryutil.NativeEndian.PutUint32(bits))
}

// ctStatusDNAT is the bit of a connection's status that says its destination was translated.
const ctStatusDNAT = 1 << 5

func matchTranslated() []expr.Any {
	return matchBits(&expr.Ct{Key: expr.CtKeySTATUS, Register: reg1}, binaryutil.NativeEndian.PutUint32(ctStatusDNAT))
}

func matchBits(load expr.Any, mask []byte) []expr.Any {
	zero := make([]byte, len(mask))
	return exprs(load,
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: uint32(len(mask)), Mask: mask, Xor: zero},
		&expr.Cmp{Op: expr.CmpOpNeq, Register: reg1, Data: zero})
}

// matchSynOnly matches (or, with op Neq, excludes) TCP packets that open a connection.
func matchSynOnly(op expr.CmpOp) []expr.Any {
	const syn, ack, rst, fin = 2, 16, 4, 1
	return exprs(payload(expr.PayloadBaseTransportHeader, 13, 1, reg1),
		&expr.Bitwise{SourceRegister: reg1, DestRegister: reg1, Len: 1, Mask: []byte{syn | ack | rst | fin}, Xor: []byte{0}},
		&expr.Cmp{Op: op, Register: reg1, Data: []byte{syn}})
}

// matchLocal matches packets to an address of this namespace.
func matchLocal() []expr.Any {
	return exprs(&expr.Fib{Register: reg1, FlagDADDR: true, ResultADDRTYPE: true},
		equal(binaryutil.NativeEndian.PutUint32(unix.RTN_LOCAL)))
}

// notLocal matches packets to addresses that are not this namespace's.
func notLocal() []expr.Any {
	e := matchLocal()
	e[len(e)-1].(*expr.Cmp).Op = expr.CmpOpNeq
	return e
}

// inSet matches when the registers from first on hold a key of a set.
func inSet(name string, first uint32) expr.Any {
	return &expr.Lookup{SourceRegister: first, SetName: name}
}

// verdictOf looks a key up in a verdict map and does as it says; no match goes on to the next rule.
func verdictOf(name string, first uint32) expr.Any {
	return &expr.Lookup{SourceRegister: first, SetName: name, DestRegister: unix.NFT_REG_VERDICT, IsDestRegSet: true}
}

// valueOf looks a key up in a map and loads what it finds; no match goes on to the next rule.
func valueOf(name string, first, into uint32) expr.Any {
	return &expr.Lookup{SourceRegister: first, SetName: name, DestRegister: into, IsDestRegSet: true}
}

func accept() []expr.Any { return exprs(&expr.Verdict{Kind: expr.VerdictAccept}) }
func drop() []expr.Any   { return exprs(&expr.Verdict{Kind: expr.VerdictDrop}) }
func leave() []expr.Any  { return exprs(&expr.Verdict{Kind: expr.VerdictReturn}) }

func jump(chain string) []expr.Any {
	return exprs(&expr.Verdict{Kind: expr.VerdictJump, Chain: chain})
}

func goTo(chain string) []expr.Any {
	return exprs(&expr.Verdict{Kind: expr.VerdictGoto, Chain: chain})
}

func resetTCP() []expr.Any { return exprs(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST}) }

// refuse answers with ICMP "administratively prohibited", so that a connection fails at once.
func refuse() []expr.Any {
	const adminProhibited = 13
	return exprs(&expr.Reject{Type: unix.NFT_REJECT_ICMP_UNREACH, Code: adminProhibited})
}

func masquerade() []expr.Any { return exprs(&expr.Masq{}) }

// dnat translates the destination to the address in reg1 and, if set, the port in reg2.
func dnat(withPort bool) expr.Any {
	n := &expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg1}
	if withPort {
		n.RegProtoMin = reg2
		n.Specified = true
	}
	return n
}

func port(p uint16) []byte { return binaryutil.BigEndian.PutUint16(p) }

func ip4(a netip.Addr) []byte { b := a.As4(); return b[:] }

// word pads a value to the 4 bytes that each part of a concatenation takes.
func word(b []byte) []byte { return append(b[:len(b):len(b)], make([]byte, (4-len(b)%4)%4)...) }

func concat(parts ...[]byte) []byte {
	var out []byte
	for _, p := range parts {
		out = append(out, word(p)...)
	}
	return out
}

func key(parts ...[]byte) nftables.SetElement { return nftables.SetElement{Key: concat(parts...)} }

func jumpTo(chain string, parts ...[]byte) nftables.SetElement {
	return nftables.SetElement{Key: concat(parts...), VerdictData: &expr.Verdict{Kind: expr.VerdictJump, Chain: chain}}
}

func gotoChain(chain string, parts ...[]byte) nftables.SetElement {
	return nftables.SetElement{Key: concat(parts...), VerdictData: &expr.Verdict{Kind: expr.VerdictGoto, Chain: chain}}
}
