package node

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// tree is a task's processes: those in its cgroup, or where there are no cgroups those of its session.
type tree struct {
	group   *taskGroup // nil without cgroups
	session int        // pid of the command, which leads the session; 0 before it runs
	sampler *sampler   // nil before it runs
}

func (t *tree) signal(s syscall.Signal) {
	for _, pid := range t.pids() {
		syscall.Kill(pid, s)
	}
}

// kill kills all processes, and those that they start meanwhile.
func (t *tree) kill() {
	if t.group != nil {
		t.group.kill()
		return
	}
	for range 100 {
		pids := t.pids()
		if len(pids) == 0 {
			return
		}
		for _, pid := range pids {
			syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}

// end kills what the command has left, and returns when nothing is.
func (t *tree) end() {
	if t.sampler != nil {
		t.sampler.end()
	}
	if t.group == nil {
		t.kill()
		return
	}
	t.group.end()
}

// usage is what the task took, as far as was seen of its processes, or what the command and the children that it waited
// for took in the end, if that is more.
func (t *tree) usage(s *os.ProcessState) Usage {
	u := t.sampler.seen()
	r, ok := s.SysUsage().(*syscall.Rusage)
	if !ok {
		return u
	}
	u.CPU = s.UserTime() + s.SystemTime()
	u.PeakMemory = max(u.PeakMemory, r.Maxrss<<10)
	u.Read = max(u.Read, r.Inblock<<9)
	u.Written = max(u.Written, r.Oublock<<9)
	return u
}

func (t *tree) pids() []int {
	if t.group != nil {
		return t.group.pids()
	}
	if t.session == 0 {
		return nil
	}
	return sessionPids(t.session)
}

// sessionPids are the processes of a session, but zombies.
func sessionPids(session int) []int {
	d, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer d.Close()
	names, _ := d.Readdirnames(-1)
	var pids []int
	for _, n := range names {
		pid, err := strconv.Atoi(n)
		if err != nil {
			continue
		}
		stat, err := statFields(pid)
		if err == nil && stat[0] != "Z" && stat[3] == strconv.Itoa(session) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// statFields are what /proc/PID/stat has after the name, which may hold anything: state, parent, group, session, and at 19
// when the process started.
func statFields(pid int) ([]string, error) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil, err
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat is cut off", pid)
	}
	return f, nil
}
