package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"log/slog"
	"sync"
	"syscall"
	"time"
)

// Agent is the program in a node. Make one with NewAgent, then Run it.
type Agent struct {
	AgentConfig
	instance string
	started  time.Time
	host     *host
	groups   *groups // nil if there are no cgroups to write

	mu        sync.Mutex
	tasks     map[string]*running
	jobs      map[string]*job
	forgotten memory
	changed   []string      // ids of tasks whose reports are to be sent, in order, each once
	wake      chan struct{} // an element means that changed is not empty
}

// AgentConfig is what an Agent is made of.
type AgentConfig struct {
	Socket string // the host's; empty means GuestDir/host.sock
	Enter  string // socket by which processes enter jobs, such as EnterSocket; empty means none
	Cgroup string // where jobs' cgroups go: "" finds out, "none" has none
	Log    *slog.Logger
	Now    func() time.Time
}

// HostSocket is where a machine finds the host's socket.
const HostSocket = "/run/lido/host.sock"

// NewAgent makes an agent that knows of no task.
func NewAgent(c AgentConfig) *Agent {
	if c.Socket == "" {
		c.Socket = HostSocket
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	var id [8]byte
	rand.Read(id[:])
	a := &Agent{AgentConfig: c, instance: hex.EncodeToString(id[:]), started: c.Now(), host: newHost(c.Socket),
		tasks: map[string]*running{}, jobs: map[string]*job{}, wake: make(chan struct{}, 1)}
	a.groups = openGroups(c.Cgroup, c.Log)
	return a
}

// How long the agent waits before it looks for the host again: so short that nobody waits for it after a restart of
// lido, and a connect to a socket that nobody listens on costs nothing to speak of.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 50 * time.Millisecond
)

// Run serves the host until ctx ends; then it kills what runs.
func (a *Agent) Run(ctx context.Context) error {
	defer a.killAll()
	if a.Enter != "" {
		l, err := a.listenEnter(a.Enter)
		if err != nil {
			return err
		}
		defer l.Close()
	}
	wait := firstRetry
	for {
		greeted, err := a.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if greeted {
			wait = firstRetry
			a.Log.Info("the host is gone", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, lastRetry)
	}
}

// obey carries out an order. It does not wait for what takes time.
func (a *Agent) obey(o Order) {
	if o.Instance != "" && o.Instance != a.instance {
		return
	}
	if o.Run != nil {
		a.begin(o.Run)
	}
	if o.Stop != "" {
		a.stop(o.Stop)
	}
	for _, id := range o.Forget {
		a.forget(id)
	}
}

// begin runs a task that is not known yet.
func (a *Agent) begin(t *Task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.tasks[t.ID] != nil || a.forgotten.has(t.ID) {
		return
	}
	r := a.newRunningLocked(t)
	go func() {
		a.run(r)
		r.cancel()
	}()
}

// stop ends a task in order. One that never came is noted as ended, so that it does not run when it comes late.
func (a *Agent) stop(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.tasks[id]
	if r == nil && !a.forgotten.has(id) {
		a.tasks[id] = &running{task: &Task{ID: id}, report: Report{ID: id, State: Ended, Stopped: StopAsked, ExitCode: 128 + int(syscall.SIGTERM)}}
		a.changeLocked(id)
		return
	}
	if r != nil {
		r.stop(StopAsked)
	}
}

// forget drops a task's report, and kills the task if it runs.
func (a *Agent) forget(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.tasks[id]
	if r == nil {
		return
	}
	a.forgotten.add(id)
	r.forgotten = true
	if r.report.State == Ended {
		a.removeLocked(r)
		return
	}
	r.kill()
}

// removeLocked drops a task that has ended, and its job's cgroup with the last one.
func (a *Agent) removeLocked(r *running) {
	delete(a.tasks, r.task.ID)
	j := r.job
	if j == nil {
		return
	}
	if j.tasks--; j.tasks == 0 {
		delete(a.jobs, j.name)
		j.group.remove()
		j.closeBoxes()
	}
}

// set changes a task's report and has it sent.
func (a *Agent) set(r *running, f func(*Report)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f(&r.report)
	if r.forgotten {
		if r.report.State == Ended {
			a.removeLocked(r)
		}
		return
	}
	a.changeLocked(r.task.ID)
}

func (a *Agent) changeLocked(id string) {
	a.changed = append(a.changed, id)
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// killAll kills what runs, when the agent ends.
func (a *Agent) killAll() {
	a.mu.Lock()
	var all []*running
	for _, r := range a.tasks {
		if r.report.State != Ended {
			r.kill()
			all = append(all, r)
		}
	}
	a.mu.Unlock()
	patience := time.After(5 * time.Second)
	for _, r := range all {
		select {
		case <-r.over:
		case <-patience:
			return
		}
	}
}

// memory remembers the ids that were forgotten last, against orders that come twice.
type memory struct {
	ids  map[string]bool
	ring []string
	next int
}

const memorySize = 4096

func (m *memory) has(id string) bool { return m.ids[id] }

func (m *memory) add(id string) {
	if m.ids == nil {
		m.ids = map[string]bool{}
	}
	if m.ids[id] {
		return
	}
	m.ids[id] = true
	if len(m.ring) < memorySize {
		m.ring = append(m.ring, id)
		return
	}
	delete(m.ids, m.ring[m.next])
	m.ring[m.next] = id
	m.next = (m.next + 1) % memorySize
}
