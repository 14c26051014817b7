package identity

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

const (
	deviceLife     = 15 * time.Minute
	devicePoll     = 2 // seconds between a client's polls
	codeLife       = 5 * time.Minute
	flowsAtOnce    = 1000 // flows kept at most; past it new ones are refused until old ones end
	userCodeLetter = "BCDFGHJKLMNPQRSTVWXZ"
)

// flow is a sign-in that is under way in a browser: of a device that polls, or with a code to be redeemed. Flows are
// in memory only: after a restart of lido the client starts again.
type flow struct {
	client, scope string
	nonce         string // of the request for a code
	expires       time.Time
	account       string // set once a person has signed in
	challenge     string // PKCE, for codes
	redirect      string // for codes
	deviceCode    string // for devices, under their user code
}

type flows struct {
	now func() time.Time

	mu     sync.Mutex
	device map[string]*flow // by user code
	code   map[string]*flow
}

func newFlows(now func() time.Time) *flows {
	return &flows{now: now, device: map[string]*flow{}, code: map[string]*flow{}}
}

var errTooManyFlows = oauthError{http.StatusServiceUnavailable, "temporarily_unavailable", "too many sign-ins are under way"}

func (f *flows) add(m map[string]*flow, key string, fl *flow) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now()
	for k, old := range m {
		if !now.Before(old.expires) {
			delete(m, k)
		}
	}
	if len(m) >= flowsAtOnce {
		return errTooManyFlows
	}
	m[key] = fl
	return nil
}

// pending is a copy of a device's flow by its user code, as typed by a person.
func (f *flows) pending(userCode string) (flow, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.device[normalUserCode(userCode)]
	if fl == nil || fl.account != "" || !f.now().Before(fl.expires) {
		return flow{}, false
	}
	return *fl, true
}

func (f *flows) approve(userCode, account string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.device[normalUserCode(userCode)]
	if fl == nil || fl.account != "" || !f.now().Before(fl.expires) {
		return false
	}
	fl.account = account
	return true
}

// redeemDevice ends a device's flow once it was approved.
func (f *flows) redeemDevice(deviceCode string) (flow, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for k, fl := range f.device {
		if subtle.ConstantTimeCompare([]byte(fl.deviceCode), []byte(deviceCode)) != 1 {
			continue
		}
		switch {
		case !f.now().Before(fl.expires):
			delete(f.device, k)
			return flow{}, oauthError{http.StatusBadRequest, "expired_token", "the code has expired; sign in again"}
		case fl.account == "":
			return flow{}, oauthError{http.StatusBadRequest, "authorization_pending", "nobody has entered the code yet"}
		}
		delete(f.device, k)
		return *fl, nil
	}
	return flow{}, oauthError{http.StatusBadRequest, "expired_token", "the device code is not known; sign in again"}
}

// redeemCode takes an authorization code: it works once.
func (f *flows) redeemCode(code string) (flow, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	fl := f.code[code]
	delete(f.code, code)
	if fl == nil || !f.now().Before(fl.expires) {
		return flow{}, false
	}
	return *fl, true
}

// newUserCode is eight consonants: no words, nothing to mistake, 34 bits, and every guess costs a password.
func newUserCode() string {
	raw := make([]byte, 8)
	rand.Read(raw)
	for i := range raw {
		raw[i] = userCodeLetter[int(raw[i])%len(userCodeLetter)]
	}
	return string(raw)
}

func normalUserCode(s string) string {
	return strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(s))
}

func (s *Service) serveDeviceCode(w http.ResponseWriter, r *http.Request) {
	base, err := baseURL(r)
	if err != nil || r.Method != http.MethodPost {
		answerOAuth(w, oauthError{http.StatusBadRequest, "invalid_request", "want a POST with a proper Host header"})
		return
	}
	userCode := newUserCode()
	fl := &flow{client: r.PostForm.Get("client_id"), scope: r.PostForm.Get("scope"), expires: s.now().Add(deviceLife), deviceCode: rand.Text() + rand.Text()}
	if err := s.flows.add(s.flows.device, userCode, fl); err != nil {
		s.answerGrantError(w, err)
		return
	}
	shown := userCode[:4] + "-" + userCode[4:]
	page := base + authorityPath + "/oauth2/deviceauth"
	answer(w, http.StatusOK, map[string]any{
		"device_code": fl.deviceCode, "user_code": shown, "verification_uri": page, "verification_url": page,
		"verification_uri_complete": page + "?user_code=" + shown,
		"expires_in":                int(deviceLife.Seconds()), "interval": devicePoll,
		"message": "To sign in, use a web browser to open the page " + page + " and enter the code " + shown + " to authenticate.",
	})
}

func (s *Service) grantDevice(ctx context.Context, deviceCode, client string) (grant, error) {
	fl, err := s.flows.redeemDevice(deviceCode)
	if err != nil {
		return grant{}, err
	}
	if fl.client != client {
		return grant{}, invalidGrant("the device code belongs to another client")
	}
	rec, err := s.account(ctx, fl.account)
	if errors.Is(err, ErrNoAccount) {
		err = invalidGrant("the account was removed meanwhile")
	}
	return grant{rec: rec, client: client, scope: fl.scope}, err
}

func (s *Service) grantCode(ctx context.Context, form url.Values) (grant, error) {
	fl, ok := s.flows.redeemCode(form.Get("code"))
	sum := sha256.Sum256([]byte(form.Get("code_verifier")))
	verifier := base64.RawURLEncoding.EncodeToString(sum[:])
	if !ok || fl.client != form.Get("client_id") || fl.redirect != form.Get("redirect_uri") || subtle.ConstantTimeCompare([]byte(verifier), []byte(fl.challenge)) != 1 {
		return grant{}, invalidGrant("the authorization code is not known, was used, or is not this client's; sign in again")
	}
	rec, err := s.account(ctx, fl.account)
	if errors.Is(err, ErrNoAccount) {
		err = invalidGrant("the account was removed meanwhile")
	}
	return grant{rec: rec, client: fl.client, scope: fl.scope, nonce: fl.nonce}, err
}
