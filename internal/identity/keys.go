package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"
	"time"

	"github.com/google/uuid"
)

const (
	keyLife    = 30 * 24 * time.Hour // a key signs for so long
	keyOverlap = 24 * time.Hour      // and is published so long before it signs and after it signed
)

// signingKey signs tokens from Start until Start+keyLife and verifies them for keyOverlap longer.
type signingKey struct {
	ID    string    `json:"id"`
	Start time.Time `json:"start"`
	DER   []byte    `json:"pkcs8"`

	key *ecdsa.PrivateKey
}

// keyRing is the signing keys in a 0600 file, oldest first. It rotates when it is used.
type keyRing struct {
	path string
	now  func() time.Time

	mu   sync.Mutex
	keys []signingKey
}

func openKeyRing(path string, now func() time.Time) (*keyRing, error) {
	r := &keyRing{path: path, now: now}
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if err := r.parse(data); err != nil {
			return nil, err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r, r.rotateLocked()
}

func (r *keyRing) parse(data []byte) error {
	if err := json.Unmarshal(data, &r.keys); err != nil {
		return err
	}
	for i := range r.keys {
		k, err := x509.ParsePKCS8PrivateKey(r.keys[i].DER)
		if err != nil {
			return err
		}
		ec, ok := k.(*ecdsa.PrivateKey)
		if !ok {
			return errors.New("not an elliptic curve key")
		}
		r.keys[i].key = ec
	}
	return nil
}

// planKeys says which keys to keep at a time and when new ones begin to sign (none: nothing to make). There is
// always one that signs now, and its follower is there keyOverlap before it is needed.
func planKeys(starts []time.Time, now time.Time) (keep []bool, add []time.Time) {
	keep = make([]bool, len(starts))
	var last time.Time
	for i, s := range starts {
		keep[i] = now.Before(s.Add(keyLife + keyOverlap))
		if keep[i] && s.After(last) {
			last = s
		}
	}
	if last.IsZero() || !now.Before(last.Add(keyLife)) {
		last = now
		add = append(add, now)
	}
	if next := last.Add(keyLife); !now.Before(next.Add(-keyOverlap)) {
		add = append(add, next)
	}
	return keep, add
}

func (r *keyRing) rotateLocked() error {
	now := r.now()
	starts := make([]time.Time, len(r.keys))
	for i, k := range r.keys {
		starts[i] = k.Start
	}
	keep, add := planKeys(starts, now)
	var keys []signingKey
	for i, k := range r.keys {
		if keep[i] {
			keys = append(keys, k)
		}
	}
	for _, start := range add {
		k, err := newSigningKey(start)
		if err != nil {
			return err
		}
		keys = append(keys, k)
	}
	if len(add) == 0 && len(keys) == len(r.keys) {
		return nil
	}
	if err := writeJSON(r.path, keys); err != nil {
		return err
	}
	r.keys = keys
	return nil
}

func newSigningKey(start time.Time) (signingKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return signingKey{}, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return signingKey{ID: uuid.NewString(), Start: start.UTC(), DER: der, key: key}, err
}

// current is the key that signs now.
func (r *keyRing) current() (signingKey, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.rotateLocked(); err != nil {
		return signingKey{}, err
	}
	now := r.now()
	for i := len(r.keys) - 1; i >= 0; i-- {
		if !r.keys[i].Start.After(now) {
			return r.keys[i], nil
		}
	}
	return signingKey{}, errors.New("no signing key has begun: the clock went back")
}

// public is the key of an id while it may verify.
func (r *keyRing) public(id string) (*ecdsa.PublicKey, bool) {
	for _, k := range r.published() {
		if k.ID == id {
			return &k.key.PublicKey, true
		}
	}
	return nil, false
}

func (r *keyRing) published() []signingKey {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	var out []signingKey
	for _, k := range r.keys {
		if now.Before(k.Start.Add(keyLife + keyOverlap)) {
			out = append(out, k)
		}
	}
	return out
}
