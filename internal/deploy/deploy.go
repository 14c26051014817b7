// Package deploy is Microsoft.Resources: resource groups, the lists of resources and providers, and deployments.
//
// A deployment is its sealed inputs (the template, the parameters, the time, the caller) and what came of each
// resource. It is carried out by expanding the template and sending every resource through the same door that clients
// use, as the same caller, as soon as what it depends on is there. Expanding is pure and sending is idempotent, so a
// lido that was killed expands and sends again and comes to the same end: see DESIGN.md.
package deploy

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

// The types of this package.
const (
	TypeDeployment = "Microsoft.Resources/deployments"
	typeOperation  = TypeDeployment + "/operations"
	typeGroup      = arm.TypeResourceGroup
)

// Fetcher fetches what a template links to.
type Fetcher interface {
	Fetch(ctx context.Context, url string) ([]byte, error)
}

// Options are what a Room needs of the rest of lido.
type Options struct {
	Server      *arm.Server
	Fetcher     Fetcher
	Tenant      string   // id of the tenant
	Name        string   // display name of the subscription and the tenant
	Locations   []string // names
	Environment Environment
	Parallel    int // resources that one deployment works on at a time; 0 means 8
	History     int // deployments that a group keeps; 0 means 800, as in Azure
}

// Environment is what the template function environment() tells of this cloud, beside its name: that is Azure's, by which
// templates look things up.
type Environment struct {
	StorageSuffix, VaultSuffix string
}

// Room serves the types of this package.
type Room struct {
	Options
	store *store.Store
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	running map[string]*execution // by the run's id
	wg      sync.WaitGroup
}

// New returns a room; Run must run for deployments to go on.
func New(o Options) *Room {
	if o.Parallel <= 0 {
		o.Parallel = 8
	}
	if o.History <= 0 {
		o.History = 800
	}
	return &Room{Options: o, store: o.Server.Store, log: o.Server.Log, now: func() time.Time { return o.Server.Now() }, running: map[string]*execution{}}
}

var versions = []string{"2024-11-01", "2024-03-01", "2023-07-01", "2022-09-01", "2021-04-01", "2020-10-01", "2020-06-01", "2019-10-01", "2018-05-01", "2017-05-10", "2016-09-01", "2015-11-01", "2015-01-01"}

// Types returns the resource types.
func (m *Room) Types() []arm.Type {
	operations := arm.Type{Name: typeOperation, APIVersions: versions, Hidden: true, List: m.listOperations, Get: m.getOperation}
	short := operations
	short.Name = typeGroup + "/deployments/operations"
	return append(m.specTypes(), []arm.Type{
		m.groupType(),
		{Name: typeGroup + "/resources", APIVersions: versions, Hidden: true, List: m.listResources},
		{Name: arm.TypeSubscription + "/resources", APIVersions: versions, Hidden: true, List: m.listResources},
		{Name: arm.TypeSubscription + "/providers", APIVersions: versions, Hidden: true, List: m.listProviders, Get: m.getProvider,
			Actions: map[string]arm.Handler{"register": m.registerProvider, "unregister": m.registerProvider}},
		{Name: arm.RootNamespace + "/providers", APIVersions: versions, Hidden: true, List: m.listProviders, Get: m.getProvider},
		{Name: TypeDeployment, APIVersions: versions, Get: m.getDeployment, Put: m.putDeployment, Delete: m.deleteDeployment, Head: m.headDeployment, List: m.listDeployments,
			Actions: map[string]arm.Handler{"validate": m.validate, "cancel": m.cancel, "exportTemplate": m.exportDeployment, "whatIf": m.whatIf}},
		operations, short,
	}...)
}

// Run carries deployments and deletions of groups on until ctx ends, beginning with those that an earlier lido left.
func (m *Room) Run(ctx context.Context) error {
	sub := m.store.Subscribe(TypeDeployment, typeGroup)
	defer sub.Close()
	defer m.wg.Wait()
	for {
		if err := m.resume(ctx); err != nil && ctx.Err() == nil {
			m.log.Error("resume deployments", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sub.C:
		}
	}
}

// resume starts what is open and not being worked on.
func (m *Room) resume(ctx context.Context) error {
	var runs []store.Entry
	var groups []*store.Doc
	err := m.store.View(ctx, func(tx *store.Tx) (err error) {
		if runs, err = tx.ListKV(bucketOpen); err != nil {
			return err
		}
		groups, err = tx.List(store.Query{Type: typeGroup})
		return err
	})
	if err != nil {
		return err
	}
	for _, r := range runs {
		m.start(ctx, r.Key, func(ctx context.Context, x *execution) { m.carryOut(ctx, x, r.Key, string(r.Value)) })
	}
	for _, g := range groups {
		if g.Deleting {
			m.start(ctx, "group "+g.UID, func(ctx context.Context, _ *execution) { m.deleteGroup(ctx, g) })
		}
	}
	return nil
}

// execution is work on a deployment or a group in this process.
type execution struct{ cancel context.CancelFunc }

// start does work in the background, unless work of that key goes on already.
func (m *Room) start(ctx context.Context, key string, work func(context.Context, *execution)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.running[key] != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	x := &execution{cancel: cancel}
	m.running[key] = x
	m.wg.Go(func() {
		defer cancel()
		defer func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			delete(m.running, key)
		}()
		work(ctx, x)
	})
}

// stop ends the work of a key in this process, if there is any.
func (m *Room) stop(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if x := m.running[key]; x != nil {
		x.cancel()
	}
}

// environment is what environment() answers.
func (m *Room) environment(baseURL string) template.Value {
	s, e := template.StringValue, m.Environment
	return template.ObjectOf("name", s("AzureCloud"), "resourceManager", s(baseURL), "gallery", s(baseURL), "graph", s(baseURL), "portal", s(baseURL),
		"graphAudience", s(baseURL), "activeDirectoryDataLake", s(baseURL), "batch", s(baseURL), "media", s(baseURL), "sqlManagement", s(baseURL), "vmImageAliasDoc", s(baseURL+"/metadata/image-aliases.json"),
		"authentication", template.ObjectOf("loginEndpoint", s(baseURL+"/adfs"), "audiences", template.ArrayValue([]template.Value{s(baseURL)}),
			"tenant", s("adfs"), "identityProvider", s("ADFS")),
		"suffixes", template.ObjectOf("storage", s(e.StorageSuffix), "keyvaultDns", s("."+strings.TrimPrefix(e.VaultSuffix, ".")),
			"acrLoginServer", s(""), "sqlServerHostname", s(""), "azureDatalakeStoreFileSystem", s(""), "azureDatalakeAnalyticsCatalogAndJob", s(""),
			"azureFrontDoorEndpointSuffix", s("")))
}
