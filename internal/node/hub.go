package node

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"
)

// Protocol is what an agent asks its connection to be upgraded to.
const Protocol = "lido-node"

// ErrAway means that a machine's agent is not connected now.
var ErrAway = errors.New("the node's agent is not connected")

// Event is something that an agent said, or that it is gone; one field besides Machine is set.
type Event struct {
	Machine string
	Hello   *Hello
	Report  *Report
	Gone    bool
}

// Hub is the host's end of the agents' connections. Its methods are safe for concurrent use.
type Hub struct {
	log   *slog.Logger
	heard chan struct{} // closed when there is a listener

	mu     sync.Mutex
	closed bool
	listen func(Event)
	links  map[string]*link // by machine
}

// NewHub makes a hub. It serves connections, but takes nothing from them until Listen.
func NewHub(log *slog.Logger) *Hub {
	if log == nil {
		log = slog.Default()
	}
	return &Hub{log: log, heard: make(chan struct{}), links: map[string]*link{}}
}

// Listen says who is told of events, once. Those of one machine come in order, one at a time; while f works on one, the
// machine's next waits, but Send does not. A machine can be sent orders from the call with its Hello on.
func (h *Hub) Listen(f func(Event)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listen != nil {
		panic("node: two listeners of a hub")
	}
	h.listen = f
	close(h.heard)
}

// Send gives an order to a machine's agent, without waiting for it. An error means that the agent is not connected.
// That there was none does not mean that the order arrived: the agent's reports tell, or what its next Hello lacks.
func (h *Hub) Send(machine string, o Order) error {
	h.mu.Lock()
	l := h.links[machine]
	h.mu.Unlock()
	if l == nil || !l.send(o) {
		return fmt.Errorf("node %s: %w", machine, ErrAway)
	}
	return nil
}

// Serve turns a machine's request into its agent's connection, in place of one that it may have, and returns when that
// ends. Who asks has been checked by the caller.
func (h *Hub) Serve(w http.ResponseWriter, r *http.Request, machine string) {
	if r.Header.Get("Upgrade") != Protocol {
		http.Error(w, "this is for the agent of the node: upgrade to "+Protocol, http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer conn.Close()
	conn.SetDeadline(time.Time{})
	fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", Protocol)
	l := newLink(conn)
	defer close(l.over)
	if !h.replace(machine, l) {
		return
	}
	go l.write()
	err = h.read(l, rw.Reader, machine)
	l.close()
	h.drop(machine, l)
	h.log.Debug("agent gone", "machine", machine, "err", err)
}

// replace makes l the machine's link, and waits until all that the one before said has been heard.
func (h *Hub) replace(machine string, l *link) bool {
	<-h.heard
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return false
	}
	old := h.links[machine]
	h.links[machine] = l
	h.mu.Unlock()
	if old != nil {
		old.close()
		<-old.over
	}
	return true
}

func (h *Hub) drop(machine string, l *link) {
	h.mu.Lock()
	if h.links[machine] == l {
		delete(h.links, machine)
	}
	h.mu.Unlock()
	if l.greeted {
		h.listen(Event{Machine: machine, Gone: true})
	}
}

// read tells the listener what comes, until the connection ends.
func (h *Hub) read(l *link, r *bufio.Reader, machine string) error {
	d := json.NewDecoder(r)
	for {
		var m Message
		if err := d.Decode(&m); err != nil {
			return err
		}
		if m.Hello != nil {
			l.greet()
			h.listen(Event{Machine: machine, Hello: m.Hello})
		}
		if m.Report != nil && l.greeted {
			h.listen(Event{Machine: machine, Report: m.Report})
		}
	}
}

// Close ends all connections. Agents will look for another hub.
func (h *Hub) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, l := range h.links {
		l.close()
	}
	select {
	case <-h.heard:
	default:
		h.listen = func(Event) {}
		close(h.heard)
	}
}

// maxOrders is how many orders may wait for an agent that does not read; then it is cut off, to come back and say what
// it knows.
const maxOrders = 1 << 16

// link is one agent's connection.
type link struct {
	conn    net.Conn
	over    chan struct{} // closed when Serve has done with it
	greeted bool          // read and written by Serve's goroutine

	mu     sync.Mutex
	open   bool // Hello came and the connection stands
	orders []Order
	wake   chan struct{} // closed with the link; an element means that there are orders
	done   bool
}

func newLink(c net.Conn) *link {
	return &link{conn: c, over: make(chan struct{}), wake: make(chan struct{}, 1)}
}

func (l *link) greet() {
	l.greeted = true
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open = !l.done
}

func (l *link) send(o Order) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.open {
		return false
	}
	if len(l.orders) >= maxOrders {
		l.closeLocked()
		return false
	}
	l.orders = append(l.orders, o)
	select {
	case l.wake <- struct{}{}:
	default:
	}
	return true
}

func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closeLocked()
}

func (l *link) closeLocked() {
	if l.done {
		return
	}
	l.done, l.open = true, false
	close(l.wake)
	l.conn.Close()
}

// write writes orders as they come, until the link is closed.
func (l *link) write() {
	w := bufio.NewWriter(l.conn)
	e := json.NewEncoder(w)
	for range l.wake {
		l.mu.Lock()
		orders := l.orders
		l.orders = nil
		l.mu.Unlock()
		for i := range orders {
			if e.Encode(&orders[i]) != nil {
				l.close()
				return
			}
		}
		if w.Flush() != nil {
			l.close()
			return
		}
	}
}
