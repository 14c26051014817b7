package frontdoor

import (
	"context"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestProbeOfOneThatResets: a machine that goes down resets a probe's connection at any moment, also right after it
// was made, when the socket no longer knows whom it was connected to.
func TestProbeOfOneThatResets(t *testing.T) {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	at := l.Addr().(*net.TCPAddr).AddrPort()
	dial := func(context.Context, netip.AddrPort) (net.Conn, error) {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return nil, err
		}
		f := os.NewFile(uintptr(fd), "probe")
		defer f.Close()
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
			return nil, err
		}
		peer, err := l.AcceptTCP()
		if err != nil {
			return nil, err
		}
		peer.SetLinger(0)
		peer.Close()
		if _, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 5000); err != nil {
			return nil, err
		}
		return net.FileConn(f)
	}
	p := newProber(context.Background(), dial, func() {})
	for _, probe := range []Probe{{Port: at.Port(), HTTP: true}, {Port: at.Port(), HTTP: true, TLS: true}} {
		if p.try(context.Background(), target{probe: probe, addr: at.Addr()}, time.Second) {
			t.Errorf("a reset connection passed the probe %+v", probe)
		}
	}
}
