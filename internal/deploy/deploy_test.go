package deploy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/template"
)

const zooTemplate = `{` + head + `
  "parameters": {"name": {"type": "string"}, "password": {"type": "securestring"}},
  // what az splices has comments
  "resources": [
    {"type": "Test.Zoo/cages", "apiVersion": "2020-01-01", "name": "[parameters('name')]", "location": "[resourceGroup().location]",
     "properties": {"uses": "[resourceId('Test.Zoo/nets', 'net')]", "lock": "[concat('code ', parameters('password'))]", "count": 2}},
    {"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "net", "location": "local", "properties": {"note": "a
line"}},
  ],
  "outputs": {
    "cage": {"type": "object", "value": "[reference(parameters('name'))]"},
    "key": {"type": "string", "value": "[listKeys(parameters('name'), '2020-01-01').keys[0].value]"},
    "pass": {"type": "securestring", "value": "[parameters('password')]"},
    "where": {"type": "string", "value": "[concat(resourceGroup().name, '/', deployment().name)]"}
  }
}`

const zooProperties = `"parameters": {"name": {"value": "lion"}, "password": {"value": "pass-word-1"}}, "mode": "incremental", template: ` + zooTemplate

func TestDeploy(t *testing.T) {
	l := newLido(t)
	op, d := l.deploy("first", zooProperties)
	if op["status"] != "Succeeded" || at(d, "properties", "provisioningState") != "Succeeded" {
		t.Fatalf("%s\n%s", pretty(op), pretty(d))
	}
	if got := at(d, "properties", "outputs", "cage", "value", "count"); got != 2.0 {
		t.Errorf("output: %v", pretty(d))
	}
	if got := at(d, "properties", "outputs", "where", "value"); got != "zoo/first" {
		t.Errorf("where: %v", got)
	}
	if got, _ := at(d, "properties", "outputResources").([]any); len(got) != 2 {
		t.Errorf("outputResources: %v", got)
	}
	cage := l.ok("GET", sub+"/resourceGroups/zoo/providers/Test.Zoo/cages/lion", "")
	if at(cage, "properties", "provisioningState") != "Succeeded" {
		t.Errorf("cage: %v", pretty(cage))
	}
	l.noSecrets(pretty(d), pretty(cage), pretty(l.ok("GET", sub+"/resourceGroups/zoo/deployments/first/operations", "")))
}

// noSecrets looks for the secrets of the zoo in texts, the log and the state's files.
func (l *lido) noSecrets(texts ...string) {
	l.Helper()
	texts = append(texts, l.log.String())
	files, _ := filepath.Glob(filepath.Join(l.dir, "*"))
	for _, f := range files {
		b, _ := os.ReadFile(f)
		texts = append(texts, string(b))
	}
	for i, text := range texts {
		for _, s := range []string{"pass-word-1", "cage-key-secret"} {
			if strings.Contains(text, s) {
				at := strings.Index(text, s)
				l.Errorf("secret %q is in text %d: ...%q...", s, i, text[max(0, at-100):at+20])
			}
		}
	}
}

func TestFailureNamesResource(t *testing.T) {
	l := newLido(t)
	l.broken["lion"] = arm.Conflict("AllocationFailed", "No room for the lion, whose lock is code pass-word-1.")
	op, d := l.deploy("first", zooProperties)
	if op["status"] != "Failed" || at(op, "error", "code") != "DeploymentFailed" {
		t.Fatalf("%s", pretty(op))
	}
	detail := at(d, "properties", "error", "details", 0)
	if at(detail, "code") != "ResourceDeploymentFailure" || !strings.HasSuffix(at(detail, "target").(string), "cages/lion") {
		t.Errorf("%s", pretty(d))
	}
	if inner := at(detail, "details", 0); at(inner, "code") != "AllocationFailed" || !strings.Contains(at(inner, "message").(string), "(secret)") {
		t.Errorf("%s", pretty(d))
	}
	l.noSecretsIn(d)
	ops := l.ok("GET", deployments+"first/operations", "")
	if n := len(ops["value"].([]any)); n != 2 {
		t.Errorf("%d operations: %s", n, pretty(ops))
	}
}

func (l *lido) noSecretsIn(v any) {
	l.Helper()
	if strings.Contains(pretty(v), "pass-word-1") {
		l.Errorf("secret in %s", pretty(v))
	}
}

