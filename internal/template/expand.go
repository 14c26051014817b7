package template

import (
	"strings"
)

// MaxResources is Azure's limit on the resources of one template, copies counted.
const MaxResources = 800

// Expand works a template out. doc is the template; given are the parameters' values, {"name": {"value": ...}}, or nil.
// The error is an [*Error].
func Expand(doc, given *Node, in Inputs) (*Plan, error) {
	if doc == nil || doc.Kind != Object {
		return nil, &Error{Code: CodeInvalidTemplate, Message: "Deployment template validation failed: 'The template is missing or is not an object'."}
	}
	sc := newScope(doc, given, &in)
	if err := sc.checkHeader(); err != nil {
		return nil, err
	}
	if err := sc.checkLimits(); err != nil {
		return nil, err
	}
	if err := sc.load(); err != nil {
		return nil, explain(err, "The template is not valid%s: %s", "")
	}
	x := &expander{sc: sc, plan: &Plan{sc: sc, loops: map[string][]*Resource{}}}
	if err := x.list(doc.Get("resources"), sc.base, nil); err != nil {
		return nil, err
	}
	if err := x.finish(); err != nil {
		return nil, err
	}
	return x.plan, nil
}

// Azure's limits on the sections of a template.
const (
	maxParameters = 256
	maxVariables  = 512
	maxOutputs    = 64
)

func tooMany(at *Node, section string, limit, actual int) error {
	return validationError(at, "The number of template %s limit exceeded. Limit: '%d' and actual: '%d'. Please see https://aka.ms/arm-template/#%s for usage details", section, limit, actual, section)
}

func (sc *scope) checkLimits() error {
	for section, limit := range map[string]int{"parameters": maxParameters, "variables": maxVariables, "outputs": maxOutputs} {
		if n := sc.doc.Get(section); n != nil && len(n.Members) > limit {
			return tooMany(n, section, limit, len(n.Members))
		}
	}
	return nil
}

// countAll is how many resources the template has at the least, were there no limit: what was expanded, and one for each
// entry that was not reached.
func (x *expander) countAll() int {
	n := x.sc.doc.Get("resources")
	return max(len(n.Items)+len(n.Members), len(x.plan.Resources)+1)
}

// The members that a template and a parameter of it may have, in lower case.
var (
	templateMembers = nameSet("$schema contentversion apiprofile languageversion definitions parameters variables functions resources outputs " +
		"metadata comments extensions extensionconfigs imports asserts")
	parameterMembers = nameSet("type defaultvalue allowedvalues minvalue maxvalue minlength maxlength metadata comments nullable $ref properties " +
		"additionalproperties discriminator prefixitems items sealed pattern")
)

func nameSet(names string) map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		set[name] = true
	}
	return set
}

// checkMembers refuses a member that an object of the template language does not have, which a misspelt one is.
func checkMembers(n *Node, what string, known map[string]bool) error {
	if n.Kind != Object {
		return nil
	}
	for _, m := range n.Members {
		if !known[strings.ToLower(m.Key)] {
			e := m.Val.errorf(CodeInvalidRequestContent, "The request content was invalid and could not be deserialized: 'Could not find member '%s' on object of type '%s'. Path '%s', line %d, position %d.'.",
				m.Key, what, m.Val.Path(), m.Pos.Line, m.Pos.Col)
			e.Pos = m.Pos
			return e
		}
	}
	return nil
}

func (sc *scope) checkHeader() error {
	d := sc.doc
	if err := checkMembers(d, "Template", templateMembers); err != nil {
		return err
	}
	for _, p := range d.Get("parameters").members() {
		if err := checkMembers(p.Val, "TemplateInputParameter", parameterMembers); err != nil {
			return err
		}
	}
	if s := d.Get("$schema"); s == nil || s.Kind != String {
		return validationError(d, "The template's '$schema' is missing. Please see https://aka.ms/arm-syntax for usage details")
	}
	if v := d.Get("contentVersion"); v == nil || v.Kind != String {
		return validationError(d, "The template's 'contentVersion' is missing. Please see https://aka.ms/arm-syntax for usage details")
	}
	if r := d.Get("resources"); r == nil || r.Kind != Array && r.Kind != Object {
		return validationError(d, "The template's 'resources' is missing or is neither an array nor an object. Please see https://aka.ms/arm-syntax for usage details")
	}
	return nil
}

// expander makes a plan of a template's resources.
type expander struct {
	sc   *scope
	plan *Plan
}

// list expands a resources section: an array, or an object of symbolic names.
func (x *expander) list(n *Node, e *env, parent *Resource) error {
	if !n.Present() {
		return nil
	}
	for _, item := range n.Items {
		if err := x.loop(item, "", e, parent); err != nil {
			return err
		}
	}
	for _, m := range n.Members {
		if err := x.loop(m.Val, m.Key, e, parent); err != nil {
			return err
		}
	}
	return nil
}

