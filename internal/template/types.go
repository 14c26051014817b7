package template

import (
	"strings"
)

// paramType is a parameter's type, with what its definition adds over those that it refers to.
type paramType struct {
	name     string // in lower case: string, securestring, int, bool, object, secureobject, array
	nullable bool
	defs     []*Node // from the one at hand to the ones it refers to
}

func (t *paramType) secure() bool { return strings.HasPrefix(t.name, "secure") }

// get is a member of the definition or of what it refers to.
func (t *paramType) get(name string) *Node {
	for _, d := range t.defs {
		if n := d.Get(name); n != nil {
			return n
		}
	}
	return nil
}

// checker checks one parameter's value against its type and constraints.
type checker struct {
	sc   *scope
	what string // "output", or "" for a parameter
	name string
	def  *Node
	at   *Node // where the value is from
}

// anyType is the type of what a template of language version 2.0 gives no type.
const anyType = "any"

var paramKinds = map[string]Kind{"string": String, "securestring": String, "int": Int, "bool": Bool, "object": Object, "secureobject": Object, "array": Array, anyType: Unknown}

const maxRefs = 32

// resolve reads a definition and what it refers to with $ref.
func (c *checker) resolve(def *Node) (*paramType, error) {
	t := &paramType{}
	for n := def; n != nil; {
		t.defs = append(t.defs, n)
		if b := n.Get("nullable"); b != nil && b.Bool {
			t.nullable = true
		}
		ref := n.Get("$ref").Str()
		if ref == "" {
			break
		}
		next := c.definition(ref)
		if next == nil || len(t.defs) > maxRefs {
			return nil, validationError(n, "The template "+c.noun()+" '%s' at line '%d' and column '%d' refers to the type '%s', which the template does not define", c.name, n.Pos.Line, n.Pos.Col, ref)
		}
		n = next
	}
	t.name = strings.ToLower(t.get("type").Str())
	if t.name == "" && c.sc.v2 {
		t.name = anyType
	}
	if _, ok := paramKinds[t.name]; !ok {
		return nil, validationError(def, "The template "+c.noun()+" '%s' at line '%d' and column '%d' has the type '%s'. The types are 'string', 'securestring', 'int', 'bool', 'object', 'secureObject' and 'array'. Please see https://aka.ms/arm-syntax-parameters for usage details",
			c.name, def.Pos.Line, def.Pos.Col, t.get("type").Str())
	}
	return t, nil
}

func (c *checker) noun() string {
	if c.what == "" {
		return "parameter"
	}
	return c.what
}

// tokenName is a kind's name where Azure says which one it expects of a value: a string may also be an address to it.
func tokenName(k Kind) string {
	if k == String {
		return "String, Uri"
	}
	return k.String()
}

// definition finds "#/definitions/name".
func (c *checker) definition(ref string) *Node {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil
	}
	return c.sc.doc.At(strings.Split(path, "/")...)
}

func (c *checker) failf(format string, args ...any) error {
	line, col := c.def.Pos.Line, c.def.Pos.Col
	return validationError(c.def, "The provided value for the template parameter '%s' at line '%d' and column '%d' is not valid. "+format+". Please see https://aka.ms/arm-create-parameter-file for usage details",
		append([]any{c.name, line, col}, args...)...)
}

// check holds a value against a type. where is the path inside the value.
func (c *checker) check(v Value, t *paramType, def *Node, where string) error {
	if v.kind == Null && t.nullable {
		return nil
	}
	if want := paramKinds[t.name]; v.kind != want && t.name != anyType {
		return c.failf("Template parameter JToken type is not valid. Expected '%s'. Actual '%s'%s", tokenName(want), v.kind, in(where))
	}
	if err := c.checkAllowed(v, t, where); err != nil {
		return err
	}
	if err := c.checkBounds(v, t, where); err != nil {
		return err
	}
	switch v.kind {
	case Array:
		return c.checkItems(v, t, where)
	case Object:
		return c.checkMembers(v, t, where)
	}
	return nil
}

func in(where string) string {
	if where == "" {
		return ""
	}
	return " in '" + where + "'"
}

// checkAllowed holds a value against allowedValues: an array's elements may be from them, too.
func (c *checker) checkAllowed(v Value, t *paramType, where string) error {
	allowed := t.get("allowedValues")
	if allowed == nil || len(allowed.Items) == 0 {
		return nil
	}
	list := allowed.Value()
	if isOneOf(v, list) {
		return nil
	}
	if v.kind == Array {
		all := true
		for _, item := range v.arr {
			all = all && isOneOf(item, list)
		}
		if all {
			return nil
		}
	}
	names := make([]string, len(list.arr))
	for i, a := range list.arr {
		names[i] = a.text()
	}
	shown := v.text()
	if v.secure {
		shown = "(secret)"
	}
	return validationError(c.def, "The provided value '%s'%s for the template parameter '%s' at line '%d' and column '%d' is not valid. The parameter value is not part of the allowed value(s): '%s'",
		shown, in(where), c.name, c.def.Pos.Line, c.def.Pos.Col, strings.Join(names, ","))
}

