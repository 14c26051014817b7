package frontdoor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"
)

// names is a network's DNS server: it answers for the network's machines on every gateway and passes other questions
// on to the host's resolvers.
type names struct {
	log       *slog.Logger
	upstreams func() []string

	mu      sync.RWMutex
	zone    string
	forward map[string][]netip.Addr // by lower-case name with a final dot
	reverse map[string]string
	servers map[netip.Addr][]*dns.Server
}

func newNames(o Options) *names {
	return &names{log: o.Log, upstreams: o.Resolvers, servers: map[netip.Addr][]*dns.Server{}}
}

// hostResolvers reads the host's resolvers anew for each question: they change as a laptop moves.
func hostResolvers() []string {
	for _, path := range []string{"/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"} {
		c, err := dns.ClientConfigFromFile(path)
		if err == nil && len(c.Servers) > 0 {
			var out []string
			for _, s := range c.Servers {
				out = append(out, net.JoinHostPort(s, c.Port))
			}
			return out
		}
	}
	return nil
}

// serve answers for a plan's machines on a plan's gateways.
func (s *names) serve(sp *space, n *Network) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zone = fqdn(n.Zone)
	s.forward, s.reverse = map[string][]netip.Addr{}, map[string]string{}
	for _, m := range n.Machines {
		s.addLocked(m)
	}
	want := map[netip.Addr]bool{}
	for _, sub := range n.Subnets {
		want[sub.Gateway] = true
	}
	for a, servers := range s.servers {
		if !want[a] {
			shutdown(servers)
			delete(s.servers, a)
		}
	}
	var errs []error
	for a := range want {
		if s.servers[a] == nil {
			servers, err := s.listen(sp, a)
			errs = append(errs, err)
			s.servers[a] = servers
		}
	}
	return errors.Join(errs...)
}

func (s *names) addLocked(m Machine) {
	for i, name := range m.Names {
		short := fqdn(name)
		for _, full := range []string{short, strings.TrimSuffix(short, ".") + "." + s.zone} {
			s.forward[full] = append(s.forward[full], m.Addr)
		}
		if rev, err := dns.ReverseAddr(m.Addr.String()); err == nil && i == 0 {
			s.reverse[rev] = strings.TrimSuffix(short, ".") + "." + s.zone
		}
	}
}

func fqdn(name string) string {
	if name == "" {
		return ""
	}
	return dns.Fqdn(strings.ToLower(name))
}

// listen opens UDP and TCP sockets inside the namespace.
func (s *names) listen(sp *space, a netip.Addr) ([]*dns.Server, error) {
	var pc net.PacketConn
	var l net.Listener
	err := sp.do(func() (err error) {
		at := netip.AddrPortFrom(a, 53)
		if pc, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err != nil {
			return err
		}
		if l, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at)); err != nil {
			pc.Close()
		}
		return err
	})
	if errors.Is(err, unix.EADDRINUSE) {
		return nil, fmt.Errorf("answer names on %v: another process does already; is another lido running on this data?", a)
	}
	if err != nil {
		return nil, fmt.Errorf("answer names on %v: %w", a, err)
	}
	servers := []*dns.Server{{PacketConn: pc, Handler: s}, {Listener: l, Handler: s}}
	for _, server := range servers {
		go func() {
			if err := server.ActivateAndServe(); err != nil {
				s.log.Debug("name server ended", "address", a, "error", err)
			}
		}()
	}
	return servers, nil
}

func shutdown(servers []*dns.Server) {
	for _, s := range servers {
		if s.PacketConn != nil {
			s.PacketConn.Close()
		}
		if s.Listener != nil {
			s.Listener.Close()
		}
	}
}

func (s *names) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for a, servers := range s.servers {
		shutdown(servers)
		delete(s.servers, a)
	}
}

// ServeDNS answers one question.
func (s *names) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	reply := s.answer(q)
	if reply == nil {
		reply = s.ask(q, w.RemoteAddr().Network())
	}
	if err := w.WriteMsg(reply); err != nil {
		s.log.Debug("name answer could not be sent", "error", err)
	}
}

// answer is what the network itself knows, or nil if the question is for others.
func (s *names) answer(q *dns.Msg) *dns.Msg {
	if len(q.Question) != 1 {
		return new(dns.Msg).SetRcode(q, dns.RcodeFormatError)
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	question := q.Question[0]
	name := strings.ToLower(question.Name)
	reply := new(dns.Msg).SetReply(q)
	reply.Authoritative, reply.RecursionAvailable = true, true
	addrs, mine := s.forward[name]
	target, known := s.reverse[name]
	switch {
	case mine && (question.Qtype == dns.TypeA || question.Qtype == dns.TypeANY):
		for _, a := range addrs {
			reply.Answer = append(reply.Answer, &dns.A{A: a.AsSlice(),
				Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 5}})
		}
	case known && question.Qtype == dns.TypePTR:
		reply.Answer = append(reply.Answer, &dns.PTR{Ptr: target,
			Hdr: dns.RR_Header{Name: question.Name, Rrtype: dns.TypePTR, Class: dns.ClassINET, Ttl: 5}})
	case mine || known: // exists, without a record of this type
	case s.zone != "" && dns.IsSubDomain(s.zone, name):
		reply.Rcode = dns.RcodeNameError
	default:
		return nil
	}
	return reply
}

// ask passes a question on to the host's resolvers, from the host's own namespace.
func (s *names) ask(q *dns.Msg, network string) *dns.Msg {
	for _, server := range s.upstreams() {
		c := dns.Client{Net: network, Timeout: probeTimeout}
		reply, _, err := c.ExchangeContext(context.Background(), q, server)
		if err == nil {
			reply.Id = q.Id
			return reply
		}
		s.log.Debug("resolver did not answer", "resolver", server, "error", err)
	}
	return new(dns.Msg).SetRcode(q, dns.RcodeServerFailure)
}
