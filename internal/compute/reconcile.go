package compute

import (
	"context"
	"errors"
	"time"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

const resyncEvery = 30 * time.Second

// controllerLocked returns the controller of a set, starting one if needed; nil before the room was started.
func (r *Room) controllerLocked(setID string) *controller {
	if !r.started {
		return nil
	}
	key := store.Key(setID)
	if c := r.sets[key]; c != nil {
		return c
	}
	c := &controller{room: r, id: setID, wake: make(chan struct{}, 1), workers: map[string]*worker{}, models: map[string]*Model{}}
	r.sets[key] = c
	r.goRun(c.run)
	return c
}

// wakeSet has a set looked at. Before the room was started there is no need: it begins by looking at everything.
func (r *Room) wakeSet(setID string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.controllerLocked(setID); c != nil {
		c.wakeUp() // under the lock, so that the controller does not retire between
	}
}

// watchStore wakes the sets whose wish changed.
func (r *Room) watchStore(sub *store.Subscription) {
	defer sub.Close()
	for {
		select {
		case <-r.ctx.Done():
			return
		case <-sub.C:
		}
		start := time.Now()
		if err := r.wakeChanged(); err != nil && r.ctx.Err() == nil {
			r.Log.Error("look for changed scale sets", "err", err)
		}
		if took := time.Since(start); len(r.lastSeen) >= crowd {
			sleep(r.ctx, min(2*took, 20*time.Millisecond))
		}
	}
}

// crowd is how many sets, gone ones included, make looking at all of them a matter of milliseconds: then it is done less often.
const crowd = 100

func (r *Room) wakeChanged() error {
	return r.Store.View(r.ctx, func(tx *store.Tx) error {
		docs, err := tx.Versions(TypeSet)
		if err != nil {
			return err
		}
		for _, d := range docs {
			if r.lastSeen[d.UID] != d.Generation { // only this goroutine uses it
				r.lastSeen[d.UID] = d.Generation
				r.wakeSet(d.ID)
			}
		}
		return nil
	})
}

// watchEngine wakes the set of a machine that changed by itself.
func (r *Room) watchEngine() {
	for r.ctx.Err() == nil {
		err := r.Engine.Watch(r.ctx, func(id string) {
			if info, err := r.Engine.Get(r.ctx, id); err == nil && info.Spec.Labels[labelSet] != "" {
				r.wakeSet(info.Spec.Labels[labelSet])
			}
		})
		if r.ctx.Err() == nil {
			r.Log.Error("watch the machine engine", "err", err)
			sleep(r.ctx, time.Second)
		}
	}
}

// resync looks at everything from time to time, for what events cannot tell.
func (r *Room) resync() {
	for {
		if err := r.sweep(); err != nil && r.ctx.Err() == nil {
			r.Log.Error("sweep", "err", err)
		}
		if sleep(r.ctx, resyncEvery) != nil {
			return
		}
		if err := r.wakeAll(); err != nil && r.ctx.Err() == nil {
			r.Log.Error("look at all scale sets", "err", err)
		}
	}
}

func (r *Room) wakeAll() error {
	return r.Store.View(r.ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Type: TypeSet})
		for _, d := range docs {
			r.wakeSet(d.ID)
		}
		return err
	})
}

// sweep deletes machines that no instance has a use for.
func (r *Room) sweep() error {
	infos, err := r.Engine.List(r.ctx)
	if err != nil {
		return err
	}
	var lost []machine.Info
	err = r.Store.View(r.ctx, func(tx *store.Tx) error {
		for _, m := range infos {
			if m.Spec.Labels[labelInstance] == "" {
				continue // not of this room
			}
			d, err := tx.Get(m.Spec.Labels[labelInstance])
			if errors.Is(err, store.ErrNotFound) || err == nil && d.UID != m.Spec.Labels[labelUID] {
				lost = append(lost, m)
			} else if err != nil {
				return err
			}
		}
		return nil
	})
	for _, m := range lost {
		r.Log.Warn("deleting a machine that no instance knows", "machine", m.ID)
		err = errors.Join(err, r.deleteMachine(r.ctx, m.ID))
		r.release(m.Spec.Labels[labelUID])
	}
	return err
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

func (r *Room) freed() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.freedAt
}

// release gives an instance's memory back and has those looked at that may have waited for it.
func (r *Room) release(uid string) {
	if !r.ledger.release(uid) {
		return
	}
	r.mu.Lock()
	r.freedAt = r.Now()
	sets := make([]*controller, 0, len(r.sets))
	for _, c := range r.sets {
		sets = append(sets, c)
	}
	r.mu.Unlock()
	for _, c := range sets {
		c.wakeUp()
	}
}
