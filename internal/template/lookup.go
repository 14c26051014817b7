package template

import (
	"strconv"
	"strings"
)

// lookup finds resources of a plan by all the ways a template may name them, in any case.
type lookup struct {
	bySymbol, byID, byType, byName, byLoop, byShort map[string][]*Resource
}

func newLookup(p *Plan) *lookup {
	n := len(p.Resources)
	l := &lookup{bySymbol: make(map[string][]*Resource), byID: make(map[string][]*Resource, n), byType: make(map[string][]*Resource, 2*n),
		byName: make(map[string][]*Resource, 2*n), byLoop: p.loops, byShort: make(map[string][]*Resource)}
	for _, r := range p.Resources {
		add := func(m map[string][]*Resource, key string) {
			key = strings.ToLower(key)
			if list := m[key]; len(list) == 0 || list[len(list)-1] != r {
				m[key] = append(list, r)
			}
		}
		if r.Symbol != "" {
			add(l.bySymbol, r.Symbol)
			if r.turn >= 0 {
				add(l.bySymbol, r.Symbol+"["+strconv.Itoa(r.turn)+"]")
			}
		}
		if r.ID == "" {
			continue // it is skipped, and has no name
		}
		add(l.byID, r.ID)
		if strings.EqualFold(r.Type, groupType) {
			add(l.byType, groupType+"/"+r.Name)
		}
		add(l.byType, r.Type+"/"+r.Name)
		if at := strings.LastIndex(strings.ToLower(r.ID), "/providers/"+strings.ToLower(namespace(r.Type))+"/"); at >= 0 {
			add(l.byType, r.ID[at+len("/providers/"):])
		}
		add(l.byName, r.Name)
		if _, short, ok := cutLast(r.Name); ok {
			add(l.byShort, short)
		}
	}
	return l
}

func namespace(resourceType string) string {
	ns, _, _ := strings.Cut(resourceType, "/")
	return ns
}

func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndexByte(s, '/')
	if i < 0 {
		return "", s, false
	}
	return s[:i], s[i+1:], true
}

// find returns the resources that text names, none for a loop of no turns, nil when there is nothing of that name. Of
// resources with the same id those that are deployed go before those whose condition is false.
func (l *lookup) find(text string) []*Resource {
	key := strings.ToLower(canonical(strings.TrimSpace(text)))
	for _, m := range []map[string][]*Resource{l.bySymbol, l.byID, l.byType, l.byName, l.byLoop, l.byShort} {
		if found := m[key]; len(found) > 0 {
			return deployedFirst(found)
		}
	}
	if _, empty := l.byLoop[key]; empty {
		return []*Resource{}
	}
	return nil
}

func deployedFirst(found []*Resource) []*Resource {
	if len(found) < 2 || !found[0].Skipped {
		return found
	}
	out := make([]*Resource, 0, len(found))
	for _, r := range found {
		if !r.Skipped {
			out = append(out, r)
		}
	}
	for _, r := range found {
		if r.Skipped {
			out = append(out, r)
		}
	}
	return out
}

// canonical is an id in its one form: subscriptionResourceId writes a resource group's as if it were behind "/providers/".
func canonical(id string) string {
	const written = "/providers/microsoft.resources/resourcegroups/"
	if !strings.HasPrefix(id, "/") {
		return id
	}
	if i := strings.Index(strings.ToLower(id), written); i > 0 && strings.Count(id[:i], "/") == 2 {
		return id[:i] + "/resourceGroups/" + id[i+len(written):]
	}
	return id
}

// inside finds the deepest resource whose id is, or goes before, the id in text.
func (l *lookup) inside(text string) []*Resource {
	key := strings.ToLower(canonical(text))
	for {
		if found := l.byID[key]; len(found) > 0 {
			return found
		}
		i := strings.LastIndexByte(key, '/')
		if i <= 0 {
			return nil
		}
		if i = strings.LastIndexByte(key[:i], '/'); i <= 0 {
			return nil
		}
		key = key[:i]
	}
}
