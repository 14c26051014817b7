//go:build root

package frontdoor

import "testing"

func TestReach(t *testing.T) {
	d := newTestDoor(t)
	n := d.network(1)
	one, two := d.plug(&n, "one"), d.plug(&n, "two")
	d.healthy(n)
	if name, seen := (client{t, "house"}).must("", "10.254.0.1:22"); seen != "172.20.1.1" {
		t.Errorf("%s saw a client of the house as %s", name, seen)
	}
	client{t, "office"}.must("", "10.254.0.1:22") // its address lies within the network's prefix
	client{t, ""}.must("", "10.254.0.1:22")
	for _, m := range []*machine{one, two} { // to its own pool, both to itself and to another
		c := client{t, m.space.name}
		c.must("", "10.254.0.1:22")
		c.must("", "10.254.0.1:8000")
	}
	if name, seen := (client{t, one.space.name}).must("", two.addr.String()+":22"); name != "two" || seen != one.addr.String() {
		t.Errorf("one asked two, got %s, which saw %s", name, seen)
	}
}
