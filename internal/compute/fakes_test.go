package compute

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/sim"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/storage"
	"lido.dev/lido/internal/store"
)

// Small stand-ins for this room's neighbours: an address plan, a catalogue of one image, shares, keys.

type fakeNetwork struct {
	mu       sync.Mutex
	draining map[string]bool
	full     bool
}

const bucketAddress = "fake address"

func (n *fakeNetwork) Check(tx *store.Tx, configs []InterfaceConfig, at string) error {
	for _, c := range configs {
		b, _ := json.Marshal(c)
		if strings.Contains(string(b), "/subnets/none") {
			return arm.BadRequest("InvalidResourceReference", at, "The subnet 'none' does not exist.")
		}
	}
	return nil
}

func (n *fakeNetwork) Attach(tx *store.Tx, o Owner, _ []InterfaceConfig) error {
	if n.full {
		return arm.Conflict("SubnetIsFull", "The subnet has no address left.")
	}
	return tx.SetKV(bucketAddress, store.Key(o.InstanceID), []byte(o.ComputerName))
}

func (n *fakeNetwork) Detach(tx *store.Tx, id string) error {
	return tx.DeleteKV(bucketAddress, store.Key(id))
}

func (n *fakeNetwork) NIC(context.Context, string) (machine.NIC, error) {
	return machine.NIC{Namespace: "x", Await: "b", HostLink: "l", MAC: "02:00:00:00:00:01", Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.4/24")}, Gateway: netip.MustParseAddr("10.0.0.1")}, nil
}

func (n *fakeNetwork) Drain(_ context.Context, id string, on bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.draining[store.Key(id)] = on
	return nil
}

func (n *fakeNetwork) Busy(string, int) {}

func (n *fakeNetwork) PoolAddresses(*store.Tx, []InterfaceConfig) ([]netip.Addr, error) {
	return []netip.Addr{netip.MustParseAddr("10.254.0.1")}, nil
}

func (n *fakeNetwork) Interfaces(tx *store.Tx, set, instance string) ([]map[string]any, error) {
	return []map[string]any{{"name": "nic", "id": instance + "/networkInterfaces/nic"}}, nil
}

func (n *fakeNetwork) PublicAddresses(*store.Tx, string) ([]map[string]any, error) { return nil, nil }

type fakeImages struct{ root string }

func (f fakeImages) Resolve(ref ImageRef) (ImageInfo, error) {
	if ref.Publisher != "lido" {
		return ImageInfo{}, fmt.Errorf("there is lido:base only")
	}
	return ImageInfo{Name: "base", Version: "1.0.0", Distribution: "Debian 12"}, nil
}

func (f fakeImages) Ensure(_ context.Context, ref ImageRef, progress func(string)) (string, ImageInfo, error) {
	info, err := f.Resolve(ref)
	return f.root, info, err
}

func (fakeImages) Publishers() []string             { return []string{"lido"} }
func (fakeImages) Offers(string) []string           { return []string{"base"} }
func (fakeImages) SKUs(string, string) []string     { return []string{"12"} }
func (fakeImages) Versions(_, _, _ string) []string { return []string{"1.0.0"} }
func (fakeShares) Fetch(_ context.Context, u string) ([]byte, error) {
	if strings.Contains(u, "missing") {
		return nil, errors.New("404 Not Found")
	}
	return []byte("#!/bin/sh\r\necho hello\r\n"), nil
}

type fakeShares struct{ dir string }

func (f fakeShares) Authorize(_ context.Context, account, key, share string) (string, error) {
	switch {
	case account != "acct" || key != shareKey:
		return "", ErrWrongKey
	case share != "sh":
		return "", ErrNoShare
	}
	return f.dir, nil
}

func (fakeShares) EnsureUserDir(dir, user string, uid, gid int) error {
	_, err := storage.EnsureUserDir(dir, user, uid, gid)
	return err
}

const shareKey = "Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYg=="

type fakeKeys struct{}

func (fakeKeys) HostKey(a string) ([]byte, []byte, error) {
	return []byte("key " + a), []byte("pub " + a), nil
}
func (fakeKeys) ServerCert(...string) ([]byte, []byte, error) {
	return []byte("cert"), []byte("key"), nil
}

type everybody struct{}

func (everybody) Authenticate(*http.Request) (arm.Caller, error)           { return arm.Caller{Name: "ada"}, nil }
func (everybody) Allowed(context.Context, arm.Caller, string, arm.ID) bool { return true }

// lab is a room on a simulated engine. A lab can be reopened on the same store and engine, as after a crash.
type lab struct {
	t       testing.TB
	dir     string
	engine  machine.Engine
	network *fakeNetwork
	store   *store.Store
	server  *arm.Server
	room    *Room
	log     *strings.Builder
	change  func(*Config)
}

func newLab(t testing.TB, engine sim.Config, change func(*Config)) *lab {
	t.Helper()
	return newLabOn(t, sim.New(engine), change)
}

func newLabOn(t testing.TB, engine machine.Engine, change func(*Config)) *lab {
	t.Helper()
	l := &lab{t: t, dir: t.TempDir(), engine: engine, network: &fakeNetwork{draining: map[string]bool{}}, change: change}
	l.open()
	t.Cleanup(func() { l.close() })
	l.put("/subscriptions/s/resourceGroups/G", `{"location":"local"}`)
	return l
}

func (l *lab) open() {
	l.t.Helper()
	st, err := store.Open(filepath.Join(l.dir, "lido.db"))
	if err != nil {
		l.t.Fatal(err)
	}
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		l.t.Fatal(err)
	}
	var out io.Writer = io.Discard
	if os.Getenv("LIDO_TEST_LOG") != "" {
		out = os.Stderr
	}
	log := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l.store, l.server = st, arm.New(st, box, everybody{}, slog.New(slog.DiscardHandler))
	c := Config{Server: l.server, Store: st, Engine: l.engine, Log: log, Network: l.network, Images: fakeImages{l.dir},
		Shares: fakeShares{l.dir}, Fetcher: fakeShares{}, Keys: fakeKeys{}, Memory: 1 << 50, DrainTimeout: 50 * time.Millisecond}
	if l.change != nil {
		l.change(&c)
	}
	l.room = New(c)
	l.server.Register(l.server.Document(arm.Document{Name: arm.TypeResourceGroup, APIVersions: []string{"2021-04-01"}}))
	l.server.Register(l.room.Types()...)
	if err := l.room.Start(); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) close() {
	l.room.Close()
	l.store.Close()
}

