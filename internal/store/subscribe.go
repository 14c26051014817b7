package store

import (
	"slices"
	"strings"
)

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
	key    string // of the one document that it is about; "" if it is about types
	cancel func()

	store *Store
	keys  map[string]struct{} // of documents that changed, for one who follows them; guarded by Store.mu
}

// Subscribe wakes the subscription whenever a document of one of the types changes; a type ending in "/" means a
// whole namespace. No types means all.
func (s *Store) Subscribe(types ...string) *Subscription {
	return s.subscribe(&Subscription{types: types})
}

// SubscribeDoc wakes the subscription whenever the document with a key changes.
func (s *Store) SubscribeDoc(key string) *Subscription {
	return s.subscribe(&Subscription{key: key})
}

// Follow is Subscribe for one who asks which documents changed, by Changed.
func (s *Store) Follow(types ...string) *Subscription {
	return s.subscribe(&Subscription{types: types, store: s, keys: map[string]struct{}{}})
}

func (s *Store) subscribe(sub *Subscription) *Subscription {
	sub.c = make(chan struct{}, 1)
	sub.C = sub.c
	sub.types = slices.Clone(sub.types)
	for i, t := range sub.types {
		sub.types[i] = strings.ToLower(t)
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

// Changed returns the keys of the documents that changed since it was called last, of one who follows.
func (sub *Subscription) Changed() []string {
	sub.store.mu.Lock()
	defer sub.store.mu.Unlock()
	keys := make([]string, 0, len(sub.keys))
	for k := range sub.keys {
		keys = append(keys, k)
	}
	clear(sub.keys)
	return keys
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
	if sub.key != "" {
		return c.Key == sub.key
	}
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
			if !sub.wants(c) {
				continue
			}
			sub.Wake()
			if sub.keys == nil {
				break
			}
			sub.keys[c.Key] = struct{}{}
		}
	}
}
