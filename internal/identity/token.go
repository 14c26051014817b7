package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"lido.dev/lido/internal/store"
)

const (
	accessLife  = time.Hour
	refreshLife = 30 * 24 * time.Hour // since it was last used
)

// claims is what lido's tokens say. Use tells an access token from an id token: only the first opens doors.
type claims struct {
	jwt.RegisteredClaims
	Use        string `json:"use"`
	Tenant     string `json:"tid"`
	ObjectID   string `json:"oid"`
	AppID      string `json:"appid"`
	IDType     string `json:"idtyp,omitempty"` // "app" for a service principal
	UPN        string `json:"upn,omitempty"`
	UniqueName string `json:"unique_name,omitempty"`
	Preferred  string `json:"preferred_username,omitempty"`
	Name       string `json:"name,omitempty"`
	Scope      string `json:"scp,omitempty"`
	Version    string `json:"ver"`
	Generation int    `json:"gen"`
	Nonce      string `json:"nonce,omitempty"` // of the request that an id token answers
}

const (
	useAccess = "access"
	useID     = "id"
)

// mint signs a token for the account of a grant. audience is what the token is for.
func (s *Service) mint(g grant, use, issuer, audience string) (string, error) {
	key, err := s.keys.current()
	if err != nil {
		return "", err
	}
	now, rec := s.now(), g.rec
	c := claims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: issuer, Subject: rec.ID, Audience: jwt.ClaimStrings{audience}, ID: uuid.NewString(),
			IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now.Add(-5 * time.Minute)), ExpiresAt: jwt.NewNumericDate(now.Add(accessLife)),
		},
		Use: use, Tenant: s.tenant, ObjectID: rec.ID, AppID: g.client, Name: rec.Name, Version: "1.0", Generation: rec.Generation,
	}
	if use == useID {
		c.Nonce = g.nonce
	}
	if rec.Kind == ServicePrincipal {
		c.IDType = "app"
	} else {
		upn := rec.PrincipalName()
		c.UPN, c.UniqueName, c.Preferred, c.Scope = upn, upn, upn, "user_impersonation"
	}
	t := jwt.NewWithClaims(jwt.SigningMethodES256, singleAudience{c})
	t.Header["kid"] = key.ID
	return t.SignedString(key.key)
}

// singleAudience writes aud as a string, as Azure does and as clients that decode tokens expect.
type singleAudience struct{ claims }

func (c singleAudience) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		claims
		Audience string `json:"aud"`
	}{c.claims, c.Audience[0]})
}

// parse checks a token's signature, times and tenant. It does not look at the account.
func (s *Service) parse(token string) (claims, error) {
	var c claims
	_, err := jwt.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		id, _ := t.Header["kid"].(string)
		key, ok := s.keys.public(id)
		if !ok {
			return nil, errors.New("signed by a key that is not lido's, or no longer is")
		}
		return key, nil
	}, jwt.WithValidMethods([]string{jwt.SigningMethodES256.Alg()}), jwt.WithExpirationRequired(), jwt.WithTimeFunc(s.now))
	if err == nil && c.Tenant != s.tenant {
		err = errors.New("made for another tenant")
	}
	return c, err
}

// refreshRecord is a refresh token as it is stored: under its hash, never itself.
type refreshRecord struct {
	Client     string    `json:"client"`
	Generation int       `json:"generation"`
	Expires    time.Time `json:"expires"`
}

func refreshBucket(account string) string { return "identity refresh " + account }

func refreshKey(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// newRefreshToken makes a refresh token and clears the account's expired ones.
func (s *Service) newRefreshToken(ctx context.Context, rec record, client string) (string, error) {
	token := rec.ID + "." + rand.Text() + rand.Text()
	now := s.now()
	bucket := refreshBucket(rec.ID)
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		entries, err := tx.ListKV(bucket)
		if err != nil {
			return err
		}
		for _, e := range entries {
			var r refreshRecord
			if json.Unmarshal(e.Value, &r) == nil && now.Before(r.Expires) {
				continue
			}
			if err := tx.DeleteKV(bucket, e.Key); err != nil {
				return err
			}
		}
		return tx.SetJSON(bucket, refreshKey(token), refreshRecord{Client: client, Generation: rec.Generation, Expires: now.Add(refreshLife)})
	})
	return token, err
}

var errBadRefreshToken = errors.New("the refresh token is not known or has expired; sign in again")

// useRefreshToken returns the account that a refresh token is for and lengthens the token's life. The token stays the
// same: clients run side by side with one token cache, and a token that changes at each use would lock some out.
func (s *Service) useRefreshToken(ctx context.Context, token, client string) (record, error) {
	id, _, ok := strings.Cut(token, ".")
	if !ok {
		return record{}, errBadRefreshToken
	}
	var rec record
	err := s.store.Update(ctx, func(tx *store.Tx) error {
		var r refreshRecord
		err := tx.GetJSON(refreshBucket(id), refreshKey(token), &r)
		if err == nil {
			rec, err = get(tx, id)
		}
		now := s.now()
		switch {
		case errors.Is(err, store.ErrNotFound) || errors.Is(err, ErrNoAccount):
			return errBadRefreshToken
		case err != nil:
			return err
		case r.Client != client || r.Generation != rec.Generation || !now.Before(r.Expires):
			return errBadRefreshToken
		}
		r.Expires = now.Add(refreshLife)
		return tx.SetJSON(refreshBucket(id), refreshKey(token), r)
	})
	return rec, err
}
