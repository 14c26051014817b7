package template

import (
	"sort"
	"strings"
)

// finish finds duplicates, sets the dependencies and looks over the outputs.
func (x *expander) finish() error {
	p := x.plan
	p.lookup = newLookup(p)
	x.sc.plan = p
	if err := p.checkDuplicates(); err != nil {
		return err
	}
	for _, s := range x.sc.doc.Get("parameters").members() {
		slot := x.sc.params[strings.ToLower(s.Key)]
		p.Parameters = append(p.Parameters, Parameter{Name: s.Key, Type: typeName(x.sc, slot), Value: slot.v})
	}
	if err := p.link(); err != nil {
		return err
	}
	if _, err := x.sc.section("outputs"); err != nil {
		return err
	}
	if _, failed := p.Outputs(nil); failed != nil {
		return failed[0].Err
	}
	return nil
}

func typeName(sc *scope, s *slot) string {
	c := &checker{sc: sc, name: s.name, def: s.def}
	t, err := c.resolve(s.def)
	if err != nil {
		return ""
	}
	return t.get("type").Str()
}

func (p *Plan) checkDuplicates() error {
	seen := make(map[string]*Resource, len(p.Resources))
	for _, r := range p.Resources {
		if r.Skipped || r.Existing {
			continue
		}
		key := strings.ToLower(r.ID)
		if seen[key] != nil {
			return validationError(r.node, "The resource '%s' at line '%d' and column '%d' is defined multiple times in a template. Please see https://aka.ms/arm-syntax-resources for usage details", r.Name, r.Pos.Line, r.Pos.Col)
		}
		seen[key] = r
	}
	return nil
}

// link sets the dependencies: those that are demanded, by dependsOn, by runtime functions and by the batches of serial
// loops, and then those that merely make sense, where a resource mentions another's id or is its child. Of the latter
// those that would close a cycle are left out.
func (p *Plan) link() error {
	g := newGraph(len(p.Resources))
	for _, r := range p.Resources {
		if err := p.demanded(g, r); err != nil {
			return err
		}
	}
	if cycle := g.cycle(); cycle != nil {
		return p.cycleError(cycle)
	}
	p.suggested(g)
	for i, r := range p.Resources {
		to := g.to[i]
		sort.Ints(to)
		for _, j := range to {
			r.DependsOn = append(r.DependsOn, p.Resources[j])
		}
	}
	return nil
}

func (p *Plan) demanded(g *graph, r *Resource) error {
	for _, w := range r.wants {
		found := p.lookup.find(w.text)
		if found == nil {
			return validationError(w.at, "The resource '%s' is not defined in the template. Please see https://aka.ms/arm-syntax for usage details", w.text)
		}
		g.add(r, others(found, r)...)
	}
	for _, ref := range r.refs {
		found := p.lookup.find(ref.name)
		if found == nil && !strings.Contains(ref.name, "/") {
			return r.explain(faultf("The resource '%s' referenced is not defined in the template. Please see https://aka.ms/arm-function-reference for usage details.", ref.name))
		}
		if found == nil {
			found = p.lookup.inside(ref.name)
		}
		for _, f := range found {
			if f != r {
				g.add(r, f)
			}
		}
	}
	g.add(r, r.batch...)
	return nil
}

// others are the resources that a name stands for but the one that names them; a name may be several's. That of one alone
// stands for itself, which is a circle.
func others(found []*Resource, r *Resource) []*Resource {
	if len(found) < 2 {
		return found
	}
	out := make([]*Resource, 0, len(found))
	for _, f := range found {
		if f != r {
			out = append(out, f)
		}
	}
	return out
}

// suggested adds the edges that are not demanded.
func (p *Plan) suggested(g *graph) {
	soft := newGraph(len(p.Resources))
	for _, r := range p.Resources {
		if parent := r.parentIn(p); parent != nil {
			soft.add(r, parent)
		}
		if r.Skipped || r.Existing {
			continue
		}
		r.Body.Walk(func(_ string, leaf Value) {
			if leaf.kind != String || !strings.HasPrefix(leaf.s, "/") {
				return
			}
			for _, f := range p.lookup.inside(leaf.s) {
				if f != r {
					soft.add(r, f)
				}
			}
		})
	}
	g.merge(soft)
}

// parentIn is the resource's parent, nested around it or found by its id.
func (r *Resource) parentIn(p *Plan) *Resource {
	if r.parent != nil {
		return r.parent
	}
	above, _, _ := cutLast(strings.ToLower(r.ID))
	above, _, _ = cutLast(above)
	for _, f := range p.lookup.byID[strings.TrimSuffix(above, "/providers")] {
		return f
	}
	for _, f := range p.lookup.inside(above) {
		return f
	}
	return nil
}

// cycleError names every resource of a cycle, from one back to itself.
func (p *Plan) cycleError(cycle []int) error {
	ids := make([]string, 0, len(cycle)+1)
	for _, i := range cycle {
		ids = append(ids, "'"+p.Resources[i].ID+"'")
	}
	ids = append(ids, ids[0])
	return validationError(p.Resources[cycle[0]].node, "Circular dependency detected on resource: %s. Each of these depends on the next: %s. Please see https://aka.ms/arm-syntax-resources for usage details", ids[0], strings.Join(ids, ", "))
}
