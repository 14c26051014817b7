package azenv

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lido.dev/lido/internal/identity"
)

// azClientID is the client id of the az CLI, under which its token cache is kept.
const azClientID = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

// session is a sign-in: what the server said.
type session struct {
	server        Server
	login         Login
	cloud         identity.CloudMetadata
	token         tokens
	account       account
	subscriptions []subscriptionInfo
}

type tokens struct {
	Access    string `json:"access_token"`
	Refresh   string `json:"refresh_token"`
	ID        string `json:"id_token"`
	Scope     string `json:"scope"`
	ExpiresIn int    `json:"expires_in"`
}

// account is who the token is for.
type account struct {
	jwt.RegisteredClaims
	UPN string `json:"upn"`
}

type subscriptionInfo struct {
	ID     string `json:"subscriptionId"`
	Name   string `json:"displayName"`
	Tenant string `json:"tenantId"`
	State  string `json:"state"`
}

// client is HTTP towards one server, trusting its CA alone.
type client struct {
	http http.Client
	base string
}

func newClient(s Server) (*client, error) {
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.CA) {
		return nil, errors.New("the server's CA is not a certificate in PEM form")
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment}
	return &client{http: http.Client{Transport: t, Timeout: 30 * time.Second}, base: s.URL}, nil
}

func signIn(ctx context.Context, server Server, login Login) (*session, error) {
	c, err := newClient(server)
	if err != nil {
		return nil, err
	}
	defer c.http.CloseIdleConnections()
	s := &session{server: server, login: login}
	if err := c.get(ctx, "/metadata/endpoints?api-version=2022-09-01", "", &s.cloud); err != nil {
		return nil, err
	}
	if err := s.fetchToken(ctx, c); err != nil {
		return nil, fmt.Errorf("sign in as %s: %w", login.User, err)
	}
	var list struct {
		Value []subscriptionInfo `json:"value"`
	}
	if err := c.get(ctx, "/subscriptions?api-version=2022-12-01", s.token.Access, &list); err != nil {
		return nil, err
	}
	if len(list.Value) == 0 {
		return nil, fmt.Errorf("%s may see no subscription at %s", login.User, server.URL)
	}
	s.subscriptions = list.Value
	return s, nil
}

func (s *session) fetchToken(ctx context.Context, c *client) error {
	scope := s.server.URL + "/.default"
	form := url.Values{}
	if s.login.App {
		form.Set("grant_type", "client_credentials")
		form.Set("client_id", s.login.User)
		form.Set("client_secret", s.login.Password)
	} else {
		form.Set("grant_type", "password")
		form.Set("client_id", azClientID)
		form.Set("username", s.login.User)
		form.Set("password", s.login.Password)
		scope += " offline_access openid profile"
	}
	form.Set("scope", scope)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/adfs/oauth2/token", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if err := c.do(req, &s.token); err != nil {
		return err
	}
	// The server made the token for us over TLS: reading it needs no check of its signature.
	_, _, err = jwt.NewParser().ParseUnverified(s.token.Access, &s.account)
	return err
}

func (c *client) get(ctx context.Context, path, token string, out any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+path, nil)
	if err != nil {
		return err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return c.do(req, out)
}

func (c *client) do(req *http.Request, out any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("reach lido: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<20))
	if err != nil {
		return fmt.Errorf("reach lido: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return errors.New(refusal(resp.Status, body))
	}
	return json.Unmarshal(body, out)
}

// refusal is the sentence in an error answer, of OAuth's or of Resource Manager's form.
func refusal(status string, body []byte) string {
	var oauth struct {
		Description string `json:"error_description"`
	}
	if json.Unmarshal(body, &oauth) == nil && oauth.Description != "" {
		return oauth.Description
	}
	var arm struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &arm) == nil && arm.Error.Message != "" {
		return arm.Error.Message
	}
	return "lido answered " + status
}
