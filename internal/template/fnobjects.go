package template

import (
	"sort"
)

// objects enters the functions on objects.
func (t table) objects() {
	t.special("createObject", 0, -1, fnCreateObject)
	t.pure("items", "o", fnItems)
	t.pure("objectKeys", "o", func(a []Value) (Value, error) {
		keys := make([]Value, 0, a[0].Len())
		for _, key := range a[0].Keys() {
			keys = append(keys, StringValue(key))
		}
		return ArrayValue(keys), nil
	})
	t.pure("shallowMerge", "a", fnShallowMerge)
	t.pure("tryGet", "x is is ...", fnTryGet)
	t["tryget"].min = 2
}

// fnCreateObject evaluates its arguments itself, so that a member that is not known yet leaves the others known.
func fnCreateObject(e *env, x *call) (Value, error) {
	a, err := e.evalArgs(x)
	if err != nil {
		return Value{}, err
	}
	if len(a)%2 != 0 {
		return Value{}, faultf("The template language function '%s' expects an even number of parameters, names and values in turn; it has %d. Please see https://aka.ms/arm-functions for usage details.", x.shown, len(a))
	}
	var b objectBuilder
	for i := 0; i < len(a); i += 2 {
		if a[i].kind == Unknown {
			return unknownFrom(a...), nil
		}
		if a[i].kind != String {
			return Value{}, faultf("The template language function '%s' expects its parameter number %d to be of type 'String'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions for usage details.", x.shown, i+1, a[i].kind)
		}
		if b.o.find(a[i].s, true) >= 0 {
			return Value{}, faultf("The template language function '%s' was given the property '%s' twice.", x.shown, a[i].s)
		}
		b.set(a[i].s, a[i+1])
	}
	return b.value(), nil
}

// fnItems lists the members in the order of their names, as the language compares strings.
func fnItems(a []Value) (Value, error) {
	o := a[0].obj
	items := make([]Value, len(o.keys))
	for i, key := range o.keys {
		items[i] = ObjectOf("key", StringValue(key), "value", o.vals[i])
	}
	sort.SliceStable(items, func(i, j int) bool { return collate(items[i].At("key").s, items[j].At("key").s) < 0 })
	return ArrayValue(items), nil
}

func fnShallowMerge(a []Value) (Value, error) {
	var b objectBuilder
	for _, v := range a[0].arr {
		if v.kind != Object {
			return Value{}, faultf("all elements must be objects, one is of type '%s'", v.kind)
		}
		for i, key := range v.obj.keys {
			b.put(key, v.obj.vals[i])
		}
	}
	return b.value(), nil
}

// fnTryGet follows names and indices and gives null where one leads nowhere.
func fnTryGet(a []Value) (Value, error) {
	v := a[0]
	for _, step := range a[1:] {
		switch {
		case v.kind == Null:
			return v, nil
		case v.kind == Object && step.kind == String:
			v, _ = v.Get(step.s)
		case v.kind == Array && step.kind == Int:
			if step.n < 0 || step.n >= int64(len(v.arr)) {
				return Value{}, nil
			}
			v = v.arr[step.n]
		default:
			return Value{}, faultf("a value of type '%s' cannot be indexed by '%s'", v.kind, step.kind)
		}
	}
	return v, nil
}
