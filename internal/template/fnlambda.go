package template

import (
	"sort"
)

// lambda is a lambda expression: the names of its variables and its body.
type lambda struct {
	names []string
	body  expr
}

// lambdas enters the functions that take lambda expressions.
func (t table) lambdas() {
	t.special("filter", 2, 2, fnFilter)
	t.special("map", 2, 2, fnMap)
	t.special("mapValues", 2, 2, fnMapValues)
	t.special("reduce", 3, 3, fnReduce)
	t.special("sort", 2, 2, fnSort)
	t.special("toObject", 2, 3, fnToObject)
	t.special("groupBy", 2, 3, fnGroupBy)
	t.special("lambdaVariables", 1, 1, fnLambdaVariables)
	t.special("lambda", 1, -1, func(*env, *call) (Value, error) {
		return Value{}, faultf("The template function 'lambda' is only expected as a parameter of a function that takes one.")
	})
}

func fnLambdaVariables(e *env, x *call) (Value, error) {
	name, err := e.eval(x.args[0])
	if err != nil {
		return name, err
	}
	for l := e.locals; l != nil; l = l.outer {
		if l.name == name.s {
			return l.v, nil
		}
	}
	return Value{}, faultf("The lambda variable '%s' is not found.", name.text())
}

// lambdaArg reads argument i of a call as a lambda with from min to max variables.
func (e *env) lambdaArg(x *call, i, min, max int) (*lambda, error) {
	c, ok := x.args[i].(*call)
	if !ok || c.name != "lambda" || len(c.args) == 0 {
		return nil, faultf("The template language function '%s' expects its parameter number %d to be a lambda expression.", x.shown, i+1)
	}
	l := &lambda{body: c.args[len(c.args)-1]}
	for _, a := range c.args[:len(c.args)-1] {
		name, err := e.eval(a)
		if err != nil {
			return nil, err
		}
		if name.kind != String {
			return nil, faultf("The names of a lambda's variables must be strings.")
		}
		l.names = append(l.names, name.s)
	}
	if len(l.names) < min || len(l.names) > max {
		return nil, faultf("The template language function '%s' expects a lambda of %d to %d variables. The one provided has %d.", x.shown, min, max, len(l.names))
	}
	return l, nil
}

// run evaluates the lambda's body with its variables set, as many as it has.
func (l *lambda) run(e *env, vals ...Value) (Value, error) {
	if err := e.spend(1); err != nil {
		return Value{}, err
	}
	inner := *e
	for i, name := range l.names {
		inner.locals = &local{name: name, v: vals[i], outer: inner.locals}
	}
	return inner.eval(l.body)
}

// lambdaCall evaluates the first argument, which must be of the given kind, and reads the last as a lambda. done is set
// when the collection is not known yet.
func (e *env) lambdaCall(x *call, kind Kind, min, max int) (in Value, l *lambda, done bool, err error) {
	if in, err = e.eval(x.args[0]); err != nil {
		return in, nil, true, err
	}
	if in.kind == Unknown {
		return in, nil, true, nil
	}
	if in.kind != kind {
		return in, nil, true, faultf("The template language function '%s' expects its parameter number 1 to be of type '%s'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions for usage details.", x.shown, kind, in.kind)
	}
	l, err = e.lambdaArg(x, 1, min, max)
	return in, l, err != nil, err
}

func fnMap(e *env, x *call) (Value, error) {
	in, l, done, err := e.lambdaCall(x, Array, 1, 2)
	if done {
		return in, err
	}
	items := make([]Value, len(in.arr))
	for i, v := range in.arr {
		if items[i], err = l.run(e, v, IntValue(int64(i))); err != nil {
			return Value{}, err
		}
	}
	return ArrayValue(items), nil
}

func fnMapValues(e *env, x *call) (Value, error) {
	in, l, done, err := e.lambdaCall(x, Object, 1, 1)
	if done {
		return in, err
	}
	var b objectBuilder
	for i, key := range in.obj.keys {
		v, err := l.run(e, in.obj.vals[i])
		if err != nil {
			return Value{}, err
		}
		b.set(key, v)
	}
	return b.value(), nil
}

