package compute

import (
	"sync"
)

// progress keeps what long work has to say at the moment, by the key of the set that it is for.
type progress struct {
	mu   sync.Mutex
	text map[string]string
}

func (p *progress) say(key, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.text == nil {
		p.text = map[string]string{}
	}
	p.text[key] = text
}

func (p *progress) end(key string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.text, key)
}

func (p *progress) get(key string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.text[key]
}

// sessionCounts keeps how many sessions were last counted in each instance.
type sessionCounts struct {
	mu sync.Mutex
	n  map[string]int // by instance key
}

// get returns the number of sessions, or -1 if it is not known.
func (c *sessionCounts) get(key string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n, ok := c.n[key]; ok {
		return n
	}
	return -1
}

func (c *sessionCounts) set(key string, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[string]int{}
	}
	c.n[key] = n
}

func (c *sessionCounts) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.n, key)
}
