// Package runc makes machines as unprivileged system containers on this host: Debian's runc makes the container, conmon
// watches over its init, systemd runs inside. See DESIGN.md for the how and why.
package runc

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
)

// Config says where an engine keeps its things and what it may use.
type Config struct {
	Dir    string // records and root file systems, kept over a reboot of the host
	RunDir string // runtime state, lost at a reboot of the host (below /run)
	Tag    string // tells the things of this engine from those of others on the host

	// UIDBase and UIDCount bound the host uids that machines may be given, 65,536 each. Zero means the part of the
	// uid space that no distribution hands out.
	UIDBase, UIDCount uint32
	// SharedDir is what the engines of this host share: claims of uid ranges, mount points, lxcfs. Machines' mapped
	// users must be able to pass through it. Empty means /run/lido.
	SharedDir string

	Restart RestartPolicy
	Log     *slog.Logger
	Now     func() time.Time
	// OnStep, for tests, is called with the name of each step of a sequence before it is done.
	OnStep func(step string)
}

// Engine makes machines with runc. Make one with Open.
type Engine struct {
	cfg  Config
	host hostInfo
	lock *os.File // held while this engine owns Config.Dir
	log  *slog.Logger

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	machines map[string]*box
	watchers map[int]func(string)
	nextW    int

	infoMu sync.RWMutex
	infos  map[string]machine.Info // as last recorded, so that nobody waits for a sequence to look at a machine

	strays map[string][]int // while opening: processes that work on a machine's container

	cpuMu   sync.Mutex
	cpuSets map[string]string // which CPUs each machine was given
}

// box is one machine as the engine holds it. Its mutex is held over every sequence that changes the machine.
type box struct {
	id string

	mu   sync.Mutex
	rec  record
	gone bool // deleted; a waiter for mu must look again
	run  *running
}

var errClosed = errors.New("machine engine is closed")

var _ machine.Engine = (*Engine)(nil)

// Open takes over the machines in cfg.Dir: it finishes what a dead process left half done, watches those that run and
// boots those that should. Only one engine at a time may have a directory open.
func Open(cfg Config) (*Engine, error) {
	fillDefaults(&cfg)
	host, err := inspectHost()
	if err != nil {
		return nil, fmt.Errorf("machine engine: %w", err)
	}
	e := &Engine{cfg: cfg, host: host, log: cfg.Log, machines: map[string]*box{}, watchers: map[int]func(string){}, infos: map[string]machine.Info{}, cpuSets: map[string]string{}}
	e.ctx, e.cancel = context.WithCancel(context.Background())
	if err := e.makeDirs(); err != nil {
		return nil, fmt.Errorf("machine engine: %w", err)
	}
	if e.lock, err = lockDir(cfg.Dir); err != nil {
		return nil, err
	}
	e.wantLXCFS()
	if err := e.adoptAll(); err != nil {
		e.Close()
		return nil, fmt.Errorf("machine engine: %w", err)
	}
	return e, nil
}

func (e *Engine) makeDirs() error {
	if err := os.MkdirAll(e.rangesDir(), 0o755); err != nil {
		return err
	}
	if err := os.Chmod(e.cfg.SharedDir, 0o755); err != nil {
		return err
	}
	for _, d := range []string{e.cfg.Dir, e.cfg.RunDir, e.stateDir()} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return err
		}
	}
	return nil
}

func fillDefaults(c *Config) {
	if c.UIDBase == 0 {
		c.UIDBase, c.UIDCount = UIDBase, uidCount
	}
	if c.SharedDir == "" {
		c.SharedDir = "/run/lido"
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	c.Restart.fillDefaults()
}

func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("machine engine: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("machine engine: %s is in use by another process; stop that one first: %w", dir, err)
	}
	return f, nil
}

// Close stops watching. Machines run on.
func (e *Engine) Close() error {
	e.cancel()
	e.wg.Wait()
	return e.lock.Close()
}

// step marks a point at which a crash must do no harm.
func (e *Engine) step(name string) {
	if e.cfg.OnStep != nil {
		e.cfg.OnStep(name)
	}
}

func (e *Engine) stateDir() string             { return filepath.Join(e.cfg.RunDir, "runc") }
func (e *Engine) rangesDir() string            { return filepath.Join(e.cfg.SharedDir, "ranges") }
func (e *Engine) dir(id string) string         { return filepath.Join(e.cfg.Dir, id) }
func (e *Engine) bundle(id string) string      { return filepath.Join(e.cfg.RunDir, "m", id) }
func (e *Engine) consolePath(id string) string { return filepath.Join(e.dir(id), "console.log") }
func (e *Engine) exitDir(id string) string     { return filepath.Join(e.dir(id), "exit") }
func (e *Engine) layers(id string) string      { return filepath.Join(e.dir(id), "root") }
func (e *Engine) upper(id string) string       { return filepath.Join(e.layers(id), "upper") }
func (e *Engine) recordPath(id string) string  { return filepath.Join(e.dir(id), "machine.json") }

// box returns the machine with that id, locked, or ErrNotFound.
func (e *Engine) box(id string) (*box, error) {
	e.mu.Lock()
	b := e.machines[id]
	e.mu.Unlock()
	if b == nil {
		return nil, fmt.Errorf("machine %q: %w", id, machine.ErrNotFound)
	}
	b.mu.Lock()
	if b.gone {
		b.mu.Unlock()
		return nil, fmt.Errorf("machine %q: %w", id, machine.ErrNotFound)
	}
	return b, nil
}

// Get returns one machine. Like List it never waits for what is being done to a machine.
func (e *Engine) Get(_ context.Context, id string) (machine.Info, error) {
	e.infoMu.RLock()
	defer e.infoMu.RUnlock()
	info, ok := e.infos[id]
	if !ok {
		return machine.Info{}, fmt.Errorf("machine %q: %w", id, machine.ErrNotFound)
	}
	return info, nil
}

// List returns all machines, ordered by id.
func (e *Engine) List(context.Context) ([]machine.Info, error) {
	e.infoMu.RLock()
	defer e.infoMu.RUnlock()
	return slices.SortedFunc(maps.Values(e.infos), func(a, b machine.Info) int { return strings.Compare(a.ID, b.ID) }), nil
}

// publish makes a record visible, once the machine is whole.
func (e *Engine) publish(r *record) {
	if r.Phase == creating {
		return
	}
	e.infoMu.Lock()
	defer e.infoMu.Unlock()
	e.infos[r.Spec.ID] = r.info()
}

// Watch calls notify whenever a machine changed by itself.
func (e *Engine) Watch(ctx context.Context, notify func(id string)) error {
	e.mu.Lock()
	n := e.nextW
	e.nextW++
	e.watchers[n] = notify
	e.mu.Unlock()
	defer func() {
		e.mu.Lock()
		delete(e.watchers, n)
		e.mu.Unlock()
	}()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-e.ctx.Done():
		return errClosed
	}
}

// notify tells the watchers, on a goroutine of its own: its caller may hold a machine's mutex, and a watcher may ask
// about that machine.
func (e *Engine) notify(id string) {
	e.mu.Lock()
	fns := slices.Collect(maps.Values(e.watchers))
	e.mu.Unlock()
	e.wg.Go(func() {
		for _, f := range fns {
			f(id)
		}
	})
}

// recordedIDs lists the machines that have a directory.
func (e *Engine) recordedIDs() ([]string, error) {
	entries, err := os.ReadDir(e.cfg.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var ids []string
	for _, d := range entries {
		if d.IsDir() && !strings.HasPrefix(d.Name(), ".") {
			ids = append(ids, d.Name())
		}
	}
	return ids, err
}
