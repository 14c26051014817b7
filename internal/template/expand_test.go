package template

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// outputsOf expands a template and gives its outputs as JSON by name, worked out against w.
func outputsOf(t *testing.T, template, given string, w world) map[string]string {
	t.Helper()
	outs, failed := mustExpand(t, template, given).Outputs(w)
	if failed != nil {
		t.Fatal(failed)
	}
	m := map[string]string{}
	for _, o := range outs {
		m[o.Name] = string(o.Value.AppendJSON(nil))
	}
	return m
}

func TestVariablesAndParameters(t *testing.T) {
	got := outputsOf(t, header(`
		"parameters": {
			"Name": {"type": "string"},
			"long": {"type": "string", "defaultValue": "[concat(parameters('name'), '-', utcNow('yyyy'))]"},
			"id": {"type": "string", "defaultValue": "[newGuid()]"},
			"list": {"type": "array", "defaultValue": [1, "[add(1, 1)]"]}
		},
		"functions": [{"namespace": "my", "members": {"join": {
			"parameters": [{"name": "a", "type": "string"}, {"name": "b", "type": "string"}],
			"output": {"type": "string", "value": "[concat(parameters('a'), '+', parameters('b'))]"}}}}],
		"variables": {
			"b": "[toUpper(variables('A'))]",
			"a": "[parameters('NAME')]",
			"copy": [{"name": "disks", "count": 2, "input": {"name": "[concat('disk', copyIndex('disks', 1))]"}}],
			"inner": {"copy": [{"name": "ports", "count": 3, "input": "[copyIndex('ports')]"}], "other": 1}
		},
		"resources": [],
		"outputs": {
			"long": {"type": "string", "value": "[parameters('long')]"},
			"b": {"type": "string", "value": "[variables('b')]"},
			"disks": {"type": "array", "value": "[variables('disks')]"},
			"inner": {"type": "object", "value": "[variables('inner')]"},
			"call": {"type": "string", "value": "[my.Join(variables('a'), 'x')]"},
			"list": {"type": "array", "value": "[parameters('list')]"},
			"absent": {"condition": false, "type": "string", "value": "[variables('nothing')]"},
			"each": {"type": "array", "copy": {"count": 2, "input": "[copyIndex()]"}}
		}`), `{"name": {"value": "pool"}}`, nil)
	want := map[string]string{"long": `"pool-2026"`, "b": `"POOL"`, "disks": `[{"name":"disk1"},{"name":"disk2"}]`,
		"inner": `{"ports":[0,1,2],"other":1}`, "call": `"pool+x"`, "list": `[1,2]`, "each": `[0,1]`}
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s: %s, want %s", name, got[name], w)
		}
	}
	if len(got) != len(want) {
		t.Errorf("outputs: %v", got)
	}
}

func res(typ, name, more string) string {
	return `{"type": "` + typ + `", "apiVersion": "2020-01-01", "name": "` + name + `"` + more + `}`
}

func TestWaysToDepend(t *testing.T) {
	for _, on := range []string{"net", "A.B/nets/net", "a.b/NETS/Net", "[resourceId('A.B/nets', 'net')]", "loop", "A.B/nets/net/knots/one", "A.B/nets/knots/net/one", "net/one", "one"} {
		p := mustExpand(t, header(`"resources": [`+
			res("A.B/cages", "cage", `, "dependsOn": ["`+on+`"]`)+","+
			res("A.B/nets", "net", `, "copy": {"name": "loop", "count": 1}, "resources": [`+res("knots", "one", "")+`]`)+`]`), "")
		if len(p.Resources[0].DependsOn) != 1 {
			t.Errorf("%s: depends on %q", on, names(p.Resources[0].DependsOn))
		}
		if got := p.Resources[2]; got.Type != "A.B/nets/knots" || got.Name != "net/one" || names(got.DependsOn) != "net" {
			t.Errorf("child: %s %s after %s", got.Type, got.Name, names(got.DependsOn))
		}
	}
}

