package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/batch"
	"lido.dev/lido/internal/compute"
	"lido.dev/lido/internal/config"
	"lido.dev/lido/internal/deploy"
	"lido.dev/lido/internal/frontdoor"
	"lido.dev/lido/internal/identity"
	"lido.dev/lido/internal/image"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/runc"
	"lido.dev/lido/internal/machine/sim"
	"lido.dev/lido/internal/mirror"
	"lido.dev/lido/internal/network"
	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/pki"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/storage"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/subscription"
	"lido.dev/lido/internal/usage"
)

// cloud is how clients find lido's services beside the server's own address. The storage suffix begins with "core."
// because the SDKs split host names there.
var cloud = identity.Cloud{Name: "lido", StorageSuffix: "core.lido.internal", VaultSuffix: "vault.lido.internal"}

// rooms are the parts of a lido, wired together.
type rooms struct {
	paths  paths
	config config.Config
	log    *slog.Logger

	store     *store.Store
	box       *secret.Box
	ca        *pki.Authority
	self      subscription.Identity
	identity  *identity.Service
	arm       *arm.Server
	fetcher   *mirror.Fetcher
	catalogue *image.Catalogue
	images    *image.Store
	engine    machine.Engine
	door      network.Door
	storage   *storage.Room
	network   *network.Room
	hub       *node.Hub
	compute   *compute.Room
	drives    *drives
	usage     *usage.Ledger
	batch     *batch.Room

	loops   []func(context.Context) error // reconcilers, run until the context ends
	closers []func() error                // in the order of opening

	url string // where the API answers; set before the loops run
}

// openRooms builds the parts from the bottom up.
func openRooms(ctx context.Context, p paths, opt upOptions, log *slog.Logger) (*rooms, error) {
	m := &rooms{paths: p, log: log}
	for _, step := range []func(context.Context, upOptions) error{
		m.openConfig, m.openStore, m.openIdentity, m.openImages, m.openAPI, m.openStorage, m.openEngine, m.openDoor, m.openNetwork, m.openCompute, m.openBatch, m.openDeploy,
	} {
		if err := step(ctx, opt); err != nil {
			return nil, errors.Join(err, m.Close())
		}
	}
	return m, nil
}

func (m *rooms) openConfig(_ context.Context, opt upOptions) (err error) {
	if m.config, err = loadConfig(m.paths, opt); err != nil {
		return err
	}
	m.fetcher, err = mirror.New(m.config.Mirrors)
	return err
}

// loadConfig reads the named file, or lido.yaml in the data directory if it is there; flags win over the file.
func loadConfig(p paths, opt upOptions) (config.Config, error) {
	path := opt.config
	if path == "" {
		if _, err := os.Stat(p.in("lido.yaml")); err == nil {
			path = p.in("lido.yaml")
		}
	}
	c, err := config.Load(path)
	if err != nil {
		return c, err
	}
	if opt.listen != "" {
		c.Listen = opt.listen
	}
	return c, c.Validate()
}

func (m *rooms) openStore(ctx context.Context, _ upOptions) (err error) {
	if m.store, err = store.Open(m.paths.in("lido.db")); err != nil {
		return err
	}
	m.closers = append(m.closers, m.store.Close)
	if m.box, err = secret.Open(m.paths.in("secret.key")); err != nil {
		return err
	}
	if m.ca, err = pki.Open(m.paths.in("ca"), nowUTC); err != nil {
		return err
	}
	m.usage = usage.New(m.store)
	m.self, err = subscription.Load(ctx, m.store)
	return err
}

func (m *rooms) openIdentity(ctx context.Context, _ upOptions) (err error) {
	m.identity, err = identity.New(ctx, identity.Options{Store: m.store, Dir: m.paths.Data, Tenant: m.self.Tenant, Cloud: cloud, Now: nowUTC, Log: m.log})
	return err
}

