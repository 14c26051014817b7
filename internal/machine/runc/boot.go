package runc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
)

var newSession = &syscall.SysProcAttr{Setsid: true}

// Start boots the machine. One that is on its way down is booted when it has got there.
func (e *Engine) Start(ctx context.Context, id string) error {
	for {
		b, err := e.box(id)
		if err != nil {
			return err
		}
		run := b.run
		if run == nil {
			defer b.mu.Unlock()
			return e.startLocked(ctx, b)
		}
		goingDown := b.rec.Want != machine.Running
		b.mu.Unlock()
		if !goingDown {
			return nil
		}
		select {
		case <-run.settled:
		case <-ctx.Done():
			return fmt.Errorf("start machine %q: %w", id, ctx.Err())
		case <-e.ctx.Done():
			return fmt.Errorf("start machine %q: %w", id, errClosed)
		}
	}
}

// startLocked boots a machine that does not run, as often as the policy allows.
func (e *Engine) startLocked(ctx context.Context, b *box) error {
	id := b.id
	b.rec.Want, b.rec.Failures = machine.Running, 0
	for {
		err := e.bootLocked(ctx, b)
		if err == nil {
			return nil
		}
		if b.rec.State == machine.Failed || ctx.Err() != nil {
			return fmt.Errorf("start machine %q: %w", id, err)
		}
		if !sleep(ctx, e.cfg.Restart.delay(b.rec.Failures)) {
			return fmt.Errorf("start machine %q: %w", id, err)
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// bootLocked boots the machine once. A failure is counted and, when it is one too many, makes the machine Failed.
func (e *Engine) bootLocked(ctx context.Context, b *box) error {
	r := &b.rec
	r.Boots++
	r.Init, r.Conmon, r.Reason = process{}, process{}, ""
	err := e.tryBoot(ctx, b)
	if err == nil {
		r.State, r.StartedAt, r.Ended = machine.Running, e.cfg.Now(), false
		if err := e.save(r); err != nil {
			return err
		}
		e.watch(b)
		return nil
	}
	if ctx.Err() != nil {
		r.Boots--
	} else {
		r.Failures++
	}
	next := e.cfg.Restart.afterFailedStart(r.Failures)
	if next.State != "" {
		r.State, r.Reason = next.State, fmt.Sprintf("start failed %d times in a row: %v", r.Failures, err)
	}
	return errors.Join(err, e.teardown(b), e.save(r))
}

func (e *Engine) tryBoot(ctx context.Context, b *box) error {
	id := b.id
	e.step("start.clean")
	if err := e.teardown(b); err != nil {
		return fmt.Errorf("clear the last boot: %w", err)
	}
	if err := e.claimForBoot(&b.rec); err != nil {
		return err
	}
	e.step("start.record")
	if err := e.save(&b.rec); err != nil {
		return err
	}
	if err := os.Remove(e.consolePath(id)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e.wantLXCFS()
	if err := e.bundleDirs(id); err != nil {
		return err
	}
	if err := ensureDir(b.rec.Spec.HostDir); err != nil {
		return err
	}
	pid, err := e.createContainer(ctx, &b.rec)
	if err != nil {
		return err
	}
	if b.rec.Init, err = e.host.process(pid); err != nil {
		return fmt.Errorf("init ended before its start: %w", err)
	}
	b.rec.Conmon = e.conmonOf(id)
	e.step("start.delegate")
	if err := e.delegate(id, b.rec.Base); err != nil {
		return err
	}
	e.step("start.mounts")
	if err := e.mountAll(&b.rec); err != nil {
		return err
	}
	e.step("start.begin")
	if err := e.begin(id); err != nil {
		return err
	}
	e.step("start.began")
	return nil
}

func ensureDir(dir string) error {
	if dir == "" {
		return nil
	}
	return os.MkdirAll(dir, 0o755)
}

// claimForBoot claims the machine's uid range again: after a reboot of the host all claims are gone, and another may
// have been quicker. Nothing on disk depends on the range.
func (e *Engine) claimForBoot(r *record) (err error) {
	r.Base, err = e.claimAny(r.Spec.ID, r.Base)
	return err
}

// createContainer has runc make the container up to the point where init waits to be started, and joins its network in
// the meantime. It returns init's pid.
func (e *Engine) createContainer(ctx context.Context, r *record) (int, error) {
	pid := 0
	err := onThread(func() error {
		e.step("start.namespaces")
		h, err := newHolder(r.Base)
		if err != nil {
			return err
		}
		defer h.close()
		if err := e.writeBundle(r, h); err != nil {
			return err
		}
		netfd, err := unix.Open(h.netns(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(netfd)
		var g errgroup.Group
		g.Go(func() error {
			e.step("start.network")
			return e.joinNetwork(&r.Spec, netfd)
		})
		if err := e.assemble(r.Spec.ID, r.Spec.Root, h.userns(), r.Base); err == nil {
			e.step("start.create")
			pid, err = e.runConmon(ctx, r.Spec.ID)
			return errors.Join(err, g.Wait())
		} else {
			return errors.Join(err, g.Wait())
		}
	})
	return pid, err
}

// teardown ends whatever is left of the machine's last boot: processes, runc's state, cgroups, the network link. The
// root file system stays. It does nothing when nothing is left.
func (e *Engine) teardown(b *box) error {
	e.killAll(b)
	if err := os.RemoveAll(filepath.Join(e.stateDir(), b.id)); err != nil {
		return err
	}
	if err := e.removeCgroups(b.id); err != nil {
		return err
	}
	e.forgetUnit(b.id)
	if nic := b.rec.Spec.NIC; nic != nil {
		if err := leaveNetwork(nic); err != nil {
			return err
		}
	}
	if err := os.RemoveAll(e.bundle(b.id)); err != nil {
		return err
	}
	return os.RemoveAll(e.exitDir(b.id))
}

// killAll kills all processes of the machine and those that watch over it.
func (e *Engine) killAll(b *box) {
	for _, p := range []process{b.rec.Init, e.conmonOf(b.id)} {
		if fd, err := e.host.openProcess(p); err == nil {
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
			unix.Close(fd)
		}
	}
	e.killCgroup(b.id)
}
