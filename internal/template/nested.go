package template

import "strings"

// deploymentType is the one type the language itself knows: a deployment in a deployment.
const deploymentType = "Microsoft.Resources/deployments"

// evalNested works out the properties of a nested deployment. With an inner scope its template stays as it is, for the
// nested deployment to work out; with the outer scope, which is the default, its expressions are worked out here, by
// this template's parameters and variables.
func (e *env) evalNested(n *Node) (Value, error) {
	inner := strings.EqualFold(n.At("expressionEvaluationOptions", "scope").Str(), "inner")
	var b objectBuilder
	for _, m := range n.Members {
		var v Value
		var err error
		switch {
		case !strings.EqualFold(m.Key, "template") || m.Val.Kind == String:
			v, err = e.evalNode(m.Val) // a template that an expression makes is one, expressions in it included
		case inner:
			v = m.Val.Value()
		default:
			o := outer{env: e}
			v, err = o.template(m.Val)
		}
		if err != nil {
			return Value{}, err
		}
		b.set(m.Key, v)
	}
	return b.value(), nil
}

// outer works out a nested template's expressions in the scope around it. What hangs on the nested template's own copy
// loops is left as an expression, with all else in it worked out.
type outer struct {
	*env
	inner *loop // the nested template's loops around; their turns are not known
}

// template works out all of the nested template but the sections that only an inner scope reads.
func (o *outer) template(n *Node) (Value, error) { return o.node(n) }

func (o *outer) node(n *Node) (Value, error) {
	switch n.Kind {
	case String:
		return o.str(n)
	case Array:
		items := make([]Value, len(n.Items))
		for i, item := range n.Items {
			v, err := o.node(item)
			if err != nil {
				return Value{}, err
			}
			items[i] = v
		}
		return ArrayValue(items), nil
	case Object:
		return o.object(n)
	}
	return n.Value(), nil
}

// object works out an object. One with a copy loop of its own lets copyIndex stand in it.
func (o *outer) object(n *Node) (Value, error) {
	within := *o
	within.enter(n.Get("copy"))
	var b objectBuilder
	for _, m := range n.Members {
		v, err := within.node(m.Val)
		if err != nil {
			return Value{}, err
		}
		b.set(m.Key, v)
	}
	return b.value(), nil
}

// enter goes into the loop or loops that a member called "copy" makes.
func (o *outer) enter(n *Node) {
	switch {
	case n == nil:
	case n.Kind == Array && isPropertyCopy(n):
		for _, item := range n.Items {
			o.inner = &loop{name: item.Get("name").Str(), property: true, outer: o.inner}
		}
	case n.Kind == Object && n.Get("count") != nil:
		o.inner = &loop{name: n.Get("name").Str(), outer: o.inner}
	}
}

func (o *outer) str(n *Node) (Value, error) {
	p := n.expression()
	if p.err != nil {
		return Value{}, &placed{n, p.err}
	}
	if p.expr == nil {
		return n.Value(), nil
	}
	x, v, err := o.residue(p.expr)
	if err != nil {
		return Value{}, place(n, err)
	}
	if x != nil {
		out := StringValue("[" + x.String() + "]")
		out.secure = v.secure
		return out, nil
	}
	return v.MapLeaves(func(leaf Value) Value {
		if leaf.kind == String {
			leaf.s = escapeText(leaf.s)
		}
		return leaf
	}), nil
}

// residue works x out. If an inner loop's turn is needed for that, it returns the expression that is left.
func (o *outer) residue(x expr) (expr, Value, error) {
	if !o.leftOver(x) {
		v, err := o.eval(x)
		return nil, v, err
	}
	switch x := x.(type) {
	case *call:
		left := &call{name: x.name, shown: x.shown, args: make([]expr, len(x.args))}
		if x.name == "copyindex" || x.name == "lambda" {
			return x, Value{}, nil
		}
		secure := Value{}
		for i, a := range x.args {
			r, v, err := o.part(a)
			if err != nil {
				return nil, v, err
			}
			secure.secure = secure.secure || v.secure
			left.args[i] = r
		}
		return left, secure, nil
	case *property:
		of, v, err := o.part(x.of)
		return &property{of, x.name}, v, err
	case *index:
		of, v, err := o.part(x.of)
		if err != nil {
			return nil, v, err
		}
		at, w, err := o.part(x.at)
		v.secure = v.secure || w.secure
		return &index{of, at}, v, err
	}
	return x, Value{}, nil
}

// part is residue with a value put back as a literal.
func (o *outer) part(x expr) (expr, Value, error) {
	left, v, err := o.residue(x)
	if err == nil && left == nil {
		if v.unknown {
			return nil, v, faultf("A copy loop in a nested template of outer scope cannot use a value that is only known when resources exist; give the nested template its own scope by 'expressionEvaluationOptions'.")
		}
		left = &literal{v}
	}
	return left, v, err
}

// leftOver says that x asks for the turn of an inner loop.
func (o *outer) leftOver(x expr) bool {
	switch x := x.(type) {
	case *property:
		return o.leftOver(x.of)
	case *index:
		return o.leftOver(x.of) || o.leftOver(x.at)
	case *call:
		if x.name == "copyindex" && o.innerLoop(x) {
			return true
		}
		for _, a := range x.args {
			if o.leftOver(a) {
				return true
			}
		}
	}
	return false
}

// innerLoop says that a call of copyIndex means a loop of the nested template.
func (o *outer) innerLoop(x *call) bool {
	if o.inner == nil {
		return false
	}
	name := ""
	if len(x.args) > 0 {
		l, ok := x.args[0].(*literal)
		if !ok {
			return true
		}
		name = l.v.s
	}
	l := o.inner.counted(name)
	if name == "" && l.property {
		around := o.loops.counted("")
		return around == nil || around.property
	}
	return l != nil
}
