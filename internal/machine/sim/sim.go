// Package sim makes machines that exist in memory only: thousands of them cost next to nothing. It passes the same
// contract suite as real engines, so what is tried on it at scale holds for them. It is never used to serve people.
package sim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"lido.dev/lido/internal/machine"
)

// tries is how often a start is tried before the machine is Failed.
const tries = 3

// Config makes simulated machines slow, faulty or talkative. The zero value makes them instant and silent.
type Config struct {
	CreateDelay, StartDelay, StopDelay, DeleteDelay time.Duration
	// RestartDelay passes between a crash and the next start.
	RestartDelay time.Duration
	// Fail is asked at each start; an error makes that start fail.
	Fail func(spec machine.Spec) error
	// Exec answers commands; nil answers each with exit code 0.
	Exec func(ctx context.Context, id string, c machine.Command) (int, error)
	Now  func() time.Time
}

// Engine is a simulated engine. Make one with New.
type Engine struct {
	cfg Config

	mu       sync.Mutex
	machines map[string]*box
	watchers map[int]func(string)
	nextW    int
}

// box is one simulated machine; its mutex is held over whole operations, delays included.
type box struct {
	mu   sync.Mutex
	gone bool

	infoMu sync.Mutex // guards info alone, so that Get and List never wait for a delay
	info   machine.Info
}

var _ machine.Engine = (*Engine)(nil)

// New returns an engine without machines.
func New(cfg Config) *Engine {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Engine{cfg: cfg, machines: map[string]*box{}, watchers: map[int]func(string){}}
}

func (e *Engine) find(id string) (*box, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if b := e.machines[id]; b != nil {
		return b, nil
	}
	return nil, fmt.Errorf("machine %q: %w", id, machine.ErrNotFound)
}

// locked finds the machine and locks it for an operation.
func (e *Engine) locked(id string) (*box, error) {
	b, err := e.find(id)
	if err != nil {
		return nil, err
	}
	b.mu.Lock()
	if b.gone {
		b.mu.Unlock()
		return nil, fmt.Errorf("machine %q: %w", id, machine.ErrNotFound)
	}
	return b, nil
}

func (b *box) get() machine.Info {
	b.infoMu.Lock()
	defer b.infoMu.Unlock()
	i := b.info
	i.Mounts = slices.Clone(i.Mounts)
	return i
}

func (b *box) update(f func(*machine.Info)) {
	b.infoMu.Lock()
	defer b.infoMu.Unlock()
	f(&b.info)
}

// Create makes a machine.
func (e *Engine) Create(ctx context.Context, spec machine.Spec) error {
	e.mu.Lock()
	b := e.machines[spec.ID]
	if b != nil {
		e.mu.Unlock()
		if !same(b.get().Spec, spec) {
			return fmt.Errorf("machine %q: %w", spec.ID, machine.ErrExists)
		}
		return nil
	}
	b = &box{info: machine.Info{ID: spec.ID, Spec: spec, State: machine.Created, Mounts: slices.Clone(spec.Mounts)}}
	b.mu.Lock()
	defer b.mu.Unlock()
	e.machines[spec.ID] = b
	e.mu.Unlock()
	if err := sleep(ctx, e.cfg.CreateDelay); err != nil {
		e.forget(b)
		return err
	}
	return nil
}

func same(a, b machine.Spec) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// Start boots a machine.
func (e *Engine) Start(ctx context.Context, id string) error {
	b, err := e.locked(id)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	if b.get().State == machine.Running {
		return nil
	}
	return e.boot(ctx, b)
}

// boot tries to start the machine as often as a real engine would.
func (e *Engine) boot(ctx context.Context, b *box) error {
	var err error
	for range tries {
		b.update(func(i *machine.Info) { i.Boots++ })
		if err = sleep(ctx, e.cfg.StartDelay); err != nil {
			return err
		}
		if err = e.fails(b); err == nil {
			b.update(func(i *machine.Info) { i.State, i.Reason, i.StartedAt = machine.Running, "", e.cfg.Now() })
			return nil
		}
	}
	b.update(func(i *machine.Info) {
		i.State, i.StoppedAt = machine.Failed, e.cfg.Now()
		i.Reason = fmt.Sprintf("start failed %d times in a row: %v", tries, err)
	})
	return fmt.Errorf("start machine %q: %w", b.info.ID, err)
}

func (e *Engine) fails(b *box) error {
	if e.cfg.Fail == nil {
		return nil
	}
	return e.cfg.Fail(b.get().Spec)
}

// Stop shuts a machine down.
func (e *Engine) Stop(ctx context.Context, id string, grace time.Duration) error {
	b, err := e.locked(id)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	if s := b.get().State; s != machine.Running {
		return nil
	}
	if err := sleep(ctx, min(grace, e.cfg.StopDelay)); err != nil {
		return err
	}
	b.update(func(i *machine.Info) { i.State, i.StoppedAt = machine.Stopped, e.cfg.Now() })
	return nil
}

// Delete removes a machine.
func (e *Engine) Delete(ctx context.Context, id string) error {
	b, err := e.locked(id)
	if errors.Is(err, machine.ErrNotFound) {
		return nil
	}
	defer b.mu.Unlock()
	if err := sleep(ctx, e.cfg.DeleteDelay); err != nil {
		return err
	}
	e.forget(b)
	return nil
}

func (e *Engine) forget(b *box) {
	b.gone = true
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.machines, b.info.ID)
}

// Get returns a machine.
func (e *Engine) Get(_ context.Context, id string) (machine.Info, error) {
	b, err := e.find(id)
	if err != nil {
		return machine.Info{}, err
	}
	return b.get(), nil
}

// List returns all machines, ordered by id.
func (e *Engine) List(context.Context) ([]machine.Info, error) {
	e.mu.Lock()
	boxes := make([]*box, 0, len(e.machines))
	for _, b := range e.machines {
		boxes = append(boxes, b)
	}
	e.mu.Unlock()
	infos := make([]machine.Info, len(boxes))
	for i, b := range boxes {
		infos[i] = b.get()
	}
	slices.SortFunc(infos, func(a, b machine.Info) int { return strings.Compare(a.ID, b.ID) })
	return infos, nil
}

// Exec answers a command by Config.Exec.
func (e *Engine) Exec(ctx context.Context, id string, c machine.Command) (int, error) {
	b, err := e.find(id)
	if err != nil {
		return -1, err
	}
	if b.get().State != machine.Running {
		return -1, fmt.Errorf("machine %q: %w", id, machine.ErrNotRunning)
	}
	if e.cfg.Exec == nil {
		return 0, nil
	}
	return e.cfg.Exec(ctx, id, c)
}

// Mount notes a mount.
func (e *Engine) Mount(_ context.Context, id string, m machine.Mount) error {
	b, err := e.locked(id)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" {
		return fmt.Errorf("machine %q: mount target %q is not an absolute path below /", id, m.Target)
	}
	m.Target = path.Clean(m.Target)
	for _, o := range b.get().Mounts {
		if o.Target == m.Target && o != m {
			return fmt.Errorf("machine %q: %s at %s: %w", id, o.Source, m.Target, machine.ErrMounted)
		}
		if o == m {
			return nil
		}
	}
	b.update(func(i *machine.Info) { i.Mounts = append(i.Mounts, m) })
	return nil
}

// Unmount forgets a mount.
func (e *Engine) Unmount(_ context.Context, id string, target string) error {
	b, err := e.locked(id)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	b.update(func(i *machine.Info) {
		i.Mounts = slices.DeleteFunc(i.Mounts, func(m machine.Mount) bool { return m.Target == path.Clean(target) })
	})
	return nil
}
