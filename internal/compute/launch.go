package compute

import (
	"context"
	"errors"
	"net/netip"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// Labels of this room's machines.
const (
	labelSet      = "lido.set"      // id of the scale set
	labelInstance = "lido.instance" // id of the instance
	labelUID      = "lido.uid"      // uid of the instance's document
)

// launch makes the instance's machine, if it is not there, and starts it.
func (w *worker) launch(ctx context.Context, v *instanceView) error {
	r := w.c.room
	l, err := w.prepare(ctx, v)
	if err != nil {
		return err
	}
	if l.nic, err = w.connect(ctx, v, l.model); err != nil {
		return err
	}
	if err := r.launches.Acquire(ctx, 1); err != nil {
		return err
	}
	defer r.launches.Release(1)
	if err := r.ledger.reserve(v.UID, l.size.Memory(), l.size.Name); err != nil {
		return err
	}
	if err := w.boot(ctx, v, l); err != nil {
		if v.Machine == nil && !errors.Is(context.Cause(ctx), errSuperseded) {
			r.abandon(l.id, v.UID)
		}
		return err
	}
	err = w.record(v, func(s *status) {
		if s.Serial != v.Wish.Serial {
			s.Extensions = nil
		}
		s.Serial, s.Built, s.Starts, s.Restarts = v.Wish.Serial, v.MachineHash, v.Wish.Starts, v.Wish.Restarts
		s.Power, s.PowerAt, s.NoAddress = PowerOn, r.Now(), false
		if l.image != nil {
			s.Image = l.image
		}
		s.well()
		if len(v.Extensions) == 0 { // as wished for: spare the extra write
			v.Machine = &machine.Info{State: machine.Running}
			r.settleStatus(s, v)
		}
	})
	if err == nil && len(v.Extensions) == 0 {
		return errEnough
	}
	return err
}

// abandon removes what a launch that failed has made, for the next attempt to begin afresh.
func (r *Room) abandon(id, uid string) {
	if err := r.deleteMachine(r.ctx, id); err != nil && r.ctx.Err() == nil {
		r.Log.Warn("remove a machine that did not start", "machine", id, "err", err)
	}
	r.release(uid)
}

// launching is what a launch has gathered before it touches the engine.
type launching struct {
	id     string
	size   Size
	model  *Model // with secrets in clear
	root   string
	image  *ImageInfo // nil if the machine exists
	fronts []netip.Addr
	nic    machine.NIC
}

// prepare reads the model and has the image built, however long that takes.
func (w *worker) prepare(ctx context.Context, v *instanceView) (*launching, error) {
	r := w.c.room
	l := &launching{id: machineID(v.UID, v.Wish.Serial)}
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		var err error
		if l.model, _, err = r.openModel(tx, w.setID, v.Wish.Model); err != nil {
			return err
		}
		l.fronts, err = r.Network.PoolAddresses(tx, l.model.Profile.Network.Interfaces)
		return err
	})
	if err != nil {
		return nil, err
	}
	var known bool
	if l.size, known = r.Sizes.Lookup(l.model.Sku.Name); !known {
		return nil, unknownSize(l.model.Sku.Name, "sku.name")
	}
	if v.Machine != nil {
		return l, nil
	}
	return l, w.ensureImage(ctx, l)
}

func (w *worker) ensureImage(ctx context.Context, l *launching) error {
	r := w.c.room
	key := store.Key(w.setID)
	defer r.progress.end(key)
	root, info, err := r.Images.Ensure(ctx, imageRef(l.model.Profile.Storage.Image), func(s string) { r.progress.say(key, s) })
	if err != nil {
		return &stageError{codeImage, "image", err}
	}
	l.root, l.image = root, &info
	return nil
}

func imageRef(i imageReference) ImageRef {
	return ImageRef{Publisher: i.Publisher, Offer: i.Offer, SKU: i.SKU, Version: string(i.Version), ID: i.ID}
}

// boot creates and starts the machine.
func (w *worker) boot(ctx context.Context, v *instanceView, l *launching) error {
	r := w.c.room
	guest := guest{machine: l.id, instance: v.ID, set: w.setID, admin: l.model.Profile.OS.AdminUsername}
	if err := r.guests.begin(guest); err != nil {
		return err
	}
	if v.Machine == nil {
		spec, err := r.spec(w.setID, v, l)
		if err != nil {
			return err
		}
		if err := r.Engine.Create(ctx, spec); err != nil && !errors.Is(err, machine.ErrExists) { // its id is this instance's alone
			return &stageError{codeMachineFailed, "create machine", err}
		}
	}
	if err := r.Engine.Start(ctx, l.id); err != nil {
		return &stageError{codeMachineFailed, "start machine", err}
	}
	return nil
}

// connect returns the machine's network interface, in a network that is up. It is not counted among the launches that
// may go on at once: the network is made ready for many instances together.
func (w *worker) connect(ctx context.Context, v *instanceView, m *Model) (machine.NIC, error) {
	if v.Status.NoAddress || v.Wish.Serial > 1 { // a machine made anew may have another model's pools
		if err := w.attach(v, m); err != nil {
			return machine.NIC{}, err
		}
	}
	nic, err := w.c.room.Network.NIC(ctx, v.ID)
	if err != nil {
		err = &stageError{codeNetwork, "network interface", err}
	}
	return nic, err
}

func (w *worker) attach(v *instanceView, m *Model) error {
	return w.c.room.writer.do(func(tx *store.Tx) error {
		return w.c.room.Network.Attach(tx, ownerOf(w.setID, v.ID, v.UID, v.Wish.Computer), m.Profile.Network.Interfaces)
	})
}
