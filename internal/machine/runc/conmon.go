package runc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// createTimeout bounds how long runc may take to make a container on a busy host.
const createTimeout = 90 * time.Second

// conmonArgs is the command line that makes the container and then watches over its init.
func (e *Engine) conmonArgs(id string) []string {
	b := e.bundle(id)
	args := []string{e.host.conmon, "--api-version", "1", "-c", id, "-u", id, "-n", id, "-r", e.host.runc, "-b", b,
		"-p", filepath.Join(b, "init.pid"), "--conmon-pidfile", filepath.Join(b, "conmon.pid"),
		"--exit-dir", e.exitDir(id), "--persist-dir", b, "--socket-dir-path", b,
		"-l", "k8s-file:" + e.consolePath(id), "--log-size-max", "1048576",
		"--runtime-arg=--root=" + e.stateDir()}
	if e.systemdDriver() {
		args = append(args, "-s")
	}
	return args
}

// runConmon has conmon make the container, from the calling thread's mount namespace, and returns init's pid.
func (e *Engine) runConmon(ctx context.Context, id string) (int, error) {
	answer, theirs, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer answer.Close()
	p, err := startConmon(e.conmonArgs(id), e.bundle(id), theirs)
	theirs.Close()
	if err != nil {
		return 0, fmt.Errorf("start conmon: %w", err)
	}
	deadline := e.cfg.Now().Add(createTimeout)
	if d, ok := ctx.Deadline(); ok && d.Before(deadline) {
		deadline = d
	}
	_ = answer.SetReadDeadline(deadline)
	pid, err := readAnswer(answer)
	_, _ = p.Wait() // conmon's first process has left the watching to its child by now
	return pid, err
}

func startConmon(args []string, dir string, answer *os.File) (*os.Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	return os.StartProcess(args[0], args, &os.ProcAttr{
		Dir:   dir,
		Env:   []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "_OCI_SYNCPIPE=3", "XDG_RUNTIME_DIR=/run"},
		Files: []*os.File{null, null, null, answer},
		Sys:   newSession,
	})
}

// readAnswer reads what conmon says of runc's create: the pid of init, or why there is none.
func readAnswer(r io.Reader) (int, error) {
	var a struct {
		Data    int    `json:"data"`
		PID     int    `json:"pid"`
		Message string `json:"message"`
	}
	if err := json.NewDecoder(r).Decode(&a); err != nil {
		if errors.Is(err, io.EOF) {
			return 0, errors.New("conmon ended without an answer")
		}
		return 0, fmt.Errorf("conmon's answer: %w", err)
	}
	pid := max(a.Data, a.PID)
	if pid <= 0 {
		return 0, fmt.Errorf("runc could not make the container: %s", lastLine(a.Message))
	}
	return pid, nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// begin lets init run: runc's init waits until its fifo is read, which is all that `runc start` does.
func (e *Engine) begin(id string) error {
	path := filepath.Join(e.stateDir(), id, "exec.fifo")
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return fmt.Errorf("start init: %w", err)
	}
	defer unix.Close(fd)
	fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	if _, err := retry(func() (int, error) { return unix.Poll(fds, 10_000) }); err != nil {
		return fmt.Errorf("start init: %w", err)
	}
	var b [1]byte
	if n, err := retry(func() (int, error) { return unix.Read(fd, b[:]) }); err != nil || n != 1 {
		return fmt.Errorf("start init: it did not come to its start (read %d, %v)", n, err)
	}
	return os.Remove(path)
}

func retry(f func() (int, error)) (int, error) {
	for {
		n, err := f()
		if err != unix.EINTR {
			return n, err
		}
	}
}

// exitCode reads what conmon noted when init ended. A boot whose end nobody noted counts as a crash.
func (e *Engine) exitCode(id string) (code int, known bool) {
	data, err := os.ReadFile(filepath.Join(e.exitDir(id), id))
	if err != nil {
		return 0, false
	}
	code, err = strconv.Atoi(strings.TrimSpace(string(data)))
	return code, err == nil
}

// conmonOf finds the conmon that a pid file of ours names, if that still is one for this machine.
func (e *Engine) conmonOf(id string) process {
	data, err := os.ReadFile(filepath.Join(e.bundle(id), "conmon.pid"))
	if err != nil {
		return process{}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return process{}
	}
	args, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
	if !strings.Contains(string(args), "\x00-b\x00"+e.bundle(id)+"\x00") {
		return process{}
	}
	p, err := e.host.process(pid)
	if err != nil {
		return process{}
	}
	return p
}

// lastWords returns the last line that init wrote to its console, as the end of a sentence's paragraph.
func (e *Engine) lastWords(id string) string {
	data, err := os.ReadFile(e.consolePath(id)) // conmon keeps it below a megabyte
	if err != nil {
		return ""
	}
	f := strings.SplitN(lastLine(string(data)), " ", 4) // time, stream, mark, text
	if len(f) < 4 || f[3] == "" {
		return ""
	}
	return " Its last words: " + strings.ToValidUTF8(f[3][:min(len(f[3]), 300)], "")
}
