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

// fly joins the build of the recipe's image, or starts it.
func (s *Store) fly(ctx context.Context, recipe Recipe, progress Progress) (Rootfs, error) {
	f := s.join(recipe, &progress)
	defer s.leave(recipe.Hash(), f, &progress)
	select {
	case <-f.done:
		r := f.rootfs
		r.Substitution = recipe.Substitution
		return r, f.err
	case <-ctx.Done():
		return Rootfs{}, ctx.Err()
	}
}

func (s *Store) join(recipe Recipe, progress *Progress) *flight {
	hash := recipe.Hash()
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.flights[hash]
	if !ok {
		ctx, cancel := context.WithCancel(context.Background())
		f = &flight{cancel: cancel, done: make(chan struct{}), waiters: map[*Progress]struct{}{}}
		s.flights[hash] = f
		go s.take(ctx, f, recipe)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.waiters[progress] = struct{}{}
	if f.last.Image != "" {
		progress.tell(f.last)
	}
	return f
}

// take does the build of a flight and ends it.
func (s *Store) take(ctx context.Context, f *flight, recipe Recipe) {
	rootfs, err := s.build(ctx, recipe, f.tell)
	s.mu.Lock()
	if s.flights[recipe.Hash()] == f {
		delete(s.flights, recipe.Hash())
	}
	s.mu.Unlock()
	f.cancel()
	f.rootfs, f.err = rootfs, err
	close(f.done)
}

// leave takes a waiter off the flight, and gives the build up when it was the last. A given-up flight takes no new
// waiters.
func (s *Store) leave(hash string, f *flight, progress *Progress) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.waiters, progress)
	if len(f.waiters) == 0 {
		f.cancel()
		if s.flights[hash] == f {
			delete(s.flights, hash)
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
