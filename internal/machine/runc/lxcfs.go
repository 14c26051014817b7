package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
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

// wantLXCFS sees to it that there is an lxcfs; without one machines work, but see the host's size as theirs.
func (e *Engine) wantLXCFS() {
	if e.lxcfsAt() != "" {
		return
	}
	if err := e.ensureLXCFS(); err != nil {
		e.log.Warn("machines will see the host's CPUs and memory instead of their own size", "err", err)
	}
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

// stopLXCFS stops the shared lxcfs. Called with the shared lock held and no machine left on the host.
func (e *Engine) stopLXCFS() error {
	for _, pid := range e.lxcfsPids() {
		if fd, err := unix.PidfdOpen(pid, 0); err == nil {
			_ = unix.PidfdSendSignal(fd, unix.SIGTERM, nil, 0)
			_ = unix.Unmount(e.ownLXCFS(), unix.MNT_DETACH)
			// It removes its pid file at the end, which must not be the next one's.
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			if n, _ := retry(func() (int, error) { return unix.Poll(fds, 3000) }); n == 0 {
				_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			}
			unix.Close(fd)
		}
	}
	_ = unix.Unmount(e.ownLXCFS(), unix.MNT_DETACH)
	_ = os.Remove(e.lxcfsPidFile())
	if err := os.Remove(e.ownLXCFS()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// lxcfsPids finds the shared lxcfs by what it mounts.
func (e *Engine) lxcfsPids() []int {
	var pids []int
	procs, _ := os.ReadDir("/proc")
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		data, _ := os.ReadFile("/proc/" + p.Name() + "/cmdline")
		args := strings.Split(strings.TrimSuffix(string(data), "\x00"), "\x00")
		if filepath.Base(args[0]) == "lxcfs" && args[len(args)-1] == e.ownLXCFS() {
			pids = append(pids, pid)
		}
	}
	return pids
}

// lockShared takes the lock over what the engines of this host share: on its directory, so that no lock file is left.
func (e *Engine) lockShared() (unlock func(), err error) {
	f, err := os.Open(e.cfg.SharedDir)
	if err != nil {
		return nil, err
	}
	if _, err := retry(func() (int, error) { return 0, unix.Flock(int(f.Fd()), unix.LOCK_EX) }); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}