func TestSerialCopy(t *testing.T) {
	p := mustExpand(t, header(`"resources": [`+res("A.B/c", "[concat('n', copyIndex())]", `, "copy": {"name": "l", "count": 5, "mode": "Serial", "batchSize": 2}`)+`]`), "")
	var got []string
	for _, r := range p.Resources {
		got = append(got, r.Name+":"+names(r.DependsOn))
	}
	if s := strings.Join(got, ", "); s != "n0:, n1:, n2:n0 n1, n3:n0 n1, n4:n2 n3" {
		t.Error(s)
	}
}

func TestSymbolicNames(t *testing.T) {
	p := mustExpand(t, header(`"languageVersion": "2.0",
		"definitions": {"size": {"type": "object", "properties": {"n": {"type": "int", "minValue": 1}, "note": {"type": "string", "nullable": true}}}},
		"parameters": {"size": {"$ref": "#/definitions/size"}, "maybe": {"type": "string", "nullable": true}},
		"resources": {
			"cage": {"type": "A.B/cages", "apiVersion": "2020-01-01", "name": "c", "properties": {"net": "[reference('net').prefix]", "old": "[reference('old', '2020-01-01', 'full').location]"}},
			"net": {"type": "A.B/nets", "apiVersion": "2020-01-01", "name": "n", "dependsOn": ["many"]},
			"last": {"type": "A.B/nets", "apiVersion": "2020-01-01", "name": "l", "dependsOn": ["[format('many[{0}]', 1)]"]},
			"old": {"existing": true, "type": "A.B/nets", "apiVersion": "2020-01-01", "name": "o", "scope": "/subscriptions/x/resourceGroups/y"},
			"many": {"copy": {"name": "many", "count": 2}, "type": "A.B/knots", "apiVersion": "2020-01-01", "name": "[format('k{0}', copyIndex())]"}
		},
		"outputs": {"names": {"type": "array", "value": "[map(references('many', 'full'), lambda('r', lambdaVariables('r').name))]"}, "maybe": {"type": "string", "nullable": true, "value": "[parameters('maybe')]"}}`),
		`{"size": {"value": {"n": 2}}}`)
	cage := p.Resources[0]
	if names(cage.DependsOn) != "n o" || names(p.Resources[1].DependsOn) != "k0 k1" || names(p.Resources[2].DependsOn) != "k1" || !p.Resources[3].Existing {
		t.Errorf("cage after %s, net after %s", names(cage.DependsOn), names(p.Resources[1].DependsOn))
	}
	w := world{
		strings.ToLower(testGroup + "/providers/A.B/nets/n"):                      ObjectOf("properties", ObjectOf("prefix", StringValue("10.0.0.0/8"))),
		strings.ToLower("/subscriptions/x/resourceGroups/y/providers/A.B/nets/o"): ObjectOf("location", StringValue("here")),
		strings.ToLower(testGroup + "/providers/A.B/knots/k0"):                    ObjectOf("name", StringValue("k0")),
		strings.ToLower(testGroup + "/providers/A.B/knots/k1"):                    ObjectOf("name", StringValue("k1")),
	}
	body, err := cage.Resolve(w)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(body.AppendJSON(nil)); got != `{"properties":{"net":"10.0.0.0/8","old":"here"}}` {
		t.Error(got)
	}
	outs, failed := p.Outputs(w)
	if failed != nil || string(outs[0].Value.AppendJSON(nil)) != `["k0","k1"]` || outs[1].Value.Kind() != Null {
		t.Errorf("%v %v", outs, failed)
	}
}

