package template

import (
	"strconv"
	"strings"
)

// Walk calls visit for every leaf of v (what is neither array nor object) with its JSON path.
func (v Value) Walk(visit func(path string, leaf Value)) { v.walk("", visit) }

func (v Value) walk(path string, visit func(string, Value)) {
	switch v.kind {
	case Array:
		for i := range v.arr {
			v.arr[i].walk(path+"["+strconv.Itoa(i)+"]", visit)
		}
	case Object:
		for i, key := range v.obj.keys {
			below := key
			if path != "" {
				below = path + "." + key
			}
			v.obj.vals[i].walk(below, visit)
		}
	default:
		visit(path, v)
	}
}

// SecurePaths are the paths of the strings in v that derive from secrets, in the form a.b[0].c. Where a name on the way
// has a dot or a bracket in it, the path ends before it: what lies there is secret as a whole.
func (v Value) SecurePaths() []string {
	var paths []string
	v.securePaths("", &paths)
	return paths
}

func (v Value) securePaths(path string, paths *[]string) {
	if !v.secure {
		return
	}
	switch v.kind {
	case String:
		*paths = append(*paths, path)
	case Array:
		for i := range v.arr {
			v.arr[i].securePaths(path+"["+strconv.Itoa(i)+"]", paths)
		}
	case Object:
		for i, key := range v.obj.keys {
			switch {
			case !v.obj.vals[i].secure:
			case strings.ContainsAny(key, ".[]") && path != "":
				*paths = append(*paths, path)
				return
			case path == "":
				v.obj.vals[i].securePaths(key, paths)
			default:
				v.obj.vals[i].securePaths(path+"."+key, paths)
			}
		}
	}
}

// MapLeaves returns v with every leaf replaced by what change makes of it.
func (v Value) MapLeaves(change func(Value) Value) Value {
	switch v.kind {
	case Array:
		items := make([]Value, len(v.arr))
		for i := range v.arr {
			items[i] = v.arr[i].MapLeaves(change)
		}
		return ArrayValue(items)
	case Object:
		var b objectBuilder
		for i, key := range v.obj.keys {
			b.set(key, v.obj.vals[i].MapLeaves(change))
		}
		return b.value()
	}
	return change(v)
}

// With returns v with the member at the end of a way through objects set to another value. Objects on the way that are
// missing are made.
func (v Value) With(to Value, names ...string) Value {
	if len(names) == 0 {
		return to
	}
	var b objectBuilder
	for i, key := range v.Keys() {
		b.set(key, v.obj.vals[i])
	}
	b.put(names[0], v.At(names[0]).With(to, names[1:]...))
	return b.value()
}
