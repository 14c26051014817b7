package frontdoor

import (
	"net/netip"
	"testing"

	"pgregory.net/rapid"
)

func backendAddr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}) }

func healthyBackends(n int) []Candidate {
	var out []Candidate
	for i := range n {
		out = append(out, Candidate{Addr: backendAddr(4 + i)})
	}
	return out
}

func drawLive(t *rapid.T, s Slots) LiveFlows {
	var live LiveFlows
	for i := range s {
		if s[i].IsValid() && rapid.IntRange(0, 9).Draw(t, "busy") < 3 {
			live[i] = map[netip.Addr]int{s[i]: 1}
		}
	}
	return live
}

func counts(s Slots) map[netip.Addr]int {
	n := map[netip.Addr]int{}
	for _, a := range s {
		n[a]++
	}
	return n
}

// Adding a machine never moves more than 1.5/(N+1) of the slots, and never one with a live flow.
func TestAssignAdding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(t, "machines")
		c := healthyBackends(n + 1)
		for i := range c {
			c[i].Load = rapid.Float64Range(0, 1).Draw(t, "load")
		}
		old := Assign(Slots{}, c[:n], LiveFlows{})
		live := drawLive(t, old)
		next := Assign(old, c, live)
		moved := 0
		for i := range next {
			if next[i] == old[i] {
				continue
			}
			moved++
			if len(live[i]) > 0 {
				t.Fatalf("slot %d with a live flow moved", i)
			}
		}
		if limit := 1.5 / float64(n+1) * SlotCount; float64(moved) > limit {
			t.Fatalf("%d slots moved from %d to %d machines, more than %.1f", moved, n, n+1, limit)
		}
		if again := Assign(next, c, live); again != next {
			t.Fatal("deciding again changed the table")
		}
	})
}

// Whatever happens to its machines, a pool with a healthy one has no empty slot, gives nothing to a machine that may
// not have it, and keeps every slot with a flow on a healthy or draining machine.
func TestAssignHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := healthyBackends(rapid.IntRange(1, 12).Draw(t, "machines"))
		var s Slots
		for range rapid.IntRange(1, 12).Draw(t, "steps") {
			for i := range c {
				c[i].State = Health(rapid.SampledFrom([]int{0, 0, 0, 1, 2, 3}).Draw(t, "state"))
			}
			live := drawLive(t, s)
			soon := Provisional(s, c)
			checkTable(t, s, soon, c, live)
			next := Assign(soon, c, live)
			checkTable(t, soon, next, c, live)
			s = next
		}
	})
}

func checkTable(t *rapid.T, old, next Slots, cs []Candidate, live LiveFlows) {
	by, open := map[netip.Addr]Health{}, 0
	for _, c := range cs {
		by[c.Addr] = c.State
		if c.State == Healthy {
			open++
		}
	}
	for i := range next {
		if open > 0 && !next[i].IsValid() {
			t.Fatalf("slot %d is empty", i)
		}
		state, known := by[next[i]]
		if next[i].IsValid() && (!known || state == Unhealthy) {
			t.Fatalf("slot %d was given to a machine that is %v", i, state)
		}
		if known && (state == Draining || state == Partial) && next[i] != old[i] {
			t.Fatalf("slot %d was newly given to a machine that takes none", i)
		}
		if was, ok := by[old[i]]; ok && was != Unhealthy && live[i][old[i]] > 0 && next[i] != old[i] {
			t.Fatalf("slot %d with a live flow moved", i)
		}
	}
}

// A machine that comes back healthy gets its share back; shares stay even.
func TestAssignEven(t *testing.T) {
	c := healthyBackends(5)
	s := Assign(Slots{}, c, LiveFlows{})
	for a, n := range counts(s) {
		if n < 45 || n > 58 {
			t.Errorf("%v has %d of 256 slots", a, n)
		}
	}
	c[2].State = Unhealthy
	s = Assign(s, c, LiveFlows{})
	if counts(s)[c[2].Addr] != 0 {
		t.Error("an unhealthy machine kept slots")
	}
	c[2].State = Healthy
	s = Assign(s, c, LiveFlows{})
	if n := counts(s)[c[2].Addr]; n != 51 {
		t.Errorf("a machine that came back has %d slots", n)
	}
}