func TestInvalid(t *testing.T) {
	l := newLido(t)
	for _, c := range []struct{ name, properties, code, text string }{
		{"unserved type", `"mode": "Incremental", "template": {` + head + `"resources": [{"type": "Microsoft.Sql/servers", "name": "s", "apiVersion": "2020-01-01"}]}`, "InvalidTemplateDeployment", "Microsoft.Sql/servers"},
		{"no template", `"mode": "Incremental"`, "InvalidRequestContent", "template"},
		{"mode", `"mode": "Gently", "template": {}`, "InvalidRequestContent", "Gently"},
		{"parameter missing", `"mode": "Incremental", "template": {` + head + `"parameters": {"p": {"type": "string"}}, "resources": []}`, "InvalidTemplate", "'p'"},
		{"link", `"mode": "Incremental", "templateLink": {"uri": "https://nowhere.example/t.json?sig=abc"}`, "InvalidContentLink", "mirrors"},
	} {
		for _, call := range []struct{ method, path string }{{"POST", deployments + "x/validate"}, {"PUT", deployments + "x"}} {
			code, m, _ := l.call(call.method, call.path, `{"properties": {`+c.properties+`}}`)
			if code != 400 || at(m, "error", "code") != c.code || !strings.Contains(pretty(m), c.text) {
				t.Errorf("%s: %d %s", c.name, code, pretty(m))
			}
		}
	}
	if code, m, _ := l.call("PUT", deployments+"x", `{"properties": {"mode": "Incremental",`+"\n"+`"template": ]}`); code != 400 || !strings.Contains(pretty(m), "line 2") {
		t.Errorf("broken JSON: %d %s", code, pretty(m))
	}
	if got := l.ok("GET", deployments, "")["value"].([]any); len(got) != 0 {
		t.Errorf("invalid deployments were stored: %v", got)
	}
}

func TestValidate(t *testing.T) {
	l := newLido(t)
	m := l.ok("POST", deployments+"x/validate", `{"properties": {`+zooProperties+`}}`)
	if at(m, "properties", "provisioningState") != "Succeeded" || len(at(m, "properties", "validatedResources").([]any)) != 2 {
		t.Errorf("%s", pretty(m))
	}
	l.noSecretsIn(m)
}

// TestGoesOnAfterRestart stops lido in the middle of a deployment, without a word, and starts it again.
func TestGoesOnAfterRestart(t *testing.T) {
	l := newLido(t)
	l.hold = make(chan struct{})
	code, m, h := l.call("PUT", deployments+"first", `{"properties": {`+zooProperties+`}}`)
	if code != 201 {
		t.Fatal(pretty(m))
	}
	time.Sleep(50 * time.Millisecond)
	l.down()
	l.hold = nil
	l.up()
	if op := l.poll(h); op["status"] != "Succeeded" {
		t.Fatal(pretty(op))
	}
	d := l.ok("GET", deployments+"first", "")
	if at(d, "properties", "outputs", "where", "value") != "zoo/first" {
		t.Error(pretty(d))
	}
}

func TestCancel(t *testing.T) {
	l := newLido(t)
	l.hold = make(chan struct{})
	_, _, h := l.call("PUT", deployments+"first", `{"properties": {`+zooProperties+`}}`)
	if code, m, _ := l.call("PUT", deployments+"first", `{"properties": {`+zooProperties+`}}`); code != 409 || at(m, "error", "code") != "DeploymentActive" {
		t.Errorf("a second PUT: %d %s", code, pretty(m))
	}
	if code, _, _ := l.call("POST", deployments+"first/cancel", ""); code != 204 {
		t.Errorf("cancel: %d", code)
	}
	if op := l.poll(h); op["status"] != "Canceled" {
		t.Error(pretty(op))
	}
	if code, _, _ := l.call("POST", deployments+"first/cancel", ""); code != 409 {
		t.Errorf("cancel again: %d", code)
	}
	if code, _, _ := l.call("DELETE", deployments+"first", ""); code != 204 {
		t.Errorf("delete: %d", code)
	}
	if code, m, _ := l.call("GET", deployments+"first", ""); code != 404 || at(m, "error", "code") != "DeploymentNotFound" {
		t.Errorf("get: %d %s", code, pretty(m))
	}
}

const nestedTemplate = `{` + head + `
  "parameters": {"password": {"type": "securestring"}},
  "resources": [
    {"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "inner", "properties": {
      "mode": "Incremental", "expressionEvaluationOptions": {"scope": "inner"},
      "parameters": {"password": {"value": "[parameters('password')]"}},
      "template": {` + head + `"parameters": {"password": {"type": "securestring"}}, "resources": [
        {"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "net", "location": "local", "properties": {"lock": "[parameters('password')]"}}],
        "outputs": {"id": {"type": "string", "value": "[resourceId('Test.Zoo/nets', 'net')]"}, "secret": {"type": "securestring", "value": "[parameters('password')]"}}}}},
    {"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "outer", "properties": {
      "mode": "Incremental",
      "template": {` + head + `"resources": [
        {"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "[concat('net', copyIndex(1))]", "location": "local", "copy": {"name": "nets", "count": 2},
         "properties": {"lock": "[parameters('password')]"}}]}}},
    {"type": "Test.Zoo/cages", "apiVersion": "2020-01-01", "name": "lion", "location": "local",
     "properties": {"uses": "[reference('inner').outputs.id.value]", "lock": "[reference('inner').outputs.secret.value]"}}
  ]}`

func TestNested(t *testing.T) {
	l := newLido(t)
	op, d := l.deploy("main", `"parameters": {"password": {"value": "pass-word-1"}}, "mode": "Incremental", "template": `+nestedTemplate)
	if op["status"] != "Succeeded" {
		t.Fatal(pretty(d))
	}
	for _, path := range []string{"nets/net", "nets/net1", "nets/net2", "cages/lion"} {
		l.noSecretsIn(l.ok("GET", sub+"/resourceGroups/zoo/providers/Test.Zoo/"+path, ""))
	}
	l.noSecrets(pretty(l.ok("GET", deployments, "")), pretty(l.ok("POST", deployments+"outer/exportTemplate", "")))
}

