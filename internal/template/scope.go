package template

import (
	"strings"
)

// scope holds the names of one template: its parameters, variables, functions and, once it is expanded, resources.
type scope struct {
	in        *Inputs
	base      *env
	doc       *Node
	given     *Node // values for parameters, {"name": {"value": ...}}
	v2        bool  // languageVersion 2.0: symbolic names, typed definitions
	params    map[string]*slot
	vars      map[string]*slot
	functions map[string]*userFunction
	plan      *Plan
	guids     int
}

// slot is a parameter's or a variable's value, worked out at most once.
type slot struct {
	name  string
	def   *Node
	loop  bool // def is a copy loop
	v     Value
	done  bool
	doing bool // being worked out: meeting it again is a cycle
}

func newScope(doc, given *Node, in *Inputs) *scope {
	sc := &scope{in: in, doc: doc, given: given, v2: symbolic(doc.Get("languageVersion").Str())}
	sc.base = &env{table: functionTable(), sc: sc, work: new(int)}
	return sc
}

// symbolic says that a languageVersion has symbolic names and typed definitions: 2.0, what came after it, and the previews
// before it.
func symbolic(version string) bool {
	return strings.HasPrefix(version, "2.") || version == "1.9-experimental" || version == "1.10-experimental"
}

// load reads and works out the parameters, functions and variables.
func (sc *scope) load() error {
	if err := sc.loadFunctions(); err != nil {
		return err
	}
	if err := sc.loadParameters(); err != nil {
		return err
	}
	return sc.loadVariables()
}

// section is a member of the template that must be an object when it is there.
func (sc *scope) section(name string) (*Node, error) {
	n := sc.doc.Get(name)
	if !n.Present() {
		return &Node{Kind: Object}, nil
	}
	if n.Kind != Object {
		return nil, validationError(n, "The template's '%s' at line '%d' and column '%d' must be an object, it is of type '%s'", name, n.Pos.Line, n.Pos.Col, n.Kind)
	}
	return n, nil
}

func (sc *scope) loadVariables() error {
	n, err := sc.section("variables")
	if err != nil {
		return err
	}
	sc.vars = make(map[string]*slot, len(n.Members))
	var order []*slot
	add := func(s *slot) {
		order = append(order, s)
		sc.vars[strings.ToLower(s.name)] = s
	}
	for _, m := range n.Members {
		if strings.EqualFold(m.Key, "copy") && isPropertyCopy(m.Val) {
			for _, item := range m.Val.Items {
				add(&slot{name: item.Get("name").Str(), def: item, loop: true})
			}
			continue
		}
		add(&slot{name: m.Key, def: m.Val})
	}
	for _, s := range order {
		if _, err := sc.workOut(s); err != nil {
			return err
		}
	}
	return nil
}

// variable is what variables() answers.
func (sc *scope) variable(_ *env, name string) (Value, error) {
	s := sc.vars[strings.ToLower(name)]
	if s == nil {
		return Value{}, faultf("The template variable '%s' is not found. Please see https://aka.ms/arm-syntax-variables for usage details.", name)
	}
	return sc.workOut(s)
}

func (sc *scope) workOut(s *slot) (Value, error) {
	if s.done {
		return s.v, nil
	}
	if s.doing {
		return Value{}, faultf("The template variable '%s' refers to itself. Please see https://aka.ms/arm-syntax-variables for usage details.", s.name)
	}
	s.doing = true
	e := *sc.base
	e.noRuntime = "variables are worked out before any resource exists"
	var err error
	if s.loop {
		s.v, err = e.copyValues(s.def, s.name, true)
	} else {
		s.v, err = e.evalNode(s.def)
	}
	if err != nil {
		return Value{}, explain(err, "The template variable '%s' is not valid: %s", s.name)
	}
	s.done = true
	return s.v, nil
}

// userFunction is a function that the template defines.
type userFunction struct {
	name   string
	params []*Node
	output *Node
}

func (sc *scope) loadFunctions() error {
	sc.functions = map[string]*userFunction{}
	n := sc.doc.Get("functions")
	if !n.Present() {
		return nil
	}
	for _, group := range n.Items {
		for _, m := range group.Get("members").members() {
			f := &userFunction{name: group.Get("namespace").Str() + "." + m.Key, output: m.Val.At("output", "value")}
			if f.output == nil {
				return validationError(m.Val, "The template function '%s' at line '%d' and column '%d' has no output. Please see https://aka.ms/arm-template-user-defined-functions for usage details", f.name, m.Pos.Line, m.Pos.Col)
			}
			if p := m.Val.Get("parameters"); p != nil {
				f.params = p.Items
			}
			sc.functions[strings.ToLower(f.name)] = f
		}
	}
	return nil
}

// members are an object's members, none for nil.
func (n *Node) members() []Member {
	if n == nil {
		return nil
	}
	return n.Members
}

// failed names the function in a complaint, unless the complaint names one that this one called.
func (f *userFunction) failed(err error) error {
	if p, ok := err.(*placed); ok {
		err = p.err
	}
	if inner, ok := err.(*fault); ok && inner.named {
		return inner
	}
	return &fault{text: "The template function '" + f.name + "' failed: " + plain(err), named: true}
}

// call runs the function on values. Of parameters only its own can be read inside it.
func (f *userFunction) call(e *env, x *call, args []Value) (Value, error) {
	if len(args) != len(f.params) {
		return Value{}, faultf("Unable to evaluate template function '%s': it takes %d argument(s) while %d were provided. Please see https://aka.ms/arm-template-user-defined-functions for usage details.", f.name, len(f.params), len(args))
	}
	inner := *e
	inner.locals, inner.loops = nil, nil
	inner.noRuntime = "a user-defined function cannot read resources"
	inner.args = &arguments{vals: make(map[string]Value, len(args))}
	for i, p := range f.params {
		inner.args.vals[strings.ToLower(p.Get("name").Str())] = args[i]
	}
	v, err := inner.evalNode(f.output)
	if err != nil {
		return v, f.failed(err)
	}
	return v, nil
}
