// Package client speaks to a lido's API as its own command line does: the batch pool's resources with types, and what
// they stand on. It is a REST client like any other; there is no door for it that others don't have.
package client

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"lido.dev/lido/internal/azenv"
)

// Client is a sign-in to one lido. Once the token has expired (an hour), it is for one goroutine at a time.
type Client struct {
	session azenv.Session
	signIn  SignIn
	http    *http.Client
}

// SignIn signs in, and again when a token has expired.
type SignIn func(ctx context.Context) (azenv.Session, error)

// New signs in. The client trusts the server's certificate authority alone.
func New(ctx context.Context, signIn SignIn) (*Client, error) {
	s, err := signIn(ctx)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.Server.CA) {
		return nil, errors.New("the server's CA is not a certificate in PEM form")
	}
	t := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 16}
	return &Client{session: s, signIn: signIn, http: &http.Client{Transport: t}}, nil
}

// Server is the server's address, https://HOST:PORT.
func (c *Client) Server() string { return c.session.Server.URL }

// Person is the signed-in person's short name: what is before the @.
func (c *Client) Person() string {
	name, _, _ := strings.Cut(c.session.User, "@")
	return name
}

// Group is the id of a resource group.
func (c *Client) Group(name string) string {
	return "/subscriptions/" + c.session.Subscription + "/resourceGroups/" + name
}

// Error is an answer of the API that is not a success.
type Error struct {
	Status  int
	Code    string
	Message string
}

func (e *Error) Error() string {
	if e.Message == "" {
		return fmt.Sprintf("lido answered %d %s", e.Status, http.StatusText(e.Status))
	}
	return e.Message
}

// NotFound tells that what was asked for is not there.
func NotFound(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Status == http.StatusNotFound
}

// versions are the API versions that requests are made in.
var versions = []struct{ part, version string }{
	{"/providers/microsoft.batchai/", "2018-05-01"},
	{"/providers/microsoft.storage/", "2022-09-01"},
	{"", "2021-04-01"},
}

func versionOf(id string) string {
	id = strings.ToLower(id)
	for _, v := range versions {
		if strings.Contains(id, v.part) {
			return v.version
		}
	}
	return ""
}

// withVersion gives a path an api-version, if it has none: links to more of a list do.
func withVersion(path string) string {
	switch {
	case strings.Contains(path, "api-version="):
		return path
	case strings.Contains(path, "?"):
		return path + "&api-version=" + versionOf(path)
	}
	return path + "?api-version=" + versionOf(path)
}

// call makes one request, and signs in again for it if need be. path is a resource id, with a query if it has one; out
// may be nil.
func (c *Client) call(ctx context.Context, method, path string, in, out any, header ...string) error {
	err := c.callOnce(ctx, method, path, in, out, header...)
	var e *Error
	if !errors.As(err, &e) || e.Status != http.StatusUnauthorized {
		return err
	}
	if c.session, err = c.signIn(ctx); err != nil {
		return err
	}
	return c.callOnce(ctx, method, path, in, out, header...)
}

func (c *Client) callOnce(ctx context.Context, method, path string, in, out any, header ...string) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.session.Server.URL+withVersion(path), body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+c.session.Token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	return c.send(req, out)
}

func (c *Client) send(req *http.Request, out any) error {
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("reach lido at %s: %w", c.session.Server.URL, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return fmt.Errorf("reach lido at %s: %w", c.session.Server.URL, err)
	}
	if resp.StatusCode >= 300 {
		return refusal(resp.StatusCode, body)
	}
	if out == nil || len(body) == 0 {
		return nil
	}
	return json.Unmarshal(body, out)
}

func refusal(status int, body []byte) *Error {
	var e struct {
		Error struct{ Code, Message string }
	}
	if json.Unmarshal(body, &e) == nil && e.Error.Message != "" {
		return &Error{status, e.Error.Code, e.Error.Message}
	}
	return &Error{Status: status, Message: strings.TrimSpace(string(body[:min(len(body), 500)]))}
}

// page is a page of a list.
type page[T any] struct {
	Value    []T    `json:"value"`
	NextLink string `json:"nextLink"`
}

// list reads a whole list. One without elements is not nil: it is shown as JSON.
func list[T any](ctx context.Context, c *Client, method, path string) ([]T, error) {
	all := []T{}
	for path != "" {
		var p page[T]
		if err := c.call(ctx, method, path, nil, &p); err != nil {
			return nil, err
		}
		all = append(all, p.Value...)
		rest, ok := strings.CutPrefix(p.NextLink, c.session.Server.URL)
		if p.NextLink != "" && !ok {
			return nil, fmt.Errorf("the list goes on at %s, which is not the server %s", p.NextLink, c.session.Server.URL)
		}
		path, method = rest, http.MethodGet
	}
	return all, nil
}

// provisioned is what every resource says of its own making.
type provisioned struct {
	Properties struct {
		State string `json:"provisioningState"`
	} `json:"properties"`
}

// Put makes or changes a resource and waits until it is provisioned.
func (c *Client) Put(ctx context.Context, id string, body any) error {
	return c.write(ctx, http.MethodPut, id, body)
}

// Patch changes a part of a resource and waits until it is provisioned.
func (c *Client) Patch(ctx context.Context, id string, body any) error {
	return c.write(ctx, http.MethodPatch, id, body)
}

func (c *Client) write(ctx context.Context, method, id string, body any) error {
	var p provisioned
	err := c.call(ctx, method, id, body, &p)
	for wait := 20 * time.Millisecond; err == nil && !ended(p.Properties.State); wait = min(2*wait, time.Second) {
		if err = rest(ctx, wait); err == nil {
			err = c.call(ctx, http.MethodGet, id, nil, &p)
		}
	}
	if err == nil && strings.EqualFold(p.Properties.State, "failed") {
		return fmt.Errorf("%s could not be made; 'lido machines' and its errors say why", id)
	}
	return err
}

func ended(state string) bool {
	switch strings.ToLower(state) {
	case "", "succeeded", "failed", "canceled":
		return true
	}
	return false
}

// Delete removes a resource and waits until it is gone.
func (c *Client) Delete(ctx context.Context, id string) error {
	err := c.call(ctx, http.MethodDelete, id, nil, nil)
	for wait := 20 * time.Millisecond; err == nil; wait = min(2*wait, time.Second) {
		if err = c.call(ctx, http.MethodGet, id, nil, nil); err == nil {
			err = rest(ctx, wait)
		}
	}
	if NotFound(err) {
		return nil
	}
	return err
}

func rest(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
