package sim

import (
	"context"
	"time"

	"lido.dev/lido/internal/machine"
)

// Watch calls notify for whatever PowerOff, Reboot and Crash do.
func (e *Engine) Watch(ctx context.Context, notify func(id string)) error {
	e.mu.Lock()
	n := e.nextW
	e.nextW++
	e.watchers[n] = notify
	e.mu.Unlock()
	<-ctx.Done()
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.watchers, n)
	return ctx.Err()
}

func (e *Engine) notify(id string) {
	e.mu.Lock()
	fns := make([]func(string), 0, len(e.watchers))
	for _, f := range e.watchers {
		fns = append(fns, f)
	}
	e.mu.Unlock()
	for _, f := range fns {
		f(id)
	}
}

// PowerOff makes the machine power itself off.
func (e *Engine) PowerOff(id string) error {
	return e.itself(id, func(b *box) {
		b.update(func(i *machine.Info) {
			i.State, i.StoppedAt, i.Reason = machine.Stopped, e.cfg.Now(), "The machine powered itself off."
		})
	})
}

// Reboot makes the machine reboot itself.
func (e *Engine) Reboot(id string) error {
	return e.itself(id, func(b *box) { _ = e.boot(context.Background(), b) })
}

// Crash ends the machine's init; the machine is restarted.
func (e *Engine) Crash(id string) error {
	return e.itself(id, func(b *box) {
		_ = sleep(context.Background(), e.cfg.RestartDelay)
		b.update(func(i *machine.Info) { i.Restarts++ })
		_ = e.boot(context.Background(), b)
	})
}

// itself does to a running machine what it would do by itself.
func (e *Engine) itself(id string, f func(*box)) error {
	b, err := e.locked(id)
	if err != nil {
		return err
	}
	if b.get().State == machine.Running {
		f(b)
	}
	b.mu.Unlock()
	e.notify(id)
	return nil
}

func sleep(ctx context.Context, d time.Duration) error {
	if err := ctx.Err(); err != nil || d <= 0 {
		return err
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
