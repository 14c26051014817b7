package frontdoor

import (
	"cmp"
	"hash/fnv"
	"net/netip"
	"slices"
)

// tableKey names a slot table. A pool has one of its own (the other fields empty), which decides; each probe and
// distribution class that its rules use has a copy, in which a machine that this probe finds unhealthy is stood in
// for by the slot's next choice.
type tableKey struct {
	pool, probe string
	source      bool // of rules by source address: open connections there hold their slot
}

func tableOf(r Rule) tableKey {
	k := tableKey{pool: r.Pool, probe: "-", source: r.Distribution != Default}
	if r.Probe != nil {
		k.probe = r.Probe.ID
	}
	return k
}

// tableNumbers gives every slot table of a network a number of 24 bits that stays the same as tables come and go.
func tableNumbers(n *Network) map[tableKey]uint32 {
	var keys []tableKey
	for _, p := range n.Pools {
		keys = append(keys, tableKey{pool: p.ID})
	}
	for _, r := range n.Rules {
		if k := tableOf(r); !slices.Contains(keys, k) {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, func(a, b tableKey) int {
		return cmp.Or(cmp.Compare(a.pool, b.pool), cmp.Compare(a.probe, b.probe), boolCompare(a.source, b.source))
	})
	out, used := map[tableKey]uint32{}, map[uint32]bool{0: true}
	for _, k := range keys {
		number := keyHash(k)
		for used[number] {
			number = (number + 1) & 0xffffff
		}
		out[k], used[number] = number, true
	}
	return out
}

func boolCompare(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func keyHash(k tableKey) uint32 {
	h := fnv.New32a()
	h.Write([]byte(k.pool + "\x00" + k.probe))
	if k.source {
		h.Write([]byte{1})
	}
	return uint32(mix(uint64(h.Sum32()))) & 0xffffff
}

// findings are what probes say: by probe id and address.
type findings map[string]map[netip.Addr]bool

func (f findings) healthy(probe string, a netip.Addr) bool { return probe == "-" || f[probe][a] }

// assigner decides one pool's table.
type assigner func(pool string, old Slots, candidates []Candidate) Slots

// finally decides with the open connections of each pool, provisionally without.
func finally(live map[string]LiveFlows) assigner {
	return func(pool string, old Slots, c []Candidate) Slots { return Assign(old, c, live[pool]) }
}

func provisionally(_ string, old Slots, c []Candidate) Slots { return Provisional(old, c) }

// decideTables works out all slot tables of a network, given those so far. It is pure.
func decideTables(n *Network, old map[uint32]Slots, found findings, assign assigner) map[uint32]Slots {
	numbers := tableNumbers(n)
	out := map[uint32]Slots{}
	for _, p := range n.Pools {
		number := numbers[tableKey{pool: p.ID}]
		main := assign(p.ID, old[number], candidates(n, p, found))
		out[number] = main
		for k, number := range numbers {
			if k.pool == p.ID && k.probe != "" {
				out[number] = standIn(main, p, k.probe, found)
			}
		}
	}
	return out
}

// candidates are a pool's backends with what all of its probes together say of them. A machine is healthy if it passes
// as many probes as the best does, so that a pool of machines whose second service is still starting is open already.
func candidates(n *Network, p Pool, found findings) []Candidate {
	probes := probesOf(n, p.ID)
	count := func(a netip.Addr) int {
		good := 0
		for _, id := range probes {
			if found.healthy(id, a) {
				good++
			}
		}
		return good
	}
	best := 0
	for _, b := range p.Backends {
		if !b.Draining {
			best = max(best, count(b.Addr))
		}
	}
	var out []Candidate
	for _, b := range p.Backends {
		c := Candidate{Addr: b.Addr, Load: b.Load}
		switch good := count(b.Addr); {
		case len(probes) > 0 && good == 0:
			c.State = Unhealthy
		case b.Draining:
			c.State = Draining
		case good < best:
			c.State = Partial
		}
		out = append(out, c)
	}
	return out
}

func probesOf(n *Network, pool string) []string {
	var out []string
	for _, r := range n.Rules {
		if k := tableOf(r); r.Pool == pool && k.probe != "-" && !slices.Contains(out, k.probe) {
			out = append(out, k.probe)
		}
	}
	return out
}

// standIn is a pool's table as the rules of one probe see it.
func standIn(main Slots, p Pool, probe string, found findings) Slots {
	var open []*Candidate
	for _, b := range p.Backends {
		if !b.Draining && found.healthy(probe, b.Addr) {
			open = append(open, &Candidate{Addr: b.Addr, Load: b.Load})
		}
	}
	t := table{open: open, share: SlotCount} // no shares here: only the order of choice counts
	for i, a := range main {
		if !a.IsValid() || found.healthy(probe, a) {
			continue
		}
		main[i] = netip.Addr{}
		if len(open) > 0 {
			main[i] = t.choice(i).Addr
		}
	}
	return main
}
