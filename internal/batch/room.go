package batch

import (
	"context"
	"log/slog"
	"time"

	"golang.org/x/sync/errgroup"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// Config is what a Room is made of.
type Config struct {
	Server     *arm.Server
	Store      *store.Store
	Log        *slog.Logger
	Fleet      Fleet
	Agents     Agents
	Drives     Drives
	Containers Containers
	Ledger     Ledger
	// Image tells whether machines can be made of an image; its error is a sentence for the client. nil accepts all.
	Image func(publisher, offer, sku, version, id string) error
	// Size returns a machine size by its name in any case. nil knows all.
	Size func(name string) (Size, bool)
	// FilesKey signs the links to jobs' files; it is the same after a restart.
	FilesKey  []byte
	FilesURL  func() string // base URL of signed links to jobs' files, e.g. https://127.0.0.1:8443
	IdleAfter time.Duration // how long a node of an autoscaling cluster stays without work; 0 means a minute
	// SetupLimit is how long a cluster's setup task may take on a node; 0 means an hour.
	SetupLimit time.Duration
	Now        func() time.Time // nil means the server's
}

// Room is the provider. Make one with New, register its Types, then Run it.
type Room struct {
	Config
	swept    chan struct{} // something waits for sweep
	clusters *clusters
	jobs     *runner
}

// Size is what a machine size stands for.
type Size struct {
	Name, Family string // as Azure spells them
	CPUs, GPUs   int
}

// New makes a room. It does nothing until Run.
func New(c Config) *Room {
	if c.Now == nil {
		c.Now = c.Server.Now
	}
	if c.IdleAfter == 0 {
		c.IdleAfter = time.Minute
	}
	if c.SetupLimit == 0 {
		c.SetupLimit = time.Hour
	}
	r := &Room{Config: c, swept: make(chan struct{}, 1)}
	r.jobs = newRunner(r)
	r.clusters = newClusters(r)
	return r
}

// Hear takes what nodes' agents say: it is for Hub.Listen. It waits until Run has read the store.
func (r *Room) Hear(e node.Event) {
	r.jobs.hear(e)
	r.clusters.hear(e)
}

// Run makes clusters and runs jobs until ctx ends.
func (r *Room) Run(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	if r.Fleet != nil {
		all.Go(func() error { return r.clusters.run(ctx) })
	}
	all.Go(func() error { return r.sweep(ctx) })
	all.Go(func() error { return r.jobs.run(ctx) })
	return all.Wait()
}
