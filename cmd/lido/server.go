package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// server is a running lido: the rooms, their reconcilers and the two listeners.
type server struct {
	paths paths
	log   *slog.Logger
	rooms *rooms

	tls     net.Listener
	control net.Listener
	since   time.Time
	lock    *os.File
	servers []*http.Server

	ctx  context.Context // ends when the server is to stop
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// startServer brings lido up; when it returns, lido is ready: the API answers and machines of before are adopted.
func startServer(ctx context.Context, p paths, opt upOptions, log *slog.Logger) (*server, error) {
	if err := p.make(); err != nil {
		return nil, err
	}
	lock, err := p.lock()
	if err != nil {
		return nil, err
	}
	s := &server{paths: p, log: log, lock: lock, since: time.Now().UTC()}
	s.ctx, s.stop = context.WithCancel(ctx)
	if err := s.start(s.ctx, opt); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *server) start(ctx context.Context, opt upOptions) (err error) {
	if s.rooms, err = openRooms(ctx, s.paths, opt, s.log); err != nil {
		return err
	}
	if s.tls, err = listen(s.rooms.config.Listen); err != nil {
		return err
	}
	if s.control, err = listenControl(s.paths); err != nil {
		return err
	}
	s.rooms.url = s.url()
	for _, run := range s.rooms.loops {
		s.wg.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				s.log.Error("a reconciler ended", "err", err)
			}
		})
	}
	s.serve(&http.Server{Handler: s.rooms.handler(), TLSConfig: s.rooms.tls(s.tls.Addr()), ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), ReadHeaderTimeout: 20 * time.Second, IdleTimeout: 3 * time.Minute}, s.tls, true)
	s.serve(&http.Server{Handler: s.controlHandler()}, s.control, false)
	return nil
}

func listen(addr string) (net.Listener, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w; choose another address with --listen HOST:PORT", addr, err)
	}
	return l, nil
}

func (s *server) serve(h *http.Server, l net.Listener, withTLS bool) {
	if withTLS {
		h.TLSConfig.MinVersion = tls.VersionTLS12
		l = tls.NewListener(l, h.TLSConfig)
	}
	s.servers = append(s.servers, h)
	s.wg.Go(func() {
		if err := h.Serve(l); err != nil && !errors.Is(err, net.ErrClosed) && !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("serving ended", "err", err)
		}
	})
}

// url is where the API answers.
func (s *server) url() string {
	_, port, _ := net.SplitHostPort(s.tls.Addr().String())
	host, _, _ := net.SplitHostPort(s.rooms.config.Listen)
	if host == "" || host == "0.0.0.0" || host == "::" {
		host = "localhost"
	}
	return "https://" + net.JoinHostPort(host, port)
}

func (s *server) state() serverState {
	return serverState{PID: os.Getpid(), Version: version, URL: s.url(), Fingerprint: s.rooms.ca.Fingerprint(), Since: s.since, Ready: true}
}

// controlHandler is what the command line asks of the server over the control socket.
func (s *server) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/state", func(w http.ResponseWriter, r *http.Request) { answer(w, s.state(), nil) })
	mux.HandleFunc("POST /v1/stop", func(w http.ResponseWriter, r *http.Request) {
		answer(w, s.state(), nil)
		s.stop()
	})
	s.rooms.control(mux)
	return mux
}

// Wait returns when the server was asked to stop.
func (s *server) Wait() { <-s.ctx.Done() }

// Close stops serving and lets go of everything; machines run on.
func (s *server) Close() error {
	s.stop()
	var errs []error
	s.answerLast()
	for _, l := range []net.Listener{s.tls, s.control} {
		if l != nil {
			l.Close() // where serving had not begun
		}
	}
	s.wg.Wait()
	if s.rooms != nil {
		errs = append(errs, s.rooms.Close())
	}
	errs = append(errs, s.lock.Close())
	return errors.Join(errs...)
}

// lastAnswers is how long requests that are under way may still take when the server stops.
const lastAnswers = 2 * time.Second

// answerLast takes no new requests and lets those under way be answered; what waits for longer is cut.
func (s *server) answerLast() {
	ctx, cancel := context.WithTimeout(context.Background(), lastAnswers)
	defer cancel()
	var wg sync.WaitGroup
	for _, h := range s.servers {
		wg.Go(func() {
			if h.Shutdown(ctx) != nil {
				h.Close()
			}
		})
	}
	wg.Wait()
}

func hostOf(addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return strings.Trim(addr, "[]")
	}
	return host
}
