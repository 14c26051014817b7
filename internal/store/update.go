package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// batch is a transaction of SQLite's with the work of one or several Updates. The one after which nobody waits for its
// turn commits it, for all: so the more write at once, the fewer syncs of the disk each of them costs.
type batch struct {
	tx      *sql.Tx
	updates int
	changed []Change
	ended   chan struct{} // closed when it was committed or undone
	err     error         // why it was undone; to be read when it has ended
}

// maxBatch is how many Updates share a transaction at most, so that the first of them is not held up by all others.
const maxBatch = 32

// Update runs fn in the write transaction and commits if it returns nil. fn must not call View or Update.
func (s *Store) Update(ctx context.Context, fn func(*Tx) error) error {
	b, err := s.takeTurn(ctx, fn)
	if err != nil {
		return err
	}
	<-b.ended
	return b.err
}

// takeTurn runs fn in a batch when it is its turn, and commits the batch if nobody comes after it.
func (s *Store) takeTurn(ctx context.Context, fn func(*Tx) error) (*batch, error) {
	s.waiting.Add(1)
	s.turn.Lock()
	defer s.turn.Unlock()
	s.waiting.Add(-1)
	defer s.endLocked()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	return s.joinLocked(ctx, fn)
}

// joinLocked runs fn in the open batch, or in a new one. What fn did is undone if it fails; that leaves the work of
// others in the batch alone.
func (s *Store) joinLocked(ctx context.Context, fn func(*Tx) error) (*batch, error) {
	if s.batch == nil {
		tx, err := s.write.Begin()
		if err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
		s.batch = &batch{tx: tx, ended: make(chan struct{})}
	}
	b := s.batch
	t := &Tx{tx: b.tx, db: s.write, writable: true}
	if b.updates > 0 {
		if err := t.exec(savepoint); err != nil {
			return nil, fmt.Errorf("store: %w", err)
		}
	}
	done := false
	defer func() {
		if !done {
			s.undoLocked(t)
		}
	}()
	if err := fn(t); err != nil {
		return nil, orFull(err)
	}
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	if b.updates > 0 {
		if err := t.exec(release); err != nil {
			return nil, orFull(fmt.Errorf("store: %w", err))
		}
	}
	done = true
	b.updates++
	b.changed = append(b.changed, t.changed...)
	return b, nil
}

// undoLocked undoes what the last one of the batch did. If SQLite has undone more than that by itself, as it does
// where the disk fails, the whole batch has failed.
func (s *Store) undoLocked(t *Tx) {
	if s.batch.updates == 0 {
		s.finishLocked(s.batch.tx.Rollback())
		return
	}
	if err := errors.Join(t.exec(undo), t.exec(release)); err != nil {
		s.batch.tx.Rollback()
		s.finishLocked(fmt.Errorf("store: undone with another change that failed: %w", err))
	}
}

// endLocked commits the batch, unless others are about to join it.
func (s *Store) endLocked() {
	b := s.batch
	if b == nil || s.waiting.Load() > 0 && b.updates < maxBatch {
		return
	}
	err := b.tx.Commit()
	if err != nil {
		err = orFull(fmt.Errorf("store: commit: %w", err))
	}
	s.finishLocked(err)
}

// finishLocked tells those who are in the batch how it ended, and subscribers what has changed.
func (s *Store) finishLocked(err error) {
	b := s.batch
	s.batch = nil
	b.err = err
	if err == nil {
		s.publish(b.changed)
	}
	close(b.ended)
}

// orFull has an error that says that there is no room pass for ErrFull, too.
func orFull(err error) error {
	if e := (*sqlite.Error)(nil); errors.As(err, &e) && e.Code()&0xff == sqlite3.SQLITE_FULL {
		return fmt.Errorf("%w: %w", ErrFull, err)
	}
	return err
}
