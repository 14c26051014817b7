package batch

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

type anyone struct{}

func (anyone) Authenticate(*http.Request) (arm.Caller, error)           { return arm.Caller{Name: "ada"}, nil }
func (anyone) Allowed(context.Context, arm.Caller, string, arm.ID) bool { return true }

// rig is a room with a store and real agents in this process. The room can be ended and started again.
type rig struct {
	testing.TB
	dir    string
	agents map[string]*rigAgent
	book   *book

	mu     sync.Mutex
	server *arm.Server
	room   *Room
	hub    *node.Hub
	stop   func()
}

// rigAgent is a node: an agent and the socket by which it reaches the host.
type rigAgent struct {
	name, socket string
	instance     string
	stop         func()
}

const (
	rigWorkspace = "/subscriptions/s/resourceGroups/g/providers/Microsoft.BatchAI/workspaces/w"
	rigCluster   = rigWorkspace + "/clusters/c"
	rigJobs      = rigWorkspace + "/experiments/e/jobs/"
)

func newRig(t testing.TB, nodes int) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "run")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	g := &rig{TB: t, dir: dir, agents: map[string]*rigAgent{}, book: &book{entries: map[string]Entry{}}}
	g.up()
	t.Cleanup(func() { g.down() })
	g.must("PUT", "/subscriptions/s/resourceGroups/g", `{"location":"local"}`)
	g.must("PUT", rigWorkspace, `{"location":"local"}`)
	g.must("PUT", rigWorkspace+"/experiments/e", ``)
	g.must("PUT", rigCluster, fmt.Sprintf(`{"properties":{"vmSize":"STANDARD_D1","scaleSettings":{"manual":{"targetNodeCount":%d}},"userAccountSettings":{"adminUserName":"lido","adminUserPassword":"Pa55word!x"}}}`, nodes))
	for i := range nodes {
		g.startAgent(fmt.Sprintf("n%d", i))
	}
	return g
}

// up starts the room on what is in the store.
func (g *rig) up() {
	st, err := store.Open(filepath.Join(g.dir, "lido.db"))
	if err != nil {
		g.Fatal(err)
	}
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		g.Fatal(err)
	}
	level := slog.LevelError
	if testing.Verbose() {
		level = slog.LevelInfo
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
	s := arm.New(st, box, anyone{}, log)
	hub := node.NewHub(log)
	room := New(Config{Server: s, Store: st, Log: log, Agents: hub, Ledger: g.book})
	room.jobs.root, room.jobs.self = filepath.Join(g.dir, "nodes"), true
	s.Register(s.Document(arm.Document{Name: arm.TypeResourceGroup, APIVersions: []string{"2021-04-01"}}))
	s.Register(room.Types()...)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { room.jobs.run(ctx) })
	g.mu.Lock()
	g.server, g.room, g.hub = s, room, hub
	g.mu.Unlock()
	g.stop = func() {
		cancel()
		hub.Close()
		wg.Wait()
		st.Close()
	}
	hub.Listen(func(e node.Event) {
		room.jobs.hear(e)
		if e.Hello != nil {
			name := strings.TrimPrefix(e.Machine, "m-")
			room.jobs.nodeUp(rigCluster, nodeInfo{Name: name, Machine: e.Machine, Address: "127.0.0.1", Instance: e.Hello.Instance}, 1)
		}
	})
}

// down ends the room in the middle of whatever it does.
func (g *rig) down() {
	g.stop()
}

// startAgent starts a node.
func (g *rig) startAgent(name string) *rigAgent {
	a := &rigAgent{name: name, socket: filepath.Join(g.dir, name+".sock")}
	os.Remove(a.socket)
	l, err := net.Listen("unix", a.socket)
	if err != nil {
		g.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/node", func(w http.ResponseWriter, r *http.Request) {
		g.mu.Lock()
		hub := g.hub
		g.mu.Unlock()
		hub.Serve(w, r, "m-"+name)
	})
	server := &http.Server{Handler: mux}
	go server.Serve(l)
	agent := node.NewAgent(node.AgentConfig{Socket: a.socket, Cgroup: "none", Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { agent.Run(ctx) })
	a.stop = sync.OnceFunc(func() { cancel(); wg.Wait(); server.Close() })
	g.Cleanup(a.stop)
	g.agents[name] = a
	return a
}

func (g *rig) call(method, path, body string) (int, map[string]any) {
	g.mu.Lock()
	s := g.server
	g.mu.Unlock()
	req := httptest.NewRequest(method, path+"?api-version=2018-05-01", strings.NewReader(body))
	req.Header.Set("Authorization", "Bearer x")
	if strings.HasSuffix(path, "/g") {
		req.URL.RawQuery = "api-version=2021-04-01"
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, req)
	m := map[string]any{}
	json.Unmarshal(w.Body.Bytes(), &m)
	return w.Code, m
}

func (g *rig) must(method, path, body string) map[string]any {
	g.Helper()
	code, m := g.call(method, path, body)
	if code >= 300 {
		g.Fatalf("%s %s: %d %v", method, path, code, m)
	}
	return m
}

// submit makes a job; more is further properties, each with a comma before it.
func (g *rig) submit(name string, nodes int, toolkit, more string) {
	g.Helper()
	g.must("PUT", rigJobs+name, fmt.Sprintf(`{"properties":{"cluster":{"id":%q},"nodeCount":%d,"stdOutErrPathPrefix":%q,%s%s}}`, rigCluster, nodes, g.dir+"/out", toolkit, more))
}

func custom(command string) string {
	b, _ := json.Marshal(command)
	return `"customToolkitSettings":{"commandLine":` + string(b) + `}`
}

// status returns what the runner wrote of a job.
func (g *rig) status(name string) (st jobStatus) {
	g.room.Store.View(context.Background(), func(tx *store.Tx) error {
		d, err := tx.Get(rigJobs + name)
		if err != nil {
			return err
		}
		return arm.Decode(d.Status, &st)
	})
	return st
}

// await waits for a state of a job.
func (g *rig) await(name string, ok func(jobStatus) bool) jobStatus {
	g.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		st := g.status(name)
		if ok(st) {
			return st
		}
		if time.Now().After(deadline) {
			g.Fatalf("job %s: still %+v", name, st)
		}
	}
}

func (g *rig) ended(name string) jobStatus {
	g.Helper()
	return g.await(name, func(st jobStatus) bool { return st.ended() })
}

// output returns a file of a job's stdouterr directory.
func (g *rig) output(name, file string) string {
	m, _ := filepath.Glob(filepath.Join(g.dir, "out/*/*/workspaces/w/experiments/e/jobs", name, "*/stdouterr", file))
	var all strings.Builder
	for _, f := range m {
		b, _ := os.ReadFile(f)
		all.Write(b)
	}
	return all.String()
}

// book is a ledger that a test can read.
type book struct {
	mu      sync.Mutex
	entries map[string]Entry
}

func (b *book) Write(_ *store.Tx, e Entry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.entries[e.Key] = e
	return nil
}

func (b *book) get(key string) Entry {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.entries[key]
}
