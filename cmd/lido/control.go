package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// serverState is what a running lido says of itself on its control socket.
type serverState struct {
	PID         int       `json:"pid"`
	Version     string    `json:"version"`
	URL         string    `json:"url"`
	Fingerprint string    `json:"fingerprint"` // of the CA
	Since       time.Time `json:"since"`
	Ready       bool      `json:"ready"`
}

// errNotRunning says that no server answers on the control socket.
var errNotRunning = errors.New("lido is not running")

// controlClient talks to the running server of a data directory over its Unix socket, which only root can open.
type controlClient struct {
	paths paths
	http  http.Client
}

func newControlClient(p paths) *controlClient {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", p.control())
	}
	return &controlClient{paths: p, http: http.Client{Transport: &http.Transport{DialContext: dial}}}
}

// do calls the server and decodes its answer into out, which may be nil or an io.Writer that gets the body as it comes.
func (c *controlClient) do(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://lido"+path, body)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w with data directory %s; start it with 'lido up --data %s --detach'", errNotRunning, c.paths.Data, c.paths.Data)
	}
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode >= 300 {
		msg, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<16))
		return errors.New(errorText(msg))
	}
	switch out := out.(type) {
	case nil:
		return nil
	case io.Writer:
		_, err = io.Copy(out, resp.Body)
		return err
	}
	return json.NewDecoder(resp.Body).Decode(out)
}

// errorText is the sentence in an error answer: a text, or ARM's form.
func errorText(body []byte) string {
	var e struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &e) == nil && e.Error.Message != "" {
		return e.Error.Message
	}
	return string(bytes.TrimSpace(body))
}

func (c *controlClient) state(ctx context.Context) (serverState, error) {
	var st serverState
	return st, c.do(ctx, http.MethodGet, "/v1/state", nil, &st)
}

// listenControl opens the control socket.
func listenControl(p paths) (net.Listener, error) {
	os.Remove(p.control())
	l, err := net.Listen("unix", p.control())
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, os.Chmod(p.control(), 0o600)
}

// answer writes v as JSON, or err as text.
func answer(w http.ResponseWriter, v any, err error) {
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(v)
}
