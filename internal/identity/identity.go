// Package identity knows who may use lido: the directory of people and service principals, their sign-in, the tokens
// they get, and the two roles.
//
// To clients it looks like an AD FS server under /adfs, because that is the one kind of login authority that the
// stock Azure clients use without first asking Microsoft about it. See DESIGN.md.
package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

var _ arm.Access = (*Service)(nil)

// Options say what a Service needs. All are required but Log.
type Options struct {
	Store  *store.Store
	Dir    string // a 0700 directory: signing keys and the first admin's password live in it, each 0600
	Tenant string // the tenant's id, a GUID
	Cloud  Cloud
	Now    func() time.Time
	Log    *slog.Logger
}

// Service is the directory with its sign-in. It is safe for concurrent use.
type Service struct {
	store    *store.Store
	dir      string
	tenant   string
	cloud    Cloud
	now      func() time.Time
	log      *slog.Logger
	keys     *keyRing
	throttle *throttle
	flows    *flows
	hashing  chan struct{} // bounds how many passwords are hashed at once: each takes hashMemory
}

// New opens the service. It makes signing keys when there are none, and the first admin (see AdminFile) when the
// directory is empty.
func New(ctx context.Context, o Options) (*Service, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	keys, err := openKeyRing(filepath.Join(o.Dir, "token-keys.json"), o.Now)
	if err != nil {
		return nil, fmt.Errorf("identity: signing keys: %w", err)
	}
	s := &Service{
		store: o.Store, dir: o.Dir, tenant: o.Tenant, cloud: o.Cloud, now: o.Now, log: o.Log,
		keys: keys, throttle: newThrottle(o.Now), flows: newFlows(o.Now), hashing: make(chan struct{}, 2),
	}
	if err := s.ensureAdmin(ctx); err != nil {
		return nil, fmt.Errorf("identity: first admin: %w", err)
	}
	return s, nil
}

// AdminName is the account that the first start makes.
const AdminName = "admin"

// AdminCredentials is what the file named by AdminFile holds.
type AdminCredentials struct {
	User     string `json:"user"`
	Password string `json:"password"`
}

// AdminFile is where the first admin's password is kept (mode 0600) in a data directory, so that whoever owns the
// directory can sign in.
func AdminFile(dir string) string { return filepath.Join(dir, "admin.json") }

// ensureAdmin writes the file before the account: a crash between the two is mended by the next start.
func (s *Service) ensureAdmin(ctx context.Context) error {
	accounts, err := s.Accounts(ctx)
	if err != nil || len(accounts) > 0 {
		return err
	}
	cred, err := readAdmin(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		cred = AdminCredentials{User: AdminName, Password: randomPassword()}
		err = writeJSON(AdminFile(s.dir), cred)
	}
	if err != nil {
		return err
	}
	_, _, err = s.Add(ctx, NewAccount{Kind: User, Name: cred.User, Role: Owner, Password: cred.Password})
	return err
}

func readAdmin(dir string) (AdminCredentials, error) {
	var cred AdminCredentials
	data, err := os.ReadFile(AdminFile(dir))
	if err != nil {
		return cred, err
	}
	return cred, json.Unmarshal(data, &cred)
}

// writeJSON replaces a file (mode 0600) in one step.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	if _, err = f.Write(append(data, '\n')); err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(tmp)
		return err
	}
	return os.Rename(tmp, path)
}
