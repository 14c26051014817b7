package compute

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"lido.dev/lido/internal/machine"
)

// guestHandler answers one machine.
func (r *Room) guestHandler(g guest) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/mount", func(w http.ResponseWriter, req *http.Request) { r.serveMount(w, req, g) })
	mux.HandleFunc("POST /v1/unmount", func(w http.ResponseWriter, req *http.Request) { r.serveUnmount(w, req, g) })
	if r.Agents != nil {
		mux.HandleFunc("POST /v1/node", func(w http.ResponseWriter, req *http.Request) { r.serveAgent(w, req, g) })
	}
	mux.HandleFunc("GET /v1/self", func(w http.ResponseWriter, req *http.Request) {
		fmt.Fprintf(w, "instance=%s\nscaleset=%s\n", g.instance, g.set)
	})
	return mux
}

// mountError is a refusal in the words of mount.cifs.
type mountError struct {
	status int
	text   string
}

func (e *mountError) Error() string { return e.text }

var (
	errMountDenied  = &mountError{http.StatusForbidden, "mount error(13): Permission denied"}
	errMountMissing = &mountError{http.StatusNotFound, "mount error(2): No such file or directory"}
	errMountBusy    = &mountError{http.StatusConflict, "mount error(16): Device or resource busy"}
	errMountInvalid = &mountError{http.StatusBadRequest, "mount error(22): Invalid argument"}
)

func (r *Room) serveMount(w http.ResponseWriter, req *http.Request, g guest) {
	req.Body = http.MaxBytesReader(w, req.Body, 64<<10)
	err := req.ParseForm()
	if err == nil {
		err = r.mount(req.Context(), g, req.PostForm)
	}
	var refused *mountError
	switch {
	case err == nil:
		fmt.Fprintln(w, "mounted")
	case errors.As(err, &refused):
		http.Error(w, refused.text, refused.status)
	default:
		r.Log.Error("mount", "machine", g.machine, "instance", g.instance, "err", err)
		http.Error(w, "mount error(5): Input/output error; lido's log on the host has the reason", http.StatusInternalServerError)
	}
}

// serveUnmount takes a mount that the host made out of the machine that asks.
func (r *Room) serveUnmount(w http.ResponseWriter, req *http.Request, g guest) {
	req.Body = http.MaxBytesReader(w, req.Body, 64<<10)
	if !r.fromRoot(req.Context(), g.machine) {
		http.Error(w, "umount: only the machine's root may", http.StatusForbidden)
		return
	}
	target := req.PostFormValue("target")
	if !path.IsAbs(target) || path.Clean(target) != target {
		http.Error(w, "umount: not an absolute path", http.StatusBadRequest)
		return
	}
	if err := r.Engine.Unmount(req.Context(), g.machine, target); err != nil && !errors.Is(err, machine.ErrNotFound) {
		r.Log.Error("unmount", "machine", g.machine, "at", target, "err", err)
		http.Error(w, "umount: lido's log on the host has the reason", http.StatusInternalServerError)
	}
}

// serveAgent takes the connection of the agent in the machine.
func (r *Room) serveAgent(w http.ResponseWriter, req *http.Request, g guest) {
	if !r.fromRoot(req.Context(), g.machine) {
		http.Error(w, "the agent is run by the machine's root", http.StatusForbidden)
		return
	}
	r.Agents.Serve(w, req, g.machine)
}

// mount puts a share into the machine that asks.
func (r *Room) mount(ctx context.Context, g guest, form url.Values) error {
	m, err := readMount(form)
	if err != nil {
		return err
	}
	if !r.fromRoot(ctx, g.machine) {
		return errMountDenied
	}
	dir, err := r.authorize(ctx, &m)
	switch {
	case errors.Is(err, ErrWrongKey):
		return errMountDenied
	case errors.Is(err, ErrNoShare):
		return errMountMissing
	case err != nil:
		return err
	}
	if g.admin != "" && !m.readOnly && m.kind == "" {
		if err := r.Shares.EnsureUserDir(dir, g.admin, adminUID, adminUID); err != nil {
			return err
		}
	}
	r.Log.Info("mount a share", "instance", g.instance, "account", m.account, "share", m.share, "at", m.target)
	err = r.Engine.Mount(ctx, g.machine, machine.Mount{Source: dir, Target: m.target, ReadOnly: m.readOnly})
	if errors.Is(err, machine.ErrMounted) {
		return errMountBusy
	}
	return err
}

