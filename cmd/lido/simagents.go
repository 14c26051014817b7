package main

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/node"
)

// simAgents gives each simulated machine an agent, which speaks with the hub as a real one does, in this process. Their
// commands do nothing: one ends at once with 0, after N seconds if its last line has "sleep N", with N if it ends in
// "exit N".
type simAgents struct {
	engine machine.Engine
	hub    *node.Hub
	agents map[string]*simAgent // by machine
}

const simLook = 20 * time.Millisecond // how soon an agent follows its machine

// run looks at the machines until ctx ends.
func (s *simAgents) run(ctx context.Context) error {
	s.agents = map[string]*simAgent{}
	for {
		began := time.Now()
		infos, err := s.engine.List(ctx)
		if err != nil {
			return err
		}
		s.follow(ctx, infos)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(simLook, 20*time.Since(began))):
		}
	}
}

// follow starts the agents of machines that run, anew for each boot, and ends the others.
func (s *simAgents) follow(ctx context.Context, infos []machine.Info) {
	running := map[string]bool{}
	for _, m := range infos {
		if m.State != machine.Running {
			continue
		}
		running[m.ID] = true
		if a := s.agents[m.ID]; a != nil && a.booted.Equal(m.StartedAt) {
			continue
		} else if a != nil {
			a.conn.Close()
		}
		s.agents[m.ID] = startSimAgent(ctx, s.hub, m)
	}
	for id, a := range s.agents {
		if !running[id] {
			a.conn.Close()
			delete(s.agents, id)
		}
	}
}

// simAgent is the agent of one boot of a simulated machine.
type simAgent struct {
	booted time.Time
	conn   net.Conn

	mu    sync.Mutex
	out   *json.Encoder
	tasks map[string]*simTask
}

type simTask struct {
	report node.Report
	end    *time.Timer
}

func startSimAgent(ctx context.Context, hub *node.Hub, m machine.Info) *simAgent {
	ours, theirs := net.Pipe()
	a := &simAgent{booted: m.StartedAt, conn: ours, out: json.NewEncoder(ours), tasks: map[string]*simTask{}}
	context.AfterFunc(ctx, func() { ours.Close() })
	go hub.Serve(hijacked{theirs}, &http.Request{Header: http.Header{"Upgrade": {node.Protocol}}}, m.ID)
	go a.serve()
	return a
}

// serve says Hello and obeys until the connection ends.
func (a *simAgent) serve() {
	defer a.conn.Close()
	r := bufio.NewReader(a.conn)
	if _, err := http.ReadResponse(r, nil); err != nil {
		return
	}
	now := time.Now()
	a.say(node.Message{Hello: &node.Hello{Instance: uuid.NewString(), Started: now, Booted: a.booted}})
	d := json.NewDecoder(r)
	for {
		var o node.Order
		if d.Decode(&o) != nil {
			return
		}
		a.obey(o)
	}
}

func (a *simAgent) say(m node.Message) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.out.Encode(m)
}

func (a *simAgent) obey(o node.Order) {
	switch {
	case o.Run != nil:
		a.begin(o.Run)
	case o.Stop != "":
		a.stop(o.Stop)
	}
	for _, id := range o.Forget {
		a.mu.Lock()
		if t := a.tasks[id]; t != nil && t.report.State == node.Ended {
			delete(a.tasks, id)
		}
		a.mu.Unlock()
	}
}

// begin runs a task, unless it is known.
func (a *simAgent) begin(t *node.Task) {
	after, code := simCommand(t.Command)
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tasks[t.ID] != nil {
		return
	}
	task := &simTask{report: node.Report{ID: t.ID, Job: t.Job, State: node.Running, Start: time.Now()}}
	a.tasks[t.ID] = task
	if after == 0 {
		a.endLocked(task, code, "")
		return
	}
	a.out.Encode(node.Message{Report: &task.report})
	stopped := ""
	if t.Limit > 0 && t.Limit < after {
		after, code, stopped = t.Limit, 128+15, node.StopLimit
	}
	task.end = time.AfterFunc(after, func() { a.finish(t.ID, code, stopped) })
}

func (a *simAgent) finish(id string, code int, stopped string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tasks[id]; t != nil && t.report.State != node.Ended {
		a.endLocked(t, code, stopped)
	}
}

// stop ends a task. One that is not known will not run when it comes late.
func (a *simAgent) stop(id string) {
	a.mu.Lock()
	if a.tasks[id] == nil {
		a.tasks[id] = &simTask{report: node.Report{ID: id, State: node.Running}}
	}
	a.mu.Unlock()
	a.finish(id, 128+15, node.StopAsked)
}

func (a *simAgent) endLocked(t *simTask, code int, stopped string) {
	if t.end != nil {
		t.end.Stop()
	}
	t.report.State, t.report.End, t.report.ExitCode, t.report.Stopped = node.Ended, time.Now(), code, stopped
	a.out.Encode(node.Message{Report: &t.report})
}

var (
	simSleep = regexp.MustCompile(`(?:^|[;&'"] *)sleep ([0-9.]+)`)
	simExit  = regexp.MustCompile(`(?:^|; *)exit ([0-9]+)['"]?$`)
)

// simCommand says how long a command would take and what it would end with.
func simCommand(command string) (after time.Duration, code int) {
	lines := strings.Split(strings.TrimSpace(command), "\n")
	last := lines[len(lines)-1]
	if m := simSleep.FindStringSubmatch(last); m != nil {
		seconds, _ := strconv.ParseFloat(m[1], 64)
		after = time.Duration(seconds * float64(time.Second))
	}
	if m := simExit.FindStringSubmatch(last); m != nil {
		code, _ = strconv.Atoi(m[1])
	}
	return after, code
}

// hijacked is a connection as a hub takes it over from an HTTP server.
type hijacked struct{ net.Conn }

func (h hijacked) Header() http.Header { return http.Header{} }
func (h hijacked) WriteHeader(int)     {}

func (h hijacked) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.Conn, bufio.NewReadWriter(bufio.NewReader(h.Conn), bufio.NewWriter(h.Conn)), nil
}
