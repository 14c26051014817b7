package storage

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

func TestAccountLife(t *testing.T) {
	f := newFixture(t)
	m := f.put(pool, wish, 200) // clients refuse a 201
	if m["id"] != strings.Replace(pool, "resourcegroups/team", "resourceGroups/Team", 1) || m["kind"] != "StorageV2" {
		t.Errorf("%v", m)
	}
	p := props(m)
	if p["provisioningState"] != "Succeeded" || p["primaryLocation"] != "local" || p["statusOfPrimary"] != "available" ||
		p["creationTime"] != "2026-11-23T12:00:00Z" || p["fancy"] == nil || p["supportsHttpsTrafficOnly"] != true ||
		p["primaryEndpoints"].(map[string]any)["file"] != "https://poolshare.file.core.lido.internal/" {
		t.Errorf("%v", p)
	}
	// What GET shows can be PUT back and changes nothing.
	m = f.must("GET", strings.ToUpper(pool), "", 200)
	back, _ := json.Marshal(m)
	if again := f.put(pool, string(back), 200); again["etag"] != m["etag"] {
		t.Errorf("PUT back changed %s to %v", back, again)
	}
	m = f.must("PATCH", pool, `{"tags":{"cost":"7"},"sku":{"name":"standard_lrs"}}`, 200)
	if tags := m["tags"].(map[string]any); tags["cost"] != "7" || len(tags) != 1 || m["sku"].(map[string]any)["name"] != "Standard_LRS" {
		t.Errorf("PATCH: %v", m)
	}
	for _, list := range []string{accounts, "/subscriptions/s/providers/Microsoft.Storage/storageAccounts"} {
		if v := f.must("GET", list, "", 200)["value"].([]any); len(v) != 1 {
			t.Errorf("%s: %v", list, v)
		}
	}
	if m := f.must("GET", pool+"/fileServices/default", "", 200); m["name"] != "default" || m["sku"] == nil {
		t.Errorf("%v", m)
	}
	f.must("GET", pool+"/blobServices/default", "", 200)
	f.must("DELETE", pool, "", 200)
	f.must("DELETE", pool, "", 204)
	f.refused("GET", pool, "", 404, "ResourceNotFound", "")
	f.refused("GET", pool+"/fileServices/default", "", 404, "ResourceNotFound", "")
	f.refused("POST", pool+"/listKeys", "", 404, "ResourceNotFound", "")
}

func TestAccountRefusals(t *testing.T) {
	f := newFixture(t)
	f.put("/subscriptions/s/resourceGroups/other", `{"location":"local"}`, 201)
	f.put(pool, wish, 200)
	other := strings.Replace(pool, "/team/", "/other/", 1)
	f.refused("PUT", other, wish, 409, "StorageAccountAlreadyTaken", "")
	f.refused("POST", other+"/listKeys", "", 404, "ResourceNotFound", "")
	for _, name := range []string{"ab", "Upper", "with-dash", strings.Repeat("a", 25)} {
		f.refused("PUT", accounts+"/"+name, wish, 400, "AccountNameInvalid", "name")
	}
	at := accounts + "/acct"
	f.refused("PUT", at, `{"location":"local","kind":"StorageV2"}`, 400, "InvalidValuesForRequestParameters", "sku.name")
	f.refused("PUT", at, `{"location":"local","kind":"StorageV2","sku":{"name":"Cheap"}}`, 400, "InvalidValuesForRequestParameters", "sku.name")
	f.refused("PUT", at, `{"location":"local","kind":"Disk","sku":{"name":"Standard_LRS"}}`, 400, "InvalidValuesForRequestParameters", "kind")
	f.refused("PUT", at, `{"location":"local","kind":7,"sku":{"name":"Standard_LRS"}}`, 400, "InvalidRequestContent", "kind")
	f.refused("PUT", at, `{"kind":"StorageV2","sku":{"name":"Standard_LRS"}}`, 400, "LocationRequired", "location")
	f.refused("POST", pool+"/regenerateKey", `{"keyName":"key3"}`, 400, "InvalidValuesForRequestParameters", "keyName")
	f.refused("PUT", pool+"/fileServices/second", `{}`, 400, "InvalidResourceName", "name")
	f.refused("DELETE", pool+"/fileServices/default", ``, 405, "MethodNotAllowed", "")
	f.refused("PUT", pool+"/fileServices/default", `{"properties":{"shareDeleteRetentionPolicy":{"enabled":true,"days":0}}}`, 400, "InvalidValuesForRequestParameters", "properties.shareDeleteRetentionPolicy.days")

	check := "/subscriptions/s/providers/Microsoft.Storage/checkNameAvailability"
	for name, want := range map[string]string{"poolshare": "AlreadyExists", "Bad": "AccountNameInvalid", "free": ""} {
		m := f.must("POST", check, `{"name":"`+name+`","type":"Microsoft.Storage/storageAccounts"}`, 200)
		if reason, _ := m["reason"].(string); reason != want || m["nameAvailable"] != (want == "") {
			t.Errorf("%s: %v", name, m)
		}
	}
}

