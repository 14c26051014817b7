package arm

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

// Any path has one reading: an id written out and read again is the same, and its parts don't panic.
func FuzzParsePath(f *testing.F) {
	for _, s := range []string{"", "/", "//", "/subscriptions", cage, cage + "/animals/", "/subscriptions/S/providers/A.B/register",
		"/providers/Microsoft.Resources/deployments/d", "/providers/A/providers/B/c", "/subscriptions/s/resourceGroups/g/providers/A.B/c/C/providers/M.I/metrics/x/y",
		"/subscriptions/s/resourcegroups//x", "/Subscriptions/İ/ſ/K", "/providers/providers/providers/providers", "a\x00b/\xff/c"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		id := ParsePath(path)
		text := id.String()
		again := ParsePath(text)
		if again.String() != text || again.Type() != id.Type() || again.Name() != id.Name() || again.Scope != id.Scope {
			t.Fatalf("%q is %q, which is %+v and not %+v", path, text, again, id)
		}
		if id.Key() != strings.ToLower(text) || len(id.Types)-len(id.Names) > 1 || len(id.Types) < len(id.Names) {
			t.Fatalf("%q: %+v", path, id)
		}
		parent := id.Parent()
		if !id.IsZero() && len(parent.String()) >= len(text) && text != "" {
			t.Fatalf("parent of %q is %q", text, parent.String())
		}
		_, _, _, _ = id.Subscription(), id.Group(), id.GroupID(), id.FullName()
		if !id.IsZero() && !id.IsCollection() {
			child := id.Child("kids", "kid")
			if child.Parent().String() != text || ParsePath(child.String()).Name() != "kid" {
				t.Fatalf("child of %q is %q, whose parent is %q", text, child.String(), child.Parent().String())
			}
		}
	})
}

type fuzzed struct {
	Name  string            `json:"name"`
	Flag  Bool              `json:"flag"`
	Count *Int              `json:"count"`
	Port  String            `json:"port"`
	Tags  map[string]string `json:"tags"`
	Items []struct {
		Size  Int       `json:"size"`
		Inner *fuzzed   `json:"inner"`
		Rest  []float64 `json:"rest"`
	} `json:"items"`
}

// Decode refuses only with InvalidRequestContent, whose target leads to a value that is there.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `null`, `[]`, `{"items":[{"size":"5"},{"size":[]}]}`, `{"items":[{"inner":{"items":[{"rest":[1,"x"]}]}}]}`,
		`{"flag":"True","count":"5.0","port":80}`, `{"count":1e400}`, `{"tags":{"a.b":1}}`, `{} {}`, `{"NAME":{}}`, "\xff", `{"count":"NaN"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var v fuzzed
		err := Decode(b, &v)
		if err == nil {
			if !json.Valid(b) {
				t.Fatalf("%q is taken as JSON", b)
			}
			return
		}
		var e *Error
		if !errors.As(err, &e) || e.Code != "InvalidRequestContent" || e.Status != 400 {
			t.Fatalf("%q: %v", b, err)
		}
		if e.Target != "" && len(e.Target) > 2*len(b)+10 {
			t.Fatalf("%q: target %q", b, e.Target)
		}
	})
}
