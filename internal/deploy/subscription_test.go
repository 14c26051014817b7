package deploy

import (
	"strings"
	"testing"
)

const subHead = `"$schema": "https://schema.management.azure.com/schemas/2018-05-01/subscriptionDeploymentTemplate.json#", "contentVersion": "1.0.0.0", `

const subDeployments = sub + "/providers/Microsoft.Resources/deployments/"

// houseTemplate makes a group and, in it, a net: as the bicep compiler writes a module with a scope.
const houseTemplate = `{` + subHead + `
  "parameters": {"group": {"type": "string"}},
  "resources": [
    {"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2022-09-01", "name": "[parameters('group')]", "location": "[deployment().location]", "tags": {"of": "house"}},
    {"type": "Microsoft.Resources/deployments", "apiVersion": "2022-09-01", "name": "inside", "resourceGroup": "[parameters('group')]",
     "dependsOn": ["[subscriptionResourceId('Microsoft.Resources/resourceGroups', parameters('group'))]"],
     "properties": {"mode": "Incremental", "expressionEvaluationOptions": {"scope": "inner"}, "template": {` + head + `
       "resources": [{"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "net", "location": "[resourceGroup().location]"}],
       "outputs": {"id": {"type": "string", "value": "[resourceId('Test.Zoo/nets', 'net')]"}, "of": {"type": "string", "value": "[resourceGroup().tags.of]"}}}}}
  ],
  "outputs": {
    "net": {"type": "string", "value": "[reference(extensionResourceId(format('/subscriptions/{0}/resourceGroups/{1}', subscription().subscriptionId, parameters('group')), 'Microsoft.Resources/deployments', 'inside'), '2022-09-01').outputs.id.value]"},
    "of": {"type": "string", "value": "[reference(resourceId(parameters('group'), 'Microsoft.Resources/deployments', 'inside')).outputs.of.value]"},
    "where": {"type": "string", "value": "[reference(subscriptionResourceId('Microsoft.Resources/resourceGroups', parameters('group')), '2022-09-01', 'Full').location]"}
  }
}`

func subBody(group string) string {
	return `{"location": "local", "properties": {"mode": "Incremental", "parameters": {"group": {"value": "` + group + `"}}, "template": ` + houseTemplate + `}}`
}

func TestDeployToSubscription(t *testing.T) {
	l := newLido(t)
	l.ok("POST", subDeployments+"house/validate", subBody("house"))
	forecast := l.ok("POST", subDeployments+"house/whatIf", subBody("house"))
	if got, _ := at(forecast, "properties", "changes").([]any); len(got) != 2 || at(got[0], "changeType") != "Create" || at(got[1], "after", "type") != "Test.Zoo/nets" {
		t.Fatalf("what-if: %s", pretty(forecast))
	}
	_, _, h := l.call("PUT", subDeployments+"house", subBody("house"))
	op, d := l.poll(h), l.ok("GET", subDeployments+"house", "")
	if op["status"] != "Succeeded" || d["location"] != "local" || d["id"] != subDeployments+"house" {
		t.Fatalf("%s\n%s", pretty(op), pretty(d))
	}
	outputs := at(d, "properties", "outputs")
	if at(outputs, "net", "value") != sub+"/resourceGroups/house/providers/Test.Zoo/nets/net" || at(outputs, "of", "value") != "house" || at(outputs, "where", "value") != "local" {
		t.Errorf("outputs: %s", pretty(outputs))
	}
	forecast = l.ok("POST", subDeployments+"house/whatIf", subBody("house"))
	for _, c := range at(forecast, "properties", "changes").([]any) {
		if at(c, "changeType") != "NoChange" {
			t.Errorf("what-if again: %s", pretty(c))
		}
	}
	if list := l.ok("GET", sub+"/providers/Microsoft.Resources/deployments/", ""); len(list["value"].([]any)) != 1 {
		t.Errorf("list: %s", pretty(list))
	}
	if list := l.ok("GET", subDeployments+"house/operations", ""); len(list["value"].([]any)) != 3 {
		t.Errorf("operations: %s", pretty(list))
	}
	l.ok("DELETE", subDeployments+"house", "")
	if code, _, _ := l.call("GET", subDeployments+"house", ""); code != 404 {
		t.Errorf("after deletion: %d", code)
	}
}