// TestImplicitOrderClosesNoCircle: two that mention each other are ordered by what is demanded alone.
func TestImplicitOrderClosesNoCircle(t *testing.T) {
	p := mustExpand(t, header(`"resources": [`+
		res("A.B/c", "a", `, "properties": {"uses": "[resourceId('A.B/c', 'b')]"}`)+","+
		res("A.B/c", "b", `, "dependsOn": ["a"], "properties": {"parts": ["[concat(resourceId('A.B/c', 'b'), '/parts/x')]"]}`)+`]`), "")
	if names(p.Resources[0].DependsOn) != "" || names(p.Resources[1].DependsOn) != "a" {
		t.Errorf("a after %q, b after %q", names(p.Resources[0].DependsOn), names(p.Resources[1].DependsOn))
	}
}

func TestNestedScopes(t *testing.T) {
	inner := header(`"parameters": {"p": {"type": "string"}}, "resources": [], "outputs": {"o": {"type": "string", "value": "[parameters('p')]"}}`)
	outer := header(`"resources": [` + res("A.B/c", "[concat(variables('v'), copyIndex(1))]", `, "copy": {"name": "l", "count": 2}, "properties": {"x": "[parameters('secret')]", "y": "[[literal]"}`) + `]`)
	nested := func(scope, template string) string {
		return res("Microsoft.Resources/deployments", scope, `, "properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": "`+scope+`"}, "parameters": {"p": {"value": "[variables('v')]"}}, "template": `+template+`}`)
	}
	p := mustExpand(t, header(`"parameters": {"secret": {"type": "securestring"}}, "variables": {"v": "it's"}, "resources": [`+nested("inner", inner)+","+nested("outer", outer)+`]`), `{"secret": {"value": "[hush]"}}`)
	if got := p.Resources[0].Body.At("properties", "template", "outputs", "o", "value").Str(); got != "[parameters('p')]" {
		t.Errorf("inner scope was worked out: %s", got)
	}
	if got := p.Resources[0].Body.At("properties", "parameters", "p", "value").Str(); got != "it's" {
		t.Errorf("parameter: %s", got)
	}
	body := p.Resources[1].Body
	r := body.At("properties", "template", "resources").Items()[0]
	for path, want := range map[string]string{"name": "[concat('it''s', copyIndex(1))]", "x": "[[hush]", "y": "[[literal]"} {
		got := r.At(path).Str()
		if path != "name" {
			got = r.At("properties", path).Str()
		}
		if got != want {
			t.Errorf("%s: %s, want %s", path, got, want)
		}
	}
	if paths := body.SecurePaths(); len(paths) != 1 || paths[0] != "properties.template.resources[0].properties.x" {
		t.Errorf("secure paths: %q", paths)
	}
	// The nested deployment reads what was made as the text that it was.
	again := mustExpand(t, string(body.At("properties", "template").AppendJSON(nil)), "")
	if got := again.Resources[1].Body.At("properties", "x").Str(); again.Resources[1].Name != "it's2" || got != "[hush]" {
		t.Errorf("%s %s", again.Resources[1].Name, got)
	}
}

// Without a name, copyIndex means the loop that makes resources, also inside of one that makes properties.
func TestCopyIndexInLoopsWithinLoops(t *testing.T) {
	properties := `"properties": {"copy": [{"name": "parts", "count": 2, "input": "[format('{0}-{1}', copyIndex(), copyIndex('parts', 5))]"}]}`
	loop := `, "copy": {"name": "l", "count": 2}, `
	want := `["1-5","1-6"]`
	nested := func(more, resource string) string {
		return res("Microsoft.Resources/deployments", "n", more+`"properties": {"mode": "Incremental", "template": `+header(`"resources": [`+resource+`]`)+`}`)
	}
	for name, template := range map[string]string{
		"a resource's loop":                      res("A.B/c", "[concat('c', copyIndex())]", loop+properties),
		"a nested deployment's, of its resource": nested(", ", res("A.B/c", "[concat('c', copyIndex())]", loop+properties)),
		"a nested deployment's, around it":       strings.Replace(nested(loop, res("A.B/c", "c", ", "+properties)), `"name": "n"`, `"name": "[concat('n', copyIndex())]"`, 1),
	} {
		p := mustExpand(t, header(`"resources": [`+template+`]`), "")
		last := p.Resources[len(p.Resources)-1]
		if last.Type != "A.B/c" {
			p = mustExpand(t, string(last.Body.At("properties", "template").AppendJSON(nil)), "")
			last = p.Resources[len(p.Resources)-1]
		}
		if got := string(last.Body.At("properties", "parts").AppendJSON(nil)); got != want {
			t.Errorf("%s: %s, want %s", name, got, want)
		}
	}
}