func (l *lab) call(method, path, body string) (int, map[string]any, http.Header) {
	l.t.Helper()
	sep := "?"
	if strings.Contains(path, "?") {
		sep = "&"
	}
	r := httptest.NewRequest(method, path+sep+"api-version=2022-11-01", strings.NewReader(body))
	w := httptest.NewRecorder()
	l.server.ServeHTTP(w, r)
	m := map[string]any{}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			l.t.Fatalf("%s %s: %v in %q", method, path, err, w.Body)
		}
	}
	return w.Code, m, w.Header()
}

func (l *lab) get(path string) map[string]any {
	l.t.Helper()
	code, m, _ := l.call("GET", path, "")
	if code != 200 {
		l.t.Fatalf("GET %s: %d %v", path, code, m)
	}
	return m
}

func (l *lab) put(path, body string) http.Header {
	l.t.Helper()
	code, m, h := l.call("PUT", path, body)
	if code != 200 && code != 201 {
		l.t.Fatalf("PUT %s: %d %v", path, code, m)
	}
	return h
}

// wait polls the operation of an answer to its end and returns its status document.
func (l *lab) wait(h http.Header) map[string]any {
	l.t.Helper()
	url := h.Get("Azure-AsyncOperation")
	if url == "" {
		return map[string]any{"status": "Succeeded"}
	}
	url = strings.TrimPrefix(strings.Split(url, "?")[0], "https://example.com")
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if m := l.get(url); m["status"] != "InProgress" {
			return m
		}
	}
	l.t.Fatalf("operation %s does not end", url)
	return nil
}

func (l *lab) succeed(h http.Header) {
	l.t.Helper()
	if m := l.wait(h); m["status"] != "Succeeded" {
		l.t.Fatalf("operation: %v", m)
	}
}

const setPath = "/subscriptions/s/resourceGroups/G/providers/Microsoft.Compute/virtualMachineScaleSets/dsvm"

// setBody is a set in the form of the pool's template.
func setBody(capacity int, extra string) string {
	return fmt.Sprintf(`{"location":"local","sku":{"name":"Standard_D2s_v3","tier":"Standard","capacity":"%d"},"properties":{"overprovision":"false",
"upgradePolicy":{"mode":"manual"},"singlePlacementGroup":null,"virtualMachineProfile":{
"storageProfile":{"osDisk":{"createOption":"FromImage","caching":"ReadWrite"},"imageReference":{"publisher":"lido","offer":"base","sku":"12","version":"latest"}},
"osProfile":{"computerNamePrefix":"dsvm","adminUsername":"dsvmuser","adminPassword":"Hush-hush-1"},
"networkProfile":{"networkInterfaceConfigurations":[{"name":"nic","properties":{"primary":"true","ipConfigurations":[{"name":"ip","properties":{"subnet":{"id":"/subscriptions/s/resourceGroups/G/providers/Microsoft.Network/virtualNetworks/v/subnets/a"}}}]}}]}%s}}}`, capacity, extra)
}

func jsonOf(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func values(m map[string]any) []map[string]any {
	var out []map[string]any
	for _, v := range m["value"].([]any) {
		out = append(out, v.(map[string]any))
	}
	return out
}

func ids(m map[string]any) string {
	var out []string
	for _, v := range values(m) {
		out = append(out, v["instanceId"].(string))
	}
	return strings.Join(out, " ")
}
