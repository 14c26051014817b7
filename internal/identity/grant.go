package identity

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/store"
)

const grantDeviceCode = "urn:ietf:params:oauth:grant-type:device_code"

// oauthError is a refusal in OAuth 2.0's form.
type oauthError struct {
	status  int
	Code    string `json:"error"`
	Message string `json:"error_description"`
}

func (e oauthError) Error() string { return e.Code + ": " + e.Message }

// tooMany is a refusal because of too many failures. It alone carries Retry-After: clients keep an answer with that
// header, and a 429 without it, and repeat them without asking.
type tooMany struct{ wait time.Duration }

func (e tooMany) Error() string {
	return fmt.Sprintf("too many failed sign-ins for this account or from this address; try again in %d s", e.seconds())
}

func (e tooMany) seconds() int { return int(math.Ceil(e.wait.Seconds())) }

func answerOAuth(w http.ResponseWriter, e oauthError) { answer(w, e.status, e) }

func (s *Service) answerGrantError(w http.ResponseWriter, err error) {
	var refused oauthError
	var wait tooMany
	switch {
	case errors.As(err, &refused):
		answerOAuth(w, refused)
	case errors.As(err, &wait):
		w.Header().Set("Retry-After", strconv.Itoa(wait.seconds()))
		answerOAuth(w, oauthError{http.StatusTooManyRequests, "temporarily_unavailable", "LIDO429: " + wait.Error()})
	case errors.Is(err, context.Canceled):
		answerOAuth(w, oauthError{http.StatusBadRequest, "invalid_request", "cancelled"})
	default:
		s.log.Error("token request failed", "error", err)
		why := "the server failed to make a token; its log says why"
		if errors.Is(err, store.ErrFull) { // and its log may be on the same disk
			why = "the server failed to make a token: " + store.ErrFull.Error() + "; free some space there"
		}
		// Not a 5xx without Retry-After: clients would keep it for a minute.
		w.Header().Set("Retry-After", "1")
		answerOAuth(w, oauthError{http.StatusInternalServerError, "server_error", why})
	}
}

func invalidGrant(message string) error {
	return oauthError{http.StatusBadRequest, "invalid_grant", message}
}

// grant is a token request that was granted.
type grant struct {
	rec     record
	client  string
	scope   string // what was asked for, when the request that is granted now does not say
	nonce   string // to be repeated in the id token
	refresh string // the refresh token to hand back; empty: a new one for people
}

func (s *Service) serveToken(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		answerOAuth(w, oauthError{http.StatusMethodNotAllowed, "invalid_request", "the token endpoint takes POST"})
		return
	}
	g, err := s.grant(r)
	if err != nil {
		s.answerGrantError(w, err)
		return
	}
	body, err := s.tokens(r, g)
	if err != nil {
		s.answerGrantError(w, err)
		return
	}
	answer(w, http.StatusOK, body)
}

func (s *Service) grant(r *http.Request) (grant, error) {
	ctx, form := r.Context(), r.PostForm
	client := form.Get("client_id")
	switch kind := form.Get("grant_type"); kind {
	case "client_credentials":
		return s.grantClient(r)
	case "password":
		rec, err := s.signIn(ctx, form.Get("username"), form.Get("password"), source(r), User)
		return grant{rec: rec, client: client}, err
	case "refresh_token":
		rec, err := s.useRefreshToken(ctx, form.Get("refresh_token"), client)
		if errors.Is(err, errBadRefreshToken) {
			err = invalidGrant("LIDO70008: " + err.Error() + ": `az login`, or `lido az env` anew.")
		}
		return grant{rec: rec, client: client, refresh: form.Get("refresh_token")}, err
	case grantDeviceCode, "device_code":
		return s.grantDevice(ctx, form.Get("device_code"), client)
	case "authorization_code":
		return s.grantCode(ctx, form)
	default:
		return grant{}, oauthError{http.StatusBadRequest, "unsupported_grant_type", fmt.Sprintf("grant type %q is not served", kind)}
	}
}

