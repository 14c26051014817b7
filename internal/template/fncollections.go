package template

import (
	"sort"
	"strings"
)

// collections enters the functions on arrays, and those that take arrays, strings and objects alike.
func (t table) collections() {
	t.pure("array", "x", func(a []Value) (Value, error) {
		if a[0].kind == Array {
			return a[0], nil
		}
		return ArrayValue(a), nil
	})
	t.pure("createArray", "x? ...", func(a []Value) (Value, error) { return ArrayValue(a), nil })
	t.pure("length", "sao", func(a []Value) (Value, error) { return IntValue(int64(a[0].Len())), nil })
	t.pure("empty", "sao0", func(a []Value) (Value, error) { return BoolValue(a[0].Len() == 0), nil })
	t.pure("contains", "sao x", fnContains)
	t.pure("first", "sa", func(a []Value) (Value, error) { return elementAt(a[0], 0), nil })
	t.pure("last", "sa", func(a []Value) (Value, error) { return elementAt(a[0], a[0].Len()-1), nil })
	t.pure("skip", "sa i", func(a []Value) (Value, error) {
		n := clamp(a[1].n, a[0].Len())
		return slice(a[0], n, a[0].Len()-n), nil
	})
	t.pure("take", "sa i", func(a []Value) (Value, error) { return slice(a[0], 0, clamp(a[1].n, a[0].Len())), nil })
	t.pure("range", "i i", fnRange)
	t.pure("union", "ao ao ...", fnUnion)
	t.pure("intersection", "ao ao ...", fnIntersection)
	t.pure("flatten", "a", fnFlatten)
	t.pure("distinct", "a", func(a []Value) (Value, error) { return fnUnion([]Value{a[0], ArrayValue(nil)}) })
	t.pure("indexFromEnd", "a i", func(a []Value) (Value, error) {
		i := int64(len(a[0].arr)) - a[1].n
		if i < 0 || i >= int64(len(a[0].arr)) {
			return Value{}, faultf("the index '%d' from the end is out of bounds", a[1].n)
		}
		return a[0].arr[i], nil
	})
	t.pure("tryIndexFromEnd", "a0 i", func(a []Value) (Value, error) {
		i := int64(len(a[0].arr)) - a[1].n
		if i < 0 || i >= int64(len(a[0].arr)) {
			return Value{}, nil
		}
		return a[0].arr[i], nil
	})
}

// clamp brings n into 0..size.
func clamp(n int64, size int) int { return int(max(0, min(n, int64(size)))) }

// slice is a part of an array or a string.
func slice(v Value, from, count int) Value {
	if v.kind == String {
		return StringValue(cut(v.s, from, count))
	}
	return ArrayValue(v.arr[from : from+count])
}

// elementAt is an element of an array, or a string of one character; null and "" when there is none.
func elementAt(v Value, i int) Value {
	switch {
	case i < 0 || i >= v.Len():
		if v.kind == String {
			return StringValue("")
		}
		return Value{}
	case v.kind == String:
		out := StringValue(cut(v.s, i, 1))
		out.secure = v.secure
		return out
	}
	return v.arr[i]
}

func fnContains(a []Value) (Value, error) {
	switch in, what := a[0], a[1]; in.kind {
	case String:
		if what.kind != String && what.kind != Int {
			return Value{}, faultf("it looks for a string in a string, the second parameter is of type '%s'", what.kind)
		}
		return BoolValue(strings.Contains(in.s, what.text())), nil
	case Object:
		if what.kind != String && what.kind != Int {
			return Value{}, faultf("it looks for a property's name in an object, the second parameter is of type '%s'", what.kind)
		}
		_, ok := in.Get(what.text())
		return BoolValue(ok), nil
	}
	for _, v := range a[0].arr {
		if equal(v, a[1]) {
			return BoolValue(true), nil
		}
	}
	return BoolValue(false), nil
}

func fnRange(a []Value) (Value, error) {
	const most = 10000
	from, count := a[0].n, a[1].n
	if count < 0 || count > most || from+count > 1<<31-1 || from < -1<<31 {
		return Value{}, faultf("the count must be from 0 to %d and the numbers must have 32 bits: start '%d', count '%d'", most, from, count)
	}
	items := make([]Value, count)
	for i := range items {
		items[i] = IntValue(from + int64(i))
	}
	return ArrayValue(items), nil
}

