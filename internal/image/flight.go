package image

import (
	"context"
	"sync"
)

// flight is one build and those who wait for it.
type flight struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when rootfs and err are set
	rootfs Rootfs
	err    error

	mu      sync.Mutex
	waiters map[*Progress]struct{}
	last    Event
}

// work is what a flight does.
type work func(context.Context, Recipe, Progress) (Rootfs, error)

// fly joins the flight of that key, or starts it.
func (s *Store) fly(ctx context.Context, key string, recipe Recipe, do work, progress Progress) (Rootfs, error) {
	f := s.join(key, recipe, do, &progress)
	defer s.leave(key, f, &progress)
	select {
	case <-f.done:
		r := f.rootfs
		r.Substitution = recipe.Substitution
		return r, f.err
	case <-ctx.Done():
		return Rootfs{}, ctx.Err()
	}
}

func (s *Store) join(key string, recipe Recipe, do work, progress *Progress) *flight {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.flights[key]
	if !ok {
		ctx, cancel := context.WithCancel(context.Background())
		f = &flight{cancel: cancel, done: make(chan struct{}), waiters: map[*Progress]struct{}{}}
		s.flights[key] = f
		go s.take(ctx, key, f, recipe, do)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiters[progress] = struct{}{}
	if f.last.Image != "" {
		progress.tell(f.last)
	}
	return f
}

// take does the work of a flight and ends it.
func (s *Store) take(ctx context.Context, key string, f *flight, recipe Recipe, do work) {
	rootfs, err := do(ctx, recipe, f.tell)
	s.mu.Lock()
	if s.flights[key] == f {
		delete(s.flights, key)
	}
	s.mu.Unlock()
	f.cancel()
	f.rootfs, f.err = rootfs, err
	close(f.done)
}

// leave takes a waiter off the flight, and gives the build up when it was the last. A given-up flight takes no new
// waiters.
func (s *Store) leave(key string, f *flight, progress *Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiters, progress)
	if len(f.waiters) == 0 {
		f.cancel()
		if s.flights[key] == f {
			delete(s.flights, key)
		}
	}
}

func (f *flight) tell(e Event) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = e
	for p := range f.waiters {
		p.tell(e)
	}
}
