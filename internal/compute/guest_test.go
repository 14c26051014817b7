package compute

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"

	"lido.dev/lido/internal/machine"
)

// fakeGuest answers what this room does inside machines, as a machine would: jobs run once, however often they are
// asked for, and end when allowed to.
type fakeGuest struct {
	mu       sync.Mutex
	sessions map[string]int    // by machine
	runs     map[string]int    // by machine and unit: how often started
	commands map[string]string // by machine and unit
	files    map[string]string // by machine and path
	hold     chan struct{}     // if not nil, jobs end when it is closed
	answer   func(command string) (code int, out, errOut string)
}

func newFakeGuest() *fakeGuest {
	return &fakeGuest{sessions: map[string]int{}, runs: map[string]int{}, commands: map[string]string{}, files: map[string]string{},
		answer: func(string) (int, string, string) { return 0, "fine", "" }}
}

func (g *fakeGuest) exec(ctx context.Context, id string, c machine.Command) (int, error) {
	switch script := c.Args[2]; {
	case script == jobScript:
		return g.job(ctx, id, c)
	case script == countScript:
		g.mu.Lock()
		defer g.mu.Unlock()
		fmt.Fprintln(c.Stdout, g.sessions[id])
	case strings.HasPrefix(script, `[ -e "$1/started" ]`):
		g.mu.Lock()
		defer g.mu.Unlock()
		for k := range g.runs {
			if strings.HasPrefix(k, id) && strings.HasSuffix(k, c.Args[4]) {
				return 0, nil
			}
		}
		return 1, nil
	case strings.HasPrefix(script, "umask"):
		b, _ := io.ReadAll(c.Stdin)
		g.mu.Lock()
		defer g.mu.Unlock()
		g.files[id+" "+c.Args[4]+"/"+c.Args[5]] = string(b)
	}
	return 0, nil
}

func (g *fakeGuest) job(ctx context.Context, id string, c machine.Command) (int, error) {
	key := id + " " + c.Args[5]
	g.mu.Lock()
	if g.runs[key] == 0 {
		b, _ := io.ReadAll(c.Stdin)
		g.runs[key], g.commands[key] = 1, string(b)
	}
	command, hold := g.commands[key], g.hold
	g.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return -1, ctx.Err()
		}
	}
	code, out, errOut := g.answer(command)
	fmt.Fprintf(c.Stdout, "%d\n%s", code, out)
	fmt.Fprint(c.Stderr, errOut)
	return 0, nil
}

func (g *fakeGuest) ran() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.runs)
}