func (s *Service) grantClient(r *http.Request) (grant, error) {
	id, secret := r.PostForm.Get("client_id"), r.PostForm.Get("client_secret")
	if u, p, ok := r.BasicAuth(); ok {
		id, secret = u, p
	}
	if secret == "" {
		return grant{}, oauthError{http.StatusBadRequest, "invalid_request", "LIDO7000216: client_secret is required; certificates and assertions are not served"}
	}
	rec, err := s.signIn(r.Context(), id, secret, source(r), ServicePrincipal)
	var refused oauthError
	if errors.As(err, &refused) {
		refused.Code, refused.status = "invalid_client", http.StatusUnauthorized
		refused.Message = "LIDO7000215: the client id is not known or the secret is wrong."
		err = refused
	}
	return grant{rec: rec, client: id}, err
}

// source is where a request comes from, for counting failures.
func source(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}

// signIn checks a password. Which of name and password is wrong is not told, nor to be seen from the time it takes.
func (s *Service) signIn(ctx context.Context, name, password, source string, kind Kind) (record, error) {
	key := plainName(name)
	if wait := s.throttle.try(key, source); wait > 0 {
		return record{}, tooMany{wait}
	}
	var rec record
	err := s.store.View(ctx, func(tx *store.Tx) (err error) {
		rec, err = find(tx, name)
		return err
	})
	if err != nil && !errors.Is(err, ErrNoAccount) {
		return record{}, err
	}
	ok, err := s.verify(ctx, rec.Hash, password)
	if err != nil {
		return record{}, err
	}
	if !ok || rec.Kind != kind {
		s.log.Warn("sign-in refused", "account", key, "source", source)
		return record{}, invalidGrant("LIDO50126: the user name is not known or the password is wrong.")
	}
	s.throttle.succeeded(key, source)
	return rec, nil
}

type tokenResponse struct {
	TokenType    string `json:"token_type"`
	ExpiresIn    int    `json:"expires_in"`
	ExtExpiresIn int    `json:"ext_expires_in"`
	Scope        string `json:"scope"`
	Resource     string `json:"resource,omitempty"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token,omitempty"`
	IDToken      string `json:"id_token,omitempty"`
}

func (s *Service) tokens(r *http.Request, g grant) (tokenResponse, error) {
	base, err := baseURL(r)
	if err != nil {
		return tokenResponse{}, oauthError{http.StatusBadRequest, "invalid_request", err.Error()}
	}
	asked := r.PostForm.Get("scope")
	if asked == "" {
		asked = g.scope
	}
	scope, audience := audienceOf(asked, r.PostForm.Get("resource"), base)
	life := int(accessLife.Seconds())
	out := tokenResponse{TokenType: "Bearer", ExpiresIn: life, ExtExpiresIn: life, Scope: scope, Resource: audience}
	issuer := base + authorityPath
	if out.AccessToken, err = s.mint(g, useAccess, issuer, audience); err != nil {
		return out, err
	}
	if g.rec.Kind != User {
		return out, nil
	}
	if out.IDToken, err = s.mint(g, useID, issuer, g.client); err != nil {
		return out, err
	}
	out.RefreshToken = g.refresh
	if out.RefreshToken == "" {
		out.RefreshToken, err = s.newRefreshToken(r.Context(), g.rec, g.client)
	}
	return out, err
}

// audienceOf says for what a token is asked: by the first scope that is not one of OpenID's, or by a resource, else
// for Resource Manager.
func audienceOf(scopes, resource, base string) (scope, audience string) {
	for s := range strings.FieldsSeq(scopes) {
		switch s {
		case "openid", "profile", "email", "offline_access":
		default:
			audience := s
			if i := strings.LastIndexByte(s, '/'); i > len("https://") {
				audience = s[:i]
			}
			return s, audience
		}
	}
	if resource != "" {
		return strings.TrimSuffix(resource, "/") + "/.default", resource
	}
	return base + "/.default", base
}
