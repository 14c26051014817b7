package compute

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// Extensions are part of their set's document. Templates and clients may also write them as resources below it: each
// such call becomes one on the set.

const typeSetExtension = TypeSet + "/extensions"

func (r *Room) extensionType() arm.Type {
	return arm.Type{Name: typeSetExtension, APIVersions: apiVersions,
		Get: r.getExtension, List: r.listExtensions, Put: r.putExtension, Patch: r.putExtension, Delete: r.deleteExtension}
}

func (r *Room) listExtensions(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	list, err := r.setExtensions(ctx, setOf(req.ID))
	if err != nil {
		return nil, err
	}
	return arm.Page(list), nil
}

func (r *Room) getExtension(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	e, err := r.setExtension(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return arm.OK(e), nil
}

func (r *Room) setExtension(ctx context.Context, id arm.ID) (map[string]any, error) {
	list, err := r.setExtensions(ctx, setOf(id))
	if err != nil {
		return nil, err
	}
	if i := indexOf(list, id.Name()); i >= 0 {
		return list[i], nil
	}
	return nil, arm.NotFound(id)
}

// setExtensions returns a set's extensions as resources.
func (r *Room) setExtensions(ctx context.Context, setID arm.ID) ([]map[string]any, error) {
	var out []map[string]any
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(setID.String())
		if err != nil {
			return notFound(err, setID)
		}
		body, err := r.Server.Rendered(ctx, tx, d, r.setDocument())
		if err != nil {
			return err
		}
		for _, e := range extensionsOf(body) {
			name, _ := e["name"].(string)
			e["id"], e["type"] = d.ID+"/extensions/"+name, typeSetExtension
			child(e, "properties")["provisioningState"] = at(body, "properties")["provisioningState"]
			out = append(out, e)
		}
		return nil
	})
	return out, err
}

func extensionsOf(body map[string]any) []map[string]any {
	list, _ := at(body, "properties", "virtualMachineProfile", "extensionProfile")["extensions"].([]any)
	var out []map[string]any
	for _, e := range list {
		if m := asMap(e); m != nil {
			out = append(out, m)
		}
	}
	return out
}

func indexOf(list []map[string]any, name string) int {
	return slices.IndexFunc(list, func(e map[string]any) bool {
		n, _ := e["name"].(string)
		return strings.EqualFold(n, name)
	})
}

func (r *Room) putExtension(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	sent, err := req.BodyMap()
	if err != nil {
		return nil, err
	}
	status := http.StatusOK
	set, err := r.writeExtensions(ctx, req, func(list []map[string]any) ([]map[string]any, int) {
		e := map[string]any{"name": req.ID.Name(), "properties": sent["properties"]}
		i := indexOf(list, req.ID.Name())
		switch {
		case i < 0:
			status = http.StatusCreated
			return append(list, e), len(list)
		case req.Method == http.MethodPatch:
			list[i] = arm.MergePatch(list[i], e)
		default:
			list[i] = e
		}
		return list, i
	})
	if err != nil {
		return nil, err
	}
	body, err := r.setExtension(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: status, Body: body, Operation: set.Operation}, nil
}

func (r *Room) deleteExtension(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	found := false
	set, err := r.writeExtensions(ctx, req, func(list []map[string]any) ([]map[string]any, int) {
		i := indexOf(list, req.ID.Name())
		if found = i >= 0; found {
			list = slices.Delete(list, i, i+1)
		}
		return list, -1
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return &arm.Response{Status: http.StatusNoContent}, nil
	}
	return &arm.Response{Status: http.StatusAccepted, Operation: set.Operation, Location: true}, nil
}

// writeExtensions changes the list of a set's extensions by a PUT of the set. change also returns the place of the one
// that the request's body became, to which the request's secrets belong.
func (r *Room) writeExtensions(ctx context.Context, req *arm.Request, change func([]map[string]any) ([]map[string]any, int)) (*arm.Response, error) {
	setID := setOf(req.ID)
	body := map[string]any{}
	var etag string
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(setID.String())
		if err != nil {
			return notFound(err, setID)
		}
		etag = d.Etag
		return json.Unmarshal(d.Desired, &body)
	})
	if err != nil {
		return nil, err
	}
	list, at := change(extensionsOf(body)) // sealed secrets stay sealed: placeholders of the same set
	patch := map[string]any{"properties": map[string]any{"virtualMachineProfile": map[string]any{"extensionProfile": map[string]any{"extensions": nonNil(list)}}}}
	b, err := json.Marshal(patch)
	if err != nil {
		return nil, err
	}
	put := *req
	put.ID, put.Method, put.Body, put.IfMatch, put.IfNoneMatch, put.Secrets = setID, http.MethodPatch, b, etag, "", nil
	for _, s := range req.Secrets {
		put.Secrets = append(put.Secrets, fmt.Sprintf("%s[%d].%s", pathExtensions, at, s))
	}
	return r.Server.Do(ctx, &put)
}

func nonNil(list []map[string]any) []map[string]any {
	if list == nil {
		return []map[string]any{}
	}
	return list
}

// instanceExtensions serves {V}/virtualMachines/I/extensions.
func (r *Room) instanceExtensions(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	list, err := r.extensionsOfInstance(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	return arm.OK(map[string]any{"value": list}), nil
}

func (r *Room) instanceExtension(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	list, err := r.extensionsOfInstance(ctx, req.ID)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if n, _ := asMap(e)["name"].(string); strings.EqualFold(n, req.ID.Name()) {
			return arm.OK(e), nil
		}
	}
	return nil, arm.NotFound(req.ID)
}

func (r *Room) extensionsOfInstance(ctx context.Context, id arm.ID) ([]any, error) {
	bodies, err := r.instances(ctx, id.Parent(), false, nil)
	if err != nil {
		return nil, err
	}
	list, _ := bodies[0]["resources"].([]any)
	if list == nil {
		list = []any{}
	}
	return list, nil
}
