package store

import "strings"

// Change names a document that was written or deleted.
type Change struct {
	Key  string // the document's lower-cased id
	Type string // its lower-cased type
}

// Subscription tells a reconciler that documents changed. It carries no history: a wake means "look again".
type Subscription struct {
	C      <-chan struct{} // receives after a change; changes in between are one receive
	c      chan struct{}
	types  []string
	cancel func()
}

// Subscribe wakes the subscription whenever a document of one of the types changes; a type ending in "/" means a
// whole namespace. No types means all.
func (s *Store) Subscribe(types ...string) *Subscription {
	c := make(chan struct{}, 1)
	sub := &Subscription{C: c, c: c}
	for _, t := range types {
		sub.types = append(sub.types, strings.ToLower(t))
	}
	sub.cancel = func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, sub)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs[sub] = struct{}{}
	return sub
}

// Close ends the subscription.
func (sub *Subscription) Close() { sub.cancel() }

// Wake makes the subscription's channel ready as a change would.
func (sub *Subscription) Wake() {
	select {
	case sub.c <- struct{}{}:
	default:
	}
}

func (sub *Subscription) wants(c Change) bool {
	if len(sub.types) == 0 {
		return true
	}
	for _, t := range sub.types {
		if c.Type == t || strings.HasSuffix(t, "/") && strings.HasPrefix(c.Type, t) {
			return true
		}
	}
	return false
}

func (s *Store) publish(changes []Change) {
	if len(changes) == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := range s.subs {
		for _, c := range changes {
			if sub.wants(c) {
				sub.Wake()
				break
			}
		}
	}
}
