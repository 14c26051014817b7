package runc

import (
	"context"
	"errors"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
)

// running is a machine's boot while it lasts.
type running struct {
	ended   chan struct{} // closed when init and conmon have ended
	settled chan struct{} // closed when what follows has been done
}

// watch begins to wait for the end of the machine's init. Called with b.mu held.
func (e *Engine) watch(b *box) {
	run := &running{ended: make(chan struct{}), settled: make(chan struct{})}
	b.run = run
	first, second := b.rec.Init, b.rec.Conmon
	e.wg.Go(func() {
		if !e.waitGone(first) {
			return
		}
		// conmon notes the exit and leaves at once; the bound is for one that hangs.
		ctx, cancel := context.WithTimeout(e.ctx, 5*time.Second)
		e.waitGoneCtx(ctx, second)
		cancel()
		if e.ctx.Err() != nil {
			return
		}
		close(run.ended)
		e.ended(b, run)
		close(run.settled)
	})
}

func (e *Engine) waitGone(p process) bool { return e.waitGoneCtx(e.ctx, p) }

// waitGoneCtx waits until the process has ended, without holding a thread; false if ctx ended first.
func (e *Engine) waitGoneCtx(ctx context.Context, p process) bool {
	fd, err := e.host.openProcess(p)
	if err != nil {
		return true
	}
	f := os.NewFile(uintptr(fd), "pidfd")
	defer f.Close()
	stop := context.AfterFunc(ctx, func() { _ = f.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	conn, err := f.SyscallConn()
	if err != nil {
		return false
	}
	err = conn.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, _ := unix.Poll(fds, 0)
		return n > 0
	})
	return err == nil
}

// ended does what follows the end of a boot.
func (e *Engine) ended(b *box, run *running) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.run != run || b.gone {
		return
	}
	b.run = nil
	e.settle(b)
	e.notify(b.id)
}

// settle brings a machine whose init has ended to what its policy says. Called with b.mu held.
func (e *Engine) settle(b *box) {
	r := &b.rec
	code, known := e.exitCode(b.id)
	end := ending{Code: code, Known: known, Lasted: e.cfg.Now().Sub(r.StartedAt)}
	n := e.cfg.Restart.afterEnd(end, r.Want, r.Failures)
	r.Failures, r.Reason = n.Failures, n.Reason
	if n.State == machine.Failed {
		r.Reason += e.lastWords(b.id)
	}
	if n.Crash {
		r.Restarts++
		e.log.Warn("machine crashed", "machine", b.id, "exit", end.String(), "failures", n.Failures)
	}
	if n.State != "" {
		e.rest(b, n.State)
		return
	}
	r.Ended = true
	e.rebootLater(b, n.Delay)
}

// rest leaves the machine stopped or failed. That is written down before the exit code is removed with what is left of
// the boot.
func (e *Engine) rest(b *box, state machine.State) {
	b.rec.State, b.rec.Want, b.rec.StoppedAt = state, machine.Stopped, e.cfg.Now()
	if err := errors.Join(e.save(&b.rec), e.teardown(b)); err != nil {
		e.log.Error("machine ended but could not be cleared", "machine", b.id, "err", err)
	}
}

// rebootLater boots the machine after delay, if nobody does or ends it before.
func (e *Engine) rebootLater(b *box, delay time.Duration) {
	if err := e.save(&b.rec); err != nil {
		e.log.Error("machine record not saved", "machine", b.id, "err", err)
	}
	boots := b.rec.Boots
	e.wg.Go(func() {
		if !sleep(e.ctx, delay) || !e.awaitNetwork(b.rec.Spec.NIC) {
			return
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.gone || b.run != nil || b.rec.Want != machine.Running || b.rec.Boots != boots {
			return
		}
		if err := e.bootLocked(e.ctx, b); err != nil {
			e.log.Warn("machine did not start", "machine", b.id, "err", err)
			if b.rec.State != machine.Failed && e.ctx.Err() == nil {
				e.rebootLater(b, e.cfg.Restart.delay(b.rec.Failures))
				return
			}
		}
		e.notify(b.id)
	})
}
