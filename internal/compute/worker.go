package compute

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// worker carries one instance from step to step until nothing is left to do at once.
type worker struct {
	c     *controller
	setID string

	mu     sync.Mutex
	v      *instanceView      // that the present step was decided on
	cancel context.CancelFunc // of the present step
}

// errSuperseded is the cause of a step's end when the wish changed under it.
var errSuperseded = errors.New("superseded by a newer wish")

func (c *controller) startWorkerLocked(setID string, v *instanceView) {
	w := &worker{c: c, setID: setID, v: v, cancel: func() {}}
	c.workers[v.Key] = w
	c.room.goRun(func() {
		w.run(c.room.ctx)
		c.mu.Lock()
		delete(c.workers, v.Key)
		c.mu.Unlock()
		c.wakeUp()
	})
}

// reconsider cuts the present step short if the instance's wish is another than the step was decided on.
func (w *worker) reconsider(v *instanceView) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if v.Generation > w.v.Generation || v.Deleting && !w.v.Deleting {
		w.cancel()
	}
}

// run takes steps until there is none. It looks before each, also the first: what it was started on may be older than
// the end of the instance's last worker.
func (w *worker) run(ctx context.Context) {
	v := w.v
	for ctx.Err() == nil {
		var err error
		if v, err = w.look(ctx, v); err != nil || v == nil {
			w.report(ctx, err)
			return
		}
		st := nextStep(v, w.c.room.Now())
		if st.kind == stepNone || st.kind == stepWait || !w.step(ctx, v, st) {
			return
		}
	}
}

func (w *worker) report(ctx context.Context, err error) {
	if err != nil && ctx.Err() == nil {
		w.c.room.Log.Error("instance", "id", w.v.ID, "err", err)
	}
}

// step does one step and records what came of it. It tells whether to go on.
func (w *worker) step(ctx context.Context, v *instanceView, st step) bool {
	stepCtx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	w.mu.Lock()
	w.v, w.cancel = v, func() { cancel(errSuperseded) }
	w.mu.Unlock()

	err := w.do(stepCtx, v, st)
	switch {
	case ctx.Err() != nil:
		return false
	case errors.Is(context.Cause(stepCtx), errSuperseded), errors.Is(err, errStale), errors.Is(err, store.ErrStale):
		return true
	case errors.Is(err, errEnough):
		return false
	case errors.Is(err, store.ErrNotFound):
		return false
	case err != nil:
		return w.fail(ctx, v, st, err)
	}
	return true
}

// errEnough ends a worker after a step that nothing follows, as far as it knows. Its end wakes the controller, which
// knows better.
var errEnough = errors.New("enough for now")

func (w *worker) do(ctx context.Context, v *instanceView, st step) error {
	w.c.room.Log.Debug("step", "instance", v.ID, "step", st.kind.String(), "why", st.why)
	switch st.kind {
	case stepDelete:
		return w.remove(ctx, v)
	case stepDrain:
		return w.drain(ctx, v)
	case stepUndrain:
		return w.undrain(ctx, v)
	case stepRevive:
		return w.revive(ctx, v)
	case stepReplace:
		return w.replace(ctx, v, st.why)
	case stepTidy:
		return w.tidy(ctx, v)
	case stepLaunch:
		return w.launch(ctx, v)
	case stepStop:
		return w.stop(ctx, v)
	case stepRestart:
		return w.restart(ctx, v)
	case stepExtend:
		return w.extend(ctx, v)
	}
	return w.settle(v)
}

// look reads the instance again. nil means that it is gone.
func (w *worker) look(ctx context.Context, old *instanceView) (v *instanceView, err error) {
	err = w.c.room.Store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(old.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && d.UID != old.UID {
			return nil
		}
		if err != nil {
			return err
		}
		set, err := tx.Get(w.setID)
		if err != nil {
			return err
		}
		v, err = w.c.viewInstance(tx, d, set.Generation)
		return err
	})
	if err != nil || v == nil {
		return nil, err
	}
	return v, w.lookAtMachines(ctx, old, v)
}

