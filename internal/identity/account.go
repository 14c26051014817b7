package identity

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strings"
	"time"

	"github.com/google/uuid"

	"lido.dev/lido/internal/store"
)

// Errors of the directory, wrapped with the account's name.
var (
	ErrNoAccount  = errors.New("no such account")
	ErrExists     = errors.New("an account of this name exists")
	ErrBadAccount = errors.New("invalid account")
	ErrLastOwner  = errors.New("the last Owner cannot be removed")
)

// Kind says what an account is for.
type Kind string

// The kinds of account.
const (
	User             Kind = "User"
	ServicePrincipal Kind = "ServicePrincipal"
)

// Role is what an account may do in the subscription.
type Role string

// The roles: an Owner may do everything, a Reader may look.
const (
	Owner  Role = "Owner"
	Reader Role = "Reader"
)

// Account is a person or a service principal. Its password is not part of it.
type Account struct {
	ID      string    `json:"id"`              // a GUID, of this incarnation of the name
	Kind    Kind      `json:"kind"`            //
	Name    string    `json:"name"`            // lower case; unique over both kinds
	AppID   string    `json:"appId,omitempty"` // a service principal's client id, a GUID
	Role    Role      `json:"role"`
	Created time.Time `json:"created"`
}

// PrincipalName is the account's name as clients show it: NAME@lido for a person, the app id for a service principal.
func (a Account) PrincipalName() string {
	if a.Kind == ServicePrincipal {
		return a.AppID
	}
	return a.Name + upnSuffix
}

const upnSuffix = "@lido"

// record is how an account is stored.
type record struct {
	Account
	Hash       string `json:"hash"`
	Generation int    `json:"generation"` // counted up when the password changes; older tokens are void
}

// NewAccount describes an account to Add.
type NewAccount struct {
	Kind     Kind
	Name     string
	Role     Role
	Password string // empty: a random one is made
}

var accountName = regexp.MustCompile(`^[a-z][a-z0-9._-]{0,31}$`)

const minPassword = 8

// Add makes an account and returns it with its password.
func (s *Service) Add(ctx context.Context, n NewAccount) (Account, string, error) {
	rec, password, err := s.newRecord(ctx, n)
	if err != nil {
		return Account{}, "", fmt.Errorf("account %q: %w", n.Name, err)
	}
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		if _, err := find(tx, rec.Name); !errors.Is(err, ErrNoAccount) {
			return errors.Join(err, ErrExists)
		}
		return putNew(tx, rec)
	})
	if err != nil {
		return Account{}, "", fmt.Errorf("account %q: %w", rec.Name, err)
	}
	s.log.Info("account added", "account", rec.Name, "kind", rec.Kind, "role", rec.Role)
	return rec.Account, password, nil
}

func (s *Service) newRecord(ctx context.Context, n NewAccount) (record, string, error) {
	rec := record{Account: Account{ID: uuid.NewString(), Kind: n.Kind, Name: strings.ToLower(n.Name), Role: n.Role, Created: s.now().UTC().Truncate(time.Second)}, Generation: 1}
	switch {
	case !accountName.MatchString(rec.Name):
		return rec, "", fmt.Errorf("%w: a name has 1 to 32 of a-z, 0-9, '.', '_', '-' and begins with a letter", ErrBadAccount)
	case n.Kind != User && n.Kind != ServicePrincipal:
		return rec, "", fmt.Errorf("%w: kind %q is neither %s nor %s", ErrBadAccount, n.Kind, User, ServicePrincipal)
	case n.Role != Owner && n.Role != Reader:
		return rec, "", fmt.Errorf("%w: role %q is neither %s nor %s", ErrBadAccount, n.Role, Owner, Reader)
	}
	if n.Kind == ServicePrincipal {
		rec.AppID = uuid.NewString()
	}
	password, err := choosePassword(n.Password)
	if err != nil {
		return rec, "", err
	}
	rec.Hash, err = s.hash(ctx, password)
	return rec, password, err
}

func choosePassword(given string) (string, error) {
	if given == "" {
		return randomPassword(), nil
	}
	if len(given) < minPassword {
		return "", fmt.Errorf("%w: a password has at least %d bytes", ErrBadAccount, minPassword)
	}
	return given, nil
}

func putNew(tx *store.Tx, rec record) error {
	for _, name := range rec.names() {
		if err := tx.SetJSON(nameBucket, name, rec.ID); err != nil {
			return err
		}
	}
	return put(tx, rec)
}