func fnFilter(e *env, x *call) (Value, error) {
	in, l, done, err := e.lambdaCall(x, Array, 1, 2)
	if done {
		return in, err
	}
	var items []Value
	for i, v := range in.arr {
		keep, err := l.run(e, v, IntValue(int64(i)))
		switch {
		case err != nil:
			return Value{}, err
		case keep.unknown:
			return unknownFrom(in), nil
		case keep.kind != Bool:
			return Value{}, faultf("The lambda of the template language function 'filter' must give a value of type 'Boolean'. It gave one of type '%s'.", keep.kind)
		case keep.True():
			items = append(items, v)
		}
	}
	return ArrayValue(items), nil
}

func fnReduce(e *env, x *call) (Value, error) {
	in, err := e.eval(x.args[0])
	if err != nil || in.kind == Unknown {
		return in, err
	}
	if in.kind != Array {
		return in, faultf("The template language function 'reduce' expects its parameter number 1 to be of type 'Array'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions for usage details.", in.kind)
	}
	acc, err := e.eval(x.args[1])
	if err != nil {
		return acc, err
	}
	l, err := e.lambdaArg(x, 2, 2, 3)
	if err != nil {
		return Value{}, err
	}
	for i, v := range in.arr {
		if acc, err = l.run(e, acc, v, IntValue(int64(i))); err != nil {
			return acc, err
		}
	}
	return acc, nil
}

func fnSort(e *env, x *call) (Value, error) {
	in, l, done, err := e.lambdaCall(x, Array, 2, 2)
	if done {
		return in, err
	}
	items := append([]Value(nil), in.arr...)
	var failed error
	unknown := false
	sort.SliceStable(items, func(i, j int) bool {
		if failed != nil || unknown {
			return false
		}
		before, err := l.run(e, items[i], items[j])
		switch {
		case err != nil:
			failed = err
		case before.unknown:
			unknown = true
		case before.kind != Bool:
			failed = faultf("The lambda of the template language function 'sort' must give a value of type 'Boolean'. It gave one of type '%s'.", before.kind)
		}
		return before.True()
	})
	if unknown {
		return unknownFrom(in), nil
	}
	return ArrayValue(items), failed
}

func fnToObject(e *env, x *call) (Value, error) {
	return e.keyed(x, func(b *objectBuilder, key string, v Value) { b.put(key, v) })
}

// keyed makes an object from an array: one lambda gives each element's name, another, if given, its value.
func (e *env) keyed(x *call, add func(b *objectBuilder, key string, v Value)) (Value, error) {
	in, l, done, err := e.lambdaCall(x, Array, 1, 2)
	if done {
		return in, err
	}
	value := &lambda{}
	if len(x.args) > 2 {
		if value, err = e.lambdaArg(x, 2, 1, 2); err != nil {
			return Value{}, err
		}
	}
	var b objectBuilder
	for i, v := range in.arr {
		key, err := l.key(e, x, v, IntValue(int64(i)))
		if err != nil || key.unknown {
			return key, err
		}
		if value.body != nil {
			if v, err = value.run(e, v, IntValue(int64(i))); err != nil {
				return Value{}, err
			}
		}
		add(&b, key.s, v)
	}
	return b.value(), nil
}

// key runs a lambda that must give a string.
func (l *lambda) key(e *env, x *call, v ...Value) (Value, error) {
	key, err := l.run(e, v...)
	if err != nil || key.unknown {
		return key, err
	}
	if key.kind != String {
		return key, faultf("The lambda of the template language function '%s' must give a name of type 'String'. It gave a value of type '%s'.", x.shown, key.kind)
	}
	return key, nil
}

func fnGroupBy(e *env, x *call) (Value, error) {
	return e.keyed(x, func(b *objectBuilder, key string, v Value) {
		var group []Value
		if i := b.o.find(key, true); i >= 0 {
			group = b.o.vals[i].arr
		}
		b.put(key, ArrayValue(append(group[:len(group):len(group)], v)))
	})
}
