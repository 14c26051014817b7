//go:build root

package test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/bench/rig"
)

// refused are the quick-starts that ask for what lido refuses though it serves their types, with the code that says so.
var refused = map[string]string{
	"ipv6-in-vnet-vmss":                 "AddressFamilyNotSupported",
	"vm-windows-copy-datadisks":         "InvalidParameter", // Windows, like the next two
	"vmss-windows-jumpbox":              "InvalidParameter",
	"vmss-windows-webapp-dsc-autoscale": "InvalidParameter",
}

// mistaken is a quick-start that Azure refuses, too: it names a subnet without its network.
const mistaken = "vmss-win-iis-app-ssl"

// mirrored is where the templates are, for those that look for more beside themselves.
const mirrored = "https://templates.example.org/"

// TestQuickstarts deploys real templates of others on simulated machines: those of types that lido serves come up, come up
// again without a change, and go; for the others the error names each type that is not served.
func TestQuickstarts(t *testing.T) {
	repo, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(sharedDir(repo), "data", "quickstarts")
	templates, _ := filepath.Glob(filepath.Join(dir, "*", "azuredeploy.json"))
	if len(templates) == 0 {
		if os.Getenv("CI") == "true" {
			t.Fatalf("no templates in %s: set LIDO_TEST_SHARED", dir)
		}
		t.Skipf("no templates in %s", dir)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	l, err := rig.Start(ctx, rig.Options{Bin: filepath.Join(buildLido(t), "lido"), Engine: "sim",
		Config: fmt.Sprintf("mirrors:\n  %q: %q\n", mirrored, dir)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	served := servedTypes(ctx, t, l)
	delete(served, "microsoft.network/networkinterfaces") // can be read only
	deployed := 0
	for _, path := range templates {
		q := readQuickstart(t, path)
		t.Run(q.name, func(t *testing.T) {
			if q.name == mistaken {
				q.wantRefused(ctx, t, l, "InvalidTemplate", []string{"appVMSubnetRef", "requires '2' resource name argument(s)"})
			} else if missing := q.missing(served); len(missing) > 0 {
				q.wantRefused(ctx, t, l, "InvalidResourceType", missing)
			} else if code := refused[q.name]; code != "" {
				q.wantRefused(ctx, t, l, code, nil)
			} else {
				q.wantDeployed(ctx, t, l)
				deployed++
			}
		})
	}
	t.Logf("%d of %d deployed", deployed, len(templates))
}

// servedTypes are the types that lido serves, in lower case.
func servedTypes(ctx context.Context, t *testing.T, l *rig.Lido) map[string]bool {
	var providers struct {
		Value []struct {
			Namespace     string
			ResourceTypes []struct{ ResourceType string }
		}
	}
	subscription := strings.SplitN(l.Group("x"), "/resourceGroups/", 2)[0]
	if err := l.Do(ctx, http.MethodGet, subscription+"/providers", nil, &providers); err != nil {
		t.Fatal(err)
	}
	served := map[string]bool{}
	for _, p := range providers.Value {
		for _, r := range p.ResourceTypes {
			served[strings.ToLower(p.Namespace+"/"+r.ResourceType)] = true
		}
	}
	return served
}

type quickstart struct {
	name       string
	types      []string // of its resources, in lower case
	properties map[string]any
}

// readQuickstart reads a template and its parameters, with values for those that everybody has to fill in.
func readQuickstart(t *testing.T, path string) quickstart {
	q := quickstart{name: filepath.Base(filepath.Dir(path))}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	given, err := os.ReadFile(filepath.Join(filepath.Dir(path), "azuredeploy.parameters.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Parameters map[string]map[string]any
	}
	var doc struct{ Resources []any }
	if err := errors.Join(json.Unmarshal(given, &file), json.Unmarshal(text, &doc)); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	for name, p := range file.Parameters {
		if p["reference"] != nil {
			file.Parameters[name] = map[string]any{"value": "Hush-hush-1"}
		} else if s, ok := p["value"].(string); ok {
			p["value"] = filled(q.name+name, s)
		}
	}
	collectTypes(doc.Resources, "", &q.types)
	if q.name == "vmss-datascience" {
		file.Parameters["osType"] = map[string]any{"value": "linux"} // Windows unless told
	}
	q.properties = map[string]any{"mode": "Incremental", "parameters": file.Parameters}
	if strings.Contains(string(text), "deployment().properties.templateLink.uri") {
		q.properties["templateLink"] = map[string]any{"uri": mirrored + q.name + "/azuredeploy.json"}
	} else {
		q.properties["template"] = json.RawMessage(text)
	}
	return q
}

// filled is a value in place of one that everybody has to choose for themselves; name tells it from others.
func filled(name, value string) string {
	switch {
	case value == "GEN-PASSWORD":
		return "Hush-hush-1"
	case value == "GEN-SSH-PUB-KEY":
		return "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHhsM3Hs6H6l3RrVVTt4YvJx9ZXyD2bKGfB3pd1vZ2vM someone"
	case strings.HasPrefix(value, "GEN-UNIQUE"), strings.HasPrefix(value, "<"):
		return fmt.Sprintf("q%07x", crc32.ChecksumIEEE([]byte(name))>>4) // names of sets have 9 characters at most
	}
	return value
}

// collectTypes lists the types of resources, those of nested ones included.
func collectTypes(resources []any, parent string, into *[]string) {
	for _, r := range resources {
		m, _ := r.(map[string]any)
		typ, _ := m["type"].(string)
		if parent != "" && !strings.Contains(typ, ".") {
			typ = parent + "/" + typ
		}
		if !slices.Contains(*into, strings.ToLower(typ)) {
			*into = append(*into, strings.ToLower(typ))
		}
		if inner, ok := m["resources"].([]any); ok {
			collectTypes(inner, typ, into)
		}
	}
}

func (q quickstart) missing(served map[string]bool) (list []string) {
	for _, typ := range q.types {
		if !served[typ] {
			list = append(list, typ)
		}
	}
	return list
}

func (q quickstart) group(ctx context.Context, t *testing.T, l *rig.Lido) (group, deployment string) {
	t.Helper()
	group = l.Group("q-" + q.name)
	if err := l.Do(ctx, http.MethodPut, group, map[string]any{"location": "local"}, nil); err != nil {
		t.Fatal(err)
	}
	return group, group + "/providers/Microsoft.Resources/deployments/main"
}

// wantRefused wants an error of a code that names all words.
func (q quickstart) wantRefused(ctx context.Context, t *testing.T, l *rig.Lido, code string, words []string) {
	group, deployment := q.group(ctx, t, l)
	err := l.Put(ctx, deployment, map[string]any{"properties": q.properties})
	if err == nil {
		t.Fatalf("deployed, want %s", code)
	}
	text := err.Error()
	var d map[string]any
	if l.Do(ctx, http.MethodGet, deployment, nil, &d) == nil {
		b, _ := json.Marshal(d)
		text += string(b)
	}
	for _, w := range append(words, code) {
		if !strings.Contains(strings.ToLower(text), strings.ToLower(w)) {
			t.Errorf("the error does not say %q: %s", w, text)
		}
	}
	if err := l.Delete(ctx, group); err != nil {
		t.Error(err)
	}
}

// wantDeployed deploys the template, twice, and deletes what it made.
func (q quickstart) wantDeployed(ctx context.Context, t *testing.T, l *rig.Lido) {
	group, deployment := q.group(ctx, t, l)
	body := map[string]any{"properties": q.properties}
	if err := l.Do(ctx, http.MethodPost, deployment+"/validate", body, nil); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := l.Put(ctx, deployment, body); err != nil {
			var d any
			l.Do(ctx, http.MethodGet, deployment, nil, &d)
			b, _ := json.MarshalIndent(d, "", " ")
			t.Fatalf("%v\n%s", err, b)
		}
		for _, c := range whatIf(ctx, t, l, deployment, body) {
			if c.ChangeType != "NoChange" {
				t.Errorf("what-if after deploying: %s %s %s", c.ChangeType, c.ResourceID, c.Delta)
			}
		}
	}
	if err := l.Delete(ctx, group); err != nil {
		t.Fatal(err)
	}
	var left struct{ Value []struct{ ID string } }
	subscription, _, _ := strings.Cut(group, "/resourceGroups/")
	if err := l.Do(ctx, http.MethodGet, subscription+"/resources", nil, &left); err != nil || len(left.Value) > 0 {
		t.Errorf("left after deleting: %v %v", left, err)
	}
}

type foreseen struct {
	ChangeType string
	ResourceID string
	Delta      json.RawMessage
}

func whatIf(ctx context.Context, t *testing.T, l *rig.Lido, deployment string, body any) []foreseen {
	t.Helper()
	var answer struct{ Properties struct{ Changes []foreseen } }
	if err := l.Do(ctx, http.MethodPost, deployment+"/whatIf", body, &answer); err != nil {
		t.Fatal(err)
	}
	if len(answer.Properties.Changes) == 0 {
		t.Error("what-if lists nothing")
	}
	return answer.Properties.Changes
}