// lookAtMachines asks the engine for the instance's machine, and for those that were there at the last look.
func (w *worker) lookAtMachines(ctx context.Context, old, v *instanceView) error {
	ids := append([]string{}, old.Others...)
	if old.Wish.Serial != v.Wish.Serial {
		ids = append(ids, machineID(v.UID, old.Wish.Serial))
	}
	for _, id := range ids {
		if _, err := w.c.room.Engine.Get(ctx, id); err == nil {
			v.Others = append(v.Others, id)
		} else if !errors.Is(err, machine.ErrNotFound) {
			return err
		}
	}
	info, err := w.c.room.Engine.Get(ctx, machineID(v.UID, v.Wish.Serial))
	if errors.Is(err, machine.ErrNotFound) {
		return nil
	}
	v.Machine = &info
	return err
}

// record changes the status of the instance that v is a view of.
func (w *worker) record(v *instanceView, change func(*status)) error {
	return w.c.room.writer.do(func(tx *store.Tx) error { return changeStatus(tx, v, change) })
}

func changeStatus(tx *store.Tx, v *instanceView, change func(*status)) error {
	d, err := tx.Get(v.ID)
	if err != nil {
		return err
	}
	if d.UID != v.UID {
		return store.ErrStale
	}
	var st status
	if err := json.Unmarshal(d.Status, &st); err != nil {
		return err
	}
	change(&st)
	return tx.SetStatus(d.ID, d.UID, st)
}

// fail records that a step failed. It returns false: the instance is taken up again when its next attempt is due.
func (w *worker) fail(ctx context.Context, v *instanceView, st step, cause error) bool {
	r := w.c.room
	r.Log.Warn("a step failed", "instance", v.ID, "step", st.kind.String(), "err", cause)
	err := w.record(v, func(s *status) {
		r.noteFailure(s, cause, v.SetGeneration, lasting(cause))
		if s.ProvisioningState == arm.Failed {
			s.Settled = v.Generation
		}
	})
	w.report(ctx, err)
	return false
}

// lasting tells whether trying again at once is of no use.
func lasting(err error) bool {
	var e *arm.Error
	return errors.As(err, &e) && e.Code != "InternalServerError"
}

// noteFailure counts a failed attempt under a generation of the set. After some, or a lasting one, the instance is
// called failed; attempts go on, but more and more slowly.
func (r *Room) noteFailure(s *status, cause error, setGeneration int64, lasting bool) {
	now := r.Now()
	if s.SetGeneration < setGeneration {
		s.Attempts, s.SetGeneration = 0, setGeneration
	}
	s.Attempts++
	if lasting {
		s.Attempts = max(s.Attempts, attemptsToFail)
	}
	s.RetryAt, s.FailedAt = backoff(s.Attempts, now), now
	s.Error = asFailure(cause)
	if s.Attempts >= attemptsToFail && s.ProvisioningState != arm.Failed {
		s.ProvisioningState, s.ChangedAt = arm.Failed, now
	}
}

// stageError is a failure of a stage of making machines that has a code of its own.
type stageError struct {
	code, stage string
	err         error
}

func (e *stageError) Error() string { return e.stage + ": " + e.err.Error() }
func (e *stageError) Unwrap() error { return e.err }

// asFailure makes of a step's error what the instance's users see.
func asFailure(err error) *arm.Error {
	var e *arm.Error
	if errors.As(err, &e) {
		return e
	}
	code := codeInternal
	if s := new(stageError); errors.As(err, &s) {
		code = s.code
	}
	return arm.Conflict(code, "The machine could not be made: %v. lido keeps trying; its log has more. Wishing for the scale set again tries at once.", err)
}

// well resets what is counted while things go wrong.
func (s *status) well() {
	s.Attempts, s.RetryAt, s.FailedAt, s.Error = 0, time.Time{}, time.Time{}, nil
}
