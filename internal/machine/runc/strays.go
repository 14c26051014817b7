package runc

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// helperProcesses finds conmons and runcs that a dead process of ours left at work, by the bundle on their command
// line, and sorts them by machine.
func (e *Engine) helperProcesses() map[string][]int {
	found := map[string][]int{}
	procs, _ := os.ReadDir("/proc")
	bundles := filepath.Join(e.cfg.RunDir, "m") + "/"
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		args, _ := os.ReadFile("/proc/" + p.Name() + "/cmdline")
		for arg := range strings.SplitSeq(string(args), "\x00") {
			if id, ok := strings.CutPrefix(arg, bundles); ok && idForm.MatchString(id) {
				found[id] = append(found[id], pid)
				break
			}
		}
	}
	return found
}

// killStrays kills what still works on the machine's container and waits until it has gone, so that nothing is made
// behind the back of what follows.
func (e *Engine) killStrays(id string) {
	for _, pid := range e.strays[id] {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		_, _ = retry(func() (int, error) { return unix.Poll(fds, int((2 * time.Second).Milliseconds())) })
		unix.Close(fd)
	}
}
