//go:build root

package frontdoor

import (
	"fmt"
	"net/netip"
	"testing"
)

// BenchmarkApply is what a launch waits for: a network of so many machines gets one more.
func BenchmarkApply(b *testing.B) {
	for _, machines := range []int{1, 10, 100} {
		b.Run(fmt.Sprint(machines), func(b *testing.B) {
			d := newTestDoor(b)
			n := d.network(1)
			n.Rules[0].Probe, n.Rules[1].Probe = nil, nil
			add := func(i int) {
				a := netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
				n.Machines = append(n.Machines, Machine{Addr: a, MAC: fmt.Sprintf("02:1d:0a:00:%02x:%02x", i>>8, i&255), Names: []string{fmt.Sprint("m", i)}})
				n.Pools[0].Backends = append(n.Pools[0].Backends, Backend{Addr: a})
			}
			n.Subnets[0].Prefix = netip.MustParsePrefix("10.0.0.0/16")
			for i := range machines {
				add(4 + i)
			}
			d.apply(n)
			for i := range b.N {
				if i%2 == 0 {
					add(4 + machines)
				} else {
					n.Machines, n.Pools[0].Backends = n.Machines[:machines], n.Pools[0].Backends[:machines]
				}
				d.apply(n)
			}
		})
	}
}
