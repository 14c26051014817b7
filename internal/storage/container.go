package storage

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"lido.dev/lido/internal/store"
)

// containersDir holds an account's blob containers, beside its shares. No share can be called so.
const containersDir = "$blob"

// AuthorizeContainer checks an account's key and returns the directory that stands for one of its blob containers,
// making it if it is not there. Its error is ErrNoAccount, ErrWrongKey or ErrNoShare when it is the caller's.
func (r *Room) AuthorizeContainer(ctx context.Context, account, key, container string) (string, error) {
	container = strings.ToLower(container)
	if !shareRule.MatchString(container) {
		return "", fmt.Errorf("%w: %q is not the name of a container", ErrNoShare, container)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.arm.Store.View(ctx, func(tx *store.Tx) error {
		rec, err := r.account(tx, account)
		if err != nil {
			return err
		}
		return r.checkKey(rec, account, key)
	})
	if err != nil {
		return "", err
	}
	dir := filepath.Join(r.root, strings.ToLower(account), containersDir, container)
	return dir, placeDir(dir, "container "+account+"/"+container)
}
