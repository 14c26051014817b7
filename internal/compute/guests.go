package compute

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// guest is a machine as its socket's server knows it: which socket a request came by says which machine asks.
type guest struct {
	machine, instance, set string
	admin                  string // name of the admin user
}

// guests serves the machines' sockets. Each machine has a directory of the host at /run/lido, with host.sock in it.
type guests struct {
	room *Room

	mu      sync.Mutex
	servers map[string]*http.Server // by machine
}

const guestSocket = "host.sock"

func (g *guests) dir(machineID string) string { return filepath.Join(g.room.RunDir, machineID) }

// begin makes a machine's directory and serves its socket, or does nothing if that is so already.
func (g *guests) begin(who guest) error {
	if g.room.RunDir == "" {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := g.room.ctx.Err(); err != nil || g.servers[who.machine] != nil {
		return err
	}
	l, err := listenGuest(g.dir(who.machine))
	if err == nil && g.room.GuestProgram != "" {
		if err = PlaceProgram(g.room.GuestProgram, filepath.Join(g.dir(who.machine), GuestProgramName)); err != nil {
			l.Close()
		}
	}
	if err != nil {
		return fmt.Errorf("guest socket of %s: %w", who.machine, err)
	}
	srv := &http.Server{Handler: g.room.guestHandler(who), ReadHeaderTimeout: 10 * time.Second, ReadTimeout: time.Minute,
		MaxHeaderBytes: 16 << 10, ConnContext: withPeer}
	if g.servers == nil {
		g.servers = map[string]*http.Server{}
	}
	g.servers[who.machine] = srv
	g.room.goRun(func() {
		if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			g.room.Log.Error("guest socket", "machine", who.machine, "err", err)
		}
	})
	return nil
}

// listenGuest listens on a fresh socket. It is put in place by a rename, so that a machine never finds none.
func listenGuest(dir string) (net.Listener, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	tmp, path := filepath.Join(dir, ".host.sock"), filepath.Join(dir, guestSocket)
	os.Remove(tmp)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: tmp, Net: "unix"})
	if err != nil {
		return nil, err
	}
	l.SetUnlinkOnClose(false)
	err = errors.Join(os.Chmod(tmp, 0o666), os.Rename(tmp, path))
	if err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// GuestProgramName is the name of Config.GuestProgram in machine.GuestDir.
const GuestProgramName = "lido"

// PlaceProgram makes path the program, by a link so that all machines share its memory, or by a copy where no link can be. One
// that runs from there goes on with the program of before.
func PlaceProgram(program, path string) error {
	want, err := os.Stat(program)
	if err != nil {
		return err
	}
	have, err := os.Stat(path)
	if err == nil && (os.SameFile(want, have) || have.Size() == want.Size() && have.ModTime().Equal(want.ModTime())) {
		return nil
	}
	tmp := path + ".new"
	os.Remove(tmp)
	if os.Link(program, tmp) != nil {
		return copyProgram(program, path)
	}
	return os.Rename(tmp, path)
}

// copyProgram copies an executable, with its time, in place of what is there.
func copyProgram(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	tmp := to + ".part"
	out, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	err = errors.Join(err, out.Chmod(0o755), out.Close())
	if err == nil {
		err = errors.Join(os.Chtimes(tmp, info.ModTime(), info.ModTime()), os.Rename(tmp, to))
	}
	if err != nil {
		os.Remove(tmp)
	}
	return err
}

// end stops serving a machine.
func (g *guests) end(machineID string) {
	g.mu.Lock()
	srv := g.servers[machineID]
	delete(g.servers, machineID)
	g.mu.Unlock()
	if srv != nil {
		srv.Close()
	}
}

// remove removes a machine's directory.
func (g *guests) remove(machineID string) {
	if g.room.RunDir != "" {
		os.RemoveAll(g.dir(machineID))
	}
}

func (g *guests) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for id, srv := range g.servers {
		srv.Close()
		delete(g.servers, id)
	}
}

type peerKey struct{}

// withPeer keeps the uid, on this host, of the process at the other end of a guest's socket.
func withPeer(ctx context.Context, c net.Conn) context.Context {
	uc, ok := c.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := uc.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) })
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, cred.Uid)
}

// fromRoot tells whether a request was made by the machine's root: uid 0 there is the uid on this host that its user
// namespace begins with.
func (r *Room) fromRoot(ctx context.Context, machineID string) bool {
	uid, ok := ctx.Value(peerKey{}).(uint32)
	if !ok {
		return false
	}
	info, err := r.Engine.Get(ctx, machineID)
	if err != nil {
		return false
	}
	if info.Init == 0 {
		return uid == 0 || int(uid) == os.Getuid() // an engine without processes on this host
	}
	root, err := rootOf(info.Init)
	return err == nil && uid == root
}

// rootOf returns the uid on this host of the root in the user namespace of a process.
func rootOf(pid int) (uint32, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", pid))
	if err != nil {
		return 0, err
	}
	var inside, outside, count uint32
	if _, err := fmt.Sscan(string(b), &inside, &outside, &count); err != nil {
		return 0, err
	}
	if inside != 0 {
		return 0, fmt.Errorf("process %d: no root in its user namespace", pid)
	}
	return outside, nil
}
