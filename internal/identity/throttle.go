package identity

import (
	"sync"
	"time"
)

// throttle slows guessing. Each try is charged before the password is looked at, so that many at once gain nothing,
// and given back when it was right. It counts per account and source, per account, and per source; the wait grows
// with each failure past the free ones and ends by itself. An account cannot be shut out by others for longer than
// its own limit's max.
type throttle struct {
	now func() time.Time

	mu      sync.Mutex
	entries map[string]*failures
}

type failures struct {
	count int
	last  time.Time
	until time.Time
}

// limit is how a kind of key is counted.
type limit struct {
	free int           // failures that cost nothing
	max  time.Duration // the longest wait
}

var (
	pairLimit    = limit{free: 8, max: time.Minute}
	accountLimit = limit{free: 40, max: 10 * time.Second}
	sourceLimit  = limit{free: 40, max: time.Minute}
)

const (
	throttleForget = 15 * time.Minute // after the last failure
	throttleSize   = 20_000           // entries kept at most
)

func newThrottle(now func() time.Time) *throttle {
	return &throttle{now: now, entries: map[string]*failures{}}
}

type charge struct {
	key string
	limit
}

func charges(account, source string) []charge {
	return []charge{{"p/" + account + "/" + source, pairLimit}, {"a/" + account, accountLimit}, {"s/" + source, sourceLimit}}
}

// try charges one try and returns zero, or returns how long to wait before the next one without charging it.
func (t *throttle) try(account, source string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.now()
	t.sweepLocked(now)
	var wait time.Duration
	all := charges(account, source)
	for _, c := range all {
		if e := t.entries[c.key]; e != nil {
			wait = max(wait, e.until.Sub(now))
		}
	}
	if wait > 0 {
		return wait
	}
	for _, c := range all {
		t.chargeLocked(c, now)
	}
	return 0
}

func (t *throttle) chargeLocked(c charge, now time.Time) {
	e := t.entries[c.key]
	if e == nil || now.Sub(e.last) > throttleForget {
		e = &failures{}
		t.entries[c.key] = e
	}
	e.count++
	e.last = now
	if over := e.count - c.free; over > 0 {
		e.until = now.Add(min(c.max, time.Second<<min(over-1, 16)))
	}
}

// succeeded gives the last try back and forgets what this source failed at this account before.
func (t *throttle) succeeded(account, source string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := charges(account, source)
	pair := t.entries[all[0].key]
	if pair == nil {
		return
	}
	delete(t.entries, all[0].key)
	for _, c := range all[1:] {
		if e := t.entries[c.key]; e != nil {
			if e.count -= pair.count; e.count <= c.free {
				e.until = time.Time{}
			}
			if e.count <= 0 {
				delete(t.entries, c.key)
			}
		}
	}
}

// sweepLocked keeps the table small: old entries go, and when that is not enough any do.
func (t *throttle) sweepLocked(now time.Time) {
	if len(t.entries) < throttleSize {
		return
	}
	for k, e := range t.entries {
		if now.Sub(e.last) > throttleForget {
			delete(t.entries, k)
		}
	}
	for k := range t.entries {
		if len(t.entries) < throttleSize*9/10 {
			return
		}
		delete(t.entries, k)
	}
}
