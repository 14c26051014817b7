package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// errNoSpace says that the network is not up yet.
var errNoSpace = errors.New("the network is not up")

// dial connects from inside the namespace. Only making the socket needs a thread there; the rest is waiting.
func (r *room) dial(ctx context.Context, to netip.AddrPort) (net.Conn, error) {
	r.mu.Lock()
	s := r.space
	var fd int
	err := errNoSpace
	if s != nil {
		err = s.do(func() (err error) {
			fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
			return err
		})
	}
	r.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("socket for %v: %w", to, err)
	}
	return connect(ctx, fd, to)
}

// connect connects a non-blocking socket and takes it over.
func connect(ctx context.Context, fd int, to netip.AddrPort) (net.Conn, error) {
	err := unix.Connect(fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())})
	if err != nil && !errors.Is(err, unix.EINPROGRESS) {
		unix.Close(fd)
		return nil, fmt.Errorf("connect to %v: %w", to, err)
	}
	f := os.NewFile(uintptr(fd), "connection to "+to.String())
	defer f.Close()
	if deadline, ok := ctx.Deadline(); ok {
		f.SetDeadline(deadline)
	}
	stop := context.AfterFunc(ctx, func() { f.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	if err := awaitConnected(f); err != nil {
		return nil, fmt.Errorf("connect to %v: %w", to, err)
	}
	return net.FileConn(f)
}

// awaitConnected waits until the socket is writable and reports how connecting went.
func awaitConnected(f *os.File) error {
	raw, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		// Asked before waiting, too: readiness that came before the wait is not announced again.
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(p, 0); n == 0 && err == nil {
			return false
		}
		code, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		switch {
		case err != nil:
			result = err
		case code != 0:
			result = unix.Errno(code)
		}
		return true
	})
	return errors.Join(err, result)
}
