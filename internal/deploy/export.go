package deploy

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// exportGroup writes a template that makes the resources of a group. Secrets are in it as the placeholders that any
// reader sees.
func (m *Room) exportGroup(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	var docs []*store.Doc
	err := m.store.View(ctx, func(tx *store.Tx) (err error) {
		docs, err = tx.List(store.Query{Under: r.ID.String()})
		return err
	})
	if err != nil {
		return nil, err
	}
	resources := []map[string]any{}
	for _, d := range docs {
		if !isRoot(d) {
			continue
		}
		body, err := m.current(ctx, r, d.ID)
		if err != nil {
			return nil, err
		}
		resources = append(resources, exported(d, body))
	}
	return arm.OK(map[string]any{"template": map[string]any{
		"$schema":        "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#",
		"contentVersion": "1.0.0.0", "parameters": map[string]any{}, "variables": map[string]any{}, "resources": resources,
	}}), nil
}

// exported is a resource as a template has it.
func exported(d *store.Doc, body map[string]any) map[string]any {
	for _, k := range []string{"id", "etag", "systemData"} {
		delete(body, k)
	}
	if props, ok := body["properties"].(map[string]any); ok {
		delete(props, "provisioningState")
	}
	body["apiVersion"] = d.APIVersion
	body["name"] = arm.ParsePath(d.ID).FullName()
	return body
}

// current reads a resource as the request's caller; nil when it is not there.
func (m *Room) current(ctx context.Context, r *arm.Request, id string) (map[string]any, error) {
	rid := arm.ParsePath(id)
	version := r.APIVersion
	if t := m.Server.Lookup(rid.Type()); t != nil && len(t.APIVersions) > 0 {
		version = t.APIVersions[0]
	}
	resp, err := m.Server.Do(ctx, &arm.Request{Method: http.MethodGet, ID: rid, APIVersion: version, Caller: r.Caller, BaseURL: r.BaseURL, CorrelationID: r.CorrelationID, Query: map[string][]string{}})
	if err != nil {
		if e := arm.AsError(err); e.Status == http.StatusNotFound && !strings.HasPrefix(e.Code, "InvalidResource") {
			return nil, nil
		}
		return nil, err
	}
	b, err := json.Marshal(resp.Body)
	if err != nil {
		return nil, err
	}
	body := map[string]any{}
	return body, json.Unmarshal(b, &body)
}
