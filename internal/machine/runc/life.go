package runc

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
)

// Create makes the machine's root file system and record.
func (e *Engine) Create(_ context.Context, spec machine.Spec) error {
	if !idForm.MatchString(spec.ID) {
		return fmt.Errorf("machine id %q: want up to 40 of a-z, 0-9 and -, not beginning with -", spec.ID)
	}
	b, exists := e.reserve(spec.ID)
	defer b.mu.Unlock()
	if exists {
		if !sameSpec(b.rec.Spec, spec) {
			return fmt.Errorf("machine %q: %w", spec.ID, machine.ErrExists)
		}
		return nil
	}
	if err := e.make(b, spec); err != nil {
		return errors.Join(fmt.Errorf("create machine %q: %w", spec.ID, err), e.unmake(b))
	}
	return nil
}

// reserve returns the box with that id, locked, and whether it was there before.
func (e *Engine) reserve(id string) (*box, bool) {
	for {
		e.mu.Lock()
		b := e.machines[id]
		if b == nil {
			b = &box{id: id}
			b.mu.Lock()
			e.machines[id] = b
			e.mu.Unlock()
			return b, false
		}
		e.mu.Unlock()
		b.mu.Lock()
		if !b.gone {
			return b, true
		}
		b.mu.Unlock()
	}
}

func (e *Engine) make(b *box, spec machine.Spec) error {
	e.step("create.record")
	b.rec = record{Spec: spec, Phase: creating, Want: machine.Stopped, State: machine.Created, Mounts: append([]machine.Mount(nil), spec.Mounts...)}
	if err := os.Mkdir(e.dir(b.id), 0o700); err != nil {
		return err
	}
	if err := e.save(&b.rec); err != nil {
		return err
	}
	e.step("create.range")
	var err error
	if b.rec.Base, err = e.claimAny(b.id, 0); err != nil {
		return err
	}
	b.rec.CPUSet = e.pickCPUs(&spec)
	e.step("create.root")
	if err := e.furnish(&spec); err != nil {
		return err
	}
	e.step("create.ready")
	b.rec.Phase = ready
	return e.save(&b.rec)
}

// Delete ends the machine and removes every trace of it.
func (e *Engine) Delete(_ context.Context, id string) error {
	b, err := e.box(id)
	if errors.Is(err, machine.ErrNotFound) {
		return nil
	}
	defer b.mu.Unlock()
	e.step("delete.record")
	b.rec.Phase, b.rec.Want = deleting, machine.Stopped
	if err := e.save(&b.rec); err != nil {
		return fmt.Errorf("delete machine %q: %w", id, err)
	}
	if err := e.unmake(b); err != nil {
		return fmt.Errorf("delete machine %q: %w", id, err)
	}
	return nil
}

// unmake removes all there is of the machine, the record last. Called with b.mu held.
func (e *Engine) unmake(b *box) error {
	b.run = nil
	e.step("delete.processes")
	if err := e.teardown(b); err != nil {
		return err
	}
	e.step("delete.range")
	if err := e.release(b.id, b.rec.Base); err != nil {
		return err
	}
	e.step("delete.root")
	if err := e.removeDir(b.id); err != nil {
		return err
	}
	b.gone = true
	e.cpuMu.Lock()
	delete(e.cpuSets, b.id)
	e.cpuMu.Unlock()
	e.infoMu.Lock()
	delete(e.infos, b.id)
	e.infoMu.Unlock()
	e.mu.Lock()
	delete(e.machines, b.id)
	e.mu.Unlock()
	return nil
}

// removeDir removes a machine's directory, its record only after all else has gone.
func (e *Engine) removeDir(id string) error {
	if err := os.RemoveAll(e.layers(id)); err != nil {
		return err
	}
	e.step("delete.dir")
	return os.RemoveAll(e.dir(id))
}