func isScalar(v Value) bool { return v.kind == String || v.kind == Bool || v.isNumber() }

// isOneOf compares without regard to case, and numbers with strings, as Azure does here.
func isOneOf(v, list Value) bool {
	for _, a := range list.arr {
		if equal(a, v) || isScalar(a) && isScalar(v) && strings.EqualFold(a.text(), v.text()) {
			return true
		}
	}
	return false
}

func (c *checker) checkBounds(v Value, t *paramType, where string) error {
	size, what, low, high := v.n, "Value", "minValue", "maxValue"
	if v.kind != Int {
		size, what, low, high = int64(v.Len()), "Length of the value", "minLength", "maxLength"
	}
	if v.kind == Bool || v.kind == Object {
		return nil
	}
	if n := t.get(low); n != nil && size < n.Value().Int() {
		return c.failf("%s%s should be greater than or equal to '%d'", what, in(where), n.Value().Int())
	}
	if n := t.get(high); n != nil && size > n.Value().Int() {
		return c.failf("%s%s should be less than or equal to '%d'", what, in(where), n.Value().Int())
	}
	return nil
}

// checkItems holds an array's elements against prefixItems and items.
func (c *checker) checkItems(v Value, t *paramType, where string) error {
	prefix, rest := t.get("prefixItems"), t.get("items")
	if prefix != nil && len(v.arr) < len(prefix.Items) {
		return c.failf("The value%s has %d element(s), its type has %d", in(where), len(v.arr), len(prefix.Items))
	}
	for i, item := range v.arr {
		def := rest
		if prefix != nil && i < len(prefix.Items) {
			def = prefix.Items[i]
		}
		if err := c.checkPart(item, def, where+"["+IntValue(int64(i)).text()+"]"); err != nil {
			return err
		}
	}
	return nil
}

// checkPart checks a part of a value against its own definition. A definition of false allows nothing.
func (c *checker) checkPart(v Value, def *Node, where string) error {
	if def == nil {
		return nil
	}
	if def.Kind == Bool {
		if !def.Bool {
			return c.failf("The value has '%s', which its type does not have", where)
		}
		return nil
	}
	if def.Get("type") == nil && def.Get("$ref") == nil {
		return nil
	}
	t, err := c.resolve(def)
	if err != nil {
		return err
	}
	return c.check(v, t, def, where)
}

// checkVariant holds a value against the variant that its tag names. The tag itself need not be among the variant's members.
func (c *checker) checkVariant(v Value, def *Node, tag, where string) error {
	t, err := c.resolve(def)
	if err != nil {
		return err
	}
	if t.get("properties").Get(tag) == nil {
		var rest objectBuilder
		for i, key := range v.obj.keys {
			if !strings.EqualFold(key, tag) {
				rest.set(key, v.obj.vals[i])
			}
		}
		v = rest.value()
	}
	return c.check(v, t, def, where)
}

// checkMembers holds an object's members against properties and additionalProperties, after picking the variant that a
// discriminator names.
func (c *checker) checkMembers(v Value, t *paramType, where string) error {
	if d := t.get("discriminator"); d != nil {
		tag := v.At(d.Get("propertyName").Str())
		def := d.At("mapping", tag.Str())
		if def == nil {
			return c.failf("The value '%s' of '%s' is none of its type's", tag.text(), strings.TrimPrefix(where+"."+d.Get("propertyName").Str(), "."))
		}
		return c.checkVariant(v, def, d.Get("propertyName").Str(), where)
	}
	props := t.get("properties")
	for _, m := range props.members() {
		part, ok := v.Get(m.Key)
		path := strings.TrimPrefix(where+"."+m.Key, ".")
		if !ok {
			if t, err := c.resolve(m.Val); err == nil && !t.nullable && c.sc.v2 {
				return c.failf("The value lacks the property '%s'", path)
			}
			continue
		}
		if err := c.checkPart(part, m.Val, path); err != nil {
			return err
		}
	}
	extra := t.get("additionalProperties")
	if extra == nil {
		return nil
	}
	for i, key := range v.obj.keys {
		if props.Get(key) == nil {
			if err := c.checkPart(v.obj.vals[i], extra, strings.TrimPrefix(where+"."+key, ".")); err != nil {
				return err
			}
		}
	}
	return nil
}