func (f *fixture) keys() []string {
	f.Helper()
	var keys []string
	for _, k := range f.must("POST", pool+"/listKeys", "", 200)["keys"].([]any) {
		keys = append(keys, k.(map[string]any)["value"].(string))
	}
	return keys
}

func TestKeysOpenShares(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.put(shares+"/work", `{}`, 201)
	keys := f.keys()
	if raw, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(raw) != 64 || len(keys) != 2 || keys[0] == keys[1] {
		t.Fatalf("%v %v", keys, err)
	}
	for _, key := range keys {
		dir, err := f.Authorize(t.Context(), "poolshare", key, "work")
		if err != nil || dir != filepath.Join(f.dir, "shares/poolshare/work") {
			t.Fatalf("%q %v", dir, err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
			t.Errorf("%v %v", info, err)
		}
	}
	for _, c := range []struct {
		account, key, share string
		want                error
	}{
		{"nobody", keys[0], "work", ErrNoAccount}, {"poolshare", "", "work", ErrWrongKey}, {"poolshare", keys[0] + "x", "work", ErrWrongKey},
		{"poolshare", keys[0], "play", ErrNoShare}, {"poolshare", "x", "play", ErrWrongKey}, {"../poolshare", keys[0], "work", ErrNoAccount},
		{"poolshare", keys[0], "../work", ErrNoShare}, {"POOLSHARE", keys[0], "WORK", nil},
	} {
		if _, err := f.Authorize(t.Context(), c.account, c.key, c.share); !errors.Is(err, c.want) {
			t.Errorf("%v: %v", c, err)
		}
	}
	f.must("POST", pool+"/regenerateKey", `{"keyName":"key1"}`, 200)
	renewed := f.keys()
	if renewed[0] == keys[0] || renewed[1] != keys[1] {
		t.Errorf("renewed %v to %v", keys, renewed)
	}
	if _, err := f.Authorize(t.Context(), "poolshare", keys[0], "work"); !errors.Is(err, ErrWrongKey) {
		t.Errorf("old key: %v", err)
	}
	f.restart()
	if _, err := f.Authorize(t.Context(), "poolshare", renewed[0], "work"); err != nil {
		t.Errorf("after restart: %v", err)
	}
	for _, file := range []string{"lido.db", "lido.db-wal"} {
		b, _ := os.ReadFile(filepath.Join(f.dir, file))
		for _, k := range append(keys, renewed...) {
			raw, _ := base64.StdEncoding.DecodeString(k)
			if bytes.Contains(b, []byte(k)) || bytes.Contains(b, raw) {
				t.Errorf("%s holds a key in clear", file)
			}
		}
	}
}

func TestShareLife(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	m := f.put(shares+"/work", `{"properties":{"shareQuota":10,"metadata":{"a":"b"}}}`, 201)
	if p := props(m); m["name"] != "work" || m["type"] != typeShares || p["shareQuota"] != 10.0 || p["enabledProtocols"] != "SMB" || p["leaseState"] != "available" {
		t.Errorf("%v", m)
	}
	f.put(shares+"/work", `{"properties":{"shareQuota":10}}`, 200)
	if p := props(f.must("PATCH", shares+"/work", `{"properties":{"shareQuota":"20"}}`, 200)); p["shareQuota"] != "20" && p["shareQuota"] != 20.0 {
		t.Errorf("%v", p)
	}
	dir := f.Dir("poolshare", "work")
	os.WriteFile(filepath.Join(dir, "data"), make([]byte, 100_000), 0o600)
	os.Link(filepath.Join(dir, "data"), filepath.Join(dir, "again"))
	used, _ := props(f.must("GET", shares+"/work?$expand=stats", "", 200))["shareUsageBytes"].(float64)
	if used < 100_000 || used > 150_000 {
		t.Errorf("used %v", used)
	}
	if v := f.must("GET", shares, "", 200)["value"].([]any); len(v) != 1 {
		t.Errorf("%v", v)
	}
	f.must("DELETE", shares+"/work", "", 200)
	f.refused("GET", shares+"/work", "", 404, "ShareNotFound", "")
	if exists(dir) || len(f.mounts.released) != 1 || f.mounts.released[0] != dir {
		t.Errorf("after deletion: %v, released %v", exists(dir), f.mounts.released)
	}
	f.put(shares+"/work", `{}`, 201)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("made again: %v %v", entries, err)
	}
	f.must("DELETE", pool, "", 200)
	f.run()
	f.eventually("data is removed", func() bool {
		left, _ := filepath.Glob(filepath.Join(f.dir, "shares", "*", "*"))
		hidden, _ := os.ReadDir(filepath.Join(f.dir, "shares", trashDir))
		return len(left) == 0 && len(hidden) == 0
	})
}

