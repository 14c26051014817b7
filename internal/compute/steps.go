package compute

import (
	"context"
	"errors"
	"fmt"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// stopGrace is how long a machine may take to shut down.
const stopGrace = 20 * time.Second

// remove ends an instance: its machines first, then its addresses and its document together.
func (w *worker) remove(ctx context.Context, v *instanceView) error {
	r := w.c.room
	ids := append([]string{}, v.Others...)
	for serial := max(1, v.Status.Serial); serial <= v.Wish.Serial; serial++ {
		ids = append(ids, machineID(v.UID, serial))
	}
	for _, id := range ids {
		if err := r.deleteMachine(ctx, id); err != nil {
			return err
		}
	}
	r.release(v.UID)
	r.ledger.forget(v.UID)
	r.busy.forget(v.Key)
	err := r.writer.do(func(tx *store.Tx) error {
		d, err := tx.Get(v.ID)
		if err != nil {
			return err
		}
		if d.UID != v.UID {
			return store.ErrStale
		}
		if err := r.Network.Detach(tx, d.ID); err != nil {
			return err
		}
		return r.Server.Gone(tx, d)
	})
	if err == nil {
		return errEnough
	}
	return err
}

// deleteMachine removes a machine and what this room keeps of it.
func (r *Room) deleteMachine(ctx context.Context, id string) error {
	r.guests.end(id)
	if err := r.Engine.Delete(ctx, id); err != nil {
		return fmt.Errorf("delete machine: %w", err)
	}
	r.guests.remove(id)
	return nil
}

// drain lets an instance's sessions end, and has it deleted when they did or their time is over.
func (w *worker) drain(ctx context.Context, v *instanceView) error {
	r := w.c.room
	if !v.Status.Draining {
		if err := r.Network.Drain(ctx, v.ID, true); err != nil {
			return fmt.Errorf("drain: %w", err)
		}
		if err := w.record(v, func(s *status) { s.Draining = true }); err != nil {
			return err
		}
	}
	for {
		if m := v.Machine; m != nil && m.State == machine.Running {
			v.Sessions = r.count(ctx, v.Key, v.ID, m.ID)
		}
		done, look := drained(v, r.DrainTimeout, r.Now())
		if done {
			break
		}
		if err := sleep(ctx, look.Sub(r.Now())); err != nil {
			return err
		}
		if info, err := r.Engine.Get(ctx, machineID(v.UID, v.Wish.Serial)); err == nil {
			v.Machine = &info
		}
	}
	return r.writer.do(func(tx *store.Tx) error {
		d, err := tx.Get(v.ID)
		if err != nil {
			return err
		}
		if d.UID != v.UID || d.Generation != v.Generation {
			return errStale
		}
		_, err = tx.MarkDeleting(d.ID, r.Now())
		return err
	})
}

func (w *worker) undrain(ctx context.Context, v *instanceView) error {
	if err := w.c.room.Network.Drain(ctx, v.ID, false); err != nil {
		return fmt.Errorf("end draining: %w", err)
	}
	return w.record(v, func(s *status) { s.Draining = false })
}

// revive starts a machine again that could not be kept running. After the host's own start, for one, machines may have
// been started before their network was there; they are not to lose their disks for that.
func (w *worker) revive(ctx context.Context, v *instanceView) error {
	r := w.c.room
	r.Log.Info("starting a failed machine again", "instance", v.ID, "failed", v.Machine.Reason)
	if _, err := r.Network.NIC(ctx, v.ID); err != nil {
		return &stageError{codeNetwork, "network interface", err} // and again, until there is a network
	}
	if err := w.record(v, func(s *status) { s.RevivedAt = r.Now() }); err != nil {
		return err
	}
	if err := r.Engine.Start(ctx, v.Machine.ID); err != nil {
		return &stageError{codeMachineFailed, "start machine", err}
	}
	return w.record(v, func(s *status) { s.PowerAt = r.Now(); s.well() })
}

// replace wishes for another machine.
func (w *worker) replace(ctx context.Context, v *instanceView, why string) error {
	r := w.c.room
	if v.Machine == nil { // never on the word of an older look alone
		if _, err := r.Engine.Get(ctx, machineID(v.UID, v.Wish.Serial)); err == nil {
			return errStale
		} else if !errors.Is(err, machine.ErrNotFound) {
			return err
		}
	}
	r.Log.Info("replacing a machine", "instance", v.ID, "because", why)
	failed := v.Machine != nil && v.Machine.State == machine.Failed
	return r.writer.do(func(tx *store.Tx) error {
		if failed {
			if err := changeStatus(tx, v, func(s *status) { s.Repairs++ }); err != nil {
				return err
			}
		}
		return rewish(tx, v, r.Now(), func(w *wish) { w.Serial++ })
	})
}

func (w *worker) tidy(ctx context.Context, v *instanceView) error {
	for _, id := range v.Others {
		if err := w.c.room.deleteMachine(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

// stop shuts the machine down. A deallocated one gives its memory back.
func (w *worker) stop(ctx context.Context, v *instanceView) error {
	r := w.c.room
	if m := v.Machine; m != nil {
		if err := r.Engine.Stop(ctx, m.ID, stopGrace); err != nil {
			return fmt.Errorf("stop machine: %w", err)
		}
	}
	if v.Wish.Power == PowerDeallocated {
		r.release(v.UID)
	}
	return w.record(v, func(s *status) { s.Power, s.PowerAt = v.Wish.Power, r.Now(); s.well() })
}

func (w *worker) restart(ctx context.Context, v *instanceView) error {
	r := w.c.room
	m := v.Machine
	if err := r.Engine.Stop(ctx, m.ID, stopGrace); err != nil {
		return fmt.Errorf("restart machine: %w", err)
	}
	if err := r.Engine.Start(ctx, m.ID); err != nil {
		return fmt.Errorf("restart machine: %w", err)
	}
	return w.record(v, func(s *status) {
		s.Restarts, s.Starts = v.Wish.Restarts, v.Wish.Starts
		s.Power, s.PowerAt = PowerOn, r.Now()
		s.well()
	})
}

// settle says that an instance is what it is wished to be, or that it failed for good.
func (w *worker) settle(v *instanceView) error {
	r := w.c.room
	if err := w.record(v, func(s *status) { r.settleStatus(s, v) }); err != nil {
		return err
	}
	return errEnough
}

func (r *Room) settleStatus(s *status, v *instanceView) {
	s.well()
	state, failure := arm.Succeeded, outcome(v)
	if failure != nil {
		state = arm.Failed
		s.Error, s.FailedAt = failure, r.Now()
	} else {
		s.Repairs = 0
	}
	if s.ProvisioningState != state || s.Settled < v.Generation {
		s.ChangedAt = r.Now()
	}
	s.Settled, s.ProvisioningState, s.SetGeneration = v.Generation, state, v.SetGeneration
	if v.Wish.Power == PowerOn {
		s.Starts, s.Restarts = v.Wish.Starts, v.Wish.Restarts
	}
}