// authorize returns the directory that a request is for, if its key is right.
func (r *Room) authorize(ctx context.Context, m *mountRequest) (string, error) {
	switch {
	case m.kind == "" || m.kind == kindShare:
		return r.Shares.Authorize(ctx, m.account, m.key, m.share)
	case m.kind == kindContainer && r.Drives != nil:
		return r.Drives.Container(ctx, m.account, m.key, m.share)
	case m.kind == kindServer && r.Drives != nil:
		return r.Drives.Server(ctx, m.account, m.key)
	}
	return "", ErrNoShare
}

// The kinds of what agents in machines mount.
const (
	kindShare     = "cifs"
	kindContainer = "blob"
	kindServer    = "server" // a file server, by its uid, as a whole
)

// mountRequest is what a machine's mount.cifs or agent asks for.
type mountRequest struct {
	kind                        string // empty if people mount
	account, share, key, target string
	readOnly                    bool
}

// readMount reads a request's form: kind, source //ACCOUNT.file.SUFFIX/SHARE, target, options, and username and password,
// alone or among the options.
func readMount(form url.Values) (mountRequest, error) {
	m := mountRequest{kind: form.Get("kind"), target: form.Get("target"), key: form.Get("password")}
	host, share, ok := strings.Cut(strings.TrimPrefix(form.Get("source"), "//"), "/")
	share = strings.TrimSuffix(share, "/")
	if m.kind == kindServer {
		ok = share == ""
	} else {
		ok = ok && share != ""
	}
	if !ok || host == "" || !path.IsAbs(m.target) || path.Clean(m.target) != m.target {
		return m, errMountInvalid
	}
	if strings.Contains(share, "/") {
		return m, &mountError{http.StatusBadRequest, "mount error(22): Invalid argument: lido mounts whole shares; mount the share and use the directory in it"}
	}
	m.share = share
	m.account, _, _ = strings.Cut(host, ".")
	user := form.Get("username")
	readOptions(&m, &user, form.Get("options"))
	user = strings.TrimPrefix(strings.TrimPrefix(user, `AZURE\`), "AZURE/")
	if user != "" && !strings.EqualFold(user, m.account) {
		return m, errMountDenied
	}
	return m, nil
}

func readOptions(m *mountRequest, user *string, options string) {
	// A password may hold a comma only as a field of its own; among the options it ends there.
	for o := range strings.SplitSeq(options, ",") {
		k, v, _ := strings.Cut(o, "=")
		switch k {
		case "ro":
			m.readOnly = true
		case "rw":
			m.readOnly = false
		case "username", "user":
			if *user == "" {
				*user = v
			}
		case "password", "pass":
			if m.key == "" {
				m.key = v
			}
		}
	}
}

// ReleaseDir takes a directory of the host, with what is below it, out of all machines, for storage to remove it.
func (r *Room) ReleaseDir(ctx context.Context, dir string) error {
	infos, err := r.Engine.List(ctx)
	if err != nil {
		return err
	}
	for _, info := range infos {
		for _, m := range info.Mounts {
			if m.Source != dir && !strings.HasPrefix(m.Source, dir+"/") {
				continue
			}
			if e := r.Engine.Unmount(ctx, info.ID, m.Target); e != nil && !errors.Is(e, machine.ErrNotFound) {
				err = errors.Join(err, fmt.Errorf("unmount %s: %w", m.Target, e))
			}
		}
	}
	return err
}
