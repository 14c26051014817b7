package arm

import (
	"encoding/json"
	"slices"
	"strings"

	"lido.dev/lido/internal/store"
)

// readOnly are the properties that lido sets and clients send back.
var readOnly = []string{"id", "name", "type", "etag", "systemData"}

// wish makes the whole wished-for body out of what is stored and what was sent.
func (h *documents) wish(tx *store.Tx, a *Admission, sent map[string]any) (map[string]any, error) {
	spell(sent)
	for _, k := range readOnly {
		delete(sent, k)
	}
	if props, ok := sent["properties"].(map[string]any); ok {
		delete(props, "provisioningState")
	}
	if a.Old == nil {
		return sent, nil
	}
	stored := map[string]any{}
	if err := json.Unmarshal(a.Old.Desired, &stored); err != nil {
		return nil, err
	}
	for _, p := range h.Hidden {
		keepHidden(stored, sent, strings.Split(p, "."))
	}
	switch {
	case h.Merge != nil && !a.Patch:
		return h.Merge(stored, sent), nil
	case a.Patch:
		body := MergePatch(stored, sent)
		if tags, ok := sent["tags"].(map[string]any); ok { // are replaced whole, or they could not be taken away
			body["tags"] = tags
		}
		return body, nil
	}
	return sent, nil
}

// envelope are the properties that all types share; clients write them in any case.
var envelope = []string{"id", "name", "type", "etag", "location", "tags", "properties", "sku", "kind", "plan", "identity", "zones"}

// spell gives the envelope's properties their usual spelling.
func spell(body map[string]any) {
	for _, want := range envelope {
		for k, v := range body {
			if k == want || !strings.EqualFold(k, want) {
				continue
			}
			delete(body, k)
			if _, ok := body[want]; !ok {
				body[want] = v
			}
		}
	}
}

// keepHidden copies a hidden value into what was sent, if it is missing there and its parent isn't. Elements of lists
// are told apart by their names, or by their places if they have none.
func keepHidden(stored, sent any, path []string) {
	key, isList := strings.CutSuffix(path[0], "[*]")
	if isList {
		from, to := listOf(stored, key), listOf(sent, key)
		for i := range to {
			if j := sameElement(from, to, i); j >= 0 {
				keepHidden(from[j], to[i], path[1:])
			}
		}
		return
	}
	from, to := member(stored, key), member(sent, key)
	object, ok := sent.(map[string]any)
	switch {
	case from == nil || !ok:
	case len(path) > 1:
		keepHidden(from, to, path[1:])
	case to == nil:
		object[key] = from
	}
}

// sameElement returns the place in from of the element to[i], or -1.
func sameElement(from, to []any, i int) int {
	name, _ := member(to[i], "name").(string)
	if name == "" && i < len(from) && member(from[i], "name") == nil {
		return i
	}
	return slices.IndexFunc(from, func(e any) bool {
		other, ok := member(e, "name").(string)
		return ok && name != "" && strings.EqualFold(other, name)
	})
}

// member returns an object's member by its name in any case, or nil.
func member(v any, key string) any {
	m, _ := v.(map[string]any)
	if x, ok := m[key]; ok {
		return x
	}
	for k, x := range m {
		if strings.EqualFold(k, key) {
			return x
		}
	}
	return nil
}

func listOf(v any, key string) []any {
	l, _ := member(v, key).([]any)
	return l
}

// MergePatch applies an RFC 7396 merge patch and returns the result; it may share parts with both.
func MergePatch(stored, patch map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range stored {
		out[k] = v
	}
	for k, v := range patch {
		sub, isMap := v.(map[string]any)
		switch {
		case v == nil:
			delete(out, k)
		case isMap:
			old, _ := out[k].(map[string]any)
			out[k] = MergePatch(old, sub)
		default:
			out[k] = v
		}
	}
	return out
}