// systemd's signals for an orderly way down, and for one and up again: from SIGRTMIN on.
const (
	sigPoweroff = unix.Signal(34 + 4)
	sigReboot   = unix.Signal(34 + 5)
)

// Stop shuts the machine down and kills it after grace.
func (e *Engine) Stop(ctx context.Context, id string, grace time.Duration) error {
	run, err := e.askToStop(id, grace)
	if err != nil || run == nil {
		return err
	}
	e.wg.Go(func() { e.awaitEnd(id, run, grace) }) // goes on if ctx ends
	select {
	case <-run.settled:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("stop machine %q: %w", id, ctx.Err())
	case <-e.ctx.Done():
		return fmt.Errorf("stop machine %q: %w", id, errClosed)
	}
}

// awaitEnd waits for the end of a boot that was told to end and kills it after grace. The signal is said again and
// again: an init that has just been started does not hear it yet.
func (e *Engine) awaitEnd(id string, run *running, grace time.Duration) {
	again := time.NewTicker(500 * time.Millisecond)
	defer again.Stop()
	patience := time.NewTimer(grace)
	defer patience.Stop()
	for {
		select {
		case <-run.ended:
			return
		case <-again.C:
			e.signalBoot(id, run, sigPoweroff)
		case <-patience.C:
			e.signalBoot(id, run, unix.SIGKILL)
		case <-e.ctx.Done():
			return
		}
	}
}

// askToStop notes the wish, tells init of it and returns the boot that is to end, nil if there is none.
func (e *Engine) askToStop(id string, grace time.Duration) (*running, error) {
	b, err := e.box(id)
	if err != nil {
		return nil, err
	}
	defer b.mu.Unlock()
	e.step("stop.record")
	if b.rec.State != machine.Created {
		b.rec.Want = machine.Stopped
	}
	if b.run == nil {
		if b.rec.State == machine.Running { // between two boots
			e.rest(b, machine.Stopped)
			return nil, nil
		}
		return nil, e.save(&b.rec)
	}
	if err := e.save(&b.rec); err != nil {
		return nil, err
	}
	e.step("stop.signal")
	sig := sigPoweroff
	if grace <= 0 {
		sig = unix.SIGKILL
	}
	e.signal(b.rec.Init, sig)
	return b.run, nil
}

// GoDown ends all machines in order because the host goes down, until ctx ends. It stops watching first, so that none is
// booted again. To the next engine those that ran have rebooted: it boots them.
func (e *Engine) GoDown(ctx context.Context) {
	e.cancel()
	e.wg.Wait()
	e.mu.Lock()
	all := slices.Collect(maps.Values(e.machines))
	e.mu.Unlock()
	var wg sync.WaitGroup
	for _, b := range all {
		b.mu.Lock()
		init, conmon := b.rec.Init, b.rec.Conmon
		b.mu.Unlock()
		wg.Go(func() {
			for ctx.Err() == nil && e.host.alive(init) {
				e.signal(init, sigReboot)
				soon, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
				e.waitGoneCtx(soon, init)
				cancel()
			}
			e.waitGoneCtx(ctx, conmon) // which notes how init ended
		})
	}
	wg.Wait()
}

func (e *Engine) signal(p process, sig unix.Signal) {
	fd, err := e.host.openProcess(p)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.PidfdSendSignal(fd, sig, nil, 0)
}

func (e *Engine) signalBoot(id string, run *running, sig unix.Signal) {
	b, err := e.box(id)
	if err != nil {
		return
	}
	defer b.mu.Unlock()
	if b.run == run {
		e.signal(b.rec.Init, sig)
	}
}

// pickCPUs chooses the CPUs of the host that carry the fewest machines.
func (e *Engine) pickCPUs(spec *machine.Spec) string {
	n := int(spec.CPUs)
	if float64(n) < spec.CPUs {
		n++
	}
	if n <= 0 || n >= len(e.host.cpus) {
		return ""
	}
	return e.leastLoaded(n, spec.ID)
}
