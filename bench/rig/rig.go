// Package rig starts a real lido for a benchmark, in a data directory of its own, and speaks ARM to it.
package rig

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
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/azenv"
	"lido.dev/lido/internal/identity"
	"lido.dev/lido/internal/image"
)

// Lido is a running lido. Close removes it with all that it made.
type Lido struct {
	PID   int
	bin   string
	data  string
	url   string
	token string
	group string // id of the resource group that paths are in
	http  *http.Client
}

// Options say what kind of lido is started.
type Options struct {
	Bin    string        // the program; empty means bin/lido
	Engine string        // as `lido up --engine`; empty means lido's default
	Image  *image.Rootfs // an image that it finds already built
	Config string        // content of its configuration file
}

// Start starts a lido, signs in and makes the resource group "bench".
func Start(ctx context.Context, o Options) (*Lido, error) {
	if o.Bin == "" {
		o.Bin = "bin/lido"
	}
	data, err := os.MkdirTemp("/var/tmp", "lido-bench-")
	if err != nil {
		return nil, err
	}
	l := &Lido{bin: o.Bin, data: data}
	if err := l.start(ctx, o); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lido) start(ctx context.Context, o Options) error {
	if err := l.placeImage(o.Image); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(l.data, "lido.yaml"), []byte(o.Config), 0o600); err != nil {
		return err
	}
	args := []string{"up", "--detach", "--data", l.data, "--listen", "127.0.0.1:0"}
	if o.Engine != "" {
		args = append(args, "--engine", o.Engine)
	}
	out, err := l.command(ctx, args...)
	if err != nil {
		return err
	}
	m := regexp.MustCompile(`ready at (\S+) \(process (\d+)`).FindStringSubmatch(out)
	if m == nil {
		return fmt.Errorf("lido up said %q", out)
	}
	l.url = m[1]
	l.PID, _ = strconv.Atoi(m[2])
	return l.open(ctx)
}

// placeImage links an image's files into the data directory, so that it need not be built.
func (l *Lido) placeImage(r *image.Rootfs) error {
	if r == nil {
		return nil
	}
	images := filepath.Join(l.data, "images")
	if err := os.Mkdir(images, 0o755); err != nil {
		return err
	}
	from := filepath.Dir(r.Dir)
	if exec.Command("cp", "-al", from, images).Run() == nil {
		return nil
	}
	out, err := exec.Command("cp", "-a", from, images).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy image: %w: %s", err, out)
	}
	return nil
}

func (l *Lido) command(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, l.bin, args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", l.bin, strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// signIn signs in as the admin.
func (l *Lido) signIn(ctx context.Context) (s azenv.Session, err error) {
	ca, err := os.ReadFile(filepath.Join(l.data, "ca", "ca.pem"))
	if err != nil {
		return s, err
	}
	var admin identity.AdminCredentials
	data, err := os.ReadFile(identity.AdminFile(l.data))
	if err == nil {
		err = json.Unmarshal(data, &admin)
	}
	if err != nil {
		return s, err
	}
	return azenv.SignIn(ctx, azenv.Server{URL: l.url, CA: ca}, azenv.Login{User: admin.User, Password: admin.Password})
}

// open signs in, for Do, and makes the resource group.
func (l *Lido) open(ctx context.Context) error {
	s, err := l.signIn(ctx)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.Server.CA)
	l.http = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 16}}
	l.token = s.Token
	l.group = "/subscriptions/" + s.Subscription + "/resourceGroups/bench"
	return l.Do(ctx, http.MethodPut, l.group, map[string]any{"location": "local"}, nil)
}

// ID returns the id of a resource in the group, from "Microsoft.Type/kind/name".
func (l *Lido) ID(path string) string { return l.group + "/providers/" + path }

// Group returns the id of another resource group.
func (l *Lido) Group(name string) string {
	return l.group[:strings.LastIndexByte(l.group, '/')+1] + name
}

// Do makes one request; path is a resource id, with or without a query.
func (l *Lido) Do(ctx context.Context, method, path string, body, out any) error {
	data, err := json.Marshal(body)
	if err != nil {
		return err
	}
	if body == nil {
		data = nil
	}
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	req, err := http.NewRequestWithContext(ctx, method, l.url+path+sep+"api-version=2022-11-01", bytes.NewReader(data))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+l.token)
	return l.send(req, out)
}

func (l *Lido) send(req *http.Request, out any) error {
	res, err := l.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return &Error{req.Method + " " + req.URL.Path, res.StatusCode, string(data)}
	}
	if out == nil || len(data) == 0 {
		return nil
	}
	return json.Unmarshal(data, out)
}

// Error is an answer that is not a success.
type Error struct {
	Request string
	Status  int
	Body    string
}

func (e *Error) Error() string { return fmt.Sprintf("%s: %d %s", e.Request, e.Status, e.Body) }

// Put makes a resource and waits until it is provisioned.
func (l *Lido) Put(ctx context.Context, id string, body any) error {
	if err := l.Do(ctx, http.MethodPut, id, body, nil); err != nil {
		return err
	}
	return l.Provisioned(ctx, id)
}

// Provisioned waits until a resource is.
func (l *Lido) Provisioned(ctx context.Context, id string) error {
	for {
		var r struct {
			Properties struct{ ProvisioningState string }
		}
		if err := l.Do(ctx, http.MethodGet, id, nil, &r); err != nil {
			return err
		}
		switch r.Properties.ProvisioningState {
		case "Succeeded", "":
			return nil
		case "Failed", "Canceled":
			return fmt.Errorf("%s is %s", id, r.Properties.ProvisioningState)
		}
		if err := rest(ctx); err != nil {
			return fmt.Errorf("%s is %s: %w", id, r.Properties.ProvisioningState, err)
		}
	}
}

// Delete deletes a resource and waits until it is gone.
func (l *Lido) Delete(ctx context.Context, id string) error {
	if err := l.Do(ctx, http.MethodDelete, id, nil, nil); err != nil {
		return err
	}
	for {
		err := l.Do(ctx, http.MethodGet, id, nil, nil)
		if e := (*Error)(nil); errors.As(err, &e) && e.Status == http.StatusNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if err := rest(ctx); err != nil {
			return fmt.Errorf("delete %s: %w", id, err)
		}
	}
}

func rest(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(20 * time.Millisecond):
		return nil
	}
}

// Close stops the lido and removes all that it made.
func (l *Lido) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	_, err := l.command(ctx, "down", "--data", l.data, "--purge", "--yes")
	if err != nil {
		if log, rerr := os.ReadFile(filepath.Join(l.data, "log", "lido.log")); rerr == nil {
			err = fmt.Errorf("%w\n%s", err, log[max(0, len(log)-3000):])
		}
	}
	return errors.Join(err, os.RemoveAll(l.data))
}
