package template

import (
	"strconv"
	"strings"
	"unicode"
)

// logic enters the logical and comparison functions.
func (t table) logic() {
	t.special("if", 3, 3, fnIf)
	t.special("and", 2, -1, func(e *env, x *call) (Value, error) { return shortCircuit(e, x, false) })
	t.special("or", 2, -1, func(e *env, x *call) (Value, error) { return shortCircuit(e, x, true) })
	t.special("coalesce", 1, -1, fnCoalesce)
	t.special("any", 1, 1, func(e *env, x *call) (Value, error) { return e.eval(x.args[0]) })
	t.pure("not", "b", func(a []Value) (Value, error) { return BoolValue(!a[0].True()), nil })
	t.pure("true", "", func([]Value) (Value, error) { return BoolValue(true), nil })
	t.pure("false", "", func([]Value) (Value, error) { return BoolValue(false), nil })
	t.pure("null", "", func([]Value) (Value, error) { return Value{}, nil })
	t.pure("bool", "sib", fnBool)
	t.pure("equals", "x x", func(a []Value) (Value, error) { return BoolValue(equal(a[0], a[1])), nil })
	for name, holds := range map[string]func(int) bool{
		"less":            func(c int) bool { return c < 0 },
		"lessOrEquals":    func(c int) bool { return c <= 0 },
		"greater":         func(c int) bool { return c > 0 },
		"greaterOrEquals": func(c int) bool { return c >= 0 },
	} {
		t.pure(name, "ns ns", func(a []Value) (Value, error) {
			c, err := compare(a[0], a[1])
			return BoolValue(holds(c)), err
		})
	}
	t.pure("fail", "s", func(a []Value) (Value, error) { return Value{}, faultf("%s", a[0].s) })
}

// fnIf evaluates the condition and only the branch it picks. While the condition is unknown both are looked at, for the
// resources that they refer to.
func fnIf(e *env, x *call) (Value, error) {
	cond, err := e.eval(x.args[0])
	if err != nil {
		return cond, err
	}
	if cond.unknown {
		for _, branch := range x.args[1:] {
			if _, err := e.eval(branch); err != nil {
				continue // the branch may not be meant for this case
			}
		}
		return unknownFrom(cond), nil
	}
	if cond.kind != Bool {
		return cond, faultf("The template language function 'if' expects its first parameter to be of type 'Boolean'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions for usage details.", cond.kind)
	}
	if cond.True() {
		return e.eval(x.args[1])
	}
	return e.eval(x.args[2])
}

// shortCircuit is "and" (deciding on false) and "or" (deciding on true).
func shortCircuit(e *env, x *call, decides bool) (Value, error) {
	unknown := false
	for i, a := range x.args {
		v, err := e.eval(a)
		switch {
		case err != nil:
			return v, err
		case v.unknown:
			unknown = true
		case v.kind != Bool:
			return v, faultf("The template language function '%s' expects its parameter number %d to be of type 'Boolean'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions for usage details.", x.shown, i+1, v.kind)
		case v.True() == decides && !unknown:
			return BoolValue(decides), nil
		}
	}
	if unknown {
		return UnknownValue(), nil
	}
	return BoolValue(!decides), nil
}

// fnCoalesce returns the first argument that is not null.
func fnCoalesce(e *env, x *call) (Value, error) {
	for _, a := range x.args {
		v, err := e.eval(a)
		if err != nil || v.kind != Null {
			return v, err
		}
	}
	return Value{}, nil
}

func fnBool(a []Value) (Value, error) {
	switch v := a[0]; {
	case v.kind == Bool:
		return v, nil
	case v.kind == Int:
		return BoolValue(v.n != 0), nil
	case strings.EqualFold(v.s, "true") || v.s == "1":
		return BoolValue(true), nil
	case strings.EqualFold(v.s, "false") || v.s == "0":
		return BoolValue(false), nil
	}
	return Value{}, faultf("the value '%s' cannot be converted to a boolean", a[0].text())
}

// equal compares by value: types must agree, strings in their case, objects without regard to order.
func equal(a, b Value) bool {
	if a.isNumber() && b.isNumber() {
		return a.kind == Int && b.kind == Int && a.n == b.n || a.float() == b.float()
	}
	if a.kind != b.kind || a.Len() != b.Len() {
		return false
	}
	switch a.kind {
	case Bool:
		return a.n == b.n
	case String:
		return a.s == b.s
	case Array:
		for i := range a.arr {
			if !equal(a.arr[i], b.arr[i]) {
				return false
			}
		}
	case Object:
		for i, key := range a.obj.keys {
			v, ok := b.Get(key)
			if !ok || !equal(a.obj.vals[i], v) {
				return false
			}
		}
	}
	return true
}

