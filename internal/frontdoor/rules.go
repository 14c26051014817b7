package frontdoor

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// uplink is the namespace's end of the transit link.
const uplink = "up0"

// tableName is the name of the nftables tables within a namespace.
const tableName = "lido"

// seed makes the hash of a connection the same after every reload.
const seed = 0x6c69646f

var (
	typeService = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetProto, nftables.TypeInetService)
	typeTarget  = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeInetService)
	typePair    = nftables.MustConcatSetType(nftables.TypeIPAddr, nftables.TypeIPAddr)
)

// routed makes the IPv4 table of a network's namespace. tables are the slot tables by their number.
func routed(n *Network, tables map[uint32]Slots) *ruleset {
	r := &ruleset{name: tableName}
	r.objects = timeouts(n)
	idle := idleSets(n)
	r.sets = append(routedSets(n, tables), idle...)
	r.chains = []*chain{preroutingChain(idle), refusedChain(), inputChain(), forwardChain(n), outputChain(n), postroutingChain(n), wakerChain()}
	r.chains = append(r.chains, serviceChains(n)...)
	r.chains = append(r.chains, groupChains(n)...)
	return r
}

// routedSets are all sets but those that idleSets makes.
func routedSets(n *Network, tables map[uint32]Slots) []*set {
	services := mapOf("services", typeService, nftables.TypeVerdict)
	wholes := mapOf("services_all", nftables.TypeIPAddr, nftables.TypeVerdict)
	for _, rule := range n.Rules {
		if rule.Protocol == Any {
			wholes.elements = append(wholes.elements, gotoChain(serviceChain(rule), ip4(rule.Addr)))
			continue
		}
		services.elements = append(services.elements,
			gotoChain(serviceChain(rule), ip4(rule.Addr), []byte{byte(rule.Protocol)}, port(rule.Port)))
	}
	fronts := &set{spec: nftables.Set{Name: "frontends", KeyType: nftables.TypeIPAddr}}
	for _, f := range n.FrontEnds {
		fronts.elements = append(fronts.elements, key(ip4(f.Addr)))
	}
	out, in := groupMaps(n)
	ports, all, own := natSets(n)
	return []*set{services, wholes, ports, all, own, slotSet(tables), selfSet(n), fronts, out, in}
}

func mapOf(name string, k, v nftables.SetDatatype) *set {
	return &set{spec: nftables.Set{Name: name, IsMap: true, KeyType: k, DataType: v}}
}

// natSets are the inbound NAT rules by port, those for all ports, and these the other way round.
func natSets(n *Network) (ports, all, own *set) {
	ports = mapOf("nats", typeService, typeTarget)
	all, own = mapOf("nats_all", nftables.TypeIPAddr, nftables.TypeIPAddr), mapOf("own", nftables.TypeIPAddr, nftables.TypeIPAddr)
	for _, r := range n.NATRules {
		if r.Protocol == Any {
			e := key(ip4(r.Addr))
			e.Val = ip4(r.Backend)
			all.elements = append(all.elements, e)
			back := key(ip4(r.Backend))
			back.Val = ip4(r.Addr)
			own.elements = append(own.elements, back)
			continue
		}
		e := key(ip4(r.Addr), []byte{byte(r.Protocol)}, port(r.Port))
		e.Val = concat(ip4(r.Backend), port(r.BackendPort))
		ports.elements = append(ports.elements, e)
	}
	return ports, all, own
}

// idleSets are the inbound NAT rules' ports by their idle timeout, one set for each. Load balancing rules set theirs in
// their chains.
func idleSets(n *Network) []*set {
	byName := map[string]*set{}
	for _, r := range n.NATRules {
		name := timeoutName(r.Protocol, r.IdleTimeout)
		if name == "" {
			continue
		}
		if byName[name] == nil {
			byName[name] = &set{spec: nftables.Set{Name: natsIdle + name, KeyType: typeService}}
		}
		byName[name].elements = append(byName[name].elements, key(ip4(r.Addr), []byte{byte(r.Protocol)}, port(r.Port)))
	}
	var out []*set
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		out = append(out, byName[name])
	}
	return out
}

// natsIdle begins the names of the sets that idleSets makes; the rest is the name of the timeout.
const natsIdle = "nats_"

// slotSet holds all slot tables: table number times 256 plus slot, as a mark, to the backend's address.
func slotSet(tables map[uint32]Slots) *set {
	s := mapOf("slots", nftables.TypeMark, nftables.TypeIPAddr)
	for number, slots := range tables {
		for i, addr := range slots {
			if addr.IsValid() {
				s.elements = append(s.elements, nftables.SetElement{
					Key: binaryutil.NativeEndian.PutUint32(number<<8 | uint32(i)), Val: ip4(addr)})
			}
		}
	}
	return s
}

// selfSet names the connections of a machine to itself, made by way of a front end.
func selfSet(n *Network) *set {
	s := &set{spec: nftables.Set{Name: "selves", KeyType: typePair}}
	for _, m := range n.Machines {
		s.elements = append(s.elements, key(ip4(m.Addr), ip4(m.Addr)))
	}
	return s
}