// What is made with an empty token is no secret.
func TestEmptySecret(t *testing.T) {
	template := header(`"parameters": {"token": {"type": "securestring", "defaultValue": ""}}, "resources": [` +
		res("A.B/c", "a", `, "properties": {"script": "[concat('https://example.org/run.sh', parameters('token'))]"}`) + `]`)
	for given, want := range map[string]int{"": 0, `{"token": {"value": "?sig=hush"}}`: 1} {
		if got := mustExpand(t, template, given).Resources[0].Body.SecurePaths(); len(got) != want {
			t.Errorf("token %q: secret are %q", given, got)
		}
	}
}

func TestConditions(t *testing.T) {
	p := mustExpand(t, header(`"resources": [`+
		res("A.B/c", "a", `, "condition": "[equals(1, 2)]", "properties": "[div(1, 0)]"`)+","+
		res("A.B/c", "b", `, "dependsOn": ["a"]`)+`]`), "")
	if !p.Resources[0].Skipped || len(p.Resources[1].DependsOn) != 0 {
		t.Error(describe(p))
	}
}

func TestTemplateErrors(t *testing.T) {
	for _, c := range []struct{ name, sections, given, want string }{
		{"missing parameter", `"parameters": {"p": {"type": "string"}}, "resources": []`, "", "The value for the template parameter 'p' at line '1'"},
		{"strange parameter", `"parameters": {"p": {"type": "int", "defaultValue": 1}}, "resources": []`, `{"q": {"value": 1}}`, "'q' in the parameters file are not valid"},
		{"wrong type", `"parameters": {"p": {"type": "int"}}, "resources": []`, `{"p": {"value": "x"}}`, "Expected 'Integer'. Actual 'String'"},
		{"not allowed", `"parameters": {"p": {"type": "string", "allowedValues": ["a", "b"]}}, "resources": []`, `{"p": {"value": "c"}}`, "not part of the allowed value(s): 'a,b'"},
		{"too long", `"parameters": {"p": {"type": "string", "maxLength": 2}}, "resources": []`, `{"p": {"value": "abc"}}`, "less than or equal to '2'"},
		{"too small", `"parameters": {"p": {"type": "int", "minValue": 3}}, "resources": []`, `{"p": {"value": 2}}`, "greater than or equal to '3'"},
		{"null", `"parameters": {"p": {"type": "string"}}, "resources": []`, `{"p": {"value": null}}`, "is null"},
		{"key vault", `"parameters": {"p": {"type": "securestring"}}, "resources": []`, `{"p": {"reference": {"keyVault": {"id": "/v"}, "secretName": "s"}}}`, "no key vaults yet"},
		{"circle of variables", `"variables": {"a": "[variables('b')]", "b": "[variables('a')]"}, "resources": []`, "", "refers to itself"},
		{"reference in a variable", `"variables": {"a": "[reference('x')]"}, "resources": []`, "", "'reference' is not expected at this location"},
		{"no name", `"resources": [{"type": "A.B/c", "apiVersion": "1"}]`, "", "missing the 'name'"},
		{"segments", `"resources": [` + res("A.B/c/d", "x", "") + `]`, "", "incorrect segment lengths"},
		{"depends on nothing", `"resources": [` + res("A.B/c", "x", `, "dependsOn": ["y"]`) + `]`, "", "'y' is not defined in the template"},
		{"refers to nothing", `"resources": [` + res("A.B/c", "x", `, "properties": "[reference('y')]"`) + `]`, "", "'y' referenced is not defined"},
		{"twice", `"resources": [` + res("A.B/c", "x", "") + "," + res("a.b/C", "X", "") + `]`, "", "defined multiple times"},
		{"circle", `"resources": [` + res("A.B/c", "x", `, "dependsOn": ["y"]`) + "," + res("A.B/c", "y", `, "dependsOn": ["z"]`) + "," + res("A.B/c", "z", `, "dependsOn": ["x"]`) + `]`, "",
			"c/x', '" + testGroup + "/providers/A.B/c/y', '" + testGroup + "/providers/A.B/c/z', '" + testGroup + "/providers/A.B/c/x'"},
		{"a loop after itself", `"resources": [` + res("A.B/c", "[concat('x', copyIndex())]", `, "copy": {"name": "l", "count": 2}, "dependsOn": ["l"]`) + `]`, "", "c/x0', '" + testGroup + "/providers/A.B/c/x1', '" + testGroup + "/providers/A.B/c/x0'"},
		{"loops after each other", `"resources": [` + res("A.B/c", "[concat('x', copyIndex())]", `, "copy": {"name": "l", "count": 1}, "dependsOn": ["m"]`) + "," + res("A.B/d", "[concat('y', copyIndex())]", `, "copy": {"name": "m", "count": 1}, "dependsOn": ["l"]`) + `]`, "", "Circular dependency"},
		{"a circle by reference", `"resources": [` + res("A.B/c", "x", `, "properties": "[reference('y')]"`) + "," + res("A.B/c", "y", `, "properties": "[reference('x')]"`) + `]`, "", "Circular dependency"},
		{"after itself", `"resources": [` + res("A.B/c", "x", `, "dependsOn": ["x"]`) + `]`, "", "Circular dependency"},
		{"a count from a resource", `"resources": [` + res("A.B/c", "[concat('x', copyIndex())]", `, "copy": {"name": "l", "count": "[reference('y').n]"}`) + `]`, "", "not expected at this location"},
		{"an extension", `"resources": [{"extension": "kubernetes", "type": "apps/Deployment@v1", "properties": {}}]`, "", "of the extension 'kubernetes'"},
		{"a group in a group", `"resources": [` + res("Microsoft.Resources/resourceGroups", "g", "") + `]`, "", "az deployment sub create"},
		{"too many", `"resources": [` + res("A.B/c", "[concat('x', copyIndex())]", `, "copy": {"name": "l", "count": 801}`) + `]`, "", "cannot exceed '800'"},
		{"property", `"variables": {"v": {"a": 1}}, "resources": [` + res("A.B/c", "x", `, "properties": {"p": "[variables('v').b]"}`) + `]`, "", "available properties are 'a'"},
		{"output's type", `"resources": [], "outputs": {"o": {"type": "string", "value": 1}}`, "", "'o' is not valid: Template output JToken type is not valid. Expected 'String, Uri'. Actual 'Integer'"},
		{"output of nothing", `"resources": [], "outputs": {"o": {"type": "string"}}`, "", "'o' is not valid: It has neither"},
		{"output of no type", `"resources": [], "outputs": {"o": {"value": "x"}}`, "", "The template output 'o' at line"},
		{"a string for a string only", `"parameters": {"p": {"type": "string"}}, "resources": []`, `{"p": {"value": 1}}`, "Expected 'String, Uri'. Actual 'Integer'"},
		{"misspelt section", `"resources": [], "outputz": {}`, "", "Could not find member 'outputz' on object of type 'Template'. Path 'outputz', line 1"},
		{"misspelt constraint", `"parameters": {"p": {"type": "string", "default": "x"}}, "resources": []`, "", "Could not find member 'default' on object of type 'TemplateInputParameter'. Path 'parameters.p.default'"},
		{"mode of a loop", `"resources": [` + res("A.B/c", "[concat('x', copyIndex())]", `, "copy": {"name": "l", "count": 2, "mode": "sideways"}`) + `]`, "", "'serial' or 'parallel'"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := expand(t, header(c.sections), c.given)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(e.Message, c.want) {
				t.Errorf("%v\nwant %q", err, c.want)
			}
		})
	}
}