// names are what the account may be found by.
func (r record) names() []string {
	if r.AppID == "" {
		return []string{r.Name}
	}
	return []string{r.Name, r.AppID}
}

// Accounts lists all accounts by name.
func (s *Service) Accounts(ctx context.Context) ([]Account, error) {
	var out []Account
	err := s.store.View(ctx, func(tx *store.Tx) error {
		recs, err := list(tx)
		for _, r := range recs {
			out = append(out, r.Account)
		}
		return err
	})
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, err
}

// SetPassword gives an account, found by name or app id, a new password (a random one when empty) and returns it.
// All tokens that the account holds become void.
func (s *Service) SetPassword(ctx context.Context, name, password string) (string, error) {
	password, err := choosePassword(password)
	if err != nil {
		return "", fmt.Errorf("account %q: %w", name, err)
	}
	hash, err := s.hash(ctx, password)
	if err != nil {
		return "", err
	}
	var changed Account
	err = s.store.Update(ctx, func(tx *store.Tx) error {
		rec, err := find(tx, name)
		if err != nil {
			return err
		}
		changed = rec.Account
		rec.Hash = hash
		rec.Generation++
		return errors.Join(put(tx, rec), tx.DeleteBucket(refreshBucket(rec.ID)))
	})
	if err != nil {
		return "", fmt.Errorf("account %q: %w", name, err)
	}
	s.log.Info("password changed", "account", changed.Name)
	return password, s.keepAdminFile(changed.Name, password)
}

// keepAdminFile lets the owner of the data directory sign in still after the admin's password was changed.
func (s *Service) keepAdminFile(name, password string) error {
	cred, err := readAdmin(s.dir)
	if err != nil || cred.User != name {
		return nil // no such file, or it is another's: then there is nothing to keep
	}
	return writeJSON(AdminFile(s.dir), AdminCredentials{User: name, Password: password})
}

// Remove deletes an account, found by name or app id. Its tokens become void.
func (s *Service) Remove(ctx context.Context, name string) error {
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		rec, err := find(tx, name)
		if err != nil {
			return err
		}
		if err := checkNotLastOwner(tx, rec); err != nil {
			return err
		}
		errs := []error{tx.DeleteKV(accountBucket, rec.ID), tx.DeleteBucket(refreshBucket(rec.ID))}
		for _, name := range rec.names() {
			errs = append(errs, tx.DeleteKV(nameBucket, name))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("account %q: %w", name, err)
	}
	s.log.Info("account removed", "account", name)
	return nil
}

func checkNotLastOwner(tx *store.Tx, rec record) error {
	recs, err := list(tx)
	if err != nil || rec.Role != Owner {
		return err
	}
	for _, r := range recs {
		if r.Role == Owner && r.ID != rec.ID {
			return nil
		}
	}
	return ErrLastOwner
}

// Buckets of the store: accounts by id, ids by name, and one of refresh tokens for each account.
const (
	accountBucket = "identity account"
	nameBucket    = "identity name"
)

func put(tx *store.Tx, rec record) error { return tx.SetJSON(accountBucket, rec.ID, rec) }

func list(tx *store.Tx) ([]record, error) {
	entries, err := tx.ListKV(accountBucket)
	if err != nil {
		return nil, err
	}
	recs := make([]record, len(entries))
	for i, e := range entries {
		if err := json.Unmarshal(e.Value, &recs[i]); err != nil {
			return nil, fmt.Errorf("account %s: %w", e.Key, err)
		}
	}
	return recs, nil
}

// find looks an account up by name, NAME@lido or app id.
func find(tx *store.Tx, name string) (record, error) {
	var id string
	err := tx.GetJSON(nameBucket, plainName(name), &id)
	if errors.Is(err, store.ErrNotFound) {
		return record{}, ErrNoAccount
	}
	if err != nil {
		return record{}, err
	}
	return get(tx, id)
}

// plainName brings what a person typed to the form in which names are kept.
func plainName(name string) string { return strings.TrimSuffix(strings.ToLower(name), upnSuffix) }

func get(tx *store.Tx, id string) (rec record, err error) {
	err = tx.GetJSON(accountBucket, id, &rec)
	if errors.Is(err, store.ErrNotFound) {
		err = ErrNoAccount
	}
	return rec, err
}
