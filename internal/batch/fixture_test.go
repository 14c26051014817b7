package batch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

type everybody struct{}

func (everybody) Authenticate(*http.Request) (arm.Caller, error)           { return arm.Caller{Name: "ada"}, nil }
func (everybody) Allowed(context.Context, arm.Caller, string, arm.ID) bool { return true }

// drives is storage with one account, whose shares and containers are directories.
type drives struct{ dir string }

func (d drives) open(account, key, name string) (string, error) {
	switch dir := filepath.Join(d.dir, name); {
	case account != "acc":
		return "", fmt.Errorf("%w: %q", ErrNoAccount, account)
	case key != "right":
		return "", fmt.Errorf("%w: %q", ErrWrongKey, account)
	default:
		if _, err := os.Stat(dir); err != nil {
			return "", fmt.Errorf("%w: %q", ErrNoShare, name)
		}
		return dir, nil
	}
}

func (d drives) ShareDir(_ context.Context, account, key, share string) (string, error) {
	return d.open(account, key, share)
}

func (d drives) ContainerDir(_ context.Context, account, key, container string) (string, error) {
	return d.open(account, key, container)
}

func (d drives) ServerDir(_ context.Context, uid string) (string, error) {
	dir := filepath.Join(d.dir, uid)
	return dir, os.MkdirAll(dir, 0o755)
}

func (d drives) ServerKey(string) string { return "key" }

func (d drives) DropServer(_ context.Context, uid string) error {
	return os.RemoveAll(filepath.Join(d.dir, uid))
}

type fixture struct {
	*testing.T
	*Room
	drives drives
	now    time.Time
}

const (
	group = "/subscriptions/s/resourceGroups/Team"
	ws    = group + "/providers/Microsoft.BatchAI/workspaces/Lab"
	exp   = ws + "/experiments/first"
)

func newFixture(t testing.TB) *fixture {
	dir := t.TempDir()
	st, err := store.Open(filepath.Join(dir, "lido.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	box, err := secret.Open(filepath.Join(dir, "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	srv := arm.New(st, box, everybody{}, slog.New(slog.DiscardHandler))
	f := &fixture{drives: drives{filepath.Join(dir, "shares")}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	f.T, _ = t.(*testing.T)
	srv.Now = func() time.Time { return f.now }
	if err := os.MkdirAll(filepath.Join(f.drives.dir, "share"), 0o755); err != nil {
		t.Fatal(err)
	}
	f.Room = New(Config{Server: srv, Store: st, Log: srv.Log, Drives: f.drives, FilesKey: []byte("key"),
		Image: func(publisher, _, _, _, _ string) error {
			if publisher == "nobody" {
				return fmt.Errorf("image %q is not known", publisher)
			}
			return nil
		},
		Size: func(name string) (Size, bool) {
			return Size{"Standard_D2_v3", "standardDv3Family", 2, 0}, strings.HasPrefix(strings.ToLower(name), "standard_")
		},
	})
	srv.Register(srv.Document(arm.Document{Name: arm.TypeResourceGroup, APIVersions: []string{"2021-04-01"}}))
	srv.Register(f.Types()...)
	f.call("PUT", group, `{"location":"local"}`)
	f.call("PUT", ws, `{"location":"local"}`)
	f.call("PUT", exp, ``)
	return f
}

func (f *fixture) request(method, path, body string, header ...string) *httptest.ResponseRecorder {
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	r := httptest.NewRequest(method, path+sep+"api-version=2018-05-01", strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	f.Server.ServeHTTP(w, r)
	return w
}

func (f *fixture) call(method, path, body string, header ...string) (int, map[string]any) {
	w := f.request(method, path, body, header...)
	m := map[string]any{}
	json.Unmarshal(w.Body.Bytes(), &m)
	return w.Code, m
}

func (f *fixture) must(method, path, body string, want int) map[string]any {
	f.Helper()
	code, m := f.call(method, path, body)
	if code != want {
		f.Fatalf("%s %s %s: %d, want %d: %v", method, path, body, code, want, m)
	}
	return m
}

// setStatus writes a document's status as its runner or controller would.
func (f *fixture) setStatus(id string, status any) {
	f.Helper()
	f.inTx(func(tx *store.Tx) error {
		d, err := tx.Get(id)
		if err != nil {
			return err
		}
		return tx.SetStatus(id, d.UID, status)
	})
}

func (f *fixture) inTx(fn func(*store.Tx) error) {
	f.Helper()
	if err := f.Store.Update(f.Context(), fn); err != nil {
		f.Fatal(err)
	}
}

// at returns a value in a decoded body by its path.
func at(v any, path string) any {
	for k := range strings.SplitSeq(path, ".") {
		v = member(v, k)
	}
	return v
}

// edit returns a JSON body with values put at paths, or taken away if they are null; a path's step may be an index.
func edit(t testing.TB, body string, edits ...any) string {
	var m any
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(edits); i += 2 {
		var v any
		if err := json.Unmarshal([]byte(edits[i+1].(string)), &v); err != nil {
			t.Fatalf("%s: %v", edits[i+1], err)
		}
		steps := strings.Split("properties."+edits[i].(string), ".")
		to := m.(map[string]any)
		for _, s := range steps[:len(steps)-1] {
			next, ok := to[s].(map[string]any)
			if !ok {
				next = map[string]any{}
				to[s] = next
			}
			to = next
		}
		if last := steps[len(steps)-1]; v == nil {
			delete(to, last)
		} else {
			to[last] = v
		}
	}
	b, _ := json.Marshal(m)
	return string(b)
}

const clusterBody = `{"properties":{"vmSize":"STANDARD_D2_V3","scaleSettings":{"autoScale":{"minimumNodeCount":0,"maximumNodeCount":4}},
"userAccountSettings":{"adminUserName":"lab","adminUserPassword":"hush-password"},
"nodeSetup":{"setupTask":{"commandLine":"true","stdOutErrPathPrefix":"$AZ_BATCHAI_MOUNT_ROOT/afs","secrets":[{"name":"TOKEN","value":"hush-token"}]},
"mountVolumes":{"azureFileShares":[{"accountName":"acc","azureFileUrl":"https://acc.file.core.lido.internal/share","credentials":{"accountKey":"right"},"relativeMountPath":"afs"}]}}}}`

const jobBody = `{"properties":{"cluster":{"id":"` + ws + `/clusters/C"},"nodeCount":2,"stdOutErrPathPrefix":"$AZ_BATCHAI_MOUNT_ROOT/afs",
"secrets":[{"name":"TOKEN","value":"hush-token"}],"environmentVariables":[{"name":"A","value":"1"}],
"inputDirectories":[{"id":"SCRIPT","path":"$AZ_BATCHAI_MOUNT_ROOT/afs/scripts"}],
"outputDirectories":[{"id":"MODEL","pathPrefix":"$AZ_BATCHAI_MOUNT_ROOT/afs","pathSuffix":"model"}],
"customToolkitSettings":{"commandLine":"echo hi"}}}`
