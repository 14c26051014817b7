package network

import (
	"fmt"
	"net/netip"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

type object = map[string]any

// ref is a mention of another resource.
type ref struct {
	ID string `json:"id"`
}

func key(id string) string { return store.Key(id) }

// nameOf is the last segment of an id.
func nameOf(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

// parentOf is an id without its last type and name.
func parentOf(id string) string {
	parts := strings.Split(strings.TrimSuffix(id, "/"), "/")
	if len(parts) < 3 {
		return ""
	}
	return strings.Join(parts[:len(parts)-2], "/")
}

// props returns an object's properties, adding them if they are missing.
func props(o object) object {
	p, ok := o["properties"].(object)
	if !ok {
		p = object{}
		o["properties"] = p
	}
	return p
}

// items returns a property's list of objects, in whichever casing the property was sent, under its proper name.
func items(p object, name string) []object {
	for k, v := range p {
		if k != name && strings.EqualFold(k, name) {
			delete(p, k)
			p[name] = v
		}
	}
	list, _ := p[name].([]any)
	var out []object
	for _, v := range list {
		if o, ok := v.(object); ok {
			out = append(out, o)
		}
	}
	return out
}

func setItems(p object, name string, list []object) {
	out := make([]any, len(list))
	for i, o := range list {
		out[i] = o
	}
	p[name] = out
}

func text(o object, name string) string {
	for k, v := range o {
		if strings.EqualFold(k, name) {
			s, _ := v.(string)
			return s
		}
	}
	return ""
}

// parts checks that a list's entries are named, each once, and takes from them what lido recomputes.
func parts(p object, list string) error {
	seen := map[string]bool{}
	raw, present := p[list]
	if _, isList := raw.([]any); present && raw != nil && !isList {
		return arm.BadRequest("InvalidRequestFormat", "properties."+list, "Cannot parse the request: 'properties.%s' is not an array.", list)
	}
	entries := items(p, list)
	for i, e := range entries {
		at := fmt.Sprintf("properties.%s[%d]", list, i)
		name := text(e, "name")
		if name == "" {
			return arm.BadRequest("InvalidRequestFormat", at+".name", "Cannot parse the request: the entry '%s' has no name.", at)
		}
		if seen[strings.ToLower(name)] {
			return arm.BadRequest("DuplicateResourceName", at+".name", "Resource '%s' has two child resources with the same name (%s).", list, name)
		}
		seen[strings.ToLower(name)] = true
		for _, k := range []string{"id", "etag", "type", "resourceGuid"} {
			delete(e, k)
		}
		delete(props(e), "provisioningState")
	}
	setItems(p, list, entries)
	return nil
}

// find returns the entry of a list by its name in any case.
func find(list []object, name string) object {
	for _, e := range list {
		if strings.EqualFold(text(e, "name"), name) {
			return e
		}
	}
	return nil
}

// child finishes an entry as clients see it.
func child(e object, parent, typ, list, etag string) {
	e["id"] = parent + "/" + list + "/" + text(e, "name")
	e["type"] = typ + "/" + list
	e["etag"] = etag
	props(e)["provisioningState"] = arm.Succeeded
}

func refsTo(ids []string) []any {
	out := []any{}
	for _, id := range ids {
		out = append(out, object{"id": id})
	}
	return out
}

// setRefs shows back references, or nothing if there are none, as Azure does.
func setRefs(p object, name string, ids []string) {
	if len(ids) == 0 {
		delete(p, name)
		return
	}
	p[name] = refsTo(ids)
}

func notFoundRef(id, from, at string) *arm.Error {
	return arm.BadRequest("InvalidResourceReference", at,
		"Resource %s referenced by resource %s was not found. Please make sure that the referenced resource exists, and that both resources are in the same region.", id, from)
}

func parsePrefix(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, err
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%v has bits set beyond its length; %v is meant", p, p.Masked())
	}
	return p, nil
}

// setDefault writes a value that a client left out.
func setDefault(p object, name string, value any) {
	if p[name] == nil {
		p[name] = value
	}
}
