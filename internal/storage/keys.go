package storage

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

const bucketAccounts = "storage account" // name -> accountRecord

// accountRecord is what is kept of an account beside its document.
type accountRecord struct {
	ID   string     `json:"id"`
	Keys [2]keyData `json:"keys"` // key1 and key2
}

type keyData struct {
	Sealed  []byte    `json:"sealed"`
	Created time.Time `json:"created"`
}

// newAccount records a new account and makes its keys.
func (r *Room) newAccount(tx *store.Tx, name, id string) error {
	rec := accountRecord{ID: id}
	for i := range rec.Keys {
		rec.Keys[i] = r.newKey(name)
	}
	return tx.SetJSON(bucketAccounts, name, rec)
}

// account returns the record of an account that exists, or ErrNoAccount.
func (r *Room) account(tx *store.Tx, name string) (*accountRecord, error) {
	rec := &accountRecord{}
	err := tx.GetJSON(bucketAccounts, strings.ToLower(name), rec)
	if err == nil {
		_, err = tx.Get(rec.ID)
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, fmt.Errorf("%w: %q", ErrNoAccount, name)
	}
	return rec, err
}

func purpose(account string) string { return "storage account key " + strings.ToLower(account) }

func (r *Room) newKey(account string) keyData {
	raw := make([]byte, 64)
	rand.Read(raw)
	key := base64.StdEncoding.EncodeToString(raw)
	return keyData{Sealed: r.arm.Box.SealBytes([]byte(key), purpose(account)), Created: r.arm.Now()}
}

func (r *Room) openKey(account string, k keyData) (string, error) {
	b, err := r.arm.Box.OpenBytes(k.Sealed, purpose(account))
	if err != nil {
		return "", fmt.Errorf("key of storage account %q: %w", account, err)
	}
	return string(b), nil
}

func (r *Room) listKeys(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var resp *arm.Response
	err := r.arm.Store.View(ctx, func(tx *store.Tx) error {
		rec, err := r.requested(tx, req)
		if err != nil {
			return err
		}
		resp, err = r.showKeys(req, rec)
		return err
	})
	return resp, err
}

// requested returns the record of the account that a request names.
func (r *Room) requested(tx *store.Tx, req *arm.Request) (*accountRecord, error) {
	rec, err := r.account(tx, req.ID.Name())
	if errors.Is(err, ErrNoAccount) || err == nil && store.Key(rec.ID) != req.ID.Key() {
		return nil, arm.NotFound(req.ID)
	}
	return rec, err
}

// bareKeys is the first version that lists keys; those before it had members key1 and key2.
const bareKeys = "2016"

func (r *Room) showKeys(req *arm.Request, rec *accountRecord) (*arm.Response, error) {
	account, shown := req.ID.Name(), map[string]any{}
	keys := []map[string]any{}
	for i, k := range rec.Keys {
		value, err := r.openKey(account, k)
		if err != nil {
			return nil, err
		}
		keys = append(keys, map[string]any{"keyName": fmt.Sprintf("key%d", i+1), "value": value, "permissions": "FULL", "creationTime": k.Created})
		if req.APIVersion < bareKeys {
			shown[fmt.Sprintf("key%d", i+1)] = value
		}
	}
	shown["keys"] = keys
	return arm.OK(shown), nil
}

// regenerateKey replaces a key. What was mounted with the old one stays mounted; it opens nothing new.
func (r *Room) regenerateKey(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var q struct{ KeyName string }
	if err := req.Decode(&q); err != nil {
		return nil, err
	}
	at, ok := map[string]int{"key1": 0, "key2": 1}[q.KeyName]
	if !ok {
		return nil, invalid("keyName", "'%s' is neither key1 nor key2.", q.KeyName)
	}
	var resp *arm.Response
	err := r.arm.Store.Update(ctx, func(tx *store.Tx) error {
		rec, err := r.requested(tx, req)
		if err != nil {
			return err
		}
		name := req.ID.Name()
		rec.Keys[at] = r.newKey(name)
		if err := tx.SetJSON(bucketAccounts, strings.ToLower(name), rec); err != nil {
			return err
		}
		resp, err = r.showKeys(req, rec)
		return err
	})
	return resp, err
}