// TestSecureOutputs: a deployment reads the secure outputs of one nested in it as the bicep compiler writes it, and they stay secret.
func TestSecureOutputs(t *testing.T) {
	l := newLido(t)
	op, d := l.deploy("main", `"parameters": {"password": {"value": "pass-word-1"}}, "mode": "Incremental", "template": {`+head+`"languageVersion": "2.0",
		"parameters": {"password": {"type": "securestring"}}, "resources": {
		"mod": {"type": "Microsoft.Resources/deployments", "apiVersion": "2025-04-01", "name": "inner", "properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": "inner"},
			"parameters": {"password": {"value": "[parameters('password')]"}}, "template": {`+head+`"parameters": {"password": {"type": "securestring"}}, "resources": [],
			"outputs": {"secret": {"type": "securestring", "value": "[parameters('password')]"}, "plain": {"type": "int", "value": 3}}}}},
		"lion": {"type": "Test.Zoo/cages", "apiVersion": "2020-01-01", "name": "lion", "location": "local", "properties": {"lock": "[listOutputsWithSecureValues('mod', '2025-04-01').secret]"}, "dependsOn": ["mod"]}},
		"outputs": {"n": {"type": "int", "value": "[length(listOutputsWithSecureValues('mod', '2025-04-01').secret)]"}}}`)
	if op["status"] != "Succeeded" || at(d, "properties", "outputs", "n", "value") != 11.0 {
		t.Fatal(pretty(op), pretty(d))
	}
	l.noSecretsIn(l.ok("GET", sub+"/resourceGroups/zoo/providers/Test.Zoo/cages/lion", ""))
}

func TestNestedFailure(t *testing.T) {
	l := newLido(t)
	bad := strings.Replace(nestedTemplate, `"properties": {"lock": "[parameters('password')]"}}],`, `"properties": {"reject": "me"}}],`, 1)
	op, _ := l.deploy("main", `"parameters": {"password": {"value": "pass-word-1"}}, "mode": "Incremental", "template": `+bad)
	e := at(op, "error", "details", 0)
	if at(e, "code") != "ResourceDeploymentFailure" || at(e, "details", 0, "code") != "DeploymentFailed" || at(e, "details", 0, "details", 0, "code") != "PropertyRejected" {
		t.Error(pretty(op))
	}
	rejected := at(e, "details", 0, "details", 0)
	if target, _ := at(rejected, "target").(string); !strings.HasSuffix(target, "/nets/net") || at(rejected, "details", 0, "target") != "properties.reject" {
		t.Error(pretty(op))
	}
}

func TestLinked(t *testing.T) {
	l := newLido(t)
	linked["https://example.org/t/main.json?sig=s"] = `{` + head + `"resources": [{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "part",
		"properties": {"mode": "Incremental", "templateLink": {"relativePath": "parts/net.json"}}}], "outputs": {"u": {"type": "string", "value": "[uri(deployment().properties.templateLink.uri, 'x.sh')]"}}}`
	linked["https://example.org/t/parts/net.json?sig=s"] = `{` + head + `"resources": [{"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "linked", "location": "local"}]}`
	op, d := l.deploy("main", `"mode": "Incremental", "templateLink": {"uri": "https://example.org/t/main.json?sig=s"}`)
	if op["status"] != "Succeeded" {
		t.Fatal(pretty(d))
	}
	l.ok("GET", sub+"/resourceGroups/zoo/providers/Test.Zoo/nets/linked", "")
	if strings.Contains(pretty(d), "sig=") {
		t.Error("the link's signature is shown:", pretty(d))
	}
}

func TestCompleteMode(t *testing.T) {
	l := newLido(t)
	l.deploy("first", zooProperties)
	l.ok("PUT", sub+"/resourceGroups/zoo/providers/Test.Zoo/nets/stray", `{"location":"local"}`)
	op, _ := l.deploy("second", `"mode": "complete", "template": {`+head+`"resources": [{"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "net", "location": "local"}]}`)
	if op["status"] != "Succeeded" {
		t.Fatal(pretty(op))
	}
	list := l.ok("GET", sub+"/resourceGroups/zoo/resources", "")["value"].([]any)
	if len(list) != 1 || at(list[0], "name") != "net" {
		t.Errorf("left: %s", pretty(list))
	}
}

