package runc

import (
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// holder is a stopped process that holds a machine's new user and network namespaces until runc has joined them.
//
// The user namespace is made with the effective uid of the machine's own root, not of the host's: the kernel charges
// inotify instances and the like of everything below a namespace to the namespace's owner, and host root may have 128
// of them in all.
type holder struct {
	pid int
}

// newHolder must be called on a thread of its own; the holder ends with the thread at the latest.
func newHolder(base uint32) (*holder, error) {
	proc, err := startAs(base)
	if err != nil {
		return nil, fmt.Errorf("make namespaces: %w", err)
	}
	h := &holder{pid: proc}
	mapping := []byte(fmt.Sprintf("0 %d %d\n", base, rangeSize))
	for _, f := range []string{"uid_map", "gid_map"} {
		if err := os.WriteFile(h.path(f), mapping, 0); err != nil {
			h.close()
			return nil, fmt.Errorf("map uids %d+%d: %w", base, rangeSize, err)
		}
	}
	return h, nil
}

// startAs starts a process in new namespaces that belong to uid; being traced, it stops before its first instruction.
func startAs(uid uint32) (int, error) {
	if err := setEUID(int(uid)); err != nil {
		return 0, err
	}
	pid, err := syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
		Ptrace:     true,
		Pdeathsig:  syscall.SIGKILL,
	}})
	if back := setEUID(0); back != nil {
		return 0, back // the thread must not be used again, nor will it
	}
	return pid, err
}

// setEUID changes the calling thread's effective uid alone.
func setEUID(uid int) error {
	keep := ^uintptr(0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, keep, uintptr(uid), keep); errno != 0 {
		return fmt.Errorf("become uid %d: %w", uid, errno)
	}
	return nil
}

func (h *holder) path(file string) string { return "/proc/" + strconv.Itoa(h.pid) + "/" + file }

func (h *holder) userns() string { return h.path("ns/user") }
func (h *holder) netns() string  { return h.path("ns/net") }

func (h *holder) close() {
	_ = unix.Kill(h.pid, unix.SIGKILL)
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(h.pid, &ws, 0, nil)
		if err == unix.EINTR || err == nil && !ws.Exited() && !ws.Signaled() {
			continue
		}
		return
	}
}