// loop expands one entry, as often as its copy says.
func (x *expander) loop(n *Node, symbol string, e *env, parent *Resource) error {
	if n.Kind != Object {
		return validationError(n, "The template resource at line '%d' and column '%d' must be an object, it is of type '%s'", n.Pos.Line, n.Pos.Col, n.Kind)
	}
	c := n.Get("copy")
	if !c.Present() {
		_, err := x.one(n, symbol, e, parent)
		return err
	}
	static := *e
	static.noRuntime = "a copy loop is expanded before any resource exists"
	name, err := static.evalText(orEmpty(c.Get("name")), "copy loop's name")
	if err != nil {
		return resourceError(n, n.Get("name").Str(), err)
	}
	if c.Get("count") == nil {
		return validationError(c, "The template copy loop '%s' at line '%d' and column '%d' has no count. Please see https://aka.ms/arm-resource-loops for usage details", name, c.Pos.Line, c.Pos.Col)
	}
	count, err := static.copyCount(c.Get("count"), name)
	if err != nil {
		return resourceError(n, n.Get("name").Str(), err)
	}
	made, err := x.turns(n, symbol, name, count, e, parent)
	if err != nil {
		return err
	}
	x.plan.addLoop(name, made)
	if symbol != "" && !strings.EqualFold(symbol, name) {
		x.plan.addLoop(symbol, made)
	}
	return static.serial(c, made)
}

// addLoop enters what a loop made by its name, also when it made nothing: that can be depended on.
func (p *Plan) addLoop(name string, made []*Resource) {
	key := strings.ToLower(name)
	p.loops[key] = append(p.loops[key], made...)
}

func (x *expander) turns(n *Node, symbol, name string, count int, e *env, parent *Resource) ([]*Resource, error) {
	made := make([]*Resource, count)
	for i := range made {
		turn := *e
		turn.loops = &loop{name: name, turn: i, outer: e.loops}
		var err error
		if made[i], err = x.one(n, symbol, &turn, parent); err != nil {
			return nil, err
		}
	}
	return made, nil
}

func orEmpty(n *Node) *Node {
	if n == nil {
		return &Node{Kind: String}
	}
	return n
}

// serial makes each batch of a serial loop depend on the one before it.
func (e *env) serial(c *Node, made []*Resource) error {
	mode := c.Get("mode")
	if !mode.Present() {
		return nil
	}
	how, err := e.evalText(mode, "copy loop's mode")
	if err != nil || strings.EqualFold(how, "parallel") {
		return err
	}
	if !strings.EqualFold(how, "serial") {
		return validationError(mode, "The mode '%s' of the copy loop '%s' at line '%d' and column '%d' must be 'serial' or 'parallel'. Please see https://aka.ms/arm-copy for usage details", how, c.Get("name").Str(), mode.Pos.Line, mode.Pos.Col)
	}
	size := 1
	if b := c.Get("batchSize"); b.Present() {
		v, err := e.evalNode(b)
		if err != nil {
			return resourceError(c, c.Get("name").Str(), err)
		}
		if v = wholeNumber(v); v.kind != Int || v.n < 1 {
			return validationError(b, "The batch size of the copy loop '%s' must be an integer of 1 or more", c.Get("name").Str())
		}
		size = int(v.n)
	}
	for i := size; i < len(made); i++ {
		from := i/size*size - size
		made[i].batch = made[from : from+size]
	}
	return nil
}

// one expands one resource at one turn of the loops around it, and the children nested in it.
func (x *expander) one(n *Node, symbol string, e *env, parent *Resource) (*Resource, error) {
	if len(x.plan.Resources) >= MaxResources {
		return nil, tooMany(n, "resources", MaxResources, x.countAll())
	}
	r := &Resource{node: n, Symbol: symbol, Pos: n.Pos, Path: n.Path(), index: len(x.plan.Resources), parent: parent, turn: -1}
	if n.Get("copy").Present() && e.loops != nil {
		r.turn = e.loops.turn
	}
	x.plan.Resources = append(x.plan.Resources, r)
	head := *e
	head.noRuntime = "names, types, conditions and dependencies are worked out before any resource exists"
	if err := x.head(r, &head); err != nil {
		return nil, resourceError(n, r.shown(), err)
	}
	body := *e
	r.env = &body
	body.refs = func(to refersTo) { r.refs = append(r.refs, to) }
	if !r.Skipped && !r.Existing {
		var err error
		if r.Body, err = r.evalBody(&body); err != nil {
			return nil, err
		}
	}
	return r, x.list(n.Get("resources"), e, r)
}

func (r *Resource) shown() string {
	if r.Name != "" {
		return r.Name
	}
	return r.node.Get("name").Str()
}
