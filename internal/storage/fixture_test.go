package storage

import (
	"context"
	"encoding/json"
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

// mounts records what was released, and fails while fail is set.
type mounts struct {
	released []string
	fail     error
}

func (m *mounts) ReleaseDir(_ context.Context, dir string) error {
	if m.fail == nil {
		m.released = append(m.released, dir)
	}
	return m.fail
}

type fixture struct {
	*testing.T
	*Room
	dir    string
	mounts *mounts
	now    time.Time
	cancel context.CancelFunc
	ran    chan struct{}
}

func newFixture(t *testing.T) *fixture {
	f := &fixture{T: t, dir: t.TempDir(), mounts: &mounts{}, now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)}
	f.start()
	t.Cleanup(f.stop)
	f.put("/subscriptions/s/resourceGroups/Team", `{"location":"local"}`, 201)
	return f
}

// start opens the room as lido does at its start, but does not Run it.
func (f *fixture) start() {
	f.Helper()
	st, err := store.Open(filepath.Join(f.dir, "lido.db"))
	if err != nil {
		f.Fatal(err)
	}
	box, err := secret.Open(filepath.Join(f.dir, "secret.key"))
	if err != nil {
		f.Fatal(err)
	}
	srv := arm.New(st, box, everybody{}, slog.New(slog.DiscardHandler))
	srv.Now = func() time.Time { return f.now }
	f.Room = New(srv, filepath.Join(f.dir, "shares"), f.mounts, slog.New(slog.DiscardHandler))
	srv.Register(srv.Document(arm.Document{Name: arm.TypeResourceGroup, APIVersions: []string{"2021-04-01"}}))
	srv.Register(f.Types()...)
}

// run lets the room Run until stop or restart.
func (f *fixture) run() {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel, f.ran = cancel, make(chan struct{})
	go func(r *Room) {
		defer close(f.ran)
		r.Run(ctx)
	}(f.Room)
}

func (f *fixture) stop() {
	if f.cancel != nil {
		f.cancel()
		<-f.ran
		f.cancel = nil
	}
	f.arm.Store.Close()
}

func (f *fixture) restart() {
	f.stop()
	f.start()
}

func (f *fixture) call(method, path, body string) (int, map[string]any) {
	f.Helper()
	if !strings.Contains(path, "?") {
		path += "?"
	}
	w := httptest.NewRecorder()
	f.arm.ServeHTTP(w, httptest.NewRequest(method, path+"&api-version=2022-09-01", strings.NewReader(body)))
	m := map[string]any{}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			f.Fatalf("%s %s: %v in %q", method, path, err, w.Body)
		}
	}
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

func (f *fixture) put(path, body string, want int) map[string]any {
	f.Helper()
	return f.must("PUT", path, body, want)
}

// refused checks an error's status, code and target.
func (f *fixture) refused(method, path, body string, status int, code, target string) {
	f.Helper()
	got, m := f.call(method, path, body)
	e, _ := m["error"].(map[string]any)
	at, _ := e["target"].(string)
	if got != status || e["code"] != code || at != target {
		f.Errorf("%s %s %s: %d %v, want %d %s at %q", method, path, body, got, m, status, code, target)
	}
}

func (f *fixture) eventually(what string, ok func() bool) {
	f.Helper()
	for range 200 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	f.Fatalf("did not happen: %s", what)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

const (
	provider = "/subscriptions/s/resourcegroups/team/providers/Microsoft.Storage"
	accounts = provider + "/storageAccounts"
	pool     = accounts + "/poolshare"
	shares   = pool + "/fileServices/default/shares"
	wish     = `{"sku":{"name":"Standard_RAGRS"},"kind":"StorageV2","location":"local","properties":{"encryption":{"keySource":"Microsoft.Storage"},"fancy":{"a":1}},"tags":{"team":"x"}}`
)

func props(m map[string]any) map[string]any { p, _ := m["properties"].(map[string]any); return p }

// A crash may come between any two steps: what was begun is ended by the next start.
// People write to a share: what they put in the way must not lead out of it or give them others' directories.
