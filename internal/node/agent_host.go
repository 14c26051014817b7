package node

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// host is the machine's way to its host: the socket's HTTP server.
type host struct {
	socket string
	client *http.Client
}

func newHost(socket string) *host {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}
	return &host{socket: socket, client: &http.Client{Transport: &http.Transport{DialContext: dial, MaxIdleConns: 2, IdleConnTimeout: 10 * time.Second}}}
}

// connect opens the agent's stream.
func (h *host) connect(ctx context.Context) (net.Conn, *bufio.Reader, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", h.socket)
	if err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(c, "POST /v1/node HTTP/1.1\r\nHost: lido\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", Protocol)
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	br := bufio.NewReader(c)
	res, err := http.ReadResponse(br, &http.Request{Method: "POST"})
	if err == nil && res.StatusCode != http.StatusSwitchingProtocols {
		text, _ := io.ReadAll(io.LimitReader(res.Body, 1000))
		err = fmt.Errorf("the host answers %s: %s", res.Status, strings.TrimSpace(string(text)))
	}
	if err != nil {
		c.Close()
		return nil, nil, err
	}
	c.SetReadDeadline(time.Time{})
	return c, br, nil
}

// post asks the host for something; a refusal is an error with the host's words. It waits a while for a host that is
// away.
func (h *host) post(ctx context.Context, path string, form url.Values) error {
	deadline := time.Now().Add(time.Minute)
	for {
		res, err := h.tryPost(ctx, path, form)
		if err == nil {
			defer res.Body.Close()
			text, _ := io.ReadAll(io.LimitReader(res.Body, 4000))
			if res.StatusCode != http.StatusOK {
				return errors.New(strings.TrimSpace(string(text)))
			}
			return nil
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("ask the host: %w", err)
		}
		time.Sleep(lastRetry)
	}
}

func (h *host) tryPost(ctx context.Context, path string, form url.Values) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", "http://lido"+path, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return h.client.Do(req)
}

// serve connects once and serves the host until the connection ends. greeted tells whether it came to a Hello.
func (a *Agent) serve(ctx context.Context) (greeted bool, err error) {
	c, br, err := a.host.connect(ctx)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer cancel()
		a.tell(ctx, c)
	}()
	d := json.NewDecoder(br)
	for {
		var o Order
		if err = d.Decode(&o); err != nil {
			break
		}
		a.obey(o)
	}
	cancel()
	c.Close()
	<-written
	return true, err
}

// tell writes the Hello, then each report that changes, until that fails or ctx ends.
func (a *Agent) tell(ctx context.Context, c net.Conn) {
	w := bufio.NewWriter(c)
	e := json.NewEncoder(w)
	if e.Encode(Message{Hello: a.hello()}) != nil {
		return
	}
	for w.Flush() == nil {
		select {
		case <-ctx.Done():
			return
		case <-a.wake:
		}
		for _, r := range a.news() {
			if e.Encode(Message{Report: &r}) != nil {
				return
			}
		}
	}
}

// hello is all that the agent knows. What changes later is sent after it.
func (a *Agent) hello() *Hello {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := &Hello{Instance: a.instance, Started: a.started, Booted: booted(a.Now())}
	for _, r := range a.tasks {
		if !r.forgotten {
			h.Tasks = append(h.Tasks, r.report)
		}
	}
	a.changed = nil
	return h
}

// news are the reports that changed, each once, as they are now.
func (a *Agent) news() []Report {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Report
	seen := map[string]bool{}
	for _, id := range a.changed {
		if r := a.tasks[id]; r != nil && !r.forgotten && !seen[id] {
			seen[id] = true
			out = append(out, r.report)
		}
	}
	a.changed = nil
	return out
}

// booted is when this machine was booted: when its first process was started.
func booted(now time.Time) time.Time {
	stat, err := statFields(1)
	if err != nil {
		return time.Time{}
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}
	}
	ticks, _ := strconv.ParseInt(stat[19], 10, 64) // hundredths of a second since the host's boot
	return now.Add(time.Duration(ticks)*10*time.Millisecond - time.Duration(up.Nano())).Round(10 * time.Millisecond)
}
