package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	lxdBridge = "ldbenchlxd0"
	lxdNet    = "10.199.77."
)

// lxdPeer is a LXD daemon of its own with a btrfs pool on a loop file, and a bridge of the host. Machines are given
// their addresses by configuration: waiting for DHCP is not what is measured.
type lxdPeer struct {
	dir    string
	daemon *exec.Cmd
	names  []string
	count  int
}

func startLXD(ctx context.Context, root string) (peer, error) {
	dir, err := os.MkdirTemp("/var/tmp", "lido-bench-lxd-")
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // machines' users pass through it
		return nil, err
	}
	p := &lxdPeer{dir: dir}
	if err := p.start(ctx, root); err != nil {
		return nil, errors.Join(err, p.close())
	}
	return p, nil
}

func (p *lxdPeer) start(ctx context.Context, root string) error {
	if err := p.startDaemon(ctx); err != nil {
		return err
	}
	for _, args := range [][]string{
		{"ip", "link", "add", lxdBridge, "type", "bridge"},
		{"ip", "addr", "add", lxdNet + "1/24", "dev", lxdBridge},
		{"ip", "link", "set", lxdBridge, "up"},
		{"lxc", "storage", "create", "bench", "btrfs", "size=12GiB"},
		{"lxc", "profile", "device", "add", "default", "root", "disk", "path=/", "pool=bench"},
		{"lxc", "profile", "device", "add", "default", "eth0", "nic", "nictype=bridged", "parent=" + lxdBridge, "name=eth0"},
	} {
		if err := p.run(ctx, args...); err != nil {
			return err
		}
	}
	return p.importImage(ctx, root)
}

func (p *lxdPeer) startDaemon(ctx context.Context) error {
	log, err := os.Create(filepath.Join(p.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	p.daemon = exec.Command("lxd", "--group", "root")
	p.daemon.Env = p.env()
	p.daemon.Stdout, p.daemon.Stderr = log, log
	p.daemon.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := p.daemon.Start(); err != nil {
		p.daemon = nil
		return fmt.Errorf("%w (apt-get install lxd lxd-client btrfs-progs)", err)
	}
	return p.run(ctx, "lxd", "waitready", "--timeout", "60")
}

// importImage makes the root directory an image of LXD's.
func (p *lxdPeer) importImage(ctx context.Context, root string) error {
	in := func(name string) string { return filepath.Join(p.dir, name) }
	meta := "architecture: x86_64\ncreation_date: 1700000000\nproperties: {description: base}\n"
	if err := os.WriteFile(in("metadata.yaml"), []byte(meta), 0o644); err != nil {
		return err
	}
	defer os.Remove(in("root.squashfs"))
	return errors.Join(
		p.run(ctx, "tar", "-C", p.dir, "-cf", in("meta.tar"), "metadata.yaml"),
		p.run(ctx, "mksquashfs", root, in("root.squashfs"), "-noI", "-noD", "-noF", "-noX", "-quiet", "-no-progress"),
		p.run(ctx, "lxc", "image", "import", in("meta.tar"), in("root.squashfs"), "--alias", "base"))
}

func (p *lxdPeer) env() []string {
	return append(os.Environ(), "LXD_DIR="+filepath.Join(p.dir, "lxd"), "LXD_CONF="+filepath.Join(p.dir, "conf"))
}

func (p *lxdPeer) run(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.Env = p.env()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, bytes.TrimSpace(out))
	}
	return nil
}

func (p *lxdPeer) launch(ctx context.Context, n int) ([]string, error) {
	var g errgroup.Group
	var addresses []string
	p.names = nil
	for range n {
		p.count++
		name, address := fmt.Sprintf("bench%d", p.count), fmt.Sprintf("%s%d", lxdNet, 10+p.count%200)
		p.names = append(p.names, name)
		addresses = append(addresses, address+":22")
		g.Go(func() error {
			err := p.run(ctx, "lxc", "launch", "base", name, "--quiet", "-c", "raw.lxc=lxc.net.0.ipv4.address="+address+"/24")
			if err != nil {
				log, _ := os.ReadFile(filepath.Join(p.dir, "lxd", "logs", name, "lxc.log"))
				err = fmt.Errorf("%w\n%s", err, log[max(0, len(log)-2000):])
			}
			return err
		})

	}
	return addresses, g.Wait()
}

func (p *lxdPeer) remove(ctx context.Context) error {
	if len(p.names) == 0 {
		return nil
	}
	return p.run(ctx, append([]string{"lxc", "delete", "--force"}, p.names...)...)
}

// close takes the daemon down with all it made.
func (p *lxdPeer) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs []error
	if p.daemon != nil {
		for _, args := range [][]string{
			{"lxc", "image", "delete", "base"},
			{"lxc", "profile", "device", "remove", "default", "root"},
			{"lxc", "profile", "device", "remove", "default", "eth0"},
			{"lxc", "storage", "delete", "bench"},
			{"lxd", "shutdown", "--timeout", "30"},
		} {
			errs = append(errs, p.run(ctx, args...))
		}
		p.endDaemon()
	}
	exec.Command("ip", "link", "delete", lxdBridge).Run()
	for _, m := range []string{"devlxd", "shmounts", "guestapi"} {
		syscall.Unmount(filepath.Join(p.dir, "lxd", m), syscall.MNT_DETACH)
	}
	pivots, _ := filepath.Glob("/sys/fs/cgroup/*/lxc.pivot")
	for _, dir := range append(pivots, "/sys/fs/cgroup/lxc.pivot") {
		syscall.Rmdir(dir)
	}
	return errors.Join(append(errs, os.RemoveAll(p.dir))...)
}

func (p *lxdPeer) endDaemon() {
	ended := make(chan struct{})
	go func() { p.daemon.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		p.daemon.Process.Kill()
		<-ended
	}
}
