package node

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// pair is an agent, in this process, and a hub that can be restarted.
type pair struct {
	t      testing.TB
	socket string
	hub    *Hub
	server *http.Server
	events chan Event
	dir    string
}

const machine1 = "m1"

func newPair(t testing.TB) *pair {
	t.Helper()
	dir, err := os.MkdirTemp("", "node")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	p := &pair{t: t, socket: filepath.Join(dir, "host.sock"), dir: dir, events: make(chan Event, 10000)}
	p.up()
	t.Cleanup(p.down)
	return p
}

// agent runs an agent until the function that it returns is called, or the test's end.
func (p *pair) agent() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	a := NewAgent(AgentConfig{Socket: p.socket, Cgroup: "none", Log: slog.New(slog.DiscardHandler)})
	var wg sync.WaitGroup
	wg.Go(func() { a.Run(ctx) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	p.t.Cleanup(stop)
	return stop
}

func (p *pair) up() {
	p.t.Helper()
	os.Remove(p.socket)
	l, err := net.Listen("unix", p.socket)
	if err != nil {
		p.t.Fatal(err)
	}
	os.Chmod(p.socket, 0o666) // a machine's root, too, may use it
	p.hub = NewHub(nil)
	p.hub.Listen(func(e Event) { p.events <- e })
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/node", func(w http.ResponseWriter, r *http.Request) { p.hub.Serve(w, r, machine1) })
	mux.HandleFunc("POST /v1/mount", func(w http.ResponseWriter, r *http.Request) {
		if r.FormValue("password") != "right" {
			http.Error(w, "mount error(13): Permission denied", http.StatusForbidden)
		}
	})
	p.server = &http.Server{Handler: mux}
	go p.server.Serve(l)
}

func (p *pair) down() {
	p.hub.Close()
	p.server.Close()
}

func (p *pair) next() Event {
	p.t.Helper()
	select {
	case e := <-p.events:
		return e
	case <-time.After(20 * time.Second):
		p.t.Fatal("no event")
		return Event{}
	}
}

func (p *pair) hello() *Hello {
	p.t.Helper()
	for {
		if e := p.next(); e.Hello != nil {
			return e.Hello
		}
	}
}

// state waits for a task's report with a state.
func (p *pair) state(id string, s State) Report {
	p.t.Helper()
	for {
		if e := p.next(); e.Report != nil && e.Report.ID == id && e.Report.State == s {
			return *e.Report
		}
	}
}

func (p *pair) send(o Order) {
	p.t.Helper()
	if err := p.hub.Send(machine1, o); err != nil {
		p.t.Fatal(err)
	}
}

func (p *pair) run(t Task) Report {
	p.t.Helper()
	p.send(Order{Run: &t})
	return p.state(t.ID, Ended)
}

func TestTask(t *testing.T) {
	p := newPair(t)
	p.agent()
	if h := p.hello(); h.Instance == "" || h.Booted.IsZero() || time.Since(h.Booted) < 0 {
		t.Errorf("hello: %+v", h)
	}
	out, log := filepath.Join(p.dir, "deep/out/stdout.txt"), filepath.Join(p.dir, "execution.log")
	task := Task{ID: "a", Job: "j", Dirs: []string{filepath.Join(p.dir, "wd/sub")}, Dir: filepath.Join(p.dir, "wd"), Env: map[string]string{"WHO": "you"},
		Files: []File{{Path: filepath.Join(p.dir, "etc/hosts"), Data: "one\n", Mode: 0o600}}, Stdout: out, Stderr: out, Log: log,
		Mounts:  []Mount{{Kind: "cifs", Source: "//a.file.core.lido.internal/s", Target: "/mnt/x", Password: "right"}},
		Command: `echo "hi $WHO"; pwd; cat ../etc/hosts; stat -c %a ../etc/hosts; echo err >&2; exit 3`}
	r := p.run(task)
	if r.ExitCode != 3 || r.Failure != "" || r.Start.IsZero() || r.End.Before(r.Start) || r.Usage.PeakMemory == 0 {
		t.Errorf("%+v", r)
	}
	if got, _ := os.ReadFile(out); string(got) != "hi you\n"+p.dir+"/wd\none\n600\nerr\n" {
		t.Errorf("output %q", got)
	}
	if got, _ := os.ReadFile(log); !strings.Contains(string(got), "mounted //a.file") || !strings.Contains(string(got), "exit code 3") {
		t.Errorf("log %q", got)
	}
	task.ID = "a2"
	if r := p.run(task); !strings.HasSuffix(r.Output, "\n600\nerr\n") || strings.Count(r.Output, "err") != 1 {
		t.Errorf("%+v", r)
	}
	if r := p.run(Task{ID: "b", Job: "j", Command: "seq 100000; echo end; (sleep 100 & ); kill -9 $$"}); r.ExitCode != 137 || !strings.HasSuffix(r.Output, "\nend\n") || len(r.Output) > kept {
		t.Errorf("%+v", r)
	}
}

func TestFailures(t *testing.T) {
	p := newPair(t)
	p.agent()
	p.hello()
	for _, c := range []struct {
		task       Task
		code, text string
	}{
		{Task{Mounts: []Mount{{Kind: "cifs", Source: "//a/s", Target: "/mnt/x", Password: "wrong"}}}, MountFailed, "mount //a/s at /mnt/x: mount error(13): Permission denied"},
		{Task{Mounts: []Mount{{Kind: "command", Source: "echo secret says no; false", Target: p.dir + "/t"}}}, MountFailed, "says no"},
		{Task{Dirs: []string{"/proc/x/y"}}, DirectoryFailed, "make directory /proc/x/y"},
		{Task{Files: []File{{Path: "/proc/x"}}}, DirectoryFailed, "write /proc/x"},
		{Task{Command: "true", Dir: "/none"}, StartFailed, "working directory /none: no such file"},
		{Task{Command: "true", User: "nobody-here"}, StartFailed, `user "nobody-here"`},
		{Task{Command: "true", Stdout: "/proc/none"}, OutputFailed, "open /proc/none"},
	} {
		c.task.ID = "t" + c.code + c.text
		if r := p.run(c.task); r.Code != c.code || !strings.Contains(r.Failure, c.text) || r.ExitCode == 0 {
			t.Errorf("%+v", r)
		}
	}
	if r := p.run(Task{ID: "x"}); r.Code != "" || r.ExitCode != 0 {
		t.Errorf("nothing to do: %+v", r)
	}
}

// helloAfter has the agent come again until n tasks have ended.
func (p *pair) helloAfter(n int) *Hello {
	p.t.Helper()
	for range 100 {
		time.Sleep(100 * time.Millisecond)
		p.down()
		p.up()
		h := p.hello()
		ended := 0
		for _, r := range h.Tasks {
			if r.State == Ended {
				ended++
			}
		}
		if ended >= n {
			return h
		}
	}
	p.t.Fatal("tasks do not end")
	return nil
}

// TestOnce loses the host at any time, and asks for the same tasks again.
func TestOnce(t *testing.T) {
	p := newPair(t)
	p.agent()
	instance := p.hello().Instance
	side := filepath.Join(p.dir, "side")
	task := func(i int) *Task {
		return &Task{ID: fmt.Sprint("t", i), Job: "j", Command: fmt.Sprintf("echo %d >>%s; sleep 0.05", i, side)}
	}
	const n, rounds = 10, 5
	for range rounds {
		for i := range n {
			p.hub.Send(machine1, Order{Run: task(i)})
		}
		p.down()
		p.up()
		if h := p.hello(); h.Instance != instance {
			t.Fatal("another instance")
		}
	}
	for i := range n {
		p.send(Order{Run: task(i)})
	}
	h := p.helloAfter(n)
	if len(h.Tasks) != n {
		t.Errorf("%d tasks are known, want %d", len(h.Tasks), n)
	}
	for _, r := range h.Tasks {
		if r.State != Ended || r.ExitCode != 0 {
			t.Errorf("%+v", r)
		}
		p.send(Order{Forget: []string{r.ID}})
		p.send(Order{Run: task(0)}) // forgotten or not
	}
	p.run(Task{ID: "last", Command: "true"})
	p.send(Order{Forget: []string{"last"}, Run: &Task{ID: "last2"}})
	p.state("last2", Ended)
	if got, _ := os.ReadFile(side); strings.Count(string(got), "\n") != n {
		t.Errorf("%d tasks ran %d times", n, strings.Count(string(got), "\n"))
	}
	p.down()
	p.up()
	if h := p.hello(); len(h.Tasks) != 1 {
		t.Errorf("not forgotten: %+v", h.Tasks)
	}
}

func TestStop(t *testing.T) {
	p := newPair(t)
	p.agent()
	p.hello()
	p.send(Order{Run: &Task{ID: "soft", Command: `trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done`}})
	p.state("soft", Running)
	time.Sleep(100 * time.Millisecond)
	p.send(Order{Stop: "soft"})
	if r := p.state("soft", Ended); r.Stopped != StopAsked || r.ExitCode != 7 || !strings.HasSuffix(r.Output, "\nbye\n") {
		t.Errorf("%+v", r)
	}
	p.send(Order{Run: &Task{ID: "hard", Grace: 50 * time.Millisecond, Command: `trap "" TERM; sleep 100`}})
	p.state("hard", Running)
	time.Sleep(50 * time.Millisecond)
	p.send(Order{Stop: "hard"})
	if r := p.state("hard", Ended); r.Stopped != StopAsked || r.ExitCode != 137 {
		t.Errorf("%+v", r)
	}
	if r := p.run(Task{ID: "late", Limit: 50 * time.Millisecond, Command: `sleep 100`}); r.Stopped != StopLimit || r.ExitCode != 143 {
		t.Errorf("%+v", r)
	}
	p.send(Order{Stop: "never"})
	if r := p.state("never", Ended); r.Stopped != StopAsked {
		t.Errorf("%+v", r)
	}
	p.send(Order{Run: &Task{ID: "never", Command: "touch " + p.dir + "/never"}})
	p.send(Order{Run: &Task{ID: "wrong", Command: "touch " + p.dir + "/never"}, Instance: "another"})
	p.send(Order{Run: &Task{ID: "dropped", Command: "sleep 100"}})
	p.state("dropped", Running)
	p.send(Order{Forget: []string{"dropped"}})
	p.run(Task{ID: "last", Command: "sleep 0.1"})
	if _, err := os.Stat(p.dir + "/never"); err == nil {
		t.Error("ran after it was stopped")
	}
}

// TestReplace has a second agent come for the same machine, and a listener that is slow.
func TestReplace(t *testing.T) {
	p := newPair(t)
	stop := p.agent()
	first := p.hello().Instance
	p.agent()
	second := p.hello().Instance
	if first == second {
		t.Error("the same instance")
	}
	stop()
	if err := NewHub(nil).Send("other", Order{}); err == nil {
		t.Error("sent to nobody")
	}
}

func TestSlowListener(t *testing.T) {
	p := newPair(t)
	block := make(chan struct{})
	p.hub.listen = func(e Event) {
		if e.Report != nil {
			<-block
		}
		p.events <- e
	}
	p.agent()
	p.hello()
	p.send(Order{Run: &Task{ID: "a", Command: "true"}})
	start := time.Now()
	for i := range 1000 {
		p.send(Order{Stop: fmt.Sprint("x", i)})
	}
	if d := time.Since(start); d > time.Second {
		t.Errorf("Send took %v", d)
	}
	p.send(Order{Run: &Task{ID: "b", Command: "true"}})
	close(block)
	p.state("b", Ended)
}

// BenchmarkTrue is a trivial task from the order to the report of its end.
func BenchmarkTrue(b *testing.B) {
	p := newPair(b)
	p.agent()
	p.hello()
	for i := 0; b.Loop(); i++ {
		id := fmt.Sprint(i)
		p.run(Task{ID: id, Job: "j", Command: "true", Stdout: "/dev/null", Stderr: "/dev/null"})
		p.send(Order{Forget: []string{id}})
	}
}

func TestRemoteShell(t *testing.T) {
	got, err := RemoteShell("j'1", false, []string{"-x", "-l", "me", "host", "PATH=/x ;", "orted -a"})
	want := `ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -x -l me host /usr/local/bin/lido-node node enter 'j'\''1' || exit 1; PATH=/x ; orted -a`
	if err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q %v", got, err)
	}
	got, err = RemoteShell("j", true, []string{"host", "PATH='/x' ;", "orted -a"})
	want = `ssh -q -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null host /usr/local/bin/lido-node node enter 'j' 'PATH='\''/x'\'' ; orted -a'`
	if err != nil || strings.Join(got, " ") != want {
		t.Errorf("%q %v", got, err)
	}
	if _, err := RemoteShell("", false, []string{"host"}); err == nil {
		t.Error("no command")
	}
}