// Equal says that two values are the same, without regard to the order of members and of where they come from.
func Equal(a, b Value) bool { return equal(a, b) }

// compare orders two numbers, or two strings.
func compare(a, b Value) (int, error) {
	switch {
	case a.kind == Int && b.kind == Int:
		return cmpInt(a.n, b.n), nil
	case a.isNumber() && b.isNumber():
		return cmpInt(a.float(), b.float()), nil
	case a.kind == String && b.kind == String:
		return collate(a.s, b.s), nil
	}
	return 0, faultf("the values are of types '%s' and '%s', which cannot be compared", a.kind, b.kind)
}

func cmpInt[T int64 | float64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// numbers enters the numeric functions. copyIndex is with the resources.
func (t table) numbers() {
	arith := func(name string, f func(a, b int64) (int64, bool)) {
		t.pure(name, "i i", func(a []Value) (Value, error) {
			n, ok := f(a[0].n, a[1].n)
			if !ok {
				return Value{}, faultf("'%d' and '%d' have no result in 64 bits", a[0].n, a[1].n)
			}
			return IntValue(n), nil
		})
	}
	arith("add", func(a, b int64) (int64, bool) { return a + b, (a+b > a) == (b > 0) })
	arith("sub", func(a, b int64) (int64, bool) { return a - b, (a-b < a) == (b > 0) })
	arith("mul", func(a, b int64) (int64, bool) {
		return a * b, a == 0 || (a*b)/a == b && !(a == -1 && b == -b && b != 0)
	})
	arith("div", func(a, b int64) (int64, bool) {
		if b == 0 || b == -1 && a == -a && a != 0 {
			return 0, false
		}
		return a / b, true
	})
	arith("mod", func(a, b int64) (int64, bool) {
		if b == 0 {
			return 0, false
		}
		if b == -1 {
			return 0, true
		}
		return a % b, true
	})
	t.pure("int", "sn", fnInt)
	t.pure("float", "sn", fnFloat)
	t.pure("min", "ia i ...", func(a []Value) (Value, error) { return extreme(a, -1) })
	t.pure("max", "ia i ...", func(a []Value) (Value, error) { return extreme(a, 1) })
	t["min"].min, t["max"].min = 1, 1
}

func fnInt(a []Value) (Value, error) {
	switch v := a[0]; v.kind {
	case Int:
		return v, nil
	case Float:
		return IntValue(int64(v.float())), nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(a[0].s), 10, 64)
	if err != nil {
		return Value{}, faultf("the value '%s' cannot be converted to an integer", a[0].s)
	}
	return IntValue(n), nil
}

func fnFloat(a []Value) (Value, error) {
	if a[0].isNumber() {
		return FloatValue(a[0].float()), nil
	}
	if s := strings.TrimSpace(a[0].s); isNumber(s) {
		f, _ := strconv.ParseFloat(s, 64)
		return FloatValue(f), nil
	}
	return Value{}, faultf("the value '%s' cannot be converted to a number", a[0].s)
}

// extreme is min (sign -1) and max (sign 1) of an array or of the arguments.
func extreme(args []Value, sign int) (Value, error) {
	if args[0].kind == Array {
		if len(args) > 1 {
			return Value{}, faultf("it takes one array, or integers")
		}
		args = args[0].arr
	}
	if len(args) == 0 {
		return Value{}, faultf("the array is empty")
	}
	best := args[0]
	for _, v := range args {
		if v.kind != Int {
			return Value{}, faultf("all values must be integers, one is of type '%s'", v.kind)
		}
		if cmpInt(v.n, best.n) == sign {
			best = v
		}
	}
	return best, nil
}

// collate orders strings as .NET's invariant culture does, in the main: by their letters first, whatever their case, signs
// before digits before letters; if that does not tell, small letters go before capitals.
func collate(a, b string) int {
	x, y := []rune(a), []rune(b)
	for i := 0; i < len(x) && i < len(y); i++ {
		if c := cmpInt(weight(x[i]), weight(y[i])); c != 0 {
			return c
		}
	}
	if c := cmpInt(int64(len(x)), int64(len(y))); c != 0 {
		return c
	}
	for i := range x {
		if x[i] != y[i] {
			return -cmpInt(int64(x[i]), int64(y[i]))
		}
	}
	return 0
}

// weight is a character's place, small and capital letters having the same.
func weight(c rune) int64 {
	class := int64(0)
	switch {
	case unicode.IsLetter(c):
		class = 2
	case unicode.IsDigit(c):
		class = 1
	}
	return class<<32 | int64(unicode.ToLower(c))
}