func TestErrorsSayWhere(t *testing.T) {
	for _, c := range []struct{ sections, path string }{
		{`"resources": [` + res("A.B/c/d", "x", "") + `]`, "resources[0].type"},
		{`"resources": [], "outputs": {"o": {"type": "int", "value": "x"}}`, "outputs.o.value"},
		{`"resources": [], "outputs": {"o": {"type": "int"}}`, "outputs.o"},
		{`"resources": [], "outputz": {}`, "outputz"},
	} {
		_, err := expand(t, header(c.sections), "")
		var e *Error
		if !errors.As(err, &e) || e.Path != c.path || e.Pos.Line != 1 {
			t.Errorf("%s: %+v", c.path, err)
		}
	}
	_, err := expand(t, "{\n \"$schema\": \"x\", \"contentVersion\": \"1\",\n \"resources\": [\n  {\"type\": \"A.B/c\", \"apiVersion\": \"1\", \"name\": \"x\",\n   \"properties\": {\"deep\": [\"[parameters('p')]\"]}}]}", "")
	var e *Error
	if !errors.As(err, &e) || e.Pos != (Pos{5, 28}) || e.Path != "resources[0].properties.deep[0]" || !strings.Contains(e.Message, "at line '4' and column '3'") {
		t.Errorf("%+v", err)
	}
}

