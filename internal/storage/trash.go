package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

const (
	bucketTrash = "storage trash" // uid of the share, container or account -> discarded
	trashDir    = ".trash"        // below the room's root; not an account's name
	tidyWait    = 10 * time.Second
	tidyEvery   = time.Minute
)

// discarded is the data of a deleted share or container. It is recorded in the transaction that deletes it, and then goes
// its way in steps, each of which can be done again: machines are unmounted, the directory is moved aside (Moved),
// and when its time has come it is removed. Or it is restored: moved back (Restoring).
type discarded struct {
	UID       string          `json:"uid"`
	Account   string          `json:"account"`
	Share     string          `json:"share"` // as of place; $blob for all containers of an account
	ID        string          `json:"id"`    // the resource's
	Deleted   time.Time       `json:"deleted"`
	Until     time.Time       `json:"until"` // when the data is removed
	Desired   json.RawMessage `json:"desired"`
	Moved     bool            `json:"moved,omitempty"`
	Restoring bool            `json:"restoring,omitempty"`
}

// place returns what the id of a share or container says of where its data is: the account, and the path below the
// account's directory, which for a share is its name. Both are in lower case in whatever case the id came.
func place(id arm.ID) (account, share string) {
	account, share = strings.ToLower(id.Names[0]), strings.ToLower(id.Name())
	if strings.EqualFold(id.Type(), typeContainers) {
		share = containerPlace(share)
	}
	return account, share
}

// discard records that the data of a share or container, or of all containers of an account, goes away after days.
func (r *Room) discard(tx *store.Tx, d *store.Doc, share string, days int) error {
	now := r.arm.Now()
	account, _ := place(arm.ParsePath(d.ID))
	return tx.SetJSON(bucketTrash, d.UID, discarded{UID: d.UID, Account: account, Share: strings.ToLower(share), ID: d.ID,
		Deleted: now, Until: now.AddDate(0, 0, days), Desired: d.Desired})
}

func listTrash(tx *store.Tx) ([]*discarded, error) {
	entries, err := tx.ListKV(bucketTrash)
	if err != nil {
		return nil, err
	}
	var all []*discarded
	for _, e := range entries {
		t := &discarded{}
		if err := json.Unmarshal(e.Value, t); err != nil {
			return nil, fmt.Errorf("discarded data %s: %w", e.Key, err)
		}
		all = append(all, t)
	}
	return all, nil
}

func findTrash(tx *store.Tx, want func(*discarded) bool) (*discarded, error) {
	all, err := listTrash(tx)
	for _, t := range all {
		if want(t) {
			return t, err
		}
	}
	return nil, err
}

// beingDeleted tells whether a place still has the data of one that was deleted, by itself or with its account.
func beingDeleted(tx *store.Tx, account, share string) (bool, error) {
	t, err := findTrash(tx, func(t *discarded) bool {
		return !t.Moved && t.Account == account && (t.Share == share || strings.HasPrefix(share, t.Share+"/"))
	})
	return t != nil, err
}

// expireTrash lets go of what was kept of an account's deleted shares.
func (r *Room) expireTrash(tx *store.Tx, account string) error {
	all, err := listTrash(tx)
	if err != nil {
		return err
	}
	for _, t := range all {
		if t.Account != account || t.Restoring {
			continue
		}
		t.Until = t.Deleted
		if err := tx.SetJSON(bucketTrash, t.UID, t); err != nil {
			return err
		}
	}
	return nil
}

// thenTidy moves deleted data aside before the deletion is answered, if that does not take long, so that a share or
// container of the same name can be made at once.
func (r *Room) thenTidy(remove arm.Handler) arm.Handler {
	return func(ctx context.Context, req *arm.Request) (*arm.Response, error) {
		resp, err := remove(ctx, req)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyWait)
		defer cancel()
		if err := r.moveAside(ctx); err != nil {
			r.log.Warn("deleted data waits", "err", err)
		}
		r.Wake()
		return resp, nil
	}
}