func TestGroupGoesInOrder(t *testing.T) {
	l := newLido(t)
	l.deploy("first", zooProperties)
	l.ok("PUT", sub+"/resourceGroups/zoo/providers/Test.Zoo/nets/net/knots/one", `{}`)
	code, _, h := l.call("DELETE", sub+"/resourcegroups/Zoo", "")
	if code != 202 || h.Get("Location") == "" || h.Get("Azure-AsyncOperation") != "" {
		t.Fatalf("delete: %d %v", code, h)
	}
	where, _, _ := strings.Cut(strings.TrimPrefix(h.Get("Location"), "https://example.com"), "?")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		code, m, _ := l.call("GET", where, "")
		if code == 200 {
			break
		}
		if code != 202 || time.Now().After(end) {
			t.Fatalf("%d %s\n%s", code, pretty(m), l.errors())
		}
	}
	if code, _, _ := l.call("HEAD", sub+"/resourceGroups/zoo", ""); code != 404 {
		t.Errorf("HEAD: %d", code)
	}
	if code, m, _ := l.call("DELETE", sub+"/resourceGroups/zoo", ""); code != 404 || at(m, "error", "code") != "ResourceGroupNotFound" {
		t.Errorf("DELETE again: %d %v", code, m)
	}
	l.ok("PUT", sub+"/resourcegroups/zoo", `{"location":"local"}`)
	if got := l.ok("GET", sub+"/resourceGroups/zoo/resources", "")["value"].([]any); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
	l.nothingLeft()
}

// nothingLeft says that the store keeps nothing of deployments that are gone.
func (l *lido) nothingLeft() {
	l.Helper()
	db, err := sql.Open("sqlite", filepath.Join(l.dir, "lido.db"))
	if err != nil {
		l.Fatal(err)
	}
	defer db.Close()
	var n int
	row := db.QueryRow(`SELECT count(*) FROM kv WHERE bucket LIKE 'deployment-%' OR bucket LIKE 'secret %' OR bucket LIKE 'group-deletion%'`)
	if err := row.Scan(&n); err != nil || n != 0 {
		l.Errorf("%d entries are left: %v", n, err)
	}
}

func TestWhatIf(t *testing.T) {
	l := newLido(t)
	changes := func(properties string) map[string]string {
		m := l.ok("POST", deployments+"x/whatIf", `{"properties": {`+properties+`}}`)
		l.noSecretsIn(m)
		out := map[string]string{}
		for _, c := range at(m, "properties", "changes").([]any) {
			id := at(c, "resourceId").(string)
			kind := at(c, "changeType").(string)
			list, _ := at(c, "delta").([]any)
			for _, d := range list {
				kind += " " + at(d, "propertyChangeType").(string) + ":" + at(d, "path").(string)
			}
			out[id[strings.LastIndexByte(id, '/')+1:]] = kind
		}
		return out
	}
	if got := changes(zooProperties); got["lion"] != "Create" || got["net"] != "Create" {
		t.Errorf("before: %v", got)
	}
	l.deploy("first", zooProperties)
	if got := changes(zooProperties); got["lion"] != "NoChange" || got["net"] != "NoChange" || len(got) != 2 {
		t.Errorf("after: %v", got)
	}
	l.ok("PUT", sub+"/resourceGroups/zoo/providers/Test.Zoo/nets/stray", `{"location":"local"}`)
	other := strings.ReplaceAll(strings.ReplaceAll(zooProperties, `"count": 2`, `"count": 3, "more": [1]`), "pass-word-1", "pass-word-10")
	if got := changes(other); got["lion"] != "Modify Modify:properties.count Modify:properties.lock Create:properties.more" || got["stray"] != "Ignore" {
		t.Errorf("changed: %v", got)
	}
	if got := changes(strings.Replace(zooProperties, `, "count": 2`, "", 1)); got["lion"] != "Modify Delete:properties.count" {
		t.Errorf("left out: %v", got)
	}
	if got := changes(strings.Replace(zooProperties, "incremental", "Complete", 1)); got["stray"] != "Delete" {
		t.Errorf("complete: %v", got)
	}
	idsOnly := zooProperties + `, "whatIfSettings": {"resultFormat": "ResourceIdOnly"}`
	if got := changes(strings.Replace(idsOnly, `"name": "net"`, `"name": "web"`, 1)); got["lion"] != "Deploy" || got["web"] != "Create" || got["stray"] != "Ignore" {
		t.Errorf("ids only: %v", got)
	}
}

// counted counts how often something is fetched.
type counted struct {
	Fetcher
	n int
}

func (c *counted) Fetch(ctx context.Context, url string) ([]byte, error) {
	c.n++
	return c.Fetcher.Fetch(ctx, url)
}

// TestWhatIfFetchesOnce: what-if gets a nested template once, however deep it is.
func TestWhatIfFetchesOnce(t *testing.T) {
	l := newLido(t)
	fetched := &counted{Fetcher: files{"https://example.org/deep.json": `{` + head + `"resources": [{"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "deep", "location": "local"}]}`}}
	l.room.Fetcher = fetched
	nested := func(name, properties string) string {
		return `{` + head + `"resources": [{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "` + name + `", "properties": {"mode": "Incremental", ` + properties + `}}]}`
	}
	m := l.ok("POST", deployments+"x/whatIf", `{"properties": {"mode": "Incremental", "template": `+nested("middle", `"template": `+nested("inner", `"templateLink": {"uri": "https://example.org/deep.json"}`))+`}}`)
	if changes, _ := at(m, "properties", "changes").([]any); len(changes) != 1 || at(changes[0], "after", "name") != "deep" || fetched.n != 1 {
		t.Errorf("fetched %d times: %s", fetched.n, pretty(m))
	}
}