// sameKinds says that all arguments are of the first one's kind.
func sameKinds(a []Value) error {
	for _, v := range a {
		if v.kind != a[0].kind {
			return faultf("it takes only arrays or only objects")
		}
	}
	return nil
}

func fnUnion(a []Value) (Value, error) {
	if err := sameKinds(a); err != nil {
		return Value{}, err
	}
	if a[0].kind == Object {
		out := a[0]
		for _, v := range a[1:] {
			out = mergeDeep(out, v)
		}
		return out, nil
	}
	seen := newSet()
	var items []Value
	for _, list := range a {
		for _, v := range list.arr {
			if seen.add(v) {
				items = append(items, v)
			}
		}
	}
	return ArrayValue(items), nil
}

// mergeDeep puts b's members over a's; objects in objects are merged alike, arrays are replaced.
func mergeDeep(a, b Value) Value {
	var out objectBuilder
	for i, key := range a.obj.keys {
		out.set(key, a.obj.vals[i])
	}
	for i, key := range b.obj.keys {
		v := b.obj.vals[i]
		if old, ok := a.Get(key); ok && old.kind == Object && v.kind == Object {
			v = mergeDeep(old, v)
		}
		out.put(key, v)
	}
	return out.value()
}

func fnIntersection(a []Value) (Value, error) {
	if err := sameKinds(a); err != nil {
		return Value{}, err
	}
	if a[0].kind == Object {
		return intersectObjects(a), nil
	}
	common := newSet()
	for _, v := range a[0].arr {
		common.add(v)
	}
	for _, list := range a[1:] {
		in := newSet()
		for _, v := range list.arr {
			in.add(v)
		}
		common.retain(in)
	}
	var items []Value
	for _, v := range a[0].arr {
		if common.remove(v) {
			items = append(items, v)
		}
	}
	return ArrayValue(items), nil
}

func intersectObjects(a []Value) Value {
	var out objectBuilder
	for i, key := range a[0].obj.keys {
		everywhere := true
		for _, other := range a[1:] {
			v, ok := other.Get(key)
			everywhere = everywhere && ok && equal(v, a[0].obj.vals[i])
		}
		if everywhere {
			out.set(key, a[0].obj.vals[i])
		}
	}
	return out.value()
}

// set is a set of values. Its key is the value's JSON with members sorted.
type set map[string]bool

func newSet() set { return set{} }

func setKey(v Value) string { return string(sorted(v).AppendJSON(nil)) }

func (s set) add(v Value) bool {
	key := setKey(v)
	was := s[key]
	s[key] = true
	return !was
}

func (s set) remove(v Value) bool {
	key := setKey(v)
	was := s[key]
	delete(s, key)
	return was
}

func (s set) retain(other set) {
	for key := range s {
		if !other[key] {
			delete(s, key)
		}
	}
}

// sorted is v with the members of all objects in the order of their names in lower case.
func sorted(v Value) Value {
	switch v.kind {
	case Array:
		items := make([]Value, len(v.arr))
		for i := range v.arr {
			items[i] = sorted(v.arr[i])
		}
		return ArrayValue(items)
	case Object:
		order := make([]int, len(v.obj.keys))
		for i := range order {
			order[i] = i
		}
		sort.Slice(order, func(i, j int) bool {
			return strings.ToLower(v.obj.keys[order[i]]) < strings.ToLower(v.obj.keys[order[j]])
		})
		var out objectBuilder
		for _, i := range order {
			out.set(strings.ToLower(v.obj.keys[i]), sorted(v.obj.vals[i]))
		}
		return out.value()
	}
	return v
}

func fnFlatten(a []Value) (Value, error) {
	var items []Value
	for _, v := range a[0].arr {
		if v.kind != Array {
			return Value{}, faultf("all elements must be arrays, one is of type '%s'", v.kind)
		}
		items = append(items, v.arr...)
	}
	return ArrayValue(items), nil
}
