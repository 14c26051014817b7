// Package storage is Microsoft.Storage: storage accounts, their keys, file shares and blob containers. A share or
// container is a directory on this host that machines mount as a POSIX file system.
//
// Accounts, shares and containers are documents of arm; this package adds what stands behind them: keys (keys.go), directories
// (dirs.go), and the deletion of data, which is taken in steps that survive a crash (trash.go). See DESIGN.md.
package storage

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// EndpointSuffix is the domain of lido's storage accounts: ACCOUNT.file.core.lido.internal.
const EndpointSuffix = "core.lido.internal"

// Errors of Authorize, wrapped with the names in question.
var (
	ErrNoAccount = errors.New("no such storage account")
	ErrWrongKey  = errors.New("the key is not one of the storage account's")
	ErrNoShare   = errors.New("no such file share")
)

// Mounts is what has shares mounted.
type Mounts interface {
	// ReleaseDir unmounts a directory everywhere and forgets the mounts. Done again it does nothing.
	ReleaseDir(ctx context.Context, dir string) error
}

// Room is the provider. Make one with New, add Types to the server, and let Run run.
type Room struct {
	arm    *arm.Server
	root   string // directory of all shares
	mounts Mounts
	log    *slog.Logger
	wake   chan struct{} // data waits to be removed

	mu sync.Mutex // held while directories are made or moved
}

// New returns the room. root is the directory that shares live in (ACCOUNT/SHARE below it); it is made when needed.
// mounts may be nil: then nothing is unmounted when a share is deleted.
func New(server *arm.Server, root string, mounts Mounts, log *slog.Logger) *Room {
	return &Room{arm: server, root: root, mounts: mounts, log: log, wake: make(chan struct{}, 1)}
}

// SetMounts names what has shares mounted, before Run.
func (r *Room) SetMounts(m Mounts) { r.mounts = m }

var apiVersions = []string{"2025-08-01", "2025-06-01", "2024-01-01", "2023-05-01", "2023-01-01", "2022-09-01", "2022-05-01", "2021-09-01",
	"2021-08-01", "2021-06-01", "2021-04-01", "2021-02-01", "2021-01-01", "2020-08-01-preview", "2019-06-01", "2019-04-01",
	"2018-11-01", "2018-07-01", "2018-02-01", "2017-10-01", "2017-06-01", "2016-12-01", "2016-01-01", "2015-06-15"}

// Types returns the resource types that the room serves.
func (r *Room) Types() []arm.Type {
	return []arm.Type{
		r.accountType(), r.serviceType(typeFileServices), r.serviceType(typeBlobServices), r.shareType(), r.containerType(),
		{Name: "Microsoft.Storage/checkNameAvailability", Hidden: true, APIVersions: apiVersions, Post: r.checkNameAvailability},
		{Name: "Microsoft.Storage/skus", Hidden: true, APIVersions: apiVersions, List: listSKUs},
		{Name: "Microsoft.Storage/locations/usages", Hidden: true, APIVersions: apiVersions, List: r.usages},
	}
}

// Authorize checks an account's key and returns the directory of one of its shares. Its error is ErrNoAccount,
// ErrWrongKey or ErrNoShare when it is the caller's.
func (r *Room) Authorize(ctx context.Context, account, key, share string) (dir string, err error) {
	if err := shareKind.admitName(strings.ToLower(share)); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoShare, err)
	}
	err = r.arm.Store.View(ctx, func(tx *store.Tx) error {
		rec, err := r.account(tx, account)
		if err != nil {
			return err
		}
		if err := r.checkKey(rec, account, key); err != nil {
			return err
		}
		return findShare(tx, rec, account, share)
	})
	if err != nil {
		return "", err
	}
	return r.ensureDir(ctx, account, share)
}

func (r *Room) checkKey(rec *accountRecord, account, key string) error {
	match := 0
	for i := range rec.Keys {
		own, err := r.openKey(account, rec.Keys[i])
		if err != nil {
			return err
		}
		match |= subtle.ConstantTimeCompare([]byte(own), []byte(key))
	}
	if match != 1 {
		return fmt.Errorf("%w: %q", ErrWrongKey, account)
	}
	return nil
}

// Dir returns where the data of a share lives, or of a container (see place). Names of accounts and shares are in lower case, though clients may ask
// for them in any.
func (r *Room) Dir(account, share string) string {
	return filepath.Join(r.root, strings.ToLower(account), strings.ToLower(share))
}

// placeID is the inverse of place.
func placeID(accountID, share string) string {
	if container, ok := strings.CutPrefix(share, containerPlace("")); ok {
		return accountID + "/blobServices/default/containers/" + container
	}
	return accountID + "/fileServices/default/shares/" + share
}