func TestShareRefusals(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.put(accounts+"/blobs", strings.Replace(wish, "StorageV2", "BlobStorage", 1), 200)
	for _, name := range []string{"ab", "Upper", "two--hyphens", "-begins", "ends-", "a.b.c", "..", strings.Repeat("a", 64)} {
		f.refused("PUT", shares+"/"+name, `{}`, 400, "InvalidResourceName", "name")
	}
	f.put(shares+"/"+strings.Repeat("a", 63), `{}`, 201)
	f.put(shares+"/a-b-c", `{}`, 201)
	for body, target := range map[string]string{
		`{"properties":{"shareQuota":0}}`:           "properties.shareQuota",
		`{"properties":{"shareQuota":102401}}`:      "properties.shareQuota",
		`{"properties":{"enabledProtocols":"NFS"}}`: "properties.enabledProtocols",
	} {
		f.refused("PUT", shares+"/work", body, 400, "InvalidValuesForRequestParameters", target)
	}
	f.refused("PUT", shares+"/work", `{"properties":{"shareQuota":"many"}}`, 400, "InvalidRequestContent", "properties.shareQuota")
	f.refused("PUT", accounts+"/nobody/fileServices/default/shares/work", `{}`, 404, "ParentResourceNotFound", "")
	f.refused("PUT", accounts+"/blobs/fileServices/default/shares/work", `{}`, 400, "FeatureNotSupportedForAccount", "")
	if exists(filepath.Join(f.dir, "etc")) || exists(f.Dir("poolshare", "work")) {
		t.Error("a refused share made a directory")
	}
}

// A crash may come between any two steps: what was begun is ended by the next start.
func TestCrashHeals(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.put(shares+"/work", `{}`, 201)
	dir := f.Dir("poolshare", "work")
	os.RemoveAll(filepath.Dir(dir)) // as if we had died before it was made
	f.restart()
	f.run()
	f.eventually("directory is made", func() bool { return exists(dir) })
	os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o600)

	f.mounts.fail = errors.New("machine does not answer")
	f.must("DELETE", shares+"/work", "", 200)
	f.refused("PUT", shares+"/work", `{}`, 409, "ShareBeingDeleted", "")
	f.restart()
	if !exists(filepath.Join(dir, "mine")) {
		t.Fatal("data is gone while machines have it mounted")
	}
	f.mounts.fail = nil
	f.run()
	f.eventually("data is moved aside", func() bool { code, _ := f.call("PUT", shares+"/work", `{}`); return code == 201 })
	if exists(filepath.Join(dir, "mine")) {
		t.Error("the new share has the old one's data")
	}
	f.eventually("data is removed", func() bool {
		left, _ := os.ReadDir(filepath.Join(f.dir, "shares", trashDir))
		return len(left) == 0
	})
}

