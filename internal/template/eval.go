package template

import (
	"strings"
)

// env is what an expression is evaluated in. It is copied, not changed, when a loop, a lambda or a user function adds
// to it.
type env struct {
	table  map[string]*function
	sc     *scope
	rt     Runtime        // nil while the template is only expanded
	refs   func(refersTo) // told of every resource that a runtime function asks for
	loops  *loop          // the copy loops around, innermost first
	locals *local         // the variables of lambdas around, innermost first
	args   *arguments     // the parameters of the user function around

	defaults  bool   // this is a parameter's default value, where utcNow and newGuid are allowed
	noRuntime string // why runtime functions are not allowed here, or ""
	depth     int
	work      *int // how much was evaluated
}

// maxWork bounds what one evaluation of a template may do, in nodes and calls, larger values counting for more. It ends
// loops in loops, and functions that call themselves, of which each is within the limits.
const maxWork = 5_000_000

// spend counts work.
func (e *env) spend(n int) error {
	if *e.work += n; *e.work > maxWork {
		return faultf("The template is more work than it may be: its loops, lambdas and functions make more than %d evaluations.", maxWork)
	}
	return nil
}

// afresh is e with no work done yet.
func (e *env) afresh() env {
	out := *e
	out.work = new(int)
	return out
}

// loop is one copy loop at one of its turns.
type loop struct {
	name     string
	turn     int
	property bool // it makes a property or a variable, so copyIndex means it only by its name
	outer    *loop
}

// counted is the loop that copyIndex means by a name; without one, the innermost that makes resources or an output, or if
// there is none the innermost. nil when there is no such loop.
func (l *loop) counted(name string) *loop {
	innermost := l
	for ; l != nil; l = l.outer {
		if name == "" && !l.property || name != "" && strings.EqualFold(l.name, name) {
			return l
		}
	}
	if name == "" {
		return innermost
	}
	return nil
}

type local struct {
	name  string
	v     Value
	outer *local
}

// arguments are a user function's parameters, by name in lower case.
type arguments struct{ vals map[string]Value }

const maxEvalDepth = 400

// eval works an expression out. Its errors are faults, without a place.
func (e *env) eval(x expr) (Value, error) {
	switch x := x.(type) {
	case *literal:
		return x.v, nil
	case *property:
		of, err := e.eval(x.of)
		if err != nil {
			return of, err
		}
		return member(of, x.name)
	case *index:
		return e.evalIndex(x)
	case *call:
		return e.evalCall(x)
	}
	return Value{}, faultf("The expression is empty")
}

func (e *env) evalIndex(x *index) (Value, error) {
	of, err := e.eval(x.of)
	if err != nil {
		return of, err
	}
	at, err := e.eval(x.at)
	if err != nil {
		return at, err
	}
	if of.kind == Unknown || at.unknown {
		return unknownFrom(of, at), nil
	}
	switch {
	case at.kind == String:
		return member(of, at.s)
	case at.kind == Int && of.kind == Array:
		if at.n < 0 || at.n >= int64(len(of.arr)) {
			return Value{}, faultf("The language expression property array index '%d' is out of bounds.", at.n)
		}
		return of.arr[at.n], nil
	}
	return Value{}, faultf("The language expression property '%s' can't be evaluated, property of type '%s' cannot be indexed by '%s'.", at.text(), of.kind, at.kind)
}

// member returns a member of an object; that it is missing is an error, which lists what there is.
func member(of Value, name string) (Value, error) {
	switch of.kind {
	case Unknown:
		return unknownFrom(of), nil
	case Object:
		if v, ok := of.Get(name); ok {
			return v, nil
		}
		return Value{}, faultf("The language expression property '%s' doesn't exist, available properties are '%s'.", name, strings.Join(of.Keys(), ", "))
	}
	return Value{}, faultf("The language expression property '%s' can't be evaluated, property can only be selected from an object; this is of type '%s'.", name, of.kind)
}

// unknownFrom is an unknown value that is as secret as what it will be made of.
func unknownFrom(from ...Value) Value {
	v := UnknownValue()
	for i := range from {
		v.secure = v.secure || from[i].secure
	}
	return v
}

