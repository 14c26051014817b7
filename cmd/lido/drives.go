package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"lido.dev/lido/internal/batch"
	"lido.dev/lido/internal/compute"
	"lido.dev/lido/internal/storage"
)

// drives opens storage to batch jobs: shares and containers of storage accounts, and file servers, which are
// directories of this host.
type drives struct {
	storage *storage.Room
	compute *compute.Room
	root    string // of the file servers
	seed    []byte // of their keys
}

func (d *drives) ShareDir(ctx context.Context, account, key, share string) (string, error) {
	dir, err := d.storage.Authorize(ctx, account, key, share)
	return dir, driveError(err)
}

func (d *drives) ContainerDir(ctx context.Context, account, key, container string) (string, error) {
	dir, err := d.storage.AuthorizeContainer(ctx, account, key, container)
	return dir, driveError(err)
}

// driveError is a refusal of storage in the words of batch.
func driveError(err error) error {
	for from, to := range map[error]error{storage.ErrNoAccount: batch.ErrNoAccount, storage.ErrWrongKey: batch.ErrWrongKey, storage.ErrNoShare: batch.ErrNoShare} {
		if errors.Is(err, from) {
			return fmt.Errorf("%w: %w", to, err)
		}
	}
	return err
}

// serverUID is the form of a document's uid.
var serverUID = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

// ServerDir makes a file server's directory. Everybody in the nodes may write there, as in a share's.
func (d *drives) ServerDir(_ context.Context, uid string) (string, error) {
	if !serverUID.MatchString(uid) {
		return "", fmt.Errorf("file server %q: no such server", uid)
	}
	dir := filepath.Join(d.root, uid)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("file server: %w", err)
	}
	return dir, os.Chmod(dir, 0o777|fs.ModeSticky)
}

// ServerKey is what a file server is mounted with.
func (d *drives) ServerKey(uid string) string {
	mac := hmac.New(sha256.New, d.seed)
	mac.Write([]byte(uid))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// DropServer takes a file server out of all machines and removes its data.
func (d *drives) DropServer(ctx context.Context, uid string) error {
	if !serverUID.MatchString(uid) {
		return nil
	}
	dir := filepath.Join(d.root, uid)
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := d.compute.ReleaseDir(ctx, dir); err != nil {
		return fmt.Errorf("file server: %w", err)
	}
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("file server: %w", err)
	}
	return nil
}

// Container is ContainerDir for machines.
func (d *drives) Container(ctx context.Context, account, key, container string) (string, error) {
	dir, err := d.storage.AuthorizeContainer(ctx, account, key, container)
	return dir, mountRefusal(err)
}

// Server is ServerDir for machines, which show the server's key.
func (d *drives) Server(ctx context.Context, uid, key string) (string, error) {
	if !hmac.Equal([]byte(key), []byte(d.ServerKey(uid))) {
		return "", compute.ErrWrongKey
	}
	return d.ServerDir(ctx, uid)
}
