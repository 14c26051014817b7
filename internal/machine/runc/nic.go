package runc

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
)

// joinNetwork gives the machine's network namespace its interface: a pair of links, one end routed to in the network's
// namespace, the other eth0, addressed and routed. The pair goes away with the machine's namespace.
func (e *Engine) joinNetwork(spec *machine.Spec, machineNS int) error {
	inside, err := netlink.NewHandleAt(netns.NsHandle(machineNS), unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("network of the machine: %w", err)
	}
	defer inside.Close()
	if err := setUp(inside, "lo"); err != nil {
		return err
	}
	if spec.NIC == nil {
		return nil
	}
	if err := plug(spec.NIC, machineNS); err != nil {
		return fmt.Errorf("connect to namespace %s: %w", spec.NIC.Namespace, err)
	}
	if err := configure(inside, spec.NIC); err != nil {
		return fmt.Errorf("configure eth0: %w", err)
	}
	return nil
}

func setUp(h *netlink.Handle, name string) error {
	link, err := h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("link %s: %w", name, err)
	}
	return h.LinkSetUp(link)
}

// inNamespace calls f with a handle in the namespace of that name.
func inNamespace(name string, f func(*netlink.Handle) error) error {
	ns, err := netns.GetFromPath(filepath.Join("/run/netns", name))
	if err != nil {
		return err
	}
	defer ns.Close()
	h, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return err
	}
	defer h.Close()
	return f(h)
}

// plug makes the pair and routes the machine's addresses over its outer end.
func plug(nic *machine.NIC, machineNS int) error {
	return inNamespace(nic.Namespace, func(h *netlink.Handle) error {
		mac, err := net.ParseMAC(nic.MAC)
		if err != nil {
			return err
		}
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.Flags = nic.HostLink, nic.MTU, net.FlagUp
		err = h.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerHardwareAddr: mac, PeerNamespace: netlink.NsFd(machineNS)})
		if err != nil {
			return err
		}
		link, err := h.LinkByName(nic.HostLink)
		if err != nil {
			return err
		}
		return routeTo(h, link.Attrs().Index, nic, mac)
	})
}

// routeTo sends packets for the machine over its link. Its hardware address is known for good, so nobody is asked for it.
func routeTo(h *netlink.Handle, link int, nic *machine.NIC, mac net.HardwareAddr) error {
	for _, a := range nic.Addresses {
		err := h.NeighSet(&netlink.Neigh{LinkIndex: link, Family: netlink.FAMILY_V4, State: netlink.NUD_PERMANENT,
			IP: a.Addr().AsSlice(), HardwareAddr: mac})
		if err != nil {
			return fmt.Errorf("neighbour %s: %w", a.Addr(), err)
		}
		only := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Addr().BitLen(), a.Addr().BitLen())}
		err = h.RouteReplace(&netlink.Route{LinkIndex: link, Dst: only, Src: nic.Gateway.AsSlice(), Scope: netlink.SCOPE_LINK})
		if err != nil {
			return fmt.Errorf("route to %s: %w", a.Addr(), err)
		}
	}
	return nil
}

func configure(h *netlink.Handle, nic *machine.NIC) error {
	eth, err := h.LinkByName("eth0")
	if err != nil {
		return err
	}
	for _, a := range nic.Addresses {
		ipnet := &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}
		if err := h.AddrAdd(eth, &netlink.Addr{IPNet: ipnet}); err != nil {
			return fmt.Errorf("address %s: %w", a, err)
		}
	}
	if nic.MTU > 0 {
		if err := h.LinkSetMTU(eth, nic.MTU); err != nil {
			return err
		}
	}
	if err := h.LinkSetUp(eth); err != nil {
		return err
	}
	if !nic.Gateway.IsValid() {
		return nil
	}
	return h.RouteAdd(&netlink.Route{LinkIndex: eth.Attrs().Index, Gw: nic.Gateway.AsSlice()})
}

// leaveNetwork removes the machine's link, which the kernel may not have cleared yet after the last boot.
func leaveNetwork(nic *machine.NIC) error {
	err := inNamespace(nic.Namespace, func(h *netlink.Handle) error {
		link, err := h.LinkByName(nic.HostLink)
		if err != nil {
			return err
		}
		return h.LinkDel(link)
	})
	var notFound netlink.LinkNotFoundError
	if err == nil || errors.As(err, &notFound) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) {
		return nil
	}
	return fmt.Errorf("remove link %s: %w", nic.HostLink, err)
}

// networkPatience is how long a machine that starts by itself waits for its network: after a reboot of the host, someone
// else makes the networks while this engine makes the machines.
const networkPatience = 2 * time.Minute

// awaitNetwork waits until the network is there, or for as long as it has patience; false if the engine was closed.
func (e *Engine) awaitNetwork(nic *machine.NIC) bool {
	if nic == nil {
		return true
	}
	for waited := time.Duration(0); waited < networkPatience; waited += 100 * time.Millisecond {
		err := inNamespace(nic.Namespace, func(h *netlink.Handle) error {
			_, err := h.LinkByName(nic.Await)
			return err
		})
		if err == nil {
			return true
		}
		if !sleep(e.ctx, 100*time.Millisecond) {
			return false
		}
	}
	return true
}
