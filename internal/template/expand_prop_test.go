package template

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// drawn is a template made by chance: resources that depend on earlier ones, by dependsOn or by mentioning their id,
// some of them in loops, some with a false condition, in a shuffled order.
type drawn struct {
	text  string
	count int                 // resources after the loops
	after map[string][]string // demanded order, by name
}

func drawTemplate(t *rapid.T) drawn {
	n := rapid.IntRange(1, 12).Draw(t, "resources")
	d := drawn{after: map[string][]string{}}
	var items []string
	skipped := map[int]bool{}
	for i := range n {
		loop := rapid.IntRange(0, 3).Draw(t, "loop")
		skip := rapid.IntRange(0, 9).Draw(t, "skip") == 0
		skipped[i] = skip
		var on, mentions []string
		for j := range i {
			switch rapid.IntRange(0, 5).Draw(t, "edge") {
			case 0:
				on = append(on, fmt.Sprintf("\"[concat('loop', '%d')]\"", j))
				if !skip && !skipped[j] {
					d.after[fmt.Sprint(i)] = append(d.after[fmt.Sprint(i)], fmt.Sprint(j))
				}
			case 1:
				mentions = append(mentions, fmt.Sprintf("\"[resourceId('A.B/c', '%d-0')]\"", j))
			}
		}
		// Every resource mentions the last one, too: taken together these would close circles.
		mentions = append(mentions, fmt.Sprintf("\"[resourceId('A.B/c', '%d-0')]\"", n-1))
		items = append(items, fmt.Sprintf(`{"type": "A.B/c", "apiVersion": "2020-01-01", "name": "[concat('%d-', copyIndex())]", "condition": %v,
			"copy": {"name": "loop%d", "count": %d}, "dependsOn": [%s], "properties": {"uses": [%s]}}`, i, !skip, i, loop+1, strings.Join(on, ","), strings.Join(mentions, ",")))
		d.count += loop + 1
	}
	items = rapid.Permutation(items).Draw(t, "order")
	d.text = header(`"resources": [` + strings.Join(items, ",") + `]`)
	return d
}

// TestExpansion: no resource is lost, the order that is demanded is kept, an order exists, and expanding again gives
// the same.
func TestExpansion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := drawTemplate(t)
		doc, err := Read([]byte(d.text))
		if err != nil {
			t.Fatal(err)
		}
		p, err := Expand(doc, nil, testInputs())
		if err != nil {
			t.Fatalf("%v\n%s", err, d.text)
		}
		if len(p.Resources) != d.count {
			t.Fatalf("%d resources, want %d", len(p.Resources), d.count)
		}
		for _, r := range p.Resources {
			for _, before := range d.after[strings.Split(r.Name, "-")[0]] {
				if !dependsOnLoop(r, before) {
					t.Fatalf("%s does not wait for %s\n%s", r.Name, before, d.text)
				}
			}
		}
		again, _ := Expand(doc, nil, testInputs())
		if describe(p) != describe(again) {
			t.Fatalf("expanding again gives another plan")
		}
	})
}

func dependsOnLoop(r *Resource, loop string) bool {
	for _, d := range r.DependsOn {
		if strings.HasPrefix(d.Name, loop+"-") {
			return true
		}
	}
	return false
}

func describe(p *Plan) string {
	var b strings.Builder
	for _, r := range p.Resources {
		fmt.Fprintf(&b, "%s %s %s\n", r.ID, r.Body.AppendJSON(nil), names(r.DependsOn))
	}
	return b.String()
}