// Wake makes Run look for work now.
func (r *Room) Wake() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run makes the directories that are missing, once, and removes discarded data, until ctx ends.
func (r *Room) Run(ctx context.Context) error {
	r.reportStray(ctx)
	healed := false
	tick := time.NewTicker(tidyEvery)
	defer tick.Stop()
	for {
		err := r.moveAside(ctx)
		if !healed {
			missing := r.ensureAll(ctx)
			healed, err = missing == nil, errors.Join(err, missing)
		}
		err = errors.Join(err, r.removeExpired(ctx))
		if err != nil && ctx.Err() == nil {
			r.log.Error("storage", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-r.wake:
		case <-tick.C:
		}
	}
}

// moveAside unmounts and moves what was discarded.
func (r *Room) moveAside(ctx context.Context) error {
	waiting, err := r.trash(ctx, func(t *discarded) bool { return !t.Moved })
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range waiting {
		if err := r.moveOne(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("discarded data %s/%s: %w", t.Account, t.Share, err))
		}
	}
	return errors.Join(errs...)
}

func (r *Room) trash(ctx context.Context, want func(*discarded) bool) ([]*discarded, error) {
	var some []*discarded
	err := r.arm.Store.View(ctx, func(tx *store.Tx) error {
		all, err := listTrash(tx)
		for _, t := range all {
			if want(t) {
				some = append(some, t)
			}
		}
		return err
	})
	return some, err
}

func (r *Room) moveOne(ctx context.Context, t *discarded) error {
	dir := r.Dir(t.Account, t.Share)
	if r.mounts != nil {
		if err := r.mounts.ReleaseDir(ctx, dir); err != nil {
			return fmt.Errorf("unmount: %w", err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.bringBackLocked(ctx, t.Account, t.Share, dir); err != nil { // deleted again before it was back
		return err
	}
	if err := r.renameAside(dir, r.asideDir(t.UID)); err != nil {
		return err
	}
	return r.arm.Store.Update(ctx, func(tx *store.Tx) error {
		now := &discarded{}
		if err := tx.GetJSON(bucketTrash, t.UID, now); errors.Is(err, store.ErrNotFound) {
			return nil // somebody else was faster
		} else if err != nil {
			return err
		}
		now.Moved = true
		return tx.SetJSON(bucketTrash, t.UID, now)
	})
}

func (r *Room) asideDir(uid string) string { return filepath.Join(r.root, trashDir, uid) }

// renameAside moves a directory unless that was done before.
func (r *Room) renameAside(dir, aside string) error {
	if _, err := os.Lstat(aside); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(aside), 0o700); err != nil {
		return err
	}
	err := os.Rename(dir, aside)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it was never made
	}
	if err != nil {
		return err
	}
	for up := filepath.Dir(dir); up != r.root && os.Remove(up) == nil; up = filepath.Dir(up) { // if that was the last one
	}
	return errors.Join(syncDir(filepath.Dir(aside)), syncDir(r.root))
}

// removeExpired removes data whose time has come.
func (r *Room) removeExpired(ctx context.Context) error {
	now := r.arm.Now()
	due, err := r.trash(ctx, func(t *discarded) bool { return t.Moved && !t.Restoring && !now.Before(t.Until) })
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range due {
		if err := r.removeOne(ctx, t); err != nil {
			errs = append(errs, fmt.Errorf("discarded data %s/%s: %w", t.Account, t.Share, err))
		}
	}
	return errors.Join(errs...)
}

// removeOne claims the data, so that it cannot be restored any more, removes it, and forgets it.
func (r *Room) removeOne(ctx context.Context, t *discarded) error {
	claimed := false
	err := r.arm.Store.Update(ctx, func(tx *store.Tx) error {
		now := &discarded{}
		if err := tx.GetJSON(bucketTrash, t.UID, now); err != nil || now.Restoring {
			return err
		}
		now.Until, claimed = now.Deleted, true
		return tx.SetJSON(bucketTrash, t.UID, now)
	})
	if err != nil || !claimed {
		return err
	}
	if err := os.RemoveAll(r.asideDir(t.UID)); err != nil {
		return err
	}
	return r.arm.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteKV(bucketTrash, t.UID) })
}
