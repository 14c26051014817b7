package compute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/google/go-cmp/cmp"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// maxCreate bounds the instances that one transaction makes, so that the first machines start before the last ones
// are written down.
const maxCreate = 200

// errStale says that something changed since it was looked at; another look is due.
var errStale = errors.New("the wish changed meanwhile")

// carryOut writes a plan's changes in one transaction, unless the wish changed since it was looked at. It tells
// whether another look is due.
func (c *controller) carryOut(ctx context.Context, s *snapshot, p setPlan) (again bool, err error) {
	more := len(p.Create) > maxCreate
	p.Create = p.Create[:min(len(p.Create), maxCreate)]
	status, failure := c.nextStatus(s, p)
	ended := endedActions(s)
	statusChanged := !cmp.Equal(status, s.status)
	if !p.Gone && !statusChanged && len(p.Create)+len(p.Surplus)+len(p.Keep)+len(p.Delete)+len(p.Upgrade)+len(ended) == 0 {
		return false, nil
	}
	err = c.room.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(c.id)
		if err != nil {
			return err
		}
		if d.UID != s.doc.UID || d.Generation != s.doc.Generation {
			return errStale
		}
		if p.Gone {
			return c.gone(tx, d)
		}
		if err := c.changeInstances(ctx, tx, d, s, p); err != nil {
			return err
		}
		if err := c.room.finishActions(tx, d.ID, ended); err != nil {
			return err
		}
		if p.Settle && status.Settled >= d.Generation && statusChanged {
			if err := c.settle(tx, d, s, failure); err != nil {
				return err
			}
		}
		return tx.SetStatus(d.ID, d.UID, status)
	})
	if errors.Is(err, errStale) {
		return true, nil
	}
	return more || len(p.Create)+len(p.Surplus)+len(p.Keep)+len(p.Delete)+len(p.Upgrade) > 0, err
}

// nextStatus is the set's status after the plan, and what its wish failed with, if it is settled and did.
func (c *controller) nextStatus(s *snapshot, p setPlan) (setStatus, *arm.Error) {
	status := s.status
	status.Next += len(p.Create)
	if !p.Settle {
		return status, nil
	}
	failure := setFailure(s)
	state := arm.Succeeded
	if failure != nil {
		state = arm.Failed
	}
	if status.Settled < s.doc.Generation || status.ProvisioningState != state {
		status.ChangedAt = c.room.Now()
	}
	status.Settled, status.ProvisioningState, status.Error = s.doc.Generation, state, failure
	return status, failure
}

// setFailure joins the failures of a set's instances into one error, or returns nil.
func setFailure(s *snapshot) *arm.Error {
	var out *arm.Error
	total := 0
	for _, i := range s.view.Instances {
		e := i.Status.Error
		if i.Status.ProvisioningState != arm.Failed || e == nil {
			continue
		}
		if out == nil {
			out = &arm.Error{Status: e.Status, Code: e.Code}
		}
		total++
		if len(out.Details) < 20 {
			out.Details = append(out.Details, &arm.Error{Code: e.Code, Message: e.Message, Target: path.Base(i.ID)})
		}
	}
	if out != nil {
		out.Message = fmt.Sprintf("%d of %d instances failed. Instance %s: %s", total, len(s.view.Instances), out.Details[0].Target, out.Details[0].Message)
	}
	return out
}

func (c *controller) settle(tx *store.Tx, d *store.Doc, s *snapshot, failure *arm.Error) error {
	used := map[string]bool{s.view.Model: true}
	for _, i := range s.view.Instances {
		used[i.Wish.Model] = true
	}
	if err := pruneModels(tx, d.ID, used); err != nil {
		return err
	}
	return c.room.Server.SettleWrites(tx, d, d.Generation, failure)
}

func (c *controller) gone(tx *store.Tx, d *store.Doc) error {
	if err := tx.DeleteBucket(bucketModels + store.Key(d.ID)); err != nil {
		return err
	}
	if err := c.room.dropActions(tx, d.ID); err != nil {
		return err
	}
	return c.room.Server.Gone(tx, d)
}

func (c *controller) changeInstances(ctx context.Context, tx *store.Tx, d *store.Doc, s *snapshot, p setPlan) error {
	now := c.room.Now()
	if len(p.Create)+len(p.Upgrade) > 0 {
		if _, err := keepModel(tx, d); err != nil {
			return err
		}
	}
	for _, n := range p.Create {
		if err := c.createInstance(tx, d, s, n); err != nil {
			return err
		}
	}
	for _, v := range p.Surplus {
		if err := rewish(tx, v, now, func(w *wish) { w.Surplus = now }); err != nil {
			return err
		}
	}
	for _, v := range p.Keep {
		if err := rewish(tx, v, now, func(w *wish) { w.Surplus = time.Time{} }); err != nil {
			return err
		}
	}
	for _, v := range p.Upgrade {
		if err := rewish(tx, v, now, func(w *wish) { w.Model = s.view.Model }); err != nil {
			return err
		}
	}
	for _, v := range p.Delete {
		if _, err := tx.MarkDeleting(v.ID, now); err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return nil
}

// createInstance writes a new instance down and gives it its addresses.
func (c *controller) createInstance(tx *store.Tx, d *store.Doc, s *snapshot, number int) error {
	m, err := c.model(tx, s.view.Model)
	if err != nil {
		return err
	}
	w := wish{Number: number, Computer: computerName(m.Profile.OS.ComputerNamePrefix, number), Model: s.view.Model, Power: PowerOn, Starts: 1, Serial: 1}
	desired, err := json.Marshal(w)
	if err != nil {
		return err
	}
	doc := &store.Doc{ID: instanceID(d.ID, number), Type: TypeInstance, APIVersion: d.APIVersion, Desired: desired}
	if err := tx.Put(doc, c.room.Now()); err != nil {
		return err
	}
	err = c.room.Network.Attach(tx, ownerOf(d.ID, doc.ID, doc.UID, w.Computer), m.Profile.Network.Interfaces)
	if err == nil {
		return nil
	}
	st := status{}
	c.room.noteFailure(&st, err, s.doc.Generation, true)
	st.NoAddress, st.Settled = true, doc.Generation
	return tx.SetStatus(doc.ID, doc.UID, st)
}

func ownerOf(setID, instanceID, uid, computer string) Owner {
	return Owner{SetID: setID, InstanceID: instanceID, InstanceUID: uid, ComputerName: computer}
}

// rewish changes an instance's wish, unless it changed since it was looked at.
func rewish(tx *store.Tx, v *instanceView, now time.Time, change func(*wish)) error {
	d, err := tx.Get(v.ID)
	if errors.Is(err, store.ErrNotFound) {
		return errStale
	}
	if err != nil {
		return err
	}
	if d.UID != v.UID || d.Generation != v.Generation {
		return errStale
	}
	return putWish(tx, d, now, change)
}

// putWish changes the wish in an instance's document and stores it.
func putWish(tx *store.Tx, d *store.Doc, now time.Time, change func(*wish)) error {
	var w wish
	if err := json.Unmarshal(d.Desired, &w); err != nil {
		return err
	}
	change(&w)
	b, err := json.Marshal(w)
	if err != nil {
		return err
	}
	d.Desired = b
	return tx.Put(d, now)
}
