package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

const sub = "/subscriptions/11111111-2222-3333-4444-555555555555"

type everybody struct{}

func (everybody) Authenticate(*http.Request) (arm.Caller, error) { return arm.Caller{Name: "ada"}, nil }

func (everybody) Allowed(_ context.Context, c arm.Caller, action string, _ arm.ID) bool {
	return c.Name == "ada" || strings.HasSuffix(action, "/read")
}

// lido is a server with a database of its own, the types of this package, and types of a zoo: nets are there at once,
// cages when the keeper has built them.
type lido struct {
	*testing.T
	*arm.Server
	room *Room
	dir  string
	log  *syncBuffer

	mu     sync.Mutex
	built  []string // cages in the order in which they were built
	broken map[string]*arm.Error
	hold   chan struct{} // if set, the keeper waits for it before each cage

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

type syncBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

type files map[string]string

func (f files) Fetch(_ context.Context, url string) ([]byte, error) {
	if text, ok := f[url]; ok {
		return []byte(text), nil
	}
	return nil, fmt.Errorf("fetch %s: not found; add it under mirrors", url)
}

var linked = files{}

func newLido(t *testing.T) *lido {
	l := &lido{T: t, dir: t.TempDir(), broken: map[string]*arm.Error{}, log: &syncBuffer{}}
	l.up()
	t.Cleanup(l.down)
	l.ok("PUT", sub+"/resourcegroups/zoo", `{"location":"local","tags":{"team":"apes"}}`)
	return l
}

// up starts a lido over the directory, as a restart after a crash does.
func (l *lido) up() {
	st, err := store.Open(filepath.Join(l.dir, "lido.db"))
	if err != nil {
		l.Fatal(err)
	}
	box, _ := secret.New(make([]byte, 32))
	l.Server = arm.New(st, box, everybody{}, slog.New(slog.NewTextHandler(l.log, nil)))
	l.Server.Subscription = strings.TrimPrefix(sub, "/subscriptions/")
	l.room = New(Options{Server: l.Server, Fetcher: linked, Tenant: "tenant", Name: "lido", Locations: []string{"local"}})
	l.Register(l.room.Types()...)
	cages := arm.Document{Name: "Test.Zoo/cages", APIVersions: []string{"2022-01-01", "2020-01-01"}, Async: true, Admit: refer,
		Actions: map[string]arm.Handler{"listKeys": func(context.Context, *arm.Request) (*arm.Response, error) {
			return arm.OK(map[string]any{"keys": []map[string]any{{"value": "cage-key-secret"}}}), nil
		}}}
	l.Register(l.Document(cages), l.Document(arm.Document{Name: "Test.Zoo/nets", APIVersions: []string{"2022-01-01"}, Admit: refer}),
		l.Document(arm.Document{Name: "Test.Zoo/nets/knots", APIVersions: []string{"2022-01-01"}, NoLocation: true}))
	ctx, cancel := context.WithCancel(context.Background())
	l.cancel = cancel
	l.wg.Go(func() { l.room.Run(ctx) })
	l.wg.Go(func() { l.keep(ctx) })
}

func (l *lido) down() {
	l.cancel()
	l.wg.Wait()
	l.Store.Close()
}

// refer notes what properties.uses mentions.
func refer(_ context.Context, a *arm.Admission) error {
	props, _ := a.Body["properties"].(map[string]any)
	a.Refs = []string{}
	if u, ok := props["uses"].(string); ok {
		if _, err := a.Tx.Get(u); err != nil {
			return arm.BadRequest("InvalidResourceReference", "properties.uses", "Resource %s referenced by resource %s was not found.", u, a.ID)
		}
		a.Refs = []string{u}
	}
	if props["reject"] != nil {
		return arm.BadRequest("PropertyRejected", "properties.reject", "The value '%v' cannot be.", props["reject"])
	}
	return nil
}

// keep is the reconciler of cages.
func (l *lido) keep(ctx context.Context) {
	s := l.Store.Subscribe("Test.Zoo/cages")
	defer s.Close()
	for {
		l.keepOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-s.C:
		}
	}
}

