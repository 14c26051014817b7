package image

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// tailLines is how much of a build's log an error shows.
const tailLines = 15

// sandbox runs the commands of one build and keeps their output.
//
// Each command has a mount and a process namespace of its own and dies with lido. So whatever a build mounts or
// starts is gone with the command, also when lido is killed: only directories can be left over.
type sandbox struct {
	log  io.Writer
	tail []string
}

// command is what a sandbox runs.
type command struct {
	args  []string
	dir   string
	env   []string // added to the environment of lido, which carries the host's proxy and certificate settings
	stdin string
	line  func(string) // sees each line of output; may be nil
}

// run runs a command to its end. The error carries the tail of the log.
func (s *sandbox) run(ctx context.Context, c command) error {
	fmt.Fprintf(s.log, "+ %s\n", strings.Join(c.args, " "))
	cmd := exec.CommandContext(ctx, c.args[0], c.args[1:]...)
	cmd.Dir, cmd.Env = c.dir, append(os.Environ(), c.env...)
	cmd.Stdin = strings.NewReader(c.stdin)
	cmd.WaitDelay = 5 * time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:   syscall.CLONE_NEWPID | syscall.CLONE_NEWIPC,
		Unshareflags: syscall.CLONE_NEWNS,
		Pdeathsig:    syscall.SIGKILL,
	}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	scanned := make(chan struct{})
	go func() { defer close(scanned); s.scan(r, c.line) }()
	err := runOnOneThread(cmd)
	w.Close()
	<-scanned
	return s.explain(ctx, c.args[0], err)
}

// runOnOneThread keeps the thread that starts the command alive until it ends: the kernel sends Pdeathsig when
// that thread goes, not when the process does.
func runOnOneThread(cmd *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- cmd.Run()
	}()
	return <-done
}

func (s *sandbox) scan(r io.Reader, line func(string)) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 64<<10), 4<<20)
	for lines.Scan() {
		text := lines.Text()
		fmt.Fprintln(s.log, text)
		s.tail = append(s.tail, text)
		if len(s.tail) > tailLines {
			s.tail = s.tail[1:]
		}
		if line != nil {
			line(text)
		}
	}
	io.Copy(io.Discard, r)
}

func (s *sandbox) explain(ctx context.Context, name string, err error) error {
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, exec.ErrNotFound):
		return fmt.Errorf("%w: the program %q is not installed on this host; `lido doctor` says how to get it", ErrBuild, name)
	}
	return fmt.Errorf("%w: %s: %v; the end of its log:\n  %s", ErrBuild, name, err, strings.Join(s.tail, "\n  "))
}

// inRoot returns the command run with root as its root directory, with the file systems that programs expect, the
// host's name servers, and binds (host directory → directory in root) in place.
func inRoot(root string, binds map[string]string, c command) command {
	script := `set -eu
root=$1; shift
mount -t proc proc "$root/proc"
mount -t tmpfs -o mode=755 dev "$root/dev"
for d in null zero full random urandom tty; do : >"$root/dev/$d"; mount --bind "/dev/$d" "$root/dev/$d"; done
ln -s /proc/self/fd "$root/dev/fd"; ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm" "$root/dev/pts"
mount -t tmpfs shm "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 pts "$root/dev/pts"; ln -s pts/ptmx "$root/dev/ptmx"
mount -t tmpfs -o mode=1777 tmp "$root/tmp"
mount -t tmpfs -o mode=755 run "$root/run"
if [ -f "$root/etc/resolv.conf" ]; then mount --bind /etc/resolv.conf "$root/etc/resolv.conf"; fi
while [ "$1" != -- ]; do mkdir -p "$root$2"; mount --bind "$1" "$root$2"; shift 2; done
shift
exec chroot "$root" /usr/bin/env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	HOME=/root LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"`
	args := []string{"sh", "-c", script, "sh", root}
	for from, to := range binds {
		args = append(args, from, to)
	}
	c.args = append(append(args, "--"), c.args...)
	return c
}