func (e *env) evalCall(x *call) (Value, error) {
	if e.depth++; e.depth > maxEvalDepth {
		return Value{}, faultf("The expression calls functions more than %d levels deep.", maxEvalDepth)
	}
	defer func() { e.depth-- }()
	if err := e.spend(1); err != nil {
		return Value{}, err
	}
	f := e.table[x.name]
	switch {
	case f == nil && strings.HasPrefix(x.name, "list"):
		f = e.table["list*"]
	case f == nil:
		return e.evalUserCall(x)
	}
	v, err := e.apply(f, x)
	if err == nil && v.tooBig() {
		return Value{}, faultf("The template language function '%s' gives a value that is too large.", x.shown)
	}
	return v, err
}

func (e *env) apply(f *function, x *call) (Value, error) {
	if f.special != nil {
		if err := f.arity(x); err != nil {
			return Value{}, err
		}
		return f.special(e, x)
	}
	args, err := e.evalArgs(x)
	if err != nil {
		return Value{}, err
	}
	v, err := f.apply(x, args)
	cost := v.weight()
	for i := range args {
		cost += args[i].weight()
	}
	if spent := e.spend(cost / 8); spent != nil {
		return Value{}, spent
	}
	return v, err
}

func (e *env) evalArgs(x *call) ([]Value, error) {
	args := make([]Value, len(x.args))
	for i, a := range x.args {
		v, err := e.eval(a)
		if err != nil {
			return nil, err
		}
		args[i] = v
	}
	return args, nil
}

// evalUserCall calls a function that the template defines.
func (e *env) evalUserCall(x *call) (Value, error) {
	f := e.sc.functions[x.name]
	if f == nil {
		return Value{}, faultf("The template function '%s' is not valid. Please see https://aka.ms/arm-functions for usage details.", x.shown)
	}
	args, err := e.evalArgs(x)
	if err != nil {
		return Value{}, err
	}
	return f.call(e, x, args)
}

// evalNode evaluates a document's value: every string in it that is an expression is worked out. Errors point at the
// string.
func (e *env) evalNode(n *Node) (Value, error) {
	if err := e.spend(1); err != nil {
		return Value{}, place(n, err)
	}
	switch n.Kind {
	case String:
		return e.evalString(n)
	case Array:
		items := make([]Value, len(n.Items))
		for i, item := range n.Items {
			v, err := e.evalNode(item)
			if err != nil {
				return Value{}, err
			}
			items[i] = v
		}
		return ArrayValue(items), nil
	case Object:
		return e.evalObject(n)
	}
	return n.Value(), nil
}

func (e *env) evalString(n *Node) (Value, error) {
	p := n.expression()
	if p.err != nil {
		return Value{}, &placed{n, p.err}
	}
	if p.expr == nil {
		return Value{kind: String, s: p.text, secure: n.Secure}, nil
	}
	v, err := e.eval(p.expr)
	if err != nil {
		return v, place(n, err)
	}
	if n.Secure {
		v = v.taint()
	}
	return v, nil
}

// evalObject evaluates an object: names may be expressions, and a "copy" array in it makes properties by loops.
func (e *env) evalObject(n *Node) (Value, error) {
	var b objectBuilder
	for _, m := range n.Members {
		if strings.EqualFold(m.Key, "copy") && isPropertyCopy(m.Val) {
			if err := e.copyProperties(m.Val, &b); err != nil {
				return Value{}, err
			}
			continue
		}
		key := m.Key
		if isExpression(key) {
			k, err := e.evalString(&Node{Kind: String, Text: key, Pos: m.Pos, up: n, key: key})
			if err != nil {
				return Value{}, err
			}
			if k.unknown {
				return unknownFrom(k), nil
			}
			key = k.text()
		}
		v, err := e.evalNode(m.Val)
		if err != nil {
			return Value{}, err
		}
		b.set(key, v)
	}
	return b.value(), nil
}

// evalText evaluates a node that must give a string.
func (e *env) evalText(n *Node, what string) (string, error) {
	v, err := e.evalNode(n)
	switch {
	case err != nil:
		return "", err
	case v.unknown:
		return "", validationError(n, "The %s at line '%d' and column '%d' depends on a value that is only known when resources exist", what, n.Pos.Line, n.Pos.Col)
	case v.kind != String:
		return "", validationError(n, "The %s at line '%d' and column '%d' must be a string, it is of type '%s'", what, n.Pos.Line, n.Pos.Col, v.kind)
	}
	return v.s, nil
}