func base(name string, t nftables.ChainType, hook *nftables.ChainHook, prio *nftables.ChainPriority, policy nftables.ChainPolicy) *chain {
	return &chain{spec: nftables.Chain{Name: name, Type: t, Hooknum: hook, Priority: prio, Policy: &policy}}
}

func preroutingChain(idle []*set) *chain {
	c := base("prerouting", nftables.ChainTypeNAT, nftables.ChainHookPrerouting, nftables.ChainPriorityNATDest, nftables.ChainPolicyAccept)
	service := exprs(loadIP(offDestination, word0), loadProtocol(word1), loadPort(2, word2))
	for _, s := range idle {
		c.add("idle timeout of inbound NAT rules", service, exprs(inSet(s.spec.Name, reg1),
			&expr.Objref{Type: unix.NFT_OBJECT_CT_TIMEOUT, Name: strings.TrimPrefix(s.spec.Name, natsIdle)}))
	}
	c.add("inbound NAT rules", service, exprs(valueOf("nats", reg1, reg1), &expr.NAT{Type: expr.NATTypeDestNAT,
		Family: unix.NFPROTO_IPV4, RegAddrMin: word0, RegProtoMin: word1, Specified: true}))
	c.add("load balancing rules", service, exprs(verdictOf("services", reg1)))
	c.add("machines with an address of their own", exprs(loadIP(offDestination, reg1), valueOf("nats_all", reg1, reg1), dnat(false)))
	c.add("load balancing rules for all ports", exprs(loadIP(offDestination, reg1), verdictOf("services_all", reg1)))
	c.add("nothing at this port of a front end", exprs(loadIP(offDestination, reg1), inSet("frontends", reg1)), goTo("refused"))
	return c
}

// serviceChains has a chain per load balancing rule: hash, remember the slot in the connection's mark, translate.
func serviceChains(n *Network) []*chain {
	numbers := tableNumbers(n)
	var out []*chain
	for _, r := range n.Rules {
		c := &chain{spec: nftables.Chain{Name: serviceChain(r)}}
		if name := timeoutName(r.Protocol, r.IdleTimeout); name != "" {
			c.add("idle timeout", exprs(&expr.Objref{Type: unix.NFT_OBJECT_CT_TIMEOUT, Name: name}))
		}
		c.add(r.ID, hashOf(r, numbers[tableOf(r)]), exprs(
			&expr.Ct{Key: expr.CtKeyMARK, Register: reg2, SourceRegister: true},
			valueOf("slots", reg2, reg1)), translate(r))
		c.add("no machine to give", jump("waker"))
		c.add("none was woken either", goTo("refused"))
		out = append(out, c)
	}
	return out
}

// hashOf loads what chooses a connection's slot and hashes it into reg2.
func hashOf(r Rule, number uint32) []expr.Any {
	e := exprs(payload(expr.PayloadBaseNetworkHeader, offSource, 8, reg1))
	length := uint32(8)
	switch r.Distribution {
	case SourceIPProtocol:
		e = append(e, loadProtocol(word2))
		length = 12
	case Default:
		e = append(e, payload(expr.PayloadBaseTransportHeader, 0, 4, word2), loadProtocol(word3))
		length = 16
	}
	return append(e, &expr.Hash{Type: expr.HashTypeJenkins, SourceRegister: reg1, DestRegister: reg2, Length: length,
		Modulus: SlotCount, Seed: seed, Offset: number << 8})
}

func translate(r Rule) []expr.Any {
	if r.Protocol == Any {
		return exprs(dnat(false))
	}
	return exprs(&expr.Immediate{Register: reg2, Data: port(r.BackendPort)}, dnat(true))
}

// wakerChain is where a connection comes that no backend can be given to. A redirect to the waker's port belongs
// here; without one the connection comes back and is refused.
func wakerChain() *chain { return &chain{spec: nftables.Chain{Name: "waker"}} }

// refusedChain answers what came to a front end and has nowhere to go: nobody is there, said at once. Only the first
// packet of a connection gets here, so that it costs the others nothing.
func refusedChain() *chain {
	c := &chain{spec: nftables.Chain{Name: "refused"}}
	c.add("TCP", matchProtocol(TCP), resetTCP())
	c.add("the rest", refuse())
	return c
}

