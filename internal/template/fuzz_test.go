package template

import (
	"encoding/json"
	"testing"
)

// FuzzRead reads anything: no panic, and what strict JSON readers take is read as they read it.
func FuzzRead(f *testing.F) {
	for _, s := range []string{`{}`, `[1,2,]`, "{a: 'b' // c\n}", "{\"a\": \"x\ny\"}", `{"a":1,"a":2}`, `/**/[]`, `"\u00e9\ud83d\ude00"`, `-0.5e3`, poolTemplate} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, err := Read([]byte(text))
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("error of type %T", err)
			}
			return
		}
		var again any
		if err := json.Unmarshal(n.Value().AppendJSON(nil), &again); err != nil {
			t.Fatalf("%q is written as %s: %v", text, n.Value().AppendJSON(nil), err)
		}
		if m, err := Read([]byte(n.Source([]byte(text)))); err != nil || !Equal(m.Value(), n.Value()) || m.Pos != n.Pos {
			t.Fatalf("the source of %q reads otherwise: %v", text, err)
		}
	})
}

// FuzzParse parses anything: no panic, and what is parsed and written again is parsed to the same.
func FuzzParse(f *testing.F) {
	for _, c := range functionCases {
		f.Add(c.expression)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p := parseString(text)
		if p.expr == nil {
			return
		}
		shown := "[" + p.expr.String() + "]"
		if len(shown) > maxExpression {
			return
		}
		q := parseString(shown)
		if q.expr == nil || q.expr.String() != p.expr.String() {
			t.Fatalf("%q is written as %q, which is another", text, shown)
		}
	})
}

// FuzzEvaluate evaluates anything: no panic.
func FuzzEvaluate(f *testing.F) {
	for _, c := range functionCases {
		f.Add(c.expression)
	}
	in := testInputs()
	doc, _ := Read([]byte(header(`"resources": []`)))
	sc := newScope(doc, nil, &in)
	if err := sc.load(); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if len(text) > 2000 {
			return
		}
		v, err := sc.base.evalNode(&Node{Kind: String, Text: text})
		if err == nil {
			v.AppendJSON(nil)
		}
	})
}

// FuzzExpand expands anything: no panic, errors of one kind, and a plan whose order can be kept.
func FuzzExpand(f *testing.F) {
	f.Add(poolTemplate, poolParameters)
	f.Add(header(`"languageVersion": "2.0", "resources": {"a": {"type": "A.B/c", "name": "n", "apiVersion": "1", "dependsOn": ["b"]}, "b": {"existing": true, "type": "A.B/c", "name": "m"}}`), `{}`)
	f.Add(header(`"resources": [{"copy": {"name": "l", "count": 3, "mode": "serial", "batchSize": 2}, "type": "A.B/c", "name": "[concat('n', copyIndex())]", "apiVersion": "1"}]`), `{}`)
	f.Add(header(`"resources": [{"type": "Microsoft.Resources/resourceGroups", "name": "g", "apiVersion": "1"}, {"type": "Microsoft.Resources/deployments", "name": "d", "apiVersion": "1", "resourceGroup": "g"}]`), `{}`)
	f.Fuzz(func(t *testing.T, text, given string) {
		doc, err := Read([]byte(text))
		if err != nil {
			return
		}
		params, err := Read([]byte(given))
		if err != nil {
			return
		}
		p, err := Expand(doc, params, testInputs())
		if err != nil {
			if _, ok := err.(*Error); !ok {
				t.Fatalf("error of type %T: %v", err, err)
			}
			return
		}
		checkOrder(t, p)
		in := testInputs()
		in.ResourceGroupName, in.ResourceGroup = "", Value{}
		if p, err = Expand(doc, params, in); err == nil {
			checkOrder(t, p)
		}
	})
}

// checkOrder says that there is an order in which every resource comes after those that it depends on.
func checkOrder(t testing.TB, p *Plan) {
	t.Helper()
	done := map[*Resource]bool{}
	for range p.Resources {
		for _, r := range p.Resources {
			ready := true
			for _, d := range r.DependsOn {
				ready = ready && done[d]
			}
			done[r] = done[r] || ready
		}
		if len(done) == len(p.Resources) && all(done) {
			return
		}
	}
	if len(p.Resources) == 0 {
		return
	}
	t.Fatalf("no order for %s", names(p.Resources))
}

func all(done map[*Resource]bool) bool {
	for _, d := range done {
		if !d {
			return false
		}
	}
	return true
}
