package runc

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// hostInfo is what does not change about the host while it is up.
type hostInfo struct {
	cgroup2 bool // one unified hierarchy at /sys/fs/cgroup
	systemd bool // init of the host is systemd
	runc    string
	conmon  string
	bootID  string
	cpus    []int // online
}

func inspectHost() (hostInfo, error) {
	h := hostInfo{}
	var st unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &st); err != nil {
		return h, fmt.Errorf("no cgroups at %s: %w", cgroupRoot, err)
	}
	h.cgroup2 = st.Type == unix.CGROUP2_SUPER_MAGIC
	_, err := os.Stat("/run/systemd/system")
	h.systemd = err == nil
	if h.runc, err = program("runc"); err != nil {
		return h, err
	}
	if h.conmon, err = program("conmon"); err != nil {
		return h, err
	}
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return h, err
	}
	h.bootID = string(bytes.TrimSpace(id))
	h.cpus, err = onlineCPUs()
	return h, err
}

func program(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		for _, dir := range []string{"/usr/sbin/", "/usr/bin/", "/usr/local/bin/"} {
			if _, err := os.Stat(dir + name); err == nil {
				return dir + name, nil
			}
		}
		return "", fmt.Errorf("%s is not installed; install it with: apt-get install %s", name, name)
	}
	return path, nil
}

func onlineCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, err
	}
	var cpus []int
	for i := range len(set) * 64 {
		if set.IsSet(i) {
			cpus = append(cpus, i)
		}
	}
	return cpus, nil
}

// startOf returns when a process was started, in the kernel's ticks, as its mark against reuse of the pid.
func startOf(pid int) (uint64, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(data[bytes.LastIndexByte(data, ')')+1:]))
	if len(fields) < 20 {
		return 0, errors.New("unreadable /proc/PID/stat")
	}
	if fields[0] == "Z" || fields[0] == "X" {
		return 0, errors.New("process has ended")
	}
	return strconv.ParseUint(fields[19], 10, 64)
}

func (h hostInfo) process(pid int) (process, error) {
	start, err := startOf(pid)
	return process{PID: pid, Start: start, BootID: h.bootID}, err
}

// openProcess returns a pidfd of p, or an error when p has ended.
func (h hostInfo) openProcess(p process) (int, error) {
	if p.PID <= 0 || p.BootID != h.bootID {
		return -1, unix.ESRCH
	}
	fd, err := unix.PidfdOpen(p.PID, unix.PIDFD_NONBLOCK)
	if err != nil {
		return -1, err
	}
	if start, err := startOf(p.PID); err != nil || start != p.Start {
		unix.Close(fd)
		return -1, unix.ESRCH
	}
	return fd, nil
}

func (h hostInfo) alive(p process) bool {
	fd, err := h.openProcess(p)
	if err != nil {
		return false
	}
	unix.Close(fd)
	return true
}

// onThread runs f on an OS thread of its own that ends with f, so that f may change the thread's namespaces, root and
// credentials. The process's first thread is never given away: /proc/self speaks of it.
func onThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			done <- onThread(f)
			runtime.UnlockOSThread()
			return
		}
		done <- f()
	}()
	return <-done
}
