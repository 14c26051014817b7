package node

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// EnterSocket is where an agent lets processes of the node into jobs: those that come by ssh from a job's other nodes,
// such as MPI's daemons, are then ended and accounted with the job.
const EnterSocket = "/run/lido-node.sock"

// JobVariable tells a task's processes which job they are of. InsideVariable tells those in its container so.
const (
	JobVariable    = "LIDO_JOB"
	InsideVariable = "LIDO_INSIDE"
)

// listenEnter serves the socket until the agent ends.
func (a *Agent) listenEnter(path string) (net.Listener, error) {
	os.Remove(path)
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o666); err != nil {
		l.Close()
		return nil, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go a.serveEnter(c.(*net.UnixConn))
		}
	}()
	return l, nil
}

func (a *Agent) serveEnter(c *net.UnixConn) {
	defer c.Close()
	c.SetReadDeadline(time.Now().Add(10 * time.Second))
	q, files, err := readRequest(c)
	defer closeFiles(files)
	c.SetReadDeadline(time.Time{})
	var r reply
	switch {
	case err != nil:
	case q.Command == "" && len(q.Shell) == 0:
		err = a.letIn(c, q.Job)
	default:
		r.Code, err = a.runFor(c, q, files)
	}
	if err != nil {
		r.Error = err.Error()
	}
	json.NewEncoder(c).Encode(r)
}

// letIn moves the parent of the process that asks into a job, if both are the same user's.
func (a *Agent) letIn(c *net.UnixConn, name string) error {
	cred, err := peer(c)
	if err != nil {
		return err
	}
	parent, err := parentOf(int(cred.Pid))
	if err != nil {
		return err
	}
	info, err := os.Stat("/proc/" + strconv.Itoa(parent))
	if err != nil {
		return err
	}
	if uid := info.Sys().(*syscall.Stat_t).Uid; uid != cred.Uid {
		return errors.New("the parent is another user's process")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	j := a.jobs[name]
	if j == nil {
		return fmt.Errorf("job %q has no part in this node now", name)
	}
	if a.groups == nil {
		return nil
	}
	if j.group == nil {
		if j.group = a.groups.open(j.name); j.group == nil {
			return errors.New("no cgroup for the job")
		}
	}
	return j.group.take(parent)
}

// peer is who asks.
func peer(c *net.UnixConn) (cred *unix.Ucred, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	if e := raw.Control(func(fd uintptr) { cred, err = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); e != nil {
		return nil, e
	}
	return cred, err
}

// take moves a process into the job.
func (g *group) take(pid int) error {
	t, err := g.entered()
	if err != nil {
		return err
	}
	defer unix.Close(t.fd)
	return write(filepath.Join(t.dir, "cgroup.procs"), strconv.Itoa(pid))
}

func parentOf(pid int) (int, error) {
	stat, err := statFields(pid)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(stat[1])
}

// Enter asks the agent of this node to take the caller's parent into a job.
func Enter(job string) error {
	_, err := ask(request{Job: job})
	return err
}

// RemoteShell is the command line of an ssh that carries out args, those of a remote shell, within a job on the other
// node: options of ssh, a host and a command. In the job's container there, if inside is set.
func RemoteShell(job string, inside bool, args []string) ([]string, error) {
	ssh := []string{"ssh", "-q", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		n := 1
		if len(args[0]) == 2 && strings.ContainsAny(args[0][1:], "bcDEeFIiJLlmOopQRSWw") {
			n = 2 // with a value
		}
		ssh, args = append(ssh, args[:min(n, len(args))]...), args[min(n, len(args)):]
	}
	if len(args) < 2 {
		return nil, errors.New("a remote shell wants a host and a command")
	}
	command := strings.Join(args[1:], " ")
	switch enter := Program + " node enter " + quote(job); {
	case inside:
		command = enter + " " + quote(command)
	case job != "":
		command = enter + " || exit 1; " + command
	}
	return append(ssh, args[0], command), nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
