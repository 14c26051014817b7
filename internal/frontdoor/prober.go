package frontdoor

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"
)

// probeTimeout bounds one probe.
const probeTimeout = 2 * time.Second

// dialer connects to a machine of the network.
type dialer func(ctx context.Context, to netip.AddrPort) (net.Conn, error)

// prober probes the backends of one network, each in a goroutine of its own.
type prober struct {
	ctx     context.Context
	dial    dialer
	changed func()
	running sync.WaitGroup

	mu      sync.Mutex
	targets map[target]context.CancelFunc
	states  findings
}

type target struct {
	probe Probe
	addr  netip.Addr
}

func newProber(ctx context.Context, dial dialer, changed func()) *prober {
	return &prober{ctx: ctx, dial: dial, changed: changed, targets: map[target]context.CancelFunc{}, states: findings{}}
}

func (p *prober) wait() { p.running.Wait() }

// assume takes a backend as healthy until probes say otherwise.
func (p *prober) assume(probe string, a netip.Addr) { p.record(probe, a, true) }

func (p *prober) record(probe string, a netip.Addr, healthy bool) (changed bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.states[probe] == nil {
		p.states[probe] = map[netip.Addr]bool{}
	}
	changed = p.states[probe][a] != healthy
	p.states[probe][a] = healthy
	return changed
}

// findings returns a copy of what is known.
func (p *prober) findings() findings {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := findings{}
	for probe, by := range p.states {
		out[probe] = map[netip.Addr]bool{}
		for a, ok := range by {
			out[probe][a] = ok
		}
	}
	return out
}

// set makes exactly the plan's backends probed.
func (p *prober) set(n Network) {
	want := targetsOf(n)
	p.mu.Lock()
	defer p.mu.Unlock()
	for t, stop := range p.targets {
		if !want[t] {
			stop()
			delete(p.targets, t)
			delete(p.states[t.probe.ID], t.addr)
		}
	}
	for t := range want {
		if p.targets[t] != nil {
			continue
		}
		ctx, stop := context.WithCancel(p.ctx)
		p.targets[t] = stop
		healthy := p.states[t.probe.ID][t.addr]
		p.running.Go(func() { p.watch(ctx, t, healthy) })
	}
}

func targetsOf(n Network) map[target]bool {
	out := map[target]bool{}
	for _, r := range n.Rules {
		if r.Probe == nil {
			continue
		}
		for _, pool := range n.Pools {
			for _, b := range pool.Backends {
				if pool.ID == r.Pool {
					out[target{*r.Probe, b.Addr}] = true
				}
			}
		}
	}
	return out
}

func (p *prober) watch(ctx context.Context, t target, healthy bool) {
	state := probeState{healthy: healthy, everGood: healthy, since: time.Now()}
	for {
		began := time.Now()
		good := p.try(ctx, t, state.patience(began))
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		next, wait := state.next(t.probe, good, now)
		state = next
		if p.record(t.probe.ID, t.addr, state.healthy) {
			p.changed()
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait - now.Sub(began)):
		}
	}
}

func (p *prober) try(ctx context.Context, t target, patience time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	at := netip.AddrPortFrom(t.addr, t.probe.Port)
	c, err := p.connect(ctx, at, patience)
	if err != nil {
		return false
	}
	defer c.Close()
	return !t.probe.HTTP || p.get(ctx, t.probe, at, c)
}

func (p *prober) connect(ctx context.Context, to netip.AddrPort, patience time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return p.dial(ctx, to)
}

// get is good on status 200, as Azure has it. The address is not asked of c: one that is reset by now has none.
func (p *prober) get(ctx context.Context, probe Probe, at netip.AddrPort, c net.Conn) bool {
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(context.Context, string, string) (net.Conn, error) { return c, nil },
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // a probe asks whether it answers, not who it is
	}
	scheme := "http"
	if probe.TLS {
		scheme = "https"
	}
	url := scheme + "://" + at.String() + "/" + strings.TrimPrefix(probe.Path, "/")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	client := http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		return false
	}
	res.Body.Close()
	return res.StatusCode == http.StatusOK
}
