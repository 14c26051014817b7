package compute

import (
	"context"

	"lido.dev/lido/internal/store"
)

// writer joins the writes of many goroutines into few transactions, for a transaction costs a flush to the disk.
type writer struct {
	ctx   context.Context
	store *store.Store
	queue chan write
}

type write struct {
	fn   func(*store.Tx) error
	done chan error
}

const maxBatch = 256

func newWriter(ctx context.Context, st *store.Store) *writer {
	w := &writer{ctx: ctx, store: st, queue: make(chan write, maxBatch)}
	go w.run()
	return w
}

// do runs fn in a transaction that it may share with others, and returns when it is on the disk. fn must not leave a
// half-done change behind when it fails: the others' is committed.
func (w *writer) do(fn func(*store.Tx) error) error {
	j := write{fn: fn, done: make(chan error, 1)}
	select {
	case w.queue <- j:
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
	select {
	case err := <-j.done:
		return err
	case <-w.ctx.Done():
		return w.ctx.Err()
	}
}

func (w *writer) run() {
	for {
		select {
		case <-w.ctx.Done():
			return
		case j := <-w.queue:
			w.commit(w.gather(j))
		}
	}
}

func (w *writer) gather(first write) []write {
	batch := []write{first}
	for len(batch) < maxBatch {
		select {
		case j := <-w.queue:
			batch = append(batch, j)
		default:
			return batch
		}
	}
	return batch
}

func (w *writer) commit(batch []write) {
	errs := make([]error, len(batch))
	err := w.store.Update(w.ctx, func(tx *store.Tx) error {
		for i, j := range batch {
			errs[i] = j.fn(tx)
		}
		return nil
	})
	for i, j := range batch {
		if errs[i] == nil {
			errs[i] = err
		}
		j.done <- errs[i]
	}
}
