package azenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Session is a sign-in, for programs that speak to the API themselves.
type Session struct {
	Server       Server
	Token        string // bearer token, good for minutes at least
	Subscription string // id of the subscription to use
	User         string // who signed in: name@domain, or an app id
}

// SignIn signs in by name and password.
func SignIn(ctx context.Context, server Server, login Login) (Session, error) {
	s, err := signIn(ctx, server, login)
	if err != nil {
		return Session{}, err
	}
	return Session{Server: server, Token: s.token.Access, Subscription: s.subscriptions[0].ID, User: s.userName()}, nil
}

// Open signs in with what a directory of Make's holds, as az would.
func Open(ctx context.Context, dir string, now time.Time) (Session, error) {
	s, err := open(ctx, dir, now)
	if err != nil {
		return Session{}, fmt.Errorf("use the lido of %s: %w; make it anew with 'lido az env'", dir, err)
	}
	return s, nil
}

func open(ctx context.Context, dir string, now time.Time) (s Session, err error) {
	var from origin
	if err := readJSON(filepath.Join(dir, marker), &from); err != nil {
		return s, err
	}
	ca, err := os.ReadFile(caPath(dir))
	if err != nil {
		return s, err
	}
	s.Server = Server{URL: from.Server, CA: ca}
	var app []struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if readJSON(filepath.Join(dir, "service_principal_entries.json"), &app) == nil && len(app) > 0 {
		return SignIn(ctx, s.Server, Login{User: app[0].ID, Password: app[0].Secret, App: true})
	}
	if err := s.readProfile(dir); err != nil {
		return s, err
	}
	s.Token, err = cachedToken(ctx, s.Server, dir, now)
	return s, err
}

func (s *Session) readProfile(dir string) error {
	var profile struct {
		Subscriptions []struct {
			ID      string `json:"id"`
			Default bool   `json:"isDefault"`
			User    struct {
				Name string `json:"name"`
			} `json:"user"`
		} `json:"subscriptions"`
	}
	if err := readJSON(filepath.Join(dir, "azureProfile.json"), &profile); err != nil {
		return err
	}
	for i, sub := range profile.Subscriptions {
		if i == 0 || sub.Default {
			s.Subscription, s.User = sub.ID, sub.User.Name
		}
	}
	if s.Subscription == "" {
		return errors.New("nobody is signed in there")
	}
	return nil
}

// cachedToken is an access token out of MSAL's cache, or a new one for the refresh token there.
func cachedToken(ctx context.Context, server Server, dir string, now time.Time) (string, error) {
	var cache struct {
		AccessToken, RefreshToken map[string]struct {
			Secret  string `json:"secret"`
			Expires string `json:"expires_on"`
		}
	}
	if err := readJSON(filepath.Join(dir, "msal_token_cache.json"), &cache); err != nil {
		return "", err
	}
	for _, t := range cache.AccessToken {
		if at, err := strconv.ParseInt(t.Expires, 10, 64); err == nil && time.Unix(at, 0).After(now.Add(10*time.Minute)) {
			return t.Secret, nil
		}
	}
	for _, t := range cache.RefreshToken {
		return refresh(ctx, server, t.Secret)
	}
	return "", errors.New("the sign-in there has expired")
}

func refresh(ctx context.Context, server Server, token string) (string, error) {
	c, err := newClient(server)
	if err != nil {
		return "", err
	}
	defer c.http.CloseIdleConnections()
	form := url.Values{"grant_type": {"refresh_token"}, "client_id": {azClientID}, "refresh_token": {token}, "scope": {server.URL + "/.default"}}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/adfs/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	var t tokens
	err = c.do(req, &t)
	return t.Access, err
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return json.Unmarshal([]byte(strings.TrimPrefix(string(data), "\ufeff")), v)
}
