package template

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func dummy(sc *Node, def *Node, depth int) string {
	if depth > 5 { return "null" }
	if r := def.Get("$ref").Str(); r != "" {
		if p, ok := strings.CutPrefix(r, "#/"); ok {
			if d := sc.At(strings.Split(p, "/")...); d != nil { return dummy(sc, d, depth+1) }
		}
	}
	if a := def.Get("allowedValues"); a != nil && len(a.Items) > 0 {
		return string(a.Items[0].Value().AppendJSON(nil))
	}
	switch strings.ToLower(def.Get("type").Str()) {
	case "int":
		if m := def.Get("minValue"); m != nil { return string(m.Value().AppendJSON(nil)) }
		return "1"
	case "bool": return "true"
	case "array":
		if m := def.Get("minLength"); m != nil && def.Get("items") != nil {
			var s []string
			for i := 0; i < int(m.Value().n); i++ { s = append(s, dummy(sc, def.Get("items"), depth+1)) }
			return "["+strings.Join(s, ",")+"]"
		}
		return "[]"
	case "object", "secureobject":
		var s []string
		if p := def.Get("properties"); p != nil {
			for _, m := range p.Members { if b := m.Val.Get("nullable"); b == nil || !b.Bool { s = append(s, fmt.Sprintf("%q:%s", m.Key, dummy(sc, m.Val, depth+1))) } }
		}
		return "{"+strings.Join(s, ",")+"}"
	}
	if m := def.Get("minLength"); m != nil { return `"`+strings.Repeat("x", int(m.Value().n))+`"` }
	return `"x"`
}

func TestZZ(t *testing.T) {
	root := os.Getenv("ZZ")
	ok, bad := 0, 0
	filepath.Walk(root, func(p string, fi os.FileInfo, err error) error {
		if fi == nil || fi.IsDir() || !strings.HasSuffix(p, ".json") { return nil }
		b, _ := os.ReadFile(p)
		if !strings.Contains(string(b), "$schema") || !strings.Contains(string(b), "eploymentTemplate.json") { return nil }
		rel, _ := filepath.Rel(root, p)
		n, err := Read(b)
		if err != nil { bad++; fmt.Printf("BAD %s: read %v\n", rel, err); return nil }
		var given []string
		if ps := n.Get("parameters"); ps != nil {
			for _, m := range ps.Members {
				if m.Val.Get("defaultValue") == nil {
					if b := m.Val.Get("nullable"); b != nil && b.Bool { continue }
					given = append(given, fmt.Sprintf("%q:{\"value\":%s}", m.Key, dummy(n, m.Val, 0)))
				}
			}
		}
		g, err := Read([]byte("{"+strings.Join(given, ",")+"}"))
		if err != nil { t.Fatal(err) }
		in := testInputs()
		sch := strings.ToLower(n.Get("$schema").Str())
		in.Deployment = in.Deployment.With(StringValue("local"), "location")
		if strings.Contains(sch, "subscriptiondeployment") { in.ResourceGroupName = ""; in.ResourceGroup = Value{} }
		if strings.Contains(sch, "tenantdeployment") { in.ResourceGroupName = ""; in.SubscriptionID = ""; in.ResourceGroup = Value{} }
		plan, err := Expand(n, g, in)
		if err != nil { bad++; fmt.Printf("BAD %s: %v\n", rel, err); return nil }
		_, err = plan.Outputs(nil)
		if err != nil { bad++; fmt.Printf("BADOUT %s: %v\n", rel, err); return nil }
		ok++
		return nil
	})
	fmt.Println("ok", ok, "bad", bad)
}
