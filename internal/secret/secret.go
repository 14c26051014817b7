// Package secret keeps secret values out of documents. A secret leaf of a JSON document is replaced by a placeholder;
// the value is sealed with lido's key and kept aside, bound to the document that owns it.
//
// A placeholder is stable (the same value in the same document has the same one), so a client that reads a resource
// and writes it back changes nothing; it says nothing about the value and is worth nothing in another document.
package secret

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"lido.dev/lido/internal/store"
)

// Prefix begins every placeholder.
const Prefix = "lido-secret:"

// ErrUnknown is returned for a placeholder that the document does not own.
var ErrUnknown = errors.New("unknown secret placeholder")

// Box seals and opens values. It is safe for concurrent use.
type Box struct {
	aead cipher.AEAD
	mac  []byte
}

// Open reads the key file, making it (mode 0600) if it is missing.
func Open(path string) (*Box, error) {
	key, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		if key, err = makeKey(path); err != nil {
			return nil, err
		}
	}
	if err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	if len(key) != chacha20poly1305.KeySize {
		return nil, fmt.Errorf("secret key %s: %d bytes where %d are expected; without the right key sealed secrets cannot be opened", path, len(key), chacha20poly1305.KeySize)
	}
	return New(key)
}

func makeKey(path string) ([]byte, error) {
	key := make([]byte, chacha20poly1305.KeySize)
	rand.Read(key)
	tmp := path + ".new"
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	if err := writeSynced(tmp, key); err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	if err := os.Rename(tmp, path); err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	defer dir.Close()
	return key, dir.Sync()
}

// writeSynced writes a file that is on the disk before anything is sealed with it: a key that a power cut takes away
// takes all secrets with it.
func writeSynced(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Sync(), f.Close())
}

// New makes a box from a 32 byte key.
func New(key []byte) (*Box, error) {
	aead, err := chacha20poly1305.NewX(key)
	if err != nil {
		return nil, fmt.Errorf("secret key: %w", err)
	}
	mac := sha256.Sum256(append([]byte("lido placeholder "), key...))
	return &Box{aead: aead, mac: mac[:]}, nil
}

func bucket(owner string) string { return "secret " + store.Key(owner) }

// Seal keeps a value for the document owner and returns its placeholder. v is any JSON value.
func (b *Box) Seal(tx *store.Tx, owner string, v any) (string, error) {
	plain, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("seal: %w", err)
	}
	h := hmac.New(sha256.New, b.mac)
	fmt.Fprintf(h, "%s\x00%s", store.Key(owner), plain)
	token := Prefix + strings.ToLower(base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(h.Sum(nil)[:15]))
	return token, tx.SetKV(bucket(owner), token, b.SealBytes(plain, store.Key(owner)+token))
}

// Unseal returns the value behind one of owner's placeholders, or ErrUnknown.
func (b *Box) Unseal(tx *store.Tx, owner, token string) (any, error) {
	sealed, err := tx.GetKV(bucket(owner), token)
	if errors.Is(err, store.ErrNotFound) {
		return nil, ErrUnknown
	}
	if err != nil {
		return nil, err
	}
	plain, err := b.OpenBytes(sealed, store.Key(owner)+token)
	if err != nil {
		return nil, fmt.Errorf("secret of %s: %w", owner, err)
	}
	var v any
	if err := json.Unmarshal(plain, &v); err != nil {
		return nil, fmt.Errorf("secret of %s: %w", owner, err)
	}
	return v, nil
}

// Forget drops all secrets of a document.
func (b *Box) Forget(tx *store.Tx, owner string) error { return tx.DeleteBucket(bucket(owner)) }

// SealBytes encrypts bytes for a purpose; the same purpose must be named to open them.
func (b *Box) SealBytes(plain []byte, purpose string) []byte {
	nonce := make([]byte, b.aead.NonceSize(), b.aead.NonceSize()+len(plain)+b.aead.Overhead())
	rand.Read(nonce)
	return b.aead.Seal(nonce, nonce, plain, []byte(purpose))
}

// OpenBytes decrypts what SealBytes made for the same purpose.
func (b *Box) OpenBytes(sealed []byte, purpose string) ([]byte, error) {
	if len(sealed) < b.aead.NonceSize() {
		return nil, errors.New("sealed value is too short")
	}
	n := b.aead.NonceSize()
	plain, err := b.aead.Open(nil, sealed[:n], sealed[n:], []byte(purpose))
	if err != nil {
		return nil, errors.New("sealed value was made with another key or changed since")
	}
	return plain, nil
}
