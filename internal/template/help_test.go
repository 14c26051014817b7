package template

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

const (
	testSub   = "11111111-2222-3333-4444-555555555555"
	testGroup = "/subscriptions/" + testSub + "/resourceGroups/team"
)

// testInputs are the inputs of a deployment "main" to the group "team".
func testInputs() Inputs {
	return Inputs{
		Now:               time.Date(2026, 11, 23, 12, 30, 45, 0, time.UTC),
		Seed:              "seed",
		SubscriptionID:    testSub,
		ResourceGroupName: "team",
		ResourceGroup: ObjectOf("id", StringValue(testGroup), "name", StringValue("team"), "type", StringValue("Microsoft.Resources/resourceGroups"),
			"location", StringValue("local"), "tags", ObjectOf(), "properties", ObjectOf("provisioningState", StringValue("Succeeded"))),
		Subscription: ObjectOf("id", StringValue("/subscriptions/"+testSub), "subscriptionId", StringValue(testSub),
			"tenantId", StringValue("tenant"), "displayName", StringValue("lido")),
		Tenant:      ObjectOf("tenantId", StringValue("tenant"), "displayName", StringValue("lido")),
		Deployment:  ObjectOf("name", StringValue("main"), "properties", ObjectOf("templateLink", ObjectOf("uri", StringValue("https://example.org/t/main.json")))),
		Environment: ObjectOf("name", StringValue("lido"), "suffixes", ObjectOf("storage", StringValue("core.lido.example"))),
		Provider: func(namespace, resourceType string) (Value, bool) {
			return ObjectOf("resourceType", StringValue(resourceType), "apiVersions", ArrayValue([]Value{StringValue("2022-11-01")})), namespace != "Microsoft.Nothing"
		},
	}
}

// mustRead reads a document or fails the test.
func mustRead(t testing.TB, text string) *Node {
	t.Helper()
	n, err := Read([]byte(text))
	if err != nil {
		t.Fatalf("read: %v\n%s", err, text)
	}
	return n
}

// header begins a template; sections are its members.
func header(sections string) string {
	return `{"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", "contentVersion": "1.0.0.0", ` + sections + `}`
}

func expand(t testing.TB, template, given string) (*Plan, error) {
	t.Helper()
	var params *Node
	if given != "" {
		params = mustRead(t, given)
	}
	return Expand(mustRead(t, template), params, testInputs())
}

func mustExpand(t testing.TB, template, given string) *Plan {
	t.Helper()
	p, err := expand(t, template, given)
	if err != nil {
		t.Fatalf("expand: %v", err)
	}
	return p
}

// evaluate works one expression out, as the value of an output.
func evaluate(t testing.TB, expression, more string) (Value, error) {
	t.Helper()
	doc := mustRead(t, header(more+` "resources": []`))
	in := testInputs()
	sc := newScope(doc, nil, &in)
	if err := sc.load(); err != nil {
		return Value{}, err
	}
	return sc.base.evalNode(&Node{Kind: String, Text: expression})
}

// world is a runtime that answers by id.
type world map[string]Value

func (w world) Reference(id, apiVersion string, full bool) (Value, error) {
	v, ok := w[strings.ToLower(id)]
	if !ok {
		return v, fmt.Errorf("no resource %s", id)
	}
	if full {
		return v, nil
	}
	return v.At("properties"), nil
}

func (w world) List(action, id, apiVersion string, body Value) (Value, error) {
	return w.Reference(id+"/"+action, apiVersion, true)
}

func contains(s, sub string) bool { return strings.Contains(s, sub) }