// TestDelta compares bodies as what-if does: type and path of each difference, and of those inside.
func TestDelta(t *testing.T) {
	for _, c := range []struct{ name, before, after, exact, template string }{
		{"nothing", `{"a": {"b": [1, {"name": "x"}]}}`, `{"a": {"b": [1, {"name": "x"}]}}`, "", ""},
		{"of scalars", `{"a": "x", "n": 1}`, `{"a": "y", "n": "1"}`, "Modify:a", "Modify:a"},
		{"what the template leaves out", `{"a": 1, "b": {"c": 2}, "tags": {"t": "1"}}`, `{"tags": {}}`, "Delete:tags.t Delete:a Delete:b", "Delete:tags.t"},
		{"empty or null", `{"a": [], "b": null}`, `{"c": {}, "d": null}`, "", ""},
		{"inside objects", `{"a": {"b": {"c": 1}}}`, `{"a": {"b": {"d": 1}}}`, "Create:a.b.d Delete:a.b.c", "Create:a.b.d"},
		{"lists of texts", `{"a": ["10.0.0.0/16"]}`, `{"a": ["10.0.0.0/15"]}`, "Array:a(Delete:0 Create:0)", "Array:a(Delete:0 Create:0)"},
		{"one more text in front", `{"a": ["x", "y"]}`, `{"a": ["w", "x", "y"]}`, "Array:a(Create:0)", "Array:a(Create:0)"},
		{"other order of texts", `{"a": ["x", "y", "z"]}`, `{"a": ["y", "x", "z"]}`, "Array:a(Delete:0 Delete:1 Create:0 Create:1)", "Array:a(Delete:0 Delete:1 Create:0 Create:1)"},
		{"named things", `{"a": [{"name": "1", "v": 1}, {"name": "2", "v": 2}]}`, `{"a": [{"name": "2", "v": 3}]}`, "Array:a(Modify:0(Modify:v) Delete:0)", "Array:a(Modify:0(Modify:v) Delete:0)"},
		{"a list for a text", `{"a": "x"}`, `{"a": ["x"]}`, "Modify:a", "Modify:a"},
	} {
		var before, after template.Value
		if err := errors.Join(before.UnmarshalJSON([]byte(c.before)), after.UnmarshalJSON([]byte(c.after))); err != nil {
			t.Fatal(err)
		}
		for exact, want := range map[bool]string{true: c.exact, false: c.template} {
			if got := shownDeltas(contrast{exact}.members(before, after, true)); got != want {
				t.Errorf("%s (exact: %v): %s, want %s", c.name, exact, got, want)
			}
		}
	}
}