func TestDeletedSharesAreKeptAndRestored(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.put(pool+"/fileServices/default", `{"properties":{"shareDeleteRetentionPolicy":{"enabled":true,"days":7}}}`, 200)
	f.put(shares+"/work", `{"properties":{"shareQuota":5}}`, 201)
	file := filepath.Join(f.Dir("poolshare", "work"), "mine")
	os.WriteFile(file, []byte("x"), 0o600)
	f.must("DELETE", shares+"/work", "", 200)
	f.run()
	gone := f.must("GET", shares+"?$expand=deleted", "", 200)["value"].([]any)
	if len(gone) != 1 || props(gone[0].(map[string]any))["deleted"] != true || props(gone[0].(map[string]any))["remainingRetentionDays"] != 7.0 {
		t.Fatalf("%v", gone)
	}
	if v := f.must("GET", shares, "", 200)["value"].([]any); len(v) != 0 {
		t.Errorf("%v", v)
	}
	version := props(gone[0].(map[string]any))["version"].(string)
	ask := fmt.Sprintf(`{"deletedShareName":"work","deletedShareVersion":%q}`, version)
	f.refused("POST", shares+"/work/restore", `{"deletedShareName":"work","deletedShareVersion":"other"}`, 404, "ShareNotFound", "")
	f.must("POST", shares+"/work/restore", ask, 200)
	if m := f.must("GET", shares+"/work", "", 200); props(m)["shareQuota"] != 5.0 || !exists(file) {
		t.Errorf("%v, file %v", m, exists(file))
	}
	f.refused("POST", shares+"/work/restore", ask, 409, "ShareAlreadyExists", "")

	f.must("DELETE", shares+"/work", "", 200)
	gone = f.must("GET", shares+"?$expand=deleted", "", 200)["value"].([]any)
	ask = fmt.Sprintf(`{"deletedShareName":"work","deletedShareVersion":%q}`, props(gone[0].(map[string]any))["version"])
	f.must("POST", shares+"/other/restore", ask, 200)
	if m := f.must("GET", shares+"/other", "", 200); m["name"] != "other" || !exists(filepath.Join(f.Dir("poolshare", "other"), "mine")) || exists(file) {
		t.Errorf("restored under another name: %v", m)
	}
	f.must("DELETE", shares+"/other", "", 200)
	f.stop() // the clock belongs to the room while it runs
	f.now = f.now.AddDate(0, 0, 8)
	f.start()
	f.run()
	f.eventually("data is removed", func() bool {
		left, _ := os.ReadDir(filepath.Join(f.dir, "shares", trashDir))
		return len(left) == 0
	})
}

func TestEnsureUserDir(t *testing.T) {
	share := t.TempDir()
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 1000, 1000
	}
	for range 2 {
		dir, err := EnsureUserDir(share, "ada", uid, gid)
		if err != nil || dir != filepath.Join(share, "notebooks/ada") {
			t.Fatalf("%q %v", dir, err)
		}
	}
	info, err := os.Stat(filepath.Join(share, "notebooks/ada"))
	if err != nil || info.Mode().Perm() != 0o700 || owner(info) != uid {
		t.Errorf("%v %v", info, err)
	}
	if info, _ := os.Stat(filepath.Join(share, "notebooks")); info.Mode().Perm() != 0o755 {
		t.Errorf("notebooks: %v", info.Mode())
	}
	for _, user := range []string{"", ".", "..", "../x", "a/b", ".hidden"} {
		if _, err := EnsureUserDir(share, user, uid, gid); err == nil {
			t.Errorf("%q is taken as a user", user)
		}
	}
}

// People write to a share: what they put in the way must not lead out of it or give them others' directories.
func TestEnsureUserDirIsNotLedAstray(t *testing.T) {
	share, outside := t.TempDir(), t.TempDir()
	os.Symlink(outside, filepath.Join(share, "notebooks"))
	if _, err := EnsureUserDir(share, "eve", os.Getuid(), os.Getgid()); err == nil || exists(filepath.Join(outside, "eve")) {
		t.Errorf("led out of the share: %v", err)
	}
	os.Remove(filepath.Join(share, "notebooks"))
	os.MkdirAll(filepath.Join(share, "notebooks", "bob"), 0o700)
	os.Symlink("bob", filepath.Join(share, "notebooks", "eve"))
	if os.Getuid() == 0 {
		os.Chown(filepath.Join(share, "notebooks", "bob"), 2000, 2000)
	}
	before, _ := os.Stat(filepath.Join(share, "notebooks", "bob"))
	if _, err := EnsureUserDir(share, "eve", os.Getuid(), os.Getgid()); err != nil {
		t.Error(err)
	}
	if after, _ := os.Stat(filepath.Join(share, "notebooks", "bob")); owner(after) != owner(before) {
		t.Error("another's directory was given away")
	}
	if os.Getuid() == 0 {
		os.Symlink("bob", filepath.Join(share, "notebooks", ".lido-mallory"))
		if _, err := EnsureUserDir(share, "mallory", 3000, 3000); err == nil {
			t.Error("another's directory was taken for a new one")
		}
	}
}