// TestDeferred: what only a running deployment knows is left open, and only that.
func TestDeferred(t *testing.T) {
	p := mustExpand(t, header(`"resources": [`+
		res("A.B/c", "a", `, "location": "[resourceGroup().location]", "properties": {"ip": "[concat('http://', reference(resourceId('A.B/c', 'b')).ip)]", "key": "[listKeys('b', '2020-01-01').key]", "n": "[if(equals(reference('b').ip, 'x'), 1, 2)]"}`)+","+res("A.B/c", "b", "")+`]`), "")
	a := p.Resources[0]
	if a.Known() || a.Body.At("location").Str() != "local" || names(a.DependsOn) != "b" {
		t.Fatal(describe(p))
	}
	b := strings.ToLower(testGroup + "/providers/A.B/c/b")
	body, err := a.Resolve(world{b: ObjectOf("properties", ObjectOf("ip", StringValue("x"))), b + "/listkeys": ObjectOf("key", StringValue("k"))})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(body.At("properties").AppendJSON(nil)); got != `{"ip":"http://x","key":"k","n":1}` {
		t.Error(got)
	}
	if paths := body.SecurePaths(); len(paths) != 1 || paths[0] != "properties.key" {
		t.Errorf("secret: %q", paths)
	}
}

// TestBombs: values that double at each step end with an error, and soon.
func TestBombs(t *testing.T) {
	for _, f := range []string{"createArray(%s, %s)", "concat(%s, %s)", "createObject('a', %s, 'b', %s)", "format('{0}{1}', %s, %s)"} {
		vars := `"v0": "0123456789"`
		for i := 1; i < 40; i++ {
			v := fmt.Sprintf("variables('v%d')", i-1)
			vars += fmt.Sprintf(`, "v%d": "[%s]"`, i, fmt.Sprintf(f, v, v))
		}
		if _, err := expand(t, header(`"variables": {`+vars+`}, "resources": []`), ""); err == nil || !strings.Contains(err.Error(), "too large") {
			t.Errorf("%s: %.200v", f, err)
		}
	}
}

