package deploy

import (
	"strconv"
	"strings"

	"lido.dev/lido/internal/template"
)

// delta is one difference between what is and what a template says.
type delta struct {
	Path     string          `json:"path"`
	Type     string          `json:"propertyChangeType"` // Create, Delete, Modify, Array
	Before   *template.Value `json:"before"`
	After    *template.Value `json:"after"`
	Children []delta         `json:"children"`
}

// notCompared are members that tell a resource rather than describe it.
var notCompared = map[string]bool{"id": true, "name": true, "type": true, "apiversion": true}

// contrast compares what is with what will be. If it is exact, a member that will not be is one that goes; if not, the
// template may just not mention it, but for tags.
type contrast struct{ exact bool }

// members compares the members of objects.
func (c contrast) members(before, after template.Value, top bool) []delta {
	var out []delta
	for _, key := range after.Keys() {
		if top && notCompared[strings.ToLower(key)] {
			continue
		}
		a, _ := after.Get(key)
		b, had := before.Get(key)
		if !c.exact && top && strings.EqualFold(key, "tags") && had {
			out = append(out, under(key, removed(b, a))...)
		}
		if d := c.value(key, b, a, had); d != nil {
			out = append(out, *d...)
		}
	}
	if c.exact {
		out = append(out, removed(before, after)...)
	}
	return out
}

// removed lists the members of before that after lacks.
func removed(before, after template.Value) []delta {
	var out []delta
	for _, key := range before.Keys() {
		if _, ok := after.Get(key); !ok {
			b, _ := before.Get(key)
			if b.Kind() == template.Null || empty(b) {
				continue
			}
			shown := veiled(b)
			out = append(out, delta{Path: key, Type: "Delete", Before: &shown})
		}
	}
	return out
}

// under puts a name before the paths of differences.
func under(key string, list []delta) []delta {
	for i := range list {
		list[i].Path = key + "." + list[i].Path
	}
	return list
}

// value compares one value; nil when there is no difference.
func (c contrast) value(path string, before, after template.Value, had bool) *[]delta {
	switch {
	case after.Kind() == template.Unknown, after.Kind() == template.Null && !had:
		return nil
	case !had:
		if empty(after) {
			return nil
		}
		shown := veiled(after)
		return &[]delta{{Path: path, Type: "Create", After: &shown}}
	case before.Kind() == template.Object && after.Kind() == template.Object:
		list := under(path, c.members(before, after, false))
		return &list
	case before.Kind() == template.Array && after.Kind() == template.Array:
		children := c.items(before.Items(), after.Items())
		if len(children) == 0 {
			return nil
		}
		return &[]delta{{Path: path, Type: "Array", Children: children}}
	case same(before, after):
		return nil
	}
	shownBefore, shownAfter := veiled(before), veiled(after)
	return &[]delta{{Path: path, Type: "Modify", Before: &shownBefore, After: &shownAfter}}
}

func empty(v template.Value) bool {
	return (v.Kind() == template.Array || v.Kind() == template.Object) && v.Len() == 0
}

// items compares elements: objects by their names if they have any, else by their place; others go or come.
func (c contrast) items(before, after []template.Value) []delta {
	if scalars(before) && scalars(after) {
		return scalarItems(before, after)
	}
	var out []delta
	taken := make([]bool, len(before))
	for i, a := range after {
		at := i
		if name := a.At("name").Str(); name != "" {
			at = indexByName(before, name)
		}
		if at < 0 || at >= len(before) {
			shown := veiled(a)
			out = append(out, delta{Path: strconv.Itoa(i), Type: "Create", After: &shown})
			continue
		}
		taken[at] = true
		if d := c.value(strconv.Itoa(i), before[at], a, true); d != nil && len(*d) > 0 {
			out = append(out, delta{Path: strconv.Itoa(i), Type: "Modify", Children: inside(*d, strconv.Itoa(i))})
		}
	}
	for i, b := range before {
		if !taken[i] {
			shown := veiled(b)
			out = append(out, delta{Path: strconv.Itoa(i), Type: "Delete", Before: &shown})
		}
	}
	return out
}

func scalars(list []template.Value) bool {
	for _, v := range list {
		if v.Kind() == template.Array || v.Kind() == template.Object || v.Kind() == template.Unknown {
			return false
		}
	}
	return true
}

// scalarItems tells which elements go, by their old places, and which come, by their new ones. If none do, but the order
// changed, those that change places go and come.
func scalarItems(before, after []template.Value) []delta {
	gone, come := without(before, after), without(after, before)
	if len(gone)+len(come) == 0 && len(before) == len(after) {
		for i := range before {
			if !same(before[i], after[i]) {
				gone, come = append(gone, i), append(come, i)
			}
		}
	}
	var out []delta
	for _, i := range gone {
		shown := veiled(before[i])
		out = append(out, delta{Path: strconv.Itoa(i), Type: "Delete", Before: &shown})
	}
	for _, i := range come {
		shown := veiled(after[i])
		out = append(out, delta{Path: strconv.Itoa(i), Type: "Create", After: &shown})
	}
	return out
}

// without are the places of a's elements that b does not have.
func without(a, b []template.Value) (places []int) {
	taken := make([]bool, len(b))
next:
	for i, v := range a {
		for j, w := range b {
			if !taken[j] && same(v, w) {
				taken[j] = true
				continue next
			}
		}
		places = append(places, i)
	}
	return places
}

// inside takes the element's own number off the paths of the differences in it.
func inside(list []delta, number string) []delta {
	for i := range list {
		list[i].Path = strings.TrimPrefix(strings.TrimPrefix(list[i].Path, number), ".")
	}
	return list
}

func indexByName(list []template.Value, name string) int {
	for i, v := range list {
		if strings.EqualFold(v.At("name").Str(), name) {
			return i
		}
	}
	return -1
}

// same compares scalars as lido's types read them: numbers and booleans may be written as strings, ids and most words
// in any case.
func same(a, b template.Value) bool {
	if template.Equal(a, b) {
		return true
	}
	scalar := func(v template.Value) (string, bool) {
		switch v.Kind() {
		case template.String:
			return strings.ToLower(v.Str()), true
		case template.Bool, template.Int, template.Float:
			return string(v.AppendJSON(nil)), true
		}
		return "", false
	}
	x, ok1 := scalar(a)
	y, ok2 := scalar(b)
	return ok1 && ok2 && x == y && !a.Secure() && !b.Secure()
}
