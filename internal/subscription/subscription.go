// Package subscription shows the one subscription, the one tenant and the locations of a lido, and the few lists that
// clients ask of every cloud.
package subscription

import (
	"context"
	"errors"

	"github.com/google/uuid"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// Identity is what tells this lido from others; it is made at the first start and never changes.
type Identity struct {
	Subscription string `json:"subscription"`
	Tenant       string `json:"tenant"`
	Name         string `json:"name"` // of the subscription, as az shows it
}

// Load reads the identity from the store, making it at the first start.
func Load(ctx context.Context, st *store.Store) (Identity, error) {
	var id Identity
	err := st.Update(ctx, func(tx *store.Tx) error {
		err := tx.GetJSON("lido", "identity", &id)
		if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		id = Identity{Subscription: uuid.NewString(), Tenant: uuid.NewString(), Name: "lido"}
		return tx.SetJSON("lido", "identity", id)
	})
	return id, err
}

// Room serves the types of this package.
type Room struct {
	Identity  Identity
	Locations []string // names; the first is where machines are
}

// Types returns the resource types.
func (m *Room) Types() []arm.Type {
	empty := func(context.Context, *arm.Request) (*arm.Response, error) { return arm.Page[any](nil), nil }
	versions := []string{"2022-12-01", "2019-11-01", "2016-06-01"}
	return []arm.Type{
		{Name: arm.TypeSubscription, APIVersions: versions, Get: m.get, List: m.list},
		{Name: arm.TypeSubscription + "/locations", APIVersions: versions, List: m.locations, Hidden: true},
		{Name: arm.TypeSubscription + "/tagNames", APIVersions: versions, List: empty, Hidden: true},
		{Name: "Microsoft.Resources/tenants", APIVersions: versions, List: m.tenants},
		{Name: "Microsoft.Features/features", APIVersions: []string{"2021-07-01"}, List: empty, Hidden: true},
		{Name: "Microsoft.Insights/eventtypes/values", APIVersions: []string{"2015-04-01"}, List: empty, Hidden: true},
	}
}

func (m *Room) body() map[string]any {
	return map[string]any{
		"id": "/subscriptions/" + m.Identity.Subscription, "subscriptionId": m.Identity.Subscription, "tenantId": m.Identity.Tenant,
		"displayName": m.Identity.Name, "state": "Enabled", "authorizationSource": "RoleBased", "managedByTenants": []any{},
		"subscriptionPolicies": map[string]any{"locationPlacementId": "Public_2014-09-01", "quotaId": "Lido_2026-01-01", "spendingLimit": "Off"},
	}
}

func (m *Room) list(context.Context, *arm.Request) (*arm.Response, error) {
	return arm.Page([]map[string]any{m.body()}), nil
}

func (m *Room) get(context.Context, *arm.Request) (*arm.Response, error) {
	return arm.OK(m.body()), nil
}

func (m *Room) tenants(context.Context, *arm.Request) (*arm.Response, error) {
	return arm.Page([]map[string]any{{
		"id": "/tenants/" + m.Identity.Tenant, "tenantId": m.Identity.Tenant, "displayName": m.Identity.Name,
		"tenantCategory": "Home", "domains": []any{}, "countryCode": "",
	}}), nil
}

func (m *Room) locations(context.Context, *arm.Request) (*arm.Response, error) {
	var items []map[string]any
	for _, name := range m.Locations {
		items = append(items, map[string]any{
			"id": "/subscriptions/" + m.Identity.Subscription + "/locations/" + name, "name": name, "type": "Region",
			"displayName": name, "regionalDisplayName": name,
			"metadata": map[string]any{"regionType": "Physical", "regionCategory": "Recommended", "geographyGroup": "On premises", "physicalLocation": "here",
				"latitude": "0", "longitude": "0", "pairedRegion": []any{}},
		})
	}
	return arm.Page(items), nil
}