// inputChain is what the namespace itself answers: names and pings.
func inputChain() *chain {
	c := base("input", nftables.ChainTypeFilter, nftables.ChainHookInput, nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	c.add("replies", matchState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
	c.add("own", matchLink(expr.MetaKeyIIFNAME, "lo"), accept())
	c.add("ping", matchProtocol(ICMP), accept())
	for _, p := range []Protocol{UDP, TCP} {
		c.add("names", notLink(expr.MetaKeyIIFNAME, uplink), matchProtocol(p), matchPorts(2, PortRange{53, 53}), accept())
	}
	return c
}

func forwardChain(n *Network) *chain {
	c := base("forward", nftables.ChainTypeFilter, nftables.ChainHookForward, nftables.ChainPriorityFilter, nftables.ChainPolicyDrop)
	c.add("known connections", matchState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
	c.add("nonsense", matchState(expr.CtStateBitINVALID), drop())
	c.add("from outside through front ends only", matchLink(expr.MetaKeyIIFNAME, uplink), untranslated(), drop())
	out := matchLink(expr.MetaKeyOIFNAME, uplink)
	c.add("link-local stays inside", out, matchPrefix(offDestination, linkLocal), drop())
	c.add("replies whose connection is forgotten wait for the client", out, matchProtocol(TCP), matchSynOnly(expr.CmpOpNeq), drop())
	c.rules = append(c.rules, groupJumps(n)...)
	c.add("outbound under an address of its own", out, exprs(loadIP(offSource, reg1), valueOf("own", reg1, reg1)), accept())
	for _, s := range n.Subnets {
		if s.NoOutbound {
			c.add("no outbound access", matchPrefix(offSource, s.Prefix), out, refuse())
		}
	}
	c.add("the rest", accept())
	return c
}

var linkLocal = netip.MustParsePrefix("169.254.0.0/16")

func untranslated() []expr.Any {
	e := matchTranslated()
	e[len(e)-1].(*expr.Cmp).Op = expr.CmpOpEq
	return e
}

// outputChain lets the security groups judge probes, which start in the namespace itself.
func outputChain(n *Network) *chain {
	c := base("output", nftables.ChainTypeFilter, nftables.ChainHookOutput, nftables.ChainPriorityFilter, nftables.ChainPolicyAccept)
	c.add("known connections", matchState(expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED), accept())
	c.rules = append(c.rules, inwardJumps(n)...)
	return c
}

func postroutingChain(n *Network) *chain {
	c := base("postrouting", nftables.ChainTypeNAT, nftables.ChainHookPostrouting, nftables.ChainPriorityNATSource, nftables.ChainPolicyAccept)
	c.add("a machine to itself", exprs(loadIP(offSource, word0), loadIP(offDestination, word1), inSet("selves", reg1)),
		matchTranslated(), masquerade())
	c.add("outbound under an address of its own", matchLink(expr.MetaKeyOIFNAME, uplink), exprs(loadIP(offSource, reg1), valueOf("own", reg1, reg1),
		&expr.NAT{Type: expr.NATTypeSourceNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: reg1}))
	for _, p := range n.Prefixes {
		c.add("outbound", matchLink(expr.MetaKeyOIFNAME, uplink), matchPrefix(offSource, p), masquerade())
	}
	return c
}

func serviceChain(r Rule) string {
	return "svc_" + shortHash(fmt.Sprintf("%v/%d/%d", r.Addr, r.Protocol, r.Port))
}

func shortHash(s string) string {
	h := fnv.New64a()
	h.Write([]byte(s))
	return fmt.Sprintf("%012x", h.Sum64()>>16)
}

// timeouts makes a conntrack timeout policy for each idle timeout in use. All but the established state keep short
// values: see sysctls in space.go for why.
func timeouts(n *Network) []*nftables.NamedObj {
	seen := map[string]bool{}
	var out []*nftables.NamedObj
	add := func(p Protocol, idle time.Duration) {
		if name := timeoutName(p, idle); name != "" && !seen[name] {
			seen[name] = true
			out = append(out, &nftables.NamedObj{Name: name, Type: nftables.ObjTypeCtTimeout, Obj: timeoutPolicy(p, idle)})
		}
	}
	for _, r := range n.Rules {
		add(r.Protocol, r.IdleTimeout)
	}
	for _, r := range n.NATRules {
		add(r.Protocol, r.IdleTimeout)
	}
	slices.SortFunc(out, func(a, b *nftables.NamedObj) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// timeoutName names the policy of an idle timeout; empty if there is none to keep.
func timeoutName(p Protocol, idle time.Duration) string {
	if idle <= 0 || (p != TCP && p != UDP) {
		return ""
	}
	return fmt.Sprintf("idle_%d_%d", p, int(idle/time.Second))
}

func timeoutPolicy(p Protocol, idle time.Duration) *expr.CtTimeout {
	t := &expr.CtTimeout{L3Proto: unix.NFPROTO_IPV4, L4Proto: uint8(p)}
	seconds := uint32(idle / time.Second)
	if p == UDP {
		t.Policy = expr.CtStatePolicyTimeout{expr.CtStateUDPUNREPLIED: 30, expr.CtStateUDPREPLIED: seconds}
		return t
	}
	t.Policy = expr.CtStatePolicyTimeout{
		expr.CtStateTCPSYNSENT: 30, expr.CtStateTCPSYNRECV: 30, expr.CtStateTCPESTABLISHED: seconds,
		expr.CtStateTCPFINWAIT: 30, expr.CtStateTCPCLOSEWAIT: 60, expr.CtStateTCPLASTACK: 30,
		expr.CtStateTCPTIMEWAIT: timeWaitSeconds, expr.CtStateTCPCLOSE: 2, expr.CtStateTCPSYNSENT2: 30,
		expr.CtStateTCPRETRANS: 300, expr.CtStateTCPUNACK: 300,
	}
	return t
}