func shownDeltas(list []delta) string {
	var out []string
	for _, d := range list {
		s := d.Type + ":" + d.Path
		if len(d.Children) > 0 {
			s += "(" + shownDeltas(d.Children) + ")"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// TestGroupGoesUnderDeployment: deleting a group ends the deployment that is filling it.
func TestGroupGoesUnderDeployment(t *testing.T) {
	l := newLido(t)
	l.hold = make(chan struct{})
	_, _, h := l.call("PUT", deployments+"first", `{"properties": {`+zooProperties+`}}`)
	time.Sleep(30 * time.Millisecond)
	_, _, gone := l.call("DELETE", sub+"/resourcegroups/zoo", "")
	if op := l.poll(h); op["status"] == arm.Succeeded {
		t.Error(pretty(op))
	}
	close(l.hold)
	where, _, _ := strings.Cut(strings.TrimPrefix(gone.Get("Location"), "https://example.com"), "?")
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if code, _, _ := l.call("GET", where, ""); code == 200 {
			time.Sleep(2 * flushEvery)
			l.nothingLeft()
			return
		}
	}
	t.Fatal("the group stays", l.errors())
}

// TestDeployOverDeletion: what is being deleted is waited for and made again.
func TestDeployOverDeletion(t *testing.T) {
	l := newLido(t)
	l.deploy("first", zooProperties)
	l.hold = make(chan struct{})
	l.call("DELETE", sub+"/resourceGroups/zoo/providers/Test.Zoo/cages/lion", "")
	_, _, h := l.call("PUT", deployments+"second", `{"properties": {`+zooProperties+`}}`)
	time.Sleep(50 * time.Millisecond)
	close(l.hold)
	if op := l.poll(h); op["status"] != "Succeeded" {
		t.Error(pretty(op))
	}
}

func TestHistoryIsBounded(t *testing.T) {
	const maxHistory = 5
	l := newLido(t)
	l.room.History = maxHistory
	empty := `{"properties": {"mode": "Incremental", "template": {` + head + `"resources": []}}}`
	for i := range maxHistory + 1 {
		_, _, h := l.call("PUT", fmt.Sprintf("%sd%d", deployments, i), empty)
		l.poll(h)
	}
	list := l.ok("GET", deployments, "")["value"].([]any)
	if len(list) != maxHistory || at(list[0], "name") != fmt.Sprintf("d%d", maxHistory) {
		t.Errorf("%d deployments, the newest %v", len(list), at(list[0], "name"))
	}
	if code, _, _ := l.call("GET", deployments+"d0", ""); code != 404 {
		t.Errorf("the oldest is there: %d", code)
	}
}

func TestOutputNames(t *testing.T) {
	for name, want := range map[string]string{"VMSS": "vmss", "ResourceID": "resourceID", "IPAddress": "ipAddress", "TRANS_Test": "tranS_Test", "already": "already", "X": "x", "": "", "A1": "a1"} {
		if got := camelCase(name); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

func TestRollback(t *testing.T) {
	l := newLido(t)
	l.deploy("good", zooProperties)
	broken := strings.Replace(zooProperties, `"name": "net"`, `"name": "web"`, 1) + `, "onErrorDeployment": {"type": "LastSuccessful"}`
	broken = strings.Replace(broken, "Test.Zoo/nets', 'net'", "Test.Zoo/nets', 'web'", 1)
	broken = strings.Replace(broken, `"count": 2`, `"count": 2, "reject": true`, 1)
	op, d := l.deploy("bad", broken)
	if op["status"] != "Failed" || at(d, "properties", "onErrorDeployment", "deploymentName") != "good" {
		t.Fatalf("%s %s", pretty(op), pretty(d))
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		d = l.ok("GET", deployments+"bad", "")
		state := at(d, "properties", "onErrorDeployment", "provisioningState")
		if state == "Succeeded" {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the earlier deployment does not run: %s\n%s", pretty(d), l.errors())
		}
	}
	good := l.ok("GET", deployments+"good", "")
	if at(good, "properties", "mode") != "Complete" || at(good, "properties", "provisioningState") != "Succeeded" {
		t.Errorf("good: %s", pretty(good))
	}
	l.ok("GET", sub+"/resourceGroups/zoo/providers/Test.Zoo/nets/net", "")
	if code, _, _ := l.call("GET", sub+"/resourceGroups/zoo/providers/Test.Zoo/nets/web", ""); code != 404 {
		t.Errorf("what the failed deployment made: %d", code)
	}
	code, m, _ := l.call("PUT", deployments+"bad", `{"properties": {`+strings.Replace(broken, `"LastSuccessful"`, `"SpecificDeployment", "deploymentName": "none"`, 1)+`}}`)
	if code != 404 || at(m, "error", "code") != "OnErrorDeploymentNotFound" {
		t.Errorf("%d %s", code, pretty(m))
	}
}

func TestOptionsOfResources(t *testing.T) {
	l := newLido(t)
	net := sub + "/resourceGroups/zoo/providers/Test.Zoo/nets/"
	l.ok("PUT", net+"old", `{"location":"local","properties":{"note":"mine"}}`)
	_, d := l.deploy("main", `"mode": "Incremental", "template": {`+head+`"languageVersion": "2.0", "resources": {
		"a": {"@options": {"onlyIfNotExists": []}, "type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "old", "location": "local", "properties": {"note": "yours"}},
		"b": {"@options": {"onlyIfNotExists": []}, "type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "new", "location": "local"},
		"c": {"@options": {"nullIfNotFound": []}, "existing": true, "type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "none"}},
		"outputs": {"c": {"type": "string", "nullable": true, "value": "[tryGet(reference('c', '2022-01-01', 'full'), 'location')]"}, "a": {"type": "string", "value": "[reference('a').note]"}}}`)
	if at(d, "properties", "outputs", "a", "value") != "mine" || at(d, "properties", "outputs", "c", "value") != nil {
		t.Error(pretty(d))
	}
	l.ok("GET", net+"new", "")
}

// TestOutputsThatFail are each named.
func TestOutputsThatFail(t *testing.T) {
	l := newLido(t)
	_, d := l.deploy("main", `"mode": "Incremental", "template": {`+head+`"resources": [{"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "net", "location": "local"}], "outputs": {
		"a": {"type": "string", "value": "[reference('net').strength]"}, "b": {"type": "string", "value": "fine"},
		"c": {"type": "string", "value": "[reference(resourceId('Test.Zoo/nets', 'none'), '2022-01-01').note]"}}}`)
	if at(d, "properties", "error", "code") != "DeploymentOutputEvaluationFailed" || !strings.Contains(at(d, "properties", "error", "message").(string), "'a, c'") {
		t.Fatal(pretty(d))
	}
	details := at(d, "properties", "error", "details").([]any)
	for i, want := range []struct{ target, code string }{{"a", "DeploymentOutputEvaluationFailed"}, {"c", "ResourceNotFound"}} {
		if at(details[i], "target") != want.target || at(details[i], "code") != want.code {
			t.Errorf("%d: %s", i, pretty(details[i]))
		}
	}
}

// TestOtherSubscription: what leads into a subscription that is not here is refused before anything is made.
func TestOtherSubscription(t *testing.T) {
	l := newLido(t)
	nested := func(subscription string) string {
		return `{"properties": {"mode": "Incremental", "template": {` + head + `"resources": [{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "n", "subscriptionId": "` + subscription + `",
			"resourceGroup": "zoo", "properties": {"mode": "Incremental", "template": {` + head + `"resources": []}}}]}}}`
	}
	code, m, _ := l.call("PUT", deployments+"x", nested("22222222-2222-3333-4444-555555555555"))
	if code != 400 || !strings.Contains(pretty(m), "SubscriptionNotFound") {
		t.Errorf("%d %s", code, pretty(m))
	}
	l.ok("PUT", deployments+"x", nested(""))
}

func TestRequestsRefused(t *testing.T) {
	l := newLido(t)
	linked["https://t.example.org/a.json"] = `{` + head + `"resources": []}`
	for name, c := range map[string]struct{ deployment, properties, code string }{
		"a name too long":        {strings.Repeat("x", 65), `"mode": "Incremental", "template": {` + head + `"resources": []}`, "InvalidDeploymentName"},
		"a name with a blank":    {"a%20b", `"mode": "Incremental", "template": {` + head + `"resources": []}`, "InvalidDeploymentName"},
		"another version":        {"x", `"mode": "Incremental", "templateLink": {"uri": "https://t.example.org/a.json", "contentVersion": "2.0.0.0"}`, "InvalidContentLink"},
		"too large a template":   {"x", `"mode": "Incremental", "template": {` + head + `"resources": [], "metadata": "` + strings.Repeat("x", 4<<20) + `"}`, "JobSizeExceeded"},
		"too many parameters":    {"x", `"mode": "Incremental", "template": {` + head + `"resources": [], "parameters": {` + many(257, `{"type": "int", "defaultValue": 1}`) + `}}`, "InvalidTemplate"},
		"too many variables":     {"x", `"mode": "Incremental", "template": {` + head + `"resources": [], "variables": {` + many(513, `1`) + `}}`, "InvalidTemplate"},
		"too many outputs":       {"x", `"mode": "Incremental", "template": {` + head + `"resources": [], "outputs": {` + many(65, `{"type": "int", "value": 1}`) + `}}`, "InvalidTemplate"},
		"too long an expression": {"x", `"mode": "Incremental", "template": {` + head + `"resources": [], "variables": {"v": "[concat('` + strings.Repeat("x", 24577) + `')]"}}`, "InvalidTemplate"},
		"a mode":                 {"x", `"mode": "Total", "template": {` + head + `"resources": []}`, "InvalidRequestContent"},
		"no template":            {"x", `"mode": "Incremental"`, "InvalidRequestContent"},
		"rolling back to what":   {"x", `"mode": "Incremental", "template": {` + head + `"resources": []}, "onErrorDeployment": {"type": "Any"}`, "InvalidRequestContent"},
	} {
		code, m, _ := l.call("PUT", deployments+c.deployment, `{"properties": {`+c.properties+`}}`)
		if code != 400 || at(m, "error", "code") != c.code {
			t.Errorf("%s: %d %.500s", name, code, pretty(m))
		}
	}
	_, d := l.deploy("linked", `"mode": "Incremental", "templateLink": {"uri": "https://t.example.org/a.json", "contentVersion": "1.0.0.0"}`)
	if at(d, "properties", "provisioningState") != "Succeeded" {
		t.Error(pretty(d))
	}
}

// many are n members.
func many(n int, value string) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("%q: %s", fmt.Sprint("m", i), value))
	}
	return strings.Join(out, ", ")
}

// TestPreflight: validating asks the types about what can be made at once.
func TestPreflight(t *testing.T) {
	l := newLido(t)
	body := func(more string) string {
		return `{"properties": {"mode": "Incremental", "template": {` + head + `"resources": [{"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "net", "location": "local", "properties": {` + more + `}}]}}}`
	}
	l.ok("POST", deployments+"x/validate", body(`"note": "a"`))
	code, m, _ := l.call("POST", deployments+"x/validate", body(`"reject": 1`))
	if code != 400 || at(m, "error", "code") != "InvalidTemplateDeployment" || at(m, "error", "details", 0, "code") != "PropertyRejected" {
		t.Errorf("%d %s", code, pretty(m))
	}
	if code, _, _ := l.call("GET", sub+"/resourceGroups/zoo/providers/Test.Zoo/nets/net", ""); code != 404 {
		t.Errorf("validating made it: %d", code)
	}
}

// TestCompleteKeepsNested: what nested deployments make in the group belongs to the template, too.
func TestCompleteKeepsNested(t *testing.T) {
	l := newLido(t)
	nets := sub + "/resourceGroups/zoo/providers/Test.Zoo/nets/"
	l.ok("PUT", nets+"stray", `{"location":"local"}`)
	nested := func(mode string) string {
		return `"template": {` + head + `"resources": [{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "inner", "properties": {"mode": "` + mode + `",
			"template": {` + head + `"resources": [{"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "kept", "location": "local"}]}}}]}`
	}
	_, d := l.deploy("outer", `"mode": "Complete", `+nested("Incremental"))
	if at(d, "properties", "provisioningState") != "Succeeded" {
		t.Fatal(pretty(d))
	}
	l.ok("GET", nets+"kept", "")
	if code, _, _ := l.call("GET", nets+"stray", ""); code != 404 {
		t.Errorf("stray: %d", code)
	}
	if code, m, _ := l.call("PUT", deployments+"outer", `{"properties": {"mode": "Incremental", `+nested("Complete")+`}}`); code != 400 || !strings.Contains(pretty(m), "outermost") {
		t.Errorf("%d %s", code, pretty(m))
	}
	late := strings.Replace(nested("Complete"), `"mode": "Complete",`, `"mode": "Complete", "parameters": {"of": {"value": "[reference(resourceId('Test.Zoo/nets', 'kept'), '2022-01-01', 'full').name]"}},
			"expressionEvaluationOptions": {"scope": "inner"},`, 1)
	late = strings.Replace(late, `"resources": [{"type": "Test.Zoo/nets"`, `"parameters": {"of": {"type": "string"}}, "resources": [{"type": "Test.Zoo/nets"`, 1)
	l.ok("PUT", nets+"stray", `{"location":"local"}`)
	if _, d := l.deploy("outer", `"mode": "Incremental", `+late); at(d, "properties", "provisioningState") != "Failed" || !strings.Contains(pretty(d), "outermost") {
		t.Errorf("late: %s", pretty(d))
	}
	l.ok("GET", nets+"stray", "")
	if code, m, _ := l.call("POST", deployments+"outer/whatIf", `{"properties": {"mode": "Incremental", `+late+`}}`); code != 400 || !strings.Contains(pretty(m), "outermost") {
		t.Errorf("late, what-if: %d %s", code, pretty(m))
	}
}

// TestTypesOfLateDeployments: a nested deployment that cannot be worked out yet is refused for its types all the same.
func TestTypesOfLateDeployments(t *testing.T) {
	l := newLido(t)
	body := `{"properties": {"mode": "Incremental", "template": {` + head + `"resources": [
		{"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "net", "location": "local", "properties": {"note": "x"}},
		{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "late", "properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": "inner"},
		 "parameters": {"note": {"value": "[reference('net').note]"}}, "template": {` + head + `"parameters": {"note": {"type": "string"}}, "resources": [
		  {"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "web", "location": "local", "resources": [{"type": "hooks", "apiVersion": "1", "name": "h"}]},
		  {"condition": "[equals(parameters('note'), 'y')]", "type": "Test.Zoo/whales", "apiVersion": "1", "name": "w"},
		  {"type": "Test.Zoo/apes", "apiVersion": "1", "name": "a"}]}}}]}}}`
	code, m, _ := l.call("PUT", deployments+"x", body)
	text := pretty(m)
	if code != 400 || !strings.Contains(text, "Test.Zoo/apes") || !strings.Contains(text, "Test.Zoo/nets/hooks") || strings.Contains(text, "whales") {
		t.Errorf("%d %s", code, text)
	}
}

func TestRetryOn(t *testing.T) {
	l := newLido(t)
	for code, want := range map[string]string{"AllocationFailed": "lion lion lion", "Other": "lion"} {
		l.broken["lion"] = arm.Conflict("AllocationFailed", "No room for the lion.")
		l.built = nil
		_, d := l.deploy("main", `"mode": "Incremental", "template": {`+head+`"languageVersion": "2.0", "resources": {
			"a": {"@options": {"retryOn": [["`+code+`"], 2]}, "type": "Test.Zoo/cages", "apiVersion": "2020-01-01", "name": "lion", "location": "local", "properties": {"for": "`+code+`"}}}}`)
		l.mu.Lock()
		got := strings.Join(l.built, " ")
		l.mu.Unlock()
		if got != want || at(d, "properties", "provisioningState") != "Failed" {
			t.Errorf("%s: built %q, want %q: %s", code, got, want, pretty(d))
		}
	}
}

// TestCancelNested: cancelling a deployment cancels what is nested in it, however deep.
func TestCancelNested(t *testing.T) {
	l := newLido(t)
	l.hold = make(chan struct{})
	nested := func(name, resource string) string {
		return `{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "` + name + `", "properties": {"mode": "Incremental", "template": {` + head + `"resources": [` + resource + `]}}}`
	}
	cage := `{"type": "Test.Zoo/cages", "apiVersion": "2020-01-01", "name": "lion", "location": "local"}`
	_, _, h := l.call("PUT", deployments+"outer", `{"properties": {"mode": "Incremental", "template": {`+head+`"resources": [`+nested("middle", nested("inner", cage))+`]}}}`)
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if code, _, _ := l.call("GET", sub+"/resourceGroups/zoo/providers/Test.Zoo/cages/lion", ""); code == 200 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the cage is not begun")
		}
	}
	if code, m, _ := l.call("POST", deployments+"outer/cancel", ""); code != 204 {
		t.Fatalf("%d %s", code, pretty(m))
	}
	for _, name := range []string{"outer", "middle", "inner"} {
		if d := l.ok("GET", deployments+name, ""); at(d, "properties", "provisioningState") != "Canceled" {
			t.Errorf("%s: %s", name, pretty(d))
		}
	}
	if op := l.poll(h); op["status"] != "Canceled" {
		t.Errorf("%s", pretty(op))
	}
	close(l.hold)
}