func (m *rooms) openImages(context.Context, upOptions) (err error) {
	if m.catalogue, err = catalogueOf(m.config); err != nil {
		return err
	}
	m.images, err = image.Open(m.paths.in("images"), image.Options{Log: m.log, Seeds: filepath.SplitList(os.Getenv("LIDO_IMAGE_SEEDS"))})
	return err
}

func (m *rooms) openAPI(context.Context, upOptions) error {
	m.arm = arm.New(m.store, m.box, systemAccess{m.identity}, m.log)
	m.arm.Subscription = m.self.Subscription
	m.loops = append(m.loops, m.arm.Run)
	self := &subscription.Room{Identity: m.self, Locations: []string{m.config.Location}}
	m.arm.Register(self.Types()...)
	return nil
}

func (m *rooms) openStorage(context.Context, upOptions) error {
	root := m.config.ShareRoot
	if root == "" {
		root = m.paths.in("shares")
	}
	m.storage = storage.New(m.arm, root, nil, m.log)
	m.arm.Register(m.storage.Types()...)
	m.loops = append(m.loops, m.storage.Run)
	return nil
}

func (m *rooms) openEngine(_ context.Context, opt upOptions) error {
	if opt.engine == engineSim {
		m.engine = sim.New(sim.Config{Exec: simGuest})
		return nil
	}
	engine, err := openRunc(m.paths, m.log)
	if err != nil {
		return err
	}
	m.engine = engine
	m.closers = append(m.closers, func() error {
		if hostGoesDown() {
			m.log.Info("the host goes down, and the machines in order with it")
			ctx, cancel := context.WithTimeout(context.Background(), machinesGoDown)
			defer cancel()
			engine.GoDown(ctx)
		}
		return engine.Close()
	})
	return nil
}

func openRunc(p paths, log *slog.Logger) (*runc.Engine, error) {
	return runc.Open(runc.Config{Dir: p.in("machines"), RunDir: filepath.Join(p.Run, "machines"), Tag: p.Tag, Log: log})
}

func (m *rooms) openDoor(_ context.Context, opt upOptions) error {
	door := frontdoor.New(m.paths.Tag, frontdoor.Options{Log: m.log})
	if opt.engine == engineSim {
		m.door = simDoor{door}
		return nil
	}
	m.door = door
	m.closers = append(m.closers, func() error { door.Close(); return nil })
	return nil
}

// apiPorts are the ports that machines may reach the API at: none if it listens for this host alone.
func apiPorts(listen string) []uint16 {
	host, port, err := net.SplitHostPort(listen)
	n, err2 := strconv.ParseUint(port, 10, 16)
	at, _ := netip.ParseAddr(host)
	if err != nil || err2 != nil || n == 0 || host == "localhost" || at.IsLoopback() {
		return nil
	}
	return []uint16{uint16(n)}
}

func (m *rooms) openNetwork(context.Context, upOptions) error {
	opt := network.Options{Public: m.config.PublicAddresses, ProxyARP: m.config.ProxyARP, Log: m.log}
	for _, p := range m.config.Publish {
		opt.Publish = append(opt.Publish, network.Publish{Listen: p.Listen, To: p.To})
	}
	opt.APIPorts = apiPorts(m.config.Listen)
	m.network = network.New(m.arm, m.door, opt)
	m.arm.Register(m.network.Types()...)
	m.loops = append(m.loops, m.network.Run)
	return nil
}

