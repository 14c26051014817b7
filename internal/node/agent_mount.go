package node

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// shown is a mount as messages name it, without what may be secret.
func (m *Mount) shown() string {
	if m.Kind == "command" {
		name, _, _ := strings.Cut(m.Source, " ")
		return "by " + name
	}
	return m.Source
}

// mount mounts something, if it is not mounted yet. Shares are the host's to mount: it checks the key.
func (a *Agent) mount(ctx context.Context, m Mount) error {
	switch m.Kind {
	case "cifs", "blob", "server":
		return a.host.post(ctx, "/v1/mount", url.Values{"kind": {m.Kind}, "source": {m.Source}, "target": {m.Target},
			"options": {m.Options}, "username": {m.Username}, "password": {m.Password}})
	case "command":
		return mountByCommand(ctx, m, mountLimit)
	}
	return fmt.Errorf("unknown kind of mount %q", m.Kind)
}

// mountLimit is how long a command that mounts may take.
const mountLimit = 5 * time.Minute

func mountByCommand(ctx context.Context, m Mount, limit time.Duration) error {
	if mounted(m.Target) {
		return nil
	}
	if err := os.MkdirAll(m.Target, 0o755); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(limited, "/bin/bash", "-c", m.Source)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		text := strings.TrimSpace(string(out[max(0, len(out)-2000):]))
		if limited.Err() != nil && ctx.Err() == nil {
			return fmt.Errorf("the command did not end within %s: %s", limit, text)
		}
		return fmt.Errorf("%w: %s", err, text)
	}
	return nil
}

// mounted tells whether something is mounted at a path.
func mounted(target string) bool {
	mounts, err := mountinfo.GetMounts(mountinfo.SingleEntryFilter(target))
	return err == nil && len(mounts) > 0
}

// unmount takes away what a task names, the last first.
func (a *Agent) unmount(t *Task) error {
	var errs []error
	for i := len(t.Unmount) - 1; i >= 0; i-- {
		target := t.Unmount[i]
		if !mounted(target) {
			continue
		}
		a.host.post(context.Background(), "/v1/unmount", url.Values{"target": {target}}) // if it is the host's
		for mounted(target) {
			if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
				errs = append(errs, fmt.Errorf("unmount %s: %w", target, err))
				break
			}
		}
	}
	return errors.Join(errs...)
}
