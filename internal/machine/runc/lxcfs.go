package runc

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
)

// lxcfs shows a machine its own size in /proc: without it, free shows the host's memory. One instance serves the whole
// host: the distribution's if systemd has started it, else one that the engines of this host share.

// hostLXCFS is where Debian's lxcfs.service mounts it.
const hostLXCFS = "/var/lib/lxcfs"

// sizeFiles are the files of lxcfs that stand for the kernel's; runc allows no others below /proc.
var sizeFiles = []string{"/proc/cpuinfo", "/proc/diskstats", "/proc/loadavg", "/proc/meminfo", "/proc/slabinfo", "/proc/stat",
	"/proc/swaps", "/proc/uptime", "/sys/devices/system/cpu/online"}

func (e *Engine) ownLXCFS() string { return filepath.Join(e.cfg.SharedDir, "lxcfs") }

// lxcfsMounts are the binds that show a machine its size, none if there is no lxcfs.
func (e *Engine) lxcfsMounts() []specs.Mount {
	at := e.lxcfsAt()
	if at == "" {
		return nil
	}
	var mounts []specs.Mount
	for _, f := range sizeFiles {
		if _, err := os.Stat(at + f); err == nil {
			mounts = append(mounts, specs.Mount{Destination: f, Type: "bind", Source: at + f, Options: []string{"bind", "ro", "nosuid", "nodev"}})
		}
	}
	return mounts
}

// lxcfsAt returns where a living lxcfs is mounted, or nothing.
func (e *Engine) lxcfsAt() string {
	for _, at := range []string{hostLXCFS, e.ownLXCFS()} {
		if _, err := os.Stat(filepath.Join(at, "proc/meminfo")); err == nil {
			return at
		}
	}
	return ""
}

// ensureLXCFS starts the shared lxcfs if the host has none running.
func (e *Engine) ensureLXCFS() error {
	unlock, err := e.lockShared()
	if err != nil {
		return err
	}
	defer unlock()
	if e.lxcfsAt() != "" {
		return nil
	}
	bin, err := program("lxcfs")
	if err != nil {
		return err
	}
	_ = unix.Unmount(e.ownLXCFS(), unix.MNT_DETACH) // of one that died
	if err := os.MkdirAll(e.ownLXCFS(), 0o755); err != nil {
		return err
	}
	cmd := exec.Command(bin, "--enable-loadavg", "--pidfile="+e.lxcfsPidFile(), e.ownLXCFS())
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Dir = "/"
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start lxcfs: %w", err)
	}
	go cmd.Wait() // it outlives this process; should it die before, it leaves no zombie
	for range 200 {
		if e.lxcfsAt() != "" {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return errors.New("lxcfs was started but shows nothing at " + e.ownLXCFS())
}

func (e *Engine) lxcfsPidFile() string { return filepath.Join(e.cfg.SharedDir, "lxcfs.pid") }

// stopLXCFS stops the shared lxcfs if no machine of any engine is left on the host.
func (e *Engine) stopLXCFS() error {
	unlock, err := e.lockShared()
	if err != nil {
		return err
	}
	defer unlock()
	if claims, err := os.ReadDir(e.rangesDir()); err != nil || len(claims) > 0 {
		return err
	}
	data, err := os.ReadFile(e.lxcfsPidFile())
	if err != nil {
		return nil
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return nil
	}
	args, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if slices.Contains(strings.Split(string(args), "\x00"), e.ownLXCFS()) {
		_ = unix.Kill(pid, unix.SIGTERM)
	}
	_ = unix.Unmount(e.ownLXCFS(), unix.MNT_DETACH)
	return errors.Join(os.Remove(e.lxcfsPidFile()), os.Remove(e.ownLXCFS()))
}

// lockShared takes the lock over what the engines of this host share.
func (e *Engine) lockShared() (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(e.cfg.SharedDir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := retry(func() (int, error) { return 0, unix.Flock(int(f.Fd()), unix.LOCK_EX) }); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
