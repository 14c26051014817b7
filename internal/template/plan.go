package template

import (
	"strings"
)

// Plan is an expanded template: what to deploy, and in which order.
type Plan struct {
	Resources  []*Resource // in the order of the template; of a copy loop in the order of its turns
	Parameters []Parameter // every parameter with its value
	Mode       string

	sc     *scope
	loops  map[string][]*Resource // by the name of the copy loop, in lower case
	lookup *lookup
}

// Parameter is a parameter's value in this deployment.
type Parameter struct {
	Name  string
	Type  string // as the template has it, e.g. securestring
	Value Value
}

// Resource is one resource to deploy.
type Resource struct {
	ID         string
	Type       string // with its name space, e.g. Microsoft.Network/virtualNetworks/subnets
	Name       string // with its parents' names, e.g. net/default
	APIVersion string
	Symbol     string   // symbolic name, or ""
	Existing   bool     // it is only referred to and must be there already
	Skipped    bool     // its condition is false
	OnlyIfNew  bool     // it is not to be touched if it is there already
	Nullable   bool     // an existing one that may be missing: it is null then
	RetryOn    []string // codes of errors after which it is sent again
	Retries    int      // how often at most
	Body       Value    // what is known of the request's body; parts that only a running deployment can know are Unknown
	DependsOn  []*Resource
	Pos        Pos
	Path       string

	node, inherit *Node
	env           *env // the loops around
	subject       string
	refs          []refersTo
	index         int
	turn          int    // of its own copy loop; -1 when it has none
	wants         []wish // explicit dependencies
	batch         []*Resource
	parent        *Resource
}

// wish is one entry of dependsOn.
type wish struct {
	text string
	at   *Node
}

// Known says that the body is complete without a running deployment.
func (r *Resource) Known() bool { return r.Body.Known() }

// Resolve returns the body with everything worked out. It may be called from several goroutines.
func (r *Resource) Resolve(rt Runtime) (Value, error) {
	if r.Known() {
		return r.Body, nil
	}
	e := r.env.afresh()
	e.rt, e.refs = rt, nil
	return r.evalBody(&e)
}

// Output is one entry of the template's outputs section.
type Output struct {
	Name, Type string
	Value      Value
}

// OutputError is why an output could not be worked out.
type OutputError struct {
	Name string
	Err  error
}

// Outputs works the outputs out. Those whose condition is false are left out.
func (p *Plan) Outputs(rt Runtime) ([]Output, []OutputError) {
	e := p.sc.base.afresh()
	e.rt = rt
	return p.sc.outputs(&e)
}

func (sc *scope) outputs(e *env) (outs []Output, failed []OutputError) {
	for _, m := range sc.doc.Get("outputs").members() {
		o, ok, err := sc.output(e, m)
		if err != nil {
			failed = append(failed, OutputError{m.Key, explain(err, "The template output '%s' is not valid: %s", m.Key)})
		} else if ok {
			outs = append(outs, o)
		}
	}
	return outs, failed
}

func (sc *scope) output(e *env, m Member) (o Output, ok bool, err error) {
	if m.Val.Kind != Object {
		return o, false, validationError(m.Val, "The template output '%s' at line '%d' and column '%d' must be an object with a type and a value", m.Key, m.Pos.Line, m.Pos.Col)
	}
	if c := m.Val.Get("condition"); c.Present() {
		v, err := e.evalNode(c)
		if err != nil || v.unknown || v.kind != Bool && !v.unknown {
			if err == nil && !v.unknown {
				err = validationError(c, "The condition of the template output '%s' must be a boolean, it is of type '%s'", m.Key, v.kind)
			}
			return o, false, err
		}
		if !v.True() {
			return o, false, nil
		}
	}
	checker := &checker{sc: sc, what: "output", name: m.Key, def: m.Val}
	t, err := checker.resolve(m.Val)
	if err != nil {
		return o, false, err
	}
	o = Output{Name: m.Key, Type: t.get("type").Str()}
	from := m.Val.Get("value")
	switch c := m.Val.Get("copy"); {
	case from != nil:
		o.Value, err = e.evalNode(from)
	case c.Present():
		from = c
		o.Value, err = e.copyValues(c, m.Key, false)
	case t.nullable:
		from = m.Val
	default:
		err = &placed{m.Val, faultf("It has neither a value nor a copy loop. Please see https://aka.ms/arm-template/#outputs for usage details.")}
	}
	if err != nil {
		return o, false, err
	}
	if t.secure() {
		o.Value = o.Value.taint()
	}
	if want := paramKinds[t.name]; t.name != anyType && !o.Value.unknown && o.Value.kind != want && !(o.Value.kind == Null && t.nullable) {
		return o, false, &placed{from, faultf("Template output JToken type is not valid. Expected '%s'. Actual '%s'. Please see https://aka.ms/arm-template/#outputs for usage details.", tokenName(want), o.Value.kind)}
	}
	return o, true, nil
}

// identify turns what a runtime function was given into an id, and the api-version that the template deploys it with.
func (sc *scope) identify(name string) (id, apiVersion string) {
	if sc.plan == nil {
		return name, ""
	}
	if found := sc.plan.lookup.find(name); len(found) > 0 {
		return found[0].ID, found[0].APIVersion
	}
	if !strings.HasPrefix(name, "/") && strings.Contains(name, "/") {
		if id, ok := relativeID(sc.in.scopeID(), name); ok {
			return id, ""
		}
	}
	return canonical(name), ""
}

// nullable says that what a name stands for may be missing.
func (sc *scope) nullable(name string) bool {
	if sc.plan == nil {
		return false
	}
	found := sc.plan.lookup.find(name)
	return len(found) > 0 && found[0].Nullable
}

// known refuses a reference to something that is neither in the template nor an id.
func (sc *scope) known(name Value, apiVersion string) error {
	if sc.plan == nil || sc.plan.lookup == nil || name.kind != String || strings.Contains(name.s, "/") {
		return nil
	}
	if sc.plan.lookup.find(name.s) == nil {
		return faultf("The resource '%s' referenced is not defined in the template. Please see https://aka.ms/arm-function-reference for usage details.", name.s)
	}
	return nil
}

// scopeID is the id of what is deployed to: a resource group, a subscription, or "" for the tenant.
func (in *Inputs) scopeID() string { return scopeOf(in.SubscriptionID, in.ResourceGroupName) }

func scopeOf(subscription, group string) string {
	switch {
	case subscription == "":
		return ""
	case group == "":
		return "/subscriptions/" + subscription
	}
	return "/subscriptions/" + subscription + "/resourceGroups/" + group
}

// relativeID makes an id of "Namespace/type/name", names and types interleaved.
func relativeID(prefix, s string) (string, bool) {
	parts := strings.Split(s, "/")
	if len(parts) < 3 || len(parts)%2 == 0 {
		return "", false
	}
	return prefix + "/providers/" + s, true
}

// turns are the resources that a copy loop, named by itself or by its resource's symbolic name, makes.
func (sc *scope) turns(name string) []*Resource {
	if sc.plan == nil {
		return nil
	}
	return sc.plan.lookup.find(name)
}
