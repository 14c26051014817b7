package batch

import (
	"context"
	"time"

	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// addressed is an order to a machine's agent.
type addressed struct {
	machine string
	order   node.Order
	done    func() // if it could be sent
}

// commit writes what was decided, again and again until it is on the disk. It returns false if ctx ended before.
func (b *batchOf) commit(ctx context.Context) bool {
	if len(b.status) == 0 && len(b.entries) == 0 {
		return true
	}
	for wait := 10 * time.Millisecond; ctx.Err() == nil; wait = min(2*wait, 5*time.Second) {
		err := b.room.Store.Update(ctx, b.write)
		if err == nil {
			b.drop()
			return true
		}
		b.log.Error("batch: write jobs' states", "err", err)
		pause(ctx, wait)
	}
	return false
}

// drop forgets ended jobs.
func (b *batchOf) drop() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, j := range b.ended {
		delete(b.jobs, j.uid())
		if b.byKey[j.key] == j {
			delete(b.byKey, j.key)
		}
	}
}

// write writes it in a transaction.
func (b *batchOf) write(tx *store.Tx) error {
	for j, st := range b.status {
		err := tx.SetStatus(j.key, j.uid(), st)
		if isGone(err) {
			continue
		}
		if err != nil {
			return err
		}
		if !j.deleting || !j.closed {
			continue
		}
		d, err := tx.Get(j.key)
		if err == nil {
			err = b.room.Server.Gone(tx, d)
		}
		if err != nil {
			return err
		}
	}
	b.room.writeEntries(tx, b.entries)
	return nil
}

// writeEntries writes the ledger's entries along. One that it does not take must not keep from being written what it
// was used for.
func (r *Room) writeEntries(tx *store.Tx, entries []Entry) {
	if r.Ledger == nil {
		return
	}
	for _, e := range entries {
		if err := r.Ledger.Write(tx, e); err != nil {
			r.Log.Error("batch: meter", "entry", e.Key, "err", err)
		}
	}
}

// send sends the orders.
func (b *batchOf) send() {
	for _, o := range b.orders {
		if b.room.Agents.Send(o.machine, o.order) != nil || o.done == nil {
			continue
		}
		b.mu.Lock()
		o.done()
		b.mu.Unlock()
	}
}
