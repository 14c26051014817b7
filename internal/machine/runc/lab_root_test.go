//go:build root

package runc

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/machinetest"
)

// lab is a place for one test's engine: directories, a tag of its own, a network namespace with a bridge.
type lab struct {
	cfg    Config
	root   string
	engine *Engine
	ns     string
	nums   map[string]int // of machines, for their addresses
}

func newLab(t testing.TB) *lab {
	t.Helper()
	var b [3]byte
	rand.Read(b[:])
	tag := hex.EncodeToString(b[:])
	l := &lab{root: machinetest.BaseRoot(t), nums: map[string]int{}, ns: "lido-" + tag + "-t"}
	l.cfg = Config{Dir: filepath.Join("/var/tmp", "lido-"+tag), RunDir: filepath.Join("/run/lido", tag, "machines"), Tag: tag}
	makeNamespace(t, l.ns)
	t.Cleanup(func() {
		l.close()
		e, err := Open(l.cfg)
		if err != nil {
			t.Errorf("open to purge: %v", err)
			return
		}
		if err := e.Purge(); err != nil {
			t.Errorf("purge: %v", err)
		}
		os.Remove(filepath.Dir(l.cfg.RunDir))
	})
	return l
}

// makeNamespace makes a named network namespace with a bridge br0 that is 10.77.0.1.
func makeNamespace(t testing.TB, name string) {
	t.Helper()
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			defer runtime.UnlockOSThread()
			errc <- onThread(func() error { _, err := netns.NewNamed(name); return err })
			return
		}
		_, err := netns.NewNamed(name)
		errc <- err
	}()
	if err := <-errc; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { netns.DeleteNamed(name) })
	err := inNamespace(name, func(h *netlink.Handle) error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br0"}}
		addr, _ := netlink.ParseAddr("10.77.0.1/16")
		err := errors.Join(h.LinkAdd(br), h.AddrAdd(br, addr), h.LinkSetUp(br))
		return errors.Join(err, setUp(h, "lo"))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// open opens the lab's engine, in place of the one that is open.
func (l *lab) open(t testing.TB) *Engine {
	t.Helper()
	l.close()
	e, err := Open(l.cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.engine = e
	return e
}

func (l *lab) close() {
	if l.engine != nil {
		l.engine.Close()
		l.engine = nil
	}
}

// spec describes a machine on the lab's network, the same one each time for the same id.
func (l *lab) spec(id string) machine.Spec {
	n := l.nums[id]
	if n == 0 {
		n = len(l.nums) + 1
		l.nums[id] = n
	}
	return machine.Spec{ID: id, Hostname: id, Root: l.root, NIC: &machine.NIC{
		Namespace: l.ns, Await: "br0", HostLink: fmt.Sprintf("ld%sm%d", l.cfg.Tag, n),
		MAC:       fmt.Sprintf("02:00:0a:4d:%02x:%02x", n>>8, n&255),
		Addresses: []netip.Prefix{netip.PrefixFrom(l.addr(n), 16)}, Gateway: netip.MustParseAddr("10.77.0.1"),
		DNS: []netip.Addr{netip.MustParseAddr("10.77.0.1")}, Search: []string{"lab.internal"},
	}}
}

func (l *lab) addr(n int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, 77, byte(1 + n>>8), byte(n)})
}

// banner waits for the first bytes of sshd at an address of the lab's network.
func (l *lab) banner(addr netip.Addr, patience time.Duration) (string, error) {
	deadline := time.Now().Add(patience)
	for {
		got, err := l.tryBanner(addr)
		if err == nil || time.Now().After(deadline) {
			return got, err
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (l *lab) tryBanner(addr netip.Addr) (got string, err error) {
	err = l.inside(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		tv := unix.Timeval{Sec: 10}
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv)
		tv = unix.Timeval{Usec: 20_000}
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &tv)
		if err := unix.Connect(fd, &unix.SockaddrInet4{Port: 22, Addr: addr.As4()}); err != nil {
			return err
		}
		buf := make([]byte, 64)
		n, err := unix.Read(fd, buf)
		if err == nil && n == 0 {
			err = errors.New("closed")
		}
		got = string(buf[:max(n, 0)])
		return err
	})
	return got, err
}

// inside calls f on a thread in the lab's network namespace.
func (l *lab) inside(f func() error) error {
	return onThread(func() error {
		ns, err := netns.GetFromName(l.ns)
		if err != nil {
			return err
		}
		defer ns.Close()
		if err := netns.Set(ns); err != nil {
			return err
		}
		return f()
	})
}
