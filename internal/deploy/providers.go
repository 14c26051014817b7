package deploy

import (
	"context"
	"net/http"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/template"
)

// provider is a name space with the types that are served in it.
func (m *Room) provider(namespace, subscription string) map[string]any {
	var types []map[string]any
	name := namespace
	for _, t := range m.Server.Types() {
		ns, rest, _ := strings.Cut(t.Name, "/")
		if !strings.EqualFold(ns, namespace) || t.Hidden {
			continue
		}
		name = ns
		locations := append([]string{}, m.Locations...)
		rest = strings.TrimPrefix(rest, "subscriptions/")
		types = append(types, map[string]any{"resourceType": rest, "locations": locations, "apiVersions": t.APIVersions, "capabilities": "SupportsTags, SupportsLocation"})
	}
	if types == nil {
		return nil
	}
	id := "/providers/" + name
	if subscription != "" {
		id = "/subscriptions/" + subscription + id
	}
	return map[string]any{"id": id, "namespace": name,
		"registrationState": "Registered", "registrationPolicy": "RegistrationFree", "resourceTypes": types}
}

func (m *Room) listProviders(_ context.Context, r *arm.Request) (*arm.Response, error) {
	var items []map[string]any
	last := ""
	for _, t := range m.Server.Types() {
		ns, _, _ := strings.Cut(t.Name, "/")
		if ns == last {
			continue
		}
		last = ns
		if p := m.provider(ns, r.ID.Subscription()); p != nil {
			items = append(items, p)
		}
	}
	return arm.Page(items), nil
}

func (m *Room) getProvider(_ context.Context, r *arm.Request) (*arm.Response, error) {
	p := m.provider(r.ID.Name(), r.ID.Subscription())
	if p == nil {
		return nil, arm.Errorf(http.StatusNotFound, "InvalidResourceNamespace", "The resource namespace '%s' is invalid: lido does not serve it. 'az provider list' shows the namespaces that it serves.", r.ID.Name())
	}
	return arm.OK(p), nil
}

// registerProvider answers that a provider is registered, as all that are served always are.
func (m *Room) registerProvider(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	return m.getProvider(ctx, r)
}

// providerValue is what the template function providers() answers.
func (m *Room) providerValue(subscription string) func(namespace, resourceType string) (template.Value, bool) {
	return func(namespace, resourceType string) (template.Value, bool) {
		p := m.provider(namespace, subscription)
		if p == nil {
			return template.Value{}, false
		}
		if resourceType == "" {
			return valueOf(p), true
		}
		for _, t := range p["resourceTypes"].([]map[string]any) {
			if strings.EqualFold(t["resourceType"].(string), resourceType) {
				return valueOf(t), true
			}
		}
		return template.Value{}, false
	}
}
