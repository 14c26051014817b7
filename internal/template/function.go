package template

import (
	"strings"
)

// function is one function of the language. Either pure or special is there: pure gets its arguments evaluated and
// checked, and is not called while one of them is unknown; special gets the call and evaluates what it wants.
type function struct {
	name     string
	min, max int // number of arguments; max < 0 is no limit
	kinds    []argKind
	pure     func(args []Value) (Value, error)
	special  func(e *env, x *call) (Value, error)
}

// argKind is what an argument may be, as letters: s string, i integer, n number, b boolean, a array, o object, 0 null,
// x anything.
type argKind string

func (k argKind) accepts(v Value) bool {
	if k == "x" {
		return true
	}
	for _, c := range k {
		switch {
		case c == 's' && v.kind == String, c == 'i' && v.kind == Int, c == 'n' && v.isNumber(), c == 'b' && v.kind == Bool,
			c == 'a' && v.kind == Array, c == 'o' && v.kind == Object, c == '0' && v.kind == Null:
			return true
		}
	}
	return false
}

var argNames = map[rune]string{'s': "String", 'i': "Integer", 'n': "Number", 'b': "Boolean", 'a': "Array", 'o': "Object", '0': "Null"}

func (k argKind) String() string {
	var names []string
	for _, c := range k {
		names = append(names, argNames[c])
	}
	return strings.Join(names, ", ")
}

// table maps names in lower case to functions.
type table map[string]*function

// pure enters a function. kinds lists its arguments' kinds, separated by spaces; one that ends in "?" may be left out,
// and a last "..." says that the kind before it repeats.
func (t table) pure(name, kinds string, f func(args []Value) (Value, error)) {
	fn := &function{name: name, pure: f}
	for _, k := range strings.Fields(kinds) {
		switch {
		case k == "...":
			fn.max = -1
			continue
		case strings.HasSuffix(k, "?"):
			k = strings.TrimSuffix(k, "?")
		default:
			fn.min++
		}
		fn.max++
		fn.kinds = append(fn.kinds, argKind(k))
	}
	t[strings.ToLower(name)] = fn
}

// special enters a function that evaluates its arguments itself. max < 0 is no limit.
func (t table) special(name string, min, max int, f func(e *env, x *call) (Value, error)) {
	t[strings.ToLower(name)] = &function{name: name, min: min, max: max, special: f}
}

func (f *function) arity(x *call) error {
	n := len(x.args)
	if n >= f.min && (f.max < 0 || n <= f.max) {
		return nil
	}
	want := "exactly"
	count := f.min
	switch {
	case f.max < 0:
		want = "at least"
	case f.max > f.min && n > f.max:
		want, count = "at most", f.max
	case f.max > f.min:
		want = "at least"
	}
	return faultf("Unable to evaluate template language function '%s': function requires %s %d argument(s) while %d were provided. Please see https://aka.ms/arm-functions for usage details.", x.shown, want, count, n)
}

// apply checks the arguments and calls a pure function. What it makes of secrets is secret.
func (f *function) apply(x *call, args []Value) (Value, error) {
	if err := f.arity(x); err != nil {
		return Value{}, err
	}
	secure := false
	for i := range args {
		secure = secure || args[i].secure
	}
	for i := range args {
		if args[i].unknown {
			v := UnknownValue()
			v.secure = secure
			return v, nil
		}
		k := f.kinds[min(i, len(f.kinds)-1)]
		if !k.accepts(args[i]) {
			return Value{}, faultf("The template language function '%s' expects its parameter number %d to be of type '%s'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions for usage details.", x.shown, i+1, k, args[i].kind)
		}
	}
	v, err := f.pure(args)
	if err != nil {
		if secure { // the message may quote the secret
			err = faultf("the values are secret and not shown")
		}
		return v, faultf("The template language function '%s' failed: %s", x.shown, err)
	}
	if secure && !v.secure && !silent[f.name] {
		v = v.taint()
	}
	return v, nil
}

// silent are the functions whose result tells nothing worth hiding of a secret, or picks what is not secret out of an
// object that also holds secrets.
var silent = map[string]bool{"length": true, "empty": true, "equals": true, "contains": true, "startsWith": true, "endsWith": true,
	"less": true, "lessOrEquals": true, "greater": true, "greaterOrEquals": true, "indexOf": true, "lastIndexOf": true, "not": true,
	"createObject": true, "createArray": true, "objectKeys": true, "tryGet": true, "first": true, "last": true, "coalesce": true}

// functionTable makes the table of all functions.
func functionTable() table {
	t := table{}
	t.logic()
	t.numbers()
	t.strings()
	t.encodings()
	t.collections()
	t.objects()
	t.dates()
	t.cidr()
	t.lambdas()
	t.scopes()
	t.resources()
	return t
}
