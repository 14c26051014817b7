package batch

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/secret"
)

func isPlaceholder(s string) bool { return strings.HasPrefix(s, secret.Prefix) }

// unchanged refuses a wish whose properties differ from the stored ones in anything but the free ones. Secrets are
// compared by their placeholders. format is a sentence with the resource's name.
func (r *Room) unchanged(a *arm.Admission, secrets []string, format string, free ...string) error {
	stored := map[string]any{}
	if err := arm.Decode(a.Old.Desired, &stored); err != nil {
		return err
	}
	body := map[string]any{}
	if err := arm.Convert(a.Body, &body); err != nil {
		return err
	}
	if err := r.Server.Box.Conceal(a.Tx, a.Old.ID, body, secrets); errors.Is(err, secret.ErrUnknown) {
		return arm.BadRequest("InvalidParameter", "", "%v.", err)
	} else if err != nil {
		return err
	}
	was, is := properties(stored), properties(body)
	for _, k := range free {
		delete(was, k)
		delete(is, k)
	}
	if at := difference(was, is, "properties"); at != "" {
		return arm.Conflict("PropertyChangeNotAllowed", format, a.ID.Name()).At(at)
	}
	return nil
}

// difference returns the path of the first value in which two decoded JSON values differ, or "". Null and empty are
// as good as absent.
func difference(a, b any, at string) string {
	if empty(a) && empty(b) {
		return ""
	}
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if !aok && a != nil || !bok && b != nil {
		if same(a, b) {
			return ""
		}
		return at
	}
	keys := slices.Collect(maps.Keys(am))
	for k := range bm {
		if _, ok := am[k]; !ok {
			keys = append(keys, k)
		}
	}
	slices.Sort(keys)
	for _, k := range keys {
		if d := difference(am[k], bm[k], at+"."+k); d != "" {
			return d
		}
	}
	return ""
}

func empty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case map[string]any:
		for _, x := range v {
			if !empty(x) {
				return false
			}
		}
		return true
	case []any:
		return len(v) == 0
	}
	return false
}

func same(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