func (l *lido) keepOnce(ctx context.Context) {
	var docs []*store.Doc
	l.Store.View(ctx, func(tx *store.Tx) (err error) {
		docs, err = tx.List(store.Query{Type: "Test.Zoo/cages"})
		return err
	})
	for _, d := range docs {
		var st arm.Status
		json.Unmarshal(d.Status, &st)
		if st.Settled >= d.Generation && !d.Deleting {
			continue
		}
		if l.hold != nil {
			select {
			case <-l.hold:
			case <-ctx.Done():
				return
			}
		}
		l.Store.Update(ctx, func(tx *store.Tx) error { return l.settle(tx, d) })
	}
}

func (l *lido) settle(tx *store.Tx, d *store.Doc) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	name := arm.ParsePath(d.ID).Name()
	if d.Deleting {
		l.built = append(l.built, "-"+name)
		return l.Gone(tx, d)
	}
	l.built = append(l.built, name)
	failure := l.broken[name]
	st := arm.Status{Settled: d.Generation, ProvisioningState: arm.Succeeded, Error: failure}
	if failure != nil {
		st.ProvisioningState = arm.Failed
	}
	return errors.Join(tx.SetStatus(d.ID, d.UID, st), l.SettleWrites(tx, d, d.Generation, failure))
}

func (l *lido) call(method, path, body string) (int, map[string]any, http.Header) {
	l.Helper()
	path, query, _ := strings.Cut(path, "?")
	r := httptest.NewRequest(method, path+"?api-version=2021-04-01&"+query, strings.NewReader(body))
	w := httptest.NewRecorder()
	l.ServeHTTP(w, r)
	m := map[string]any{}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			l.Fatalf("%s %s: %v in %q", method, path, err, w.Body)
		}
	}
	return w.Code, m, w.Header()
}

// ok calls and wants success.
func (l *lido) ok(method, path, body string) map[string]any {
	l.Helper()
	code, m, _ := l.call(method, path, body)
	if code >= 300 {
		l.Fatalf("%s %s: %d %v", method, path, code, pretty(m))
	}
	return m
}

func pretty(v any) string {
	b, _ := json.MarshalIndent(v, "", " ")
	return string(b)
}

// poll asks the operation that a response started until it has ended and returns its status document.
func (l *lido) poll(h http.Header) map[string]any {
	l.Helper()
	where := h.Get("Azure-AsyncOperation")
	if where == "" {
		l.Fatalf("no operation: %v", h)
	}
	where = strings.TrimPrefix(where, "https://example.com")
	where, _, _ = strings.Cut(where, "?")
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, m, _ := l.call("GET", where, ""); m["status"] != arm.InProgress {
			return m
		}
	}
	l.Fatalf("%s does not end\n%s", where, l.errors())
	return nil
}

const deployments = sub + "/resourcegroups/ZOO/providers/Microsoft.Resources/deployments/"

// deploy runs a deployment to its end and returns its operation's status document and the deployment.
func (l *lido) deploy(name, properties string) (op, deployment map[string]any) {
	l.Helper()
	code, m, h := l.call("PUT", deployments+name, `{"properties": {`+properties+`}}`)
	if code >= 300 {
		l.Fatalf("PUT deployment: %d %v", code, pretty(m))
	}
	op = l.poll(h)
	return op, l.ok("GET", deployments+name, "")
}

// at follows names and numbers through decoded JSON.
func at(v any, way ...any) any {
	for _, step := range way {
		switch step := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[step]
		case int:
			a, _ := v.([]any)
			if step >= len(a) {
				return nil
			}
			v = a[step]
		}
	}
	return v
}

const head = `"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0", `

// errors are the log's lines about errors.
func (l *lido) errors() string {
	var out []string
	for _, line := range strings.Split(l.log.String(), "\n") {
		if strings.Contains(line, "level=ERROR") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "\n")
}
