package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// restorable tells whether a deleted share can still be had back.
func (t *discarded) restorable(now time.Time) bool {
	return t.Moved && !t.Restoring && now.Before(t.Until)
}

// restore brings a deleted share back, under its name or another.
func (r *Room) restore(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var q struct{ DeletedShareName, DeletedShareVersion string }
	if err := req.Decode(&q); err != nil {
		return nil, err
	}
	account, share := place(req.ID)
	if err := shareKind.admitName(share); err != nil {
		return nil, err
	}
	err := r.arm.Store.Update(ctx, func(tx *store.Tx) error {
		if _, err := tx.Get(req.ID.String()); err == nil {
			return arm.Conflict("ShareAlreadyExists", "The specified share already exists.")
		}
		t, err := findTrash(tx, func(t *discarded) bool {
			return t.UID == q.DeletedShareVersion && t.Account == account && t.Share == strings.ToLower(q.DeletedShareName) && t.restorable(r.arm.Now())
		})
		if err != nil {
			return err
		}
		if t == nil {
			return shareKind.missing()
		}
		t.Restoring, t.Share, t.ID = true, share, arm.ParsePath(t.ID).Parent().Child("shares", share).String()
		if err := tx.SetJSON(bucketTrash, t.UID, t); err != nil {
			return err
		}
		return tx.Put(&store.Doc{ID: t.ID, Type: typeShares, APIVersion: req.APIVersion, Desired: t.Desired}, r.arm.Now())
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: http.StatusOK}, r.ensure(ctx, req.ID)
}

// bringBackLocked moves a share that is being restored to its place.
func (r *Room) bringBackLocked(ctx context.Context, account, share, dir string) error {
	found, err := r.trash(ctx, func(t *discarded) bool { return t.Restoring && t.Account == account && t.Share == share })
	if err != nil || len(found) == 0 {
		return err
	}
	uid := found[0].UID
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("restore share %s/%s: %w", account, share, err)
	}
	if err := os.Rename(r.asideDir(uid), dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore share %s/%s: %w", account, share, err)
	}
	return r.arm.Store.Update(ctx, func(tx *store.Tx) error { return tx.DeleteKV(bucketTrash, uid) })
}

// deletedShares shows an account's shares that can be restored.
func (r *Room) deletedShares(ctx context.Context, list arm.ID) ([]map[string]any, error) {
	now := r.arm.Now()
	below := list.Key() + "/"
	found, err := r.trash(ctx, func(t *discarded) bool {
		return t.restorable(now) && strings.HasPrefix(store.Key(t.ID), below)
	})
	if err != nil {
		return nil, err
	}
	var items []map[string]any
	for _, t := range found {
		body := map[string]any{}
		if err := json.Unmarshal(t.Desired, &body); err != nil {
			return nil, err
		}
		body["id"], body["name"], body["type"] = t.ID, t.Share, typeShares
		props := properties(body)
		props["deleted"], props["deletedTime"], props["version"] = true, t.Deleted.Format(time.RFC3339), t.UID
		props["remainingRetentionDays"] = int(math.Ceil(t.Until.Sub(now).Hours() / 24))
		items = append(items, body)
	}
	return items, nil
}