func (m *rooms) openCompute(ctx context.Context, opt upOptions) error {
	seed, err := keptKey(ctx, m.store, m.box, "ssh host key seed") // the pools' SSH host keys are derived from it
	if err != nil {
		return err
	}
	m.hub = node.NewHub(m.log)
	m.closers = append(m.closers, func() error { m.hub.Close(); return nil })
	program, err := m.guestProgram(opt)
	if err != nil {
		return fmt.Errorf("the program for machines: %w", err)
	}
	serverKeys, err := keptKey(ctx, m.store, m.box, "file server keys")
	if err != nil {
		return err
	}
	m.drives = &drives{storage: m.storage, root: m.paths.in("fileservers"), seed: serverKeys}
	c := compute.Config{
		Drives: m.drives, GuestProgram: program, Agents: m.hub,
		Server: m.arm, Store: m.store, Engine: m.engine, Log: m.log,
		Network: networkForCompute{m.network}, Images: imagesForCompute{m.catalogue, m.images},
		Shares: sharesForCompute{m.storage}, Fetcher: m.fetcher, Keys: keysForCompute{m.ca, seed},
		Sizes: m.sizes(), RunDir: filepath.Join(m.paths.Run, "m"),
		GuestFiles:   image.Trust(append(image.HostAuthorities(), m.ca.CertPEM())...),
		DrainTimeout: time.Duration(m.config.Drain), Overcommit: m.config.Overcommit.Memory,
	}
	if opt.engine == engineSim {
		c.Images, c.RunDir, c.GuestFiles, c.Memory = simImages{c.Images}, "", nil, 1<<60
		m.loops = append(m.loops, (&simAgents{engine: m.engine, hub: m.hub}).run)
	}
	m.compute = compute.New(c)
	m.drives.compute = m.compute
	m.storage.SetMounts(m.compute)
	m.arm.Register(m.compute.Types()...)
	m.loops = append(m.loops, func(ctx context.Context) error {
		if err := m.compute.Start(); err != nil {
			return err
		}
		<-ctx.Done()
		m.compute.Close()
		return nil
	})
	return nil
}

// openDeploy opens the room of groups and deployments; what they deploy is registered by then.
func (m *rooms) openDeploy(context.Context, upOptions) error {
	room := deploy.New(deploy.Options{Server: m.arm, Fetcher: m.fetcher, Tenant: m.self.Tenant, Name: m.self.Name, Locations: []string{m.config.Location},
		Environment: deploy.Environment{StorageSuffix: cloud.StorageSuffix, VaultSuffix: cloud.VaultSuffix}})
	m.arm.Register(room.Types()...)
	m.loops = append(m.loops, room.Run)
	return nil
}

// handler serves the API's address: the login authority and the cloud's description, image aliases, signed links to jobs'
// files, and the rest is ARM.
func (m *rooms) handler() http.Handler {
	authority, files := m.identity.Handler(), m.batch.Files()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.ToLower(r.URL.Path); {
		case identity.Owns(r.URL.Path):
			authority.ServeHTTP(w, r)
		case path == "/metadata/image-aliases.json":
			w.Header().Set("Content-Type", "application/json")
			json.NewEncoder(w).Encode(m.catalogue.AliasDocument())
		case strings.HasPrefix(r.URL.Path, batch.FilesPath):
			files.ServeHTTP(w, r)
		default:
			m.arm.ServeHTTP(w, r)
		}
	})
}

func (m *rooms) tls(addr net.Addr) *tls.Config {
	hostname, _ := os.Hostname()
	names := pki.LocalNames(hostOf(m.config.Listen), hostname)
	names = append(names, "*.file."+cloud.StorageSuffix, "*.blob."+cloud.StorageSuffix, "*."+cloud.VaultSuffix)
	return m.ca.ServerTLS(names...)
}

// control adds what the command line asks of the rooms.
func (m *rooms) control(mux *http.ServeMux) {
	accounts := m.identity.ControlHandler()
	mux.Handle(identity.AccountsPath, accounts)
	mux.Handle(identity.AccountsPath+"/", accounts)
	mux.Handle("GET "+usage.Path, m.usage.Handler(nowUTC))
	mux.HandleFunc("GET /v1/machines", func(w http.ResponseWriter, r *http.Request) {
		machines, err := m.compute.Machines(r.Context())
		if machines == nil {
			machines = []compute.MachineState{}
		}
		answer(w, machines, err)
	})
}

// Close closes the parts in the reverse order of opening.
func (m *rooms) Close() error {
	var errs []error
	for i := len(m.closers) - 1; i >= 0; i-- {
		errs = append(errs, m.closers[i]())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close: %w", err)
	}
	return nil
}