func TestSubscriptionRefusals(t *testing.T) {
	l := newLido(t)
	inGroup := strings.Replace(houseTemplate, subHead, head, 1)
	for name, c := range map[string]struct{ path, body, code, word string }{
		"no location":     {subDeployments + "a", strings.Replace(subBody("x"), `"location": "local", `, "", 1), "InvalidDeployment", "location"},
		"complete":        {subDeployments + "a", strings.Replace(subBody("x"), `"Incremental", "parameters"`, `"Complete", "parameters"`, 1), "InvalidRequestContent", "Incremental"},
		"the tenant":      {"/providers/Microsoft.Resources/deployments/a", subBody("x"), "DeploymentScopeNotSupported", "az deployment sub create"},
		"a group in one":  {deployments + "a", `{"properties": {"mode": "Incremental", "parameters": {"group": {"value": "x"}}, "template": ` + inGroup + `}}`, "InvalidTemplate", "az deployment sub create"},
		"a mgmt group":    {"/providers/Microsoft.Management/managementGroups/m/providers/Microsoft.Resources/deployments/a", subBody("x"), "DeploymentScopeNotSupported", "management groups"},
		"resourceGroup()": {subDeployments + "a", strings.Replace(subBody("x"), "deployment().location", "resourceGroup().location", 1), "InvalidTemplate", "resourceGroup"},
	} {
		code, m, _ := l.call("PUT", c.path, c.body)
		if code != 400 || at(m, "error", "code") != c.code || !strings.Contains(pretty(m), c.word) {
			t.Errorf("%s: %d %s", name, code, pretty(m))
		}
	}
}

// TestTemplateSpecs deploys from a version of a spec, and what that links to by paths inside it.
func TestTemplateSpecs(t *testing.T) {
	l := newLido(t)
	spec := sub + "/resourceGroups/zoo/providers/Microsoft.Resources/templateSpecs/nets"
	l.ok("PUT", spec, `{"location": "local", "properties": {"displayName": "Nets"}}`)
	net := func(name string) string {
		return `{` + head + `"resources": [{"type": "Test.Zoo/nets", "apiVersion": "2022-01-01", "name": "` + name + `", "location": "local"}]}`
	}
	link := func(path string) string {
		return `{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "inner", "properties": {"mode": "Incremental", "templateLink": {"relativePath": "` + path + `"}}}`
	}
	l.ok("PUT", spec+"/versions/1.0", `{"location": "local", "properties": {"mainTemplate": {`+head+`"resources": [`+link("artifacts/outer.json")+`], "outputs": {"from": {"type": "string", "value": "[deployment().properties.templateLink.id]"}}},
		"linkedTemplates": [{"path": "artifacts/outer.json", "template": {`+head+`"resources": [`+strings.Replace(link("deep/net.json"), `"inner"`, `"deeper"`, 1)+`]}}, {"path": "artifacts\\deep\\net.json", "template": `+net("mesh")+`}]}}`)
	_, d := l.deploy("main", `"mode": "Incremental", "templateLink": {"id": "`+spec+`/versions/1.0"}`)
	if at(d, "properties", "provisioningState") != "Succeeded" || at(d, "properties", "templateLink", "id") != spec+"/versions/1.0" || at(d, "properties", "outputs", "from", "value") != spec+"/versions/1.0" {
		t.Fatal(pretty(d))
	}
	l.ok("GET", sub+"/resourceGroups/zoo/providers/Test.Zoo/nets/mesh", "")
	for body, want := range map[string]string{
		`"templateLink": {"id": "` + spec + `/versions/2.0"}`: "TemplateSpecVersionNotFound",
		`"templateLink": {"id": "` + spec + `"}`:              "InvalidTemplateSpec",
	} {
		if _, m, _ := l.call("PUT", deployments+"x", `{"properties": {"mode": "Incremental", `+body+`}}`); at(m, "error", "code") != want {
			t.Errorf("%s: %s", body, pretty(m))
		}
	}
	l.ok("PUT", spec+"/versions/0.1", `{"location": "local", "properties": {"template": `+net("first")+`}}`)
	if _, d := l.deploy("first", `"mode": "Incremental", "templateLink": {"id": "`+spec+`/versions/0.1"}`); at(d, "properties", "provisioningState") != "Succeeded" {
		t.Error(pretty(d))
	}
	if code, m, _ := l.call("PUT", spec+"/versions/3.0", `{"location": "local", "properties": {}}`); code != 400 || at(m, "error", "code") != "InvalidTemplateSpecVersion" {
		t.Errorf("%d %s", code, pretty(m))
	}
}
