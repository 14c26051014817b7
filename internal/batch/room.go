package batch

import (
	"context"
	"log/slog"
	"time"

	"lido.dev/lido/internal/arm"
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
	FilesURL   func() string    // base URL of signed links to jobs' files, e.g. https://127.0.0.1:8443
	IdleAfter  time.Duration    // how long a node of an autoscaling cluster stays without work; 0 means a minute
	Now        func() time.Time // nil means the server's
}

// Room is the provider. Make one with New, register its Types, then Run it.
type Room struct {
	Config
}

// New makes a room. It does nothing until Run.
func New(c Config) *Room {
	if c.Now == nil {
		c.Now = c.Server.Now
	}
	if c.IdleAfter == 0 {
		c.IdleAfter = time.Minute
	}
	return &Room{Config: c}
}

// Types are the room's resource types.
func (r *Room) Types() []arm.Type { return nil }

// Run makes clusters and runs jobs until ctx ends.
func (r *Room) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
