package compute

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// Config is what a Room is made of. All neighbours are needed.
type Config struct {
	Server *arm.Server
	Store  *store.Store
	Engine machine.Engine
	Log    *slog.Logger

	Network Network
	Images  Images
	Shares  Shares
	Drives  Drives // may be nil
	Fetcher Fetcher
	Keys    Keys

	Sizes        *Sizes         // nil means NewSizes()
	RunDir       string         // directories of guest sockets go below it, e.g. /run/lido/TAG/m; empty means no guest sockets
	GuestProgram string         // an executable of this host that machines find as "lido" at machine.GuestDir; empty means none
	Agents       Agents         // takes the connections of the agents in machines; nil means none
	GuestFiles   []machine.File // what every machine finds besides its own, e.g. authorities to trust
	DrainTimeout time.Duration  // how long surplus instances may keep their sessions; 0 means 2 minutes
	Memory       int64          // bytes that machines may be given together; 0 means the host's times Overcommit
	Overcommit   float64        // 0 means 2.5
	Parallel     int            // machines launched at once; 0 means 4 per CPU
	Now          func() time.Time
}

// Room is Microsoft.Compute. Make one with New, register its Types, then Run it.
type Room struct {
	Config
	ledger   *ledger
	launches *semaphore.Weighted
	writer   *writer
	hashes   passwordHashes
	guests   guests
	progress progress
	busy     sessionCounts

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	started  bool
	sets     map[string]*controller // by key
	freedAt  time.Time
	lastSeen map[string]int64 // generation of each set at the last look
}

// New makes a room. It does nothing until Start.
func New(c Config) *Room {
	if c.Sizes == nil {
		c.Sizes = NewSizes()
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 2 * time.Minute
	}
	if c.Overcommit == 0 {
		c.Overcommit = 2.5
	}
	if c.Memory == 0 {
		c.Memory = int64(float64(hostMemory()) * c.Overcommit)
	}
	if c.Parallel == 0 {
		c.Parallel = 4 * runtime.NumCPU()
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Now == nil {
		c.Now = c.Server.Now
	}
	r := &Room{Config: c, ledger: newLedger(c.Memory), launches: semaphore.NewWeighted(int64(c.Parallel)),
		sets: map[string]*controller{}, lastSeen: map[string]int64{}}
	r.guests.room = r
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.writer = newWriter(r.ctx, r.Store)
	return r
}

// Types are the room's resource types.
func (r *Room) Types() []arm.Type {
	types := []arm.Type{r.Server.Document(r.setDocument()), r.instanceType()}
	types = append(types, r.childTypes()...)
	types = append(types, r.imageTypes()...)
	return append(types, r.sizeTypes()...)
}

// Run starts the room, and closes it when ctx ends.
func (r *Room) Run(ctx context.Context) error {
	if err := r.Start(); err != nil {
		return err
	}
	<-ctx.Done()
	r.Close()
	return nil
}

// Start adopts the machines that exist and begins to reconcile. It returns when that is under way.
func (r *Room) Start() error {
	infos, err := r.Engine.List(r.ctx)
	if err != nil {
		return fmt.Errorf("compute: %w", err)
	}
	if err := r.adopt(infos); err != nil {
		return fmt.Errorf("compute: %w", err)
	}
	r.mu.Lock()
	r.started = true
	r.mu.Unlock()
	sub := r.Store.Subscribe(TypeSet)
	r.goRun(func() { r.watchStore(sub) })
	r.goRun(func() { r.watchEngine() })
	r.goRun(func() { r.resync() })
	r.goRun(func() { r.countSessions() })
	r.goRun(func() { r.renewCerts() })
	r.resumeRuns()
	sub.Wake()
	return nil
}

// Close stops reconciling. Machines run on.
func (r *Room) Close() {
	r.cancel()
	r.guests.close()
	r.wg.Wait()
}

func (r *Room) goRun(f func()) {
	r.wg.Add(1)
	go func() {
		defer r.wg.Done()
		f()
	}()
}
