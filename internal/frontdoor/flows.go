package frontdoor

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/mdlayher/netlink"
	"github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"
)

// flow is a connection that a load balancing rule placed.
type flow struct {
	table   uint32
	slot    int
	backend netip.Addr
	open    bool // not closing
	raw     conntrack.Flow
}

// flows lists the connections that load balancing rules placed, by the mark that they left. The kernel walks the
// connections of the whole host for it (some 50 ms), so r.mu must not be held.
func (r *room) flows() ([]flow, error) {
	r.mu.Lock()
	if r.space == nil {
		r.mu.Unlock()
		return nil, errNoSpace
	}
	fd, err := unix.FcntlInt(uintptr(r.space.fd), unix.F_DUPFD_CLOEXEC, 0)
	r.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("namespace %q: %w", r.name, err)
	}
	defer unix.Close(fd)
	c, err := conntrack.Dial(&netlink.Config{NetNS: fd})
	if err != nil {
		return nil, fmt.Errorf("talk to connection tracking: %w", err)
	}
	defer c.Close()
	all, err := c.Dump(nil)
	if err != nil {
		return nil, fmt.Errorf("list connections: %w", err)
	}
	var out []flow
	for _, f := range all {
		if f.Mark != 0 {
			out = append(out, flow{table: f.Mark >> 8, slot: int(f.Mark & 0xff), open: isOpen(f), raw: f,
				backend: f.TupleReply.IP.SourceAddress})
		}
	}
	return out, nil
}

// isOpen leaves out TCP connections that are over or never came about.
func isOpen(f conntrack.Flow) bool {
	const synRecv, established, closeWait = 2, 3, 5
	if f.TupleOrig.Proto.Protocol != unix.IPPROTO_TCP || f.ProtoInfo.TCP == nil {
		return true
	}
	s := f.ProtoInfo.TCP.State
	return s >= synRecv && s <= closeWait
}

// liveFlows counts open connections by pool, slot and backend, of rules that hold a client to its machine.
func liveFlows(n *Network, flows []flow) map[string]LiveFlows {
	pools := map[uint32]string{}
	for k, number := range tableNumbers(n) {
		if k.source {
			pools[number] = k.pool
		}
	}
	out := map[string]LiveFlows{}
	for _, f := range flows {
		pool, ok := pools[f.table]
		if !ok || !f.open {
			continue
		}
		l := out[pool]
		if l[f.slot] == nil {
			l[f.slot] = map[netip.Addr]int{}
		}
		l[f.slot][f.backend]++
		out[pool] = l
	}
	return out
}

// forgetDeadLocked ends connections to machines that no longer exist. Their clients' next packet is then placed
// anew, and refused by a machine that does not know it, instead of vanishing.
func (r *room) forgetDeadLocked(flows []flow) error {
	there := map[netip.Addr]bool{}
	for _, m := range r.plan.Machines {
		there[m.Addr] = true
	}
	var dead []conntrack.Flow
	for _, f := range flows {
		if !there[f.backend] {
			dead = append(dead, f.raw)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	c, err := conntrack.Dial(&netlink.Config{NetNS: int(r.space.fd)})
	if err != nil {
		return fmt.Errorf("talk to connection tracking: %w", err)
	}
	defer c.Close()
	var errs []error
	for _, f := range dead {
		if err := c.Delete(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// readTables reads the slot tables that the kernel has for a plan.
func readTables(c *nftables.Conn, n *Network) (map[uint32]Slots, error) {
	known := map[uint32]bool{}
	for _, number := range tableNumbers(n) {
		known[number] = true
	}
	have, err := (&ruleset{name: tableName, sets: []*set{slotSet(nil)}}).read(c)
	if err != nil {
		return nil, err
	}
	out := map[uint32]Slots{}
	for _, e := range have.elements["slots"] {
		mark := binaryutil.NativeEndian.Uint32(e.Key)
		addr, ok := netip.AddrFromSlice(e.Val)
		if number := mark >> 8; ok && known[number] {
			s := out[number]
			s[mark&0xff] = addr
			out[number] = s
		}
	}
	return out, nil
}
