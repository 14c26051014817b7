package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
)

// Exec runs a command in a running machine.
func (e *Engine) Exec(ctx context.Context, id string, c machine.Command) (int, error) {
	init, err := e.runningInit(id)
	if err != nil {
		return -1, err
	}
	u, err := lookupUser(init, c.User)
	if err != nil {
		return -1, fmt.Errorf("machine %q: %w", id, err)
	}
	scratch, err := os.MkdirTemp(e.cfg.RunDir, "exec-")
	if err != nil {
		return -1, err
	}
	defer os.RemoveAll(scratch)
	pidFile := filepath.Join(scratch, "pid")
	cmd := exec.CommandContext(ctx, e.host.runc, e.execArgs(id, pidFile, filepath.Join(scratch, "log"), u, c)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = c.Stdin, c.Stdout, c.Stderr
	cmd.Cancel = func() error { return cancelExec(cmd.Process, pidFile) }
	cmd.WaitDelay = 2 * time.Second
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return -1, fmt.Errorf("machine %q: command cut: %w", id, ctx.Err())
	case errors.As(err, &exit):
		return e.execResult(id, exit, pidFile)
	case errors.Is(err, exec.ErrWaitDelay): // it ended; something it left behind holds its output open
		return 0, nil
	case err != nil:
		return -1, fmt.Errorf("machine %q: %w", id, err)
	}
	return 0, nil
}

// execResult tells a command's exit code from runc's own failure, in which the command never got a pid.
func (e *Engine) execResult(id string, exit *exec.ExitError, pidFile string) (int, error) {
	if _, err := os.Stat(pidFile); err == nil {
		return exit.ExitCode(), nil
	}
	log, _ := os.ReadFile(filepath.Join(filepath.Dir(pidFile), "log"))
	if _, err := e.runningInit(id); err != nil {
		return -1, err
	}
	return -1, fmt.Errorf("machine %q: run command: %s", id, lastLine(string(log)))
}

// cancelExec kills the command in the machine, whereupon runc takes its leave; killed first, runc would leave it behind.
func cancelExec(runc *os.Process, pidFile string) error {
	data, err := os.ReadFile(pidFile)
	if err != nil {
		return runc.Kill()
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return runc.Kill()
	}
	return unix.Kill(pid, unix.SIGKILL)
}

func (e *Engine) execArgs(id, pidFile, log string, u user, c machine.Command) []string {
	dir := c.Dir
	if dir == "" {
		dir = u.home
	}
	args := []string{"--root", e.stateDir(), "--log", log, "exec", "--pid-file", pidFile, "--user", fmt.Sprintf("%d:%d", u.uid, u.gid), "--cwd", dir}
	for _, g := range u.groups {
		args = append(args, "--additional-gids", strconv.Itoa(g))
	}
	env := append([]string{"HOME=" + u.home, "USER=" + u.name, "LOGNAME=" + u.name, "SHELL=/bin/sh", "LANG=C.UTF-8"}, c.Env...)
	for _, v := range env {
		args = append(args, "--env", v)
	}
	return append(append(args, id), c.Args...)
}

// runningInit returns the init of a machine that runs.
func (e *Engine) runningInit(id string) (process, error) {
	b, err := e.box(id)
	if err != nil {
		return process{}, err
	}
	defer b.mu.Unlock()
	if b.run == nil {
		return process{}, fmt.Errorf("machine %q: %w", id, machine.ErrNotRunning)
	}
	return b.rec.Init, nil
}

// user is an account as the running machine knows it.
type user struct {
	name     string
	uid, gid int
	home     string
	groups   []int
}

// lookupUser reads the machine's own account files, never leaving its root.
func lookupUser(init process, name string) (user, error) {
	if name == "" {
		name = "root"
	}
	passwd, err := readInside(init, "/etc/passwd")
	if err != nil {
		return user{}, err
	}
	u := user{name: name, uid: -1}
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) >= 7 && f[0] == name {
			u.uid, _ = strconv.Atoi(f[2])
			u.gid, _ = strconv.Atoi(f[3])
			u.home = f[5]
		}
	}
	if u.uid < 0 {
		return u, fmt.Errorf("no account %q in the machine", name)
	}
	group, err := readInside(init, "/etc/group")
	if err != nil {
		return u, err
	}
	for line := range strings.Lines(group) {
		f := strings.Split(strings.TrimSpace(line), ":")
		if len(f) >= 4 && strings.Contains(","+f[3]+",", ","+name+",") {
			if g, err := strconv.Atoi(f[2]); err == nil {
				u.groups = append(u.groups, g)
			}
		}
	}
	return u, nil
}

// readInside reads a small file of a running machine; links in it lead to nowhere but the machine's own root.
func readInside(init process, path string) (string, error) {
	root, err := unix.Open(fmt.Sprintf("/proc/%d/root", init.PID), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", fmt.Errorf("%w (%v)", machine.ErrNotRunning, err)
	}
	defer unix.Close(root)
	fd, err := unix.Openat2(root, path, &unix.OpenHow{Flags: unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS})
	if err != nil {
		return "", fmt.Errorf("%s in the machine: %w", path, err)
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	data := make([]byte, 1<<20)
	n, err := f.Read(data)
	if err != nil {
		return "", fmt.Errorf("%s in the machine: %w", path, err)
	}
	return string(data[:n]), nil
}
