package compute

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// controller reconciles one set. Its passes look at the whole set; workers carry single instances through their steps.
type controller struct {
	room *Room
	id   string // as first written
	wake chan struct{}
	size int // instances at the last look; of the goroutine that runs passes

	mu      sync.Mutex
	workers map[string]*worker // by instance key
	models  map[string]*Model  // by hash; models never change
}

// run makes passes over the set whenever it is woken. After a pass that changed no membership it rests for twice as
// long as that took, but no longer than a millisecond for each instance, so that a large set's passes stay a constant
// share of the work however often its instances wake it.
func (c *controller) run() {
	ctx := c.room.ctx
	var due <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.wake:
		case <-due:
		}
		start := time.Now()
		next, again, gone, err := c.pass(ctx)
		if ctx.Err() != nil || gone {
			return
		}
		if err != nil {
			c.room.Log.Error("reconcile", "set", c.id, "err", err)
			next = c.room.Now().Add(firstRetry)
		}
		due = nil
		if !next.IsZero() {
			due = time.After(next.Sub(c.room.Now()))
		}
		if again {
			c.wakeUp()
		} else if took := time.Since(start); took > time.Millisecond {
			sleep(ctx, min(2*took, time.Duration(c.size)*time.Millisecond, time.Second))
		}
	}
}

// pass looks at the whole set once: it changes its membership, starts workers, and ends what is done. It returns when
// it wants to be called again at the latest, whether that is at once, and whether the set is gone.
func (c *controller) pass(ctx context.Context) (next time.Time, again, gone bool, err error) {
	s, err := c.look(ctx)
	if errors.Is(err, store.ErrNotFound) {
		return next, false, c.retire(), nil
	}
	if err != nil {
		return next, false, false, err
	}
	c.size = len(s.view.Instances)
	c.countBeforeShrinking(ctx, s)
	p := decideSet(&s.view)
	again, err = c.carryOut(ctx, s, p)
	if err != nil || p.Gone {
		return next, p.Gone, false, err
	}
	return c.startWorkers(s), again, false, nil
}

// shrinkCount bounds the time that counting sessions may take before instances are chosen to go.
const shrinkCount = 5 * time.Second

// countBeforeShrinking counts the sessions of all instances anew if some of them are to go, so that the idlest do.
func (c *controller) countBeforeShrinking(ctx context.Context, s *snapshot) {
	active, _, _ := sortOut(&s.view)
	if s.view.Deleting || len(active) <= s.view.Capacity || s.view.Capacity == 0 {
		return
	}
	var infos []machine.Info
	for _, i := range active {
		if i.Machine != nil {
			infos = append(infos, *i.Machine)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, shrinkCount)
	defer cancel()
	c.room.countIn(ctx, infos)
	for _, i := range active {
		i.Sessions = c.room.busy.get(i.Key)
	}
}

func (c *controller) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// retire forgets the controller of a set that is gone, and tells whether it could.
func (c *controller) retire() bool {
	c.room.mu.Lock()
	defer c.room.mu.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.workers)+len(c.wake) > 0 {
		return false
	}
	delete(c.room.sets, store.Key(c.id))
	return true
}

// snapshot is a set at one moment.
type snapshot struct {
	doc     *store.Doc
	set     set
	status  setStatus
	view    setView
	actions []pendingAction
}

// look reads a set and its instances, and then its machines: what a document says was made is there, unless it was lost.
func (c *controller) look(ctx context.Context) (*snapshot, error) {
	s := &snapshot{}
	err := c.room.Store.View(ctx, func(tx *store.Tx) (err error) {
		if s.doc, err = tx.Get(c.id); err != nil {
			return err
		}
		docs, err := tx.List(store.Query{Under: s.doc.ID, Type: TypeInstance})
		if err != nil {
			return err
		}
		for _, d := range docs {
			v, err := c.viewInstance(tx, d, s.doc.Generation)
			if err != nil {
				return err
			}
			s.view.Instances = append(s.view.Instances, v)
		}
		s.actions, err = c.room.pendingActions(tx, s.doc.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := c.lookAtMachines(ctx, s); err != nil {
		return nil, err
	}
	return s, c.readSet(s)
}

// lookAtMachines finds the machines of a snapshot's instances.
func (c *controller) lookAtMachines(ctx context.Context, s *snapshot) error {
	infos, err := c.room.Engine.List(ctx)
	if err != nil {
		return err
	}
	byUID := make(map[string]*instanceView, len(s.view.Instances))
	for _, v := range s.view.Instances {
		byUID[v.UID] = v
	}
	for i := range infos {
		v := byUID[infos[i].Spec.Labels[labelUID]]
		switch {
		case v == nil: // another set's
		case infos[i].ID == machineID(v.UID, v.Wish.Serial):
			v.Machine = &infos[i]
		default:
			v.Others = append(v.Others, infos[i].ID)
		}
	}
	return nil
}

func (c *controller) readSet(s *snapshot) error {
	if err := json.Unmarshal(s.doc.Desired, &s.set); err != nil {
		return err
	}
	if err := json.Unmarshal(s.doc.Status, &s.status); err != nil {
		return err
	}
	hash, err := modelHash(s.doc.Desired)
	if err != nil {
		return err
	}
	v := &s.view
	v.Deleting, v.Generation, v.Settled = s.doc.Deleting, s.doc.Generation, s.status.Settled
	v.Capacity, v.Next, v.Model = int(s.set.Sku.Capacity), s.status.Next, hash
	if rules := s.set.Properties.ScaleIn.Rules; len(rules) > 0 {
		v.ScaleIn = rules[0]
	}
	mode := s.set.Properties.UpgradePolicy.Mode
	v.Automatic = mode == upgradeAutomatic || mode == upgradeRolling
	if mode == upgradeRolling {
		v.Percent = defaultBatch
		if p := s.set.Properties.UpgradePolicy.Rolling.BatchPercent; p > 0 {
			v.Percent = int(min(p, 100))
		}
	}
	return nil
}

// defaultBatch is how many percent of a set's instances a rolling upgrade takes at once, as in Azure.
const defaultBatch = 20

// viewInstance reads an instance's document.
func (c *controller) viewInstance(tx *store.Tx, d *store.Doc, setGeneration int64) (*instanceView, error) {
	v := &instanceView{Key: store.Key(d.ID), ID: d.ID, UID: d.UID, Generation: d.Generation, Deleting: d.Deleting, SetGeneration: setGeneration}
	if err := json.Unmarshal(d.Desired, &v.Wish); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(d.Status, &v.Status); err != nil {
		return nil, err
	}
	m, err := c.model(tx, v.Wish.Model)
	if err != nil {
		return nil, err
	}
	v.MachineHash, v.Extensions = m.machineHash, m.extensions
	v.Sessions = c.room.busy.get(v.Key)
	if v.Status.Error != nil && v.Status.Error.Code == codeAllocation {
		c.room.ledger.await(v.UID)
	}
	v.FreedAt = c.room.freed()
	return v, nil
}

// startWorkers sees to it that each instance with something to do has a worker, and returns when to look again.
func (c *controller) startWorkers(s *snapshot) (next time.Time) {
	now := c.room.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range s.view.Instances {
		if w := c.workers[v.Key]; w != nil {
			w.reconsider(v)
			continue
		}
		switch st := nextStep(v, now); st.kind {
		case stepNone:
		case stepWait:
			if next.IsZero() || st.until.Before(next) {
				next = st.until
			}
		default:
			c.startWorkerLocked(s.doc.ID, v)
		}
	}
	return next
}