// TestReferencesOfALoop: references gives the turns that are deployed, in their order, and with 'full' what the deployment
// knows of them.
func TestReferencesOfALoop(t *testing.T) {
	w := world{}
	for _, name := range []string{"k1", "k2"} {
		w[strings.ToLower(testGroup+"/providers/A.B/knots/"+name)] = ObjectOf("location", StringValue("here"), "properties", ObjectOf("n", StringValue(name)))
	}
	got := outputsOf(t, header(`"languageVersion": "1.10-experimental", "resources": {
			"many": {"copy": {"name": "many", "count": 3}, "condition": "[greater(copyIndex(), 0)]", "type": "A.B/knots", "apiVersion": "2020-01-01", "name": "[format('k{0}', copyIndex())]"}},
		"outputs": {"n": {"type": "array", "value": "[map(references('many'), lambda('r', lambdaVariables('r').n))]"},
			"ids": {"type": "array", "value": "[map(references('many', 'Full'), lambda('r', format('{0} {1} {2} {3}', lambdaVariables('r').resourceId, lambdaVariables('r').resourceGroupName, lambdaVariables('r').apiVersion, lambdaVariables('r').location)))]"},
			"sub": {"type": "string", "value": "[reference(format('many[{0}]', 1), '2019-01-01', 'full').subscriptionId]"}}`), "", w)
	want := map[string]string{"n": `["k1","k2"]`, "ids": `["A.B/knots/k1 team 2020-01-01 here","A.B/knots/k2 team 2020-01-01 here"]`, "sub": `"` + testSub + `"`}
	for name, v := range want {
		if got[name] != v {
			t.Errorf("%s is %s, want %s", name, got[name], v)
		}
	}
}

// TestTooMuchWork: loops in loops, and functions that call themselves, each within its limit, end with an error, and soon.
func TestTooMuchWork(t *testing.T) {
	for name, sections := range map[string]string{
		"lambdas":   `"resources": [], "outputs": {"o": {"type": "int", "value": "[length(map(range(0, 10000), lambda('x', length(map(range(0, 10000), lambda('y', 1))))))]"}}`,
		"copies":    `"variables": {"v": {"copy": [{"name": "a", "count": 800, "input": {"copy": [{"name": "b", "count": 800, "input": {"copy": [{"name": "c", "count": 800, "input": "x"}]}}]}}]}}, "resources": []`,
		"recursion": `"functions": [{"namespace": "a", "members": {"f": {"parameters": [{"name": "n", "type": "int"}], "output": {"type": "int", "value": "[if(less(parameters('n'), 2), 1, add(a.f(sub(parameters('n'), 1)), a.f(sub(parameters('n'), 2))))]"}}}}], "resources": [], "outputs": {"o": {"type": "int", "value": "[a.f(60)]"}}`,
	} {
		_, err := expand(t, header(sections), "")
		if err == nil || !strings.Contains(err.Error(), "more work than") && !strings.Contains(err.Error(), "too large") || len(err.Error()) > 1000 {
			t.Errorf("%s: %.300v", name, err)
		}
	}
}

// TestTemplateOfAnExpression: the nested deployment reads the strings of a template that an expression makes as expressions.
func TestTemplateOfAnExpression(t *testing.T) {
	for _, scope := range []string{"Outer", "Inner"} {
		p := mustExpand(t, header(`"variables": {"file": {"$schema": "x", "contentVersion": "1", "parameters": {"a": {"type": "string"}}, "resources": [], "outputs": {"o": {"type": "string", "value": "[[concat(parameters('a'), '!')]"}}}},
			"resources": [`+res("Microsoft.Resources/deployments", "d", `, "properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": "`+scope+`"}, "template": "[variables('file')]", "parameters": {"a": {"value": "x"}}}`)+`]`), "")
		inner := p.Resources[0].Body.At("properties")
		got := outputsOf(t, string(inner.At("template").AppendJSON(nil)), string(inner.At("parameters").AppendJSON(nil)), nil)
		if got["o"] != `"x!"` {
			t.Errorf("%s: %s", scope, got)
		}
	}
}
