package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// request is what a process of the node asks of its agent by EnterSocket: that its parent be taken into a job, or that
// something be run with its own input and output. Those travel beside the request, as open files.
type request struct {
	Job     string   `json:"job"`
	Shell   []string `json:"shell,omitempty"`   // a remote shell's arguments; asked for in a container, which has no ssh to the other nodes
	Command string   `json:"command,omitempty"` // to run in the job's container here; asked for by what came over ssh
}

type reply struct {
	Code  int    `json:"code,omitempty"` // of what was run
	Error string `json:"error,omitempty"`
}

// requestLimit is the most that a command line has.
const requestLimit = 1 << 20

func readRequest(c *net.UnixConn) (q request, files []*os.File, err error) {
	buf, control := make([]byte, 64<<10), make([]byte, unix.CmsgSpace(3*4))
	n, nc, _, _, err := c.ReadMsgUnix(buf, control)
	if err != nil {
		return q, nil, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:nc])
	for _, m := range messages {
		fds, _ := unix.ParseUnixRights(&m)
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "asked"))
		}
	}
	if err == nil {
		err = json.NewDecoder(io.LimitReader(io.MultiReader(bytes.NewReader(buf[:n]), c), requestLimit)).Decode(&q)
	}
	return q, files, err
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// runFor runs what is asked for and returns its exit code. It ends when the one who asked does, or the job.
func (a *Agent) runFor(c *net.UnixConn, q request, files []*os.File) (int, error) {
	if len(files) != 3 {
		return 0, errors.New("input and output did not come with the request")
	}
	a.mu.Lock()
	j := a.jobs[q.Job]
	a.mu.Unlock()
	if j == nil {
		return 0, fmt.Errorf("job %q has no part in this node now", q.Job)
	}
	p, err := a.startFor(c, j, q, files)
	closeFiles(files)
	if err != nil {
		return 0, err
	}
	go func() {
		io.Copy(io.Discard, c)
		unix.Kill(-p.Pid, syscall.SIGKILL)
	}()
	state, err := p.Wait()
	if err != nil {
		return 0, err
	}
	return exitCode(state), nil
}

func (a *Agent) startFor(c *net.UnixConn, j *job, q request, files []*os.File) (p *os.Process, err error) {
	who, err := lookUser(j.user)
	if err != nil {
		return nil, err
	}
	cred, err := peer(c)
	if err != nil {
		return nil, err
	}
	attr := &os.ProcAttr{Files: files, Sys: &syscall.SysProcAttr{Setsid: true}}
	group := a.groupOf(j)
	if group != nil {
		tg, err := group.entered()
		if err != nil {
			return nil, err
		}
		defer tg.join(attr.Sys)()
	}
	if q.Command != "" {
		if cred.Uid != 0 && cred.Uid != who.uid {
			return nil, errors.New("only the job's user may run commands in its container")
		}
		return a.startInside(j, q.Command, attr)
	}
	if group == nil || !slices.Contains(pidsBelow(group.dir), int(cred.Pid)) {
		return nil, errors.New("only the job's processes may use its remote shell")
	}
	args, err := RemoteShell(j.name, true, q.Shell)
	if err != nil {
		return nil, err
	}
	attr.Dir, attr.Sys.Credential, attr.Env = "/", who.credential(), environment(defaults(who, "/bin/bash"))
	return os.StartProcess("/usr/bin/ssh", args, attr)
}

// startInside starts a command in the container that the job has here.
func (a *Agent) startInside(j *job, command string, attr *os.ProcAttr) (p *os.Process, err error) {
	c := j.container()
	if c == nil {
		return nil, fmt.Errorf("job %q has no container in this node now", j.name)
	}
	err = a.within(j, c, func() (err error) {
		p, err = startWithin(&Task{Job: j.name, Command: command, Container: c}, attr)
		return err
	})
	return p, err
}

// ask asks the agent of this node, with this process's own input and output, and returns the exit code of what it ran.
func ask(q request) (int, error) {
	c, err := net.DialTimeout("unix", EnterSocket, 10*time.Second)
	if err != nil {
		return 0, fmt.Errorf("enter a job: %w", err)
	}
	defer c.Close()
	b, err := json.Marshal(q)
	if err != nil {
		return 0, err
	}
	if _, _, err = c.(*net.UnixConn).WriteMsgUnix(b, unix.UnixRights(0, 1, 2), nil); err != nil {
		return 0, fmt.Errorf("enter job %q: %w", q.Job, err)
	}
	var r reply
	if err = json.NewDecoder(c).Decode(&r); err == nil && r.Error != "" {
		err = errors.New(r.Error)
	}
	if err != nil {
		return 0, fmt.Errorf("enter job %q: %w", q.Job, err)
	}
	return r.Code, nil
}

// AskShell has the agent of this node carry out a remote shell's arguments within a job, and returns the exit code. It is for
// processes in containers.
func AskShell(job string, args []string) (int, error) { return ask(request{Job: job, Shell: args}) }

// AskCommand has the agent of this node run a command in a job's container, and returns the exit code.
func AskCommand(job, command string) (int, error) { return ask(request{Job: job, Command: command}) }
