package frontdoor

import (
	"encoding/binary"
	"hash/fnv"
	"math"
	"net/netip"
	"sort"
)

// SlotCount is the size of a pool's slot table. A connection's hash picks a slot, the slot names a backend.
const SlotCount = 256

// Slots is a pool's slot table. The zero Addr is an empty slot.
type Slots [SlotCount]netip.Addr

// Candidate is a backend as Assign sees it.
type Candidate struct {
	Addr    netip.Addr
	State   Health
	Load    float64 // 0 idle to 1 full
	carried int     // slots it holds so far
}

// Health says what a backend may be given.
type Health uint8

// The healths.
const (
	Healthy   Health = iota // may be given any slot
	Partial                 // well on some ports only: keeps its slots, gets none
	Draining                // keeps slots with live flows, gets none
	Unhealthy               // keeps nothing
)

// LiveFlows says how many open connections each backend has in each slot.
type LiveFlows [SlotCount]map[netip.Addr]int

// Assign decides which backend each slot belongs to from now on, given the table so far. It is pure.
//
// A slot stays where it is while its backend is well, or draining with flows in that slot. A slot whose backend is
// lost goes to its next choice. A backend with less than half its fair share (one just added) is filled up to that
// share, from the busiest first, by slots without live flows.
func Assign(old Slots, candidates []Candidate, live LiveFlows) Slots {
	t := newTable(old, candidates, live)
	t.keep()
	if len(t.open) > 0 {
		t.fill()
		t.level()
	}
	return t.next
}

// Provisional is what can be decided at once, without knowing the live flows: it serves slots whose backend is lost,
// and takes none from a backend that may still have flows there.
func Provisional(old Slots, candidates []Candidate) Slots {
	t := newTable(old, candidates, LiveFlows{})
	t.unknown = true
	t.keep()
	if len(t.open) > 0 {
		t.fill()
	}
	return t.next
}

// table is the work in progress of one Assign.
type table struct {
	old, next Slots
	by        map[netip.Addr]*Candidate
	open      []*Candidate // healthy, ordered by address
	live      LiveFlows
	unknown   bool // live is not known
	share     int  // slots that every open backend gets, before any gets one more
}

func newTable(old Slots, candidates []Candidate, live LiveFlows) *table {
	t := &table{old: old, live: live, by: map[netip.Addr]*Candidate{}}
	for _, c := range candidates {
		if _, dup := t.by[c.Addr]; dup {
			continue
		}
		t.by[c.Addr] = &c
		if c.State == Healthy {
			t.open = append(t.open, &c)
		}
	}
	sort.Slice(t.open, func(i, j int) bool { return t.open[i].Addr.Less(t.open[j].Addr) })
	return t
}

// keep carries over every slot whose backend may keep it.
func (t *table) keep() {
	held := 0
	for i, addr := range t.old {
		c := t.by[addr]
		switch {
		case c == nil || c.State == Unhealthy:
		case c.State == Draining && t.live[i][addr] == 0 && !t.unknown:
		default:
			t.next[i] = addr
			c.carried++
			if c.State != Healthy {
				held++
			}
		}
	}
	if n := len(t.open); n > 0 {
		t.share = (SlotCount - held) / n
	}
}

// fill gives every empty slot to its best choice that has room.
func (t *table) fill() {
	for i, addr := range t.next {
		if addr.IsValid() {
			continue
		}
		c := t.choice(i)
		t.next[i] = c.Addr
		c.carried++
	}
}

// choice is the open backend that slot i would rather have than any other: first one with live flows in that slot,
// then by rendezvous order among those that hold least, in units of their share.
func (t *table) choice(i int) *Candidate {
	var best *Candidate
	bestScore := math.Inf(-1)
	for _, c := range t.open {
		score := weight(i, c)
		if over := c.carried - t.share; over >= 0 {
			score -= 1e3 * float64(over+1)
		}
		if t.live[i][c.Addr] > 0 {
			score += 1e9
		}
		if score > bestScore {
			best, bestScore = c, score
		}
	}
	return best
}

// level fills up open backends that have less than half their fair share.
func (t *table) level() {
	fair := t.fairShare()
	for _, poor := range t.open {
		if poor.carried*2 >= fair {
			continue
		}
		for poor.carried < fair {
			i := t.donation(poor, fair)
			if i < 0 {
				break
			}
			t.by[t.next[i]].carried--
			t.next[i] = poor.Addr
			poor.carried++
		}
	}
}

func (t *table) fairShare() int {
	n := 0
	for _, c := range t.open {
		n += c.carried
	}
	return n / len(t.open)
}

// donation is the slot that poor should take next, or -1: of the backend that holds most (the busier, if equal), one
// without live flows that prefers poor.
func (t *table) donation(poor *Candidate, fair int) int {
	best, bestScore := -1, math.Inf(-1)
	for i, addr := range t.next {
		donor := t.by[addr]
		if donor == nil || donor.State != Healthy || donor.carried <= fair || len(t.live[i]) > 0 {
			continue
		}
		score := float64(donor.carried) + donor.Load/2 + weight(i, poor)/1e6
		if score > bestScore {
			best, bestScore = i, score
		}
	}
	return best
}

// weight orders backends for a slot (rendezvous hashing), a loaded one coming up less often.
func weight(slot int, c *Candidate) float64 {
	h := fnv.New64a()
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], uint16(slot))
	a := c.Addr.As16()
	h.Write(a[:])
	h.Write(b[:])
	u := (float64(mix(h.Sum64())>>11) + 0.5) / (1 << 53)
	w := 1 / (1 + math.Max(0, math.Min(c.Load, 1)))
	return math.Log(u) / w
}

// mix spreads a hash's low entropy over all its bits.
func mix(x uint64) uint64 {
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
