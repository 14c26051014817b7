package template

import (
	"strings"
)

// loadParameters gives every parameter its value, from what was given or by default, and checks it.
func (sc *scope) loadParameters() error {
	n, err := sc.section("parameters")
	if err != nil {
		return err
	}
	sc.params = make(map[string]*slot, len(n.Members))
	order := make([]*slot, 0, len(n.Members))
	for _, m := range n.Members {
		key := strings.ToLower(m.Key)
		if sc.params[key] != nil {
			return validationError(m.Val, "The template parameter '%s' at line '%d' and column '%d' is defined more than once. Please see https://aka.ms/arm-syntax-parameters for usage details", m.Key, m.Pos.Line, m.Pos.Col)
		}
		s := &slot{name: m.Key, def: m.Val}
		sc.params[key] = s
		order = append(order, s)
	}
	if err := sc.checkGiven(order); err != nil {
		return err
	}
	for _, s := range order {
		if _, err := sc.workOutParameter(s); err != nil {
			return err
		}
	}
	return nil
}

// checkGiven refuses values for parameters that the template does not have.
func (sc *scope) checkGiven(order []*slot) error {
	var strange []string
	for _, m := range sc.given.members() {
		if sc.params[strings.ToLower(m.Key)] == nil {
			strange = append(strange, m.Key)
		}
	}
	if strange == nil {
		return nil
	}
	names := make([]string, len(order))
	for i, s := range order {
		names[i] = s.name
	}
	return &Error{Code: CodeInvalidTemplate, Message: "Deployment template validation failed: 'The template parameters '" + strings.Join(strange, ", ") +
		"' in the parameters file are not valid; they are not present in the original template and can therefore not be provided at deployment time. The only supported parameters for this template are '" +
		strings.Join(names, ", ") + "'. Please see https://aka.ms/arm-pass-parameter-values for usage details.'."}
}

// parameter is what parameters() answers.
func (sc *scope) parameter(_ *env, name string) (Value, error) {
	s := sc.params[strings.ToLower(name)]
	if s == nil {
		return Value{}, faultf("The template parameter '%s' is not found. Please see https://aka.ms/arm-syntax-parameters for usage details.", name)
	}
	return sc.workOutParameter(s)
}

func (sc *scope) workOutParameter(s *slot) (Value, error) {
	if s.done {
		return s.v, nil
	}
	if s.doing {
		return Value{}, faultf("The template parameter '%s' refers to itself in its default value. Please see https://aka.ms/arm-syntax-parameters for usage details.", s.name)
	}
	s.doing = true
	if s.def.Kind != Object {
		return Value{}, validationError(s.def, "The template parameter '%s' at line '%d' and column '%d' must be an object with a type. Please see https://aka.ms/arm-syntax-parameters for usage details", s.name, s.def.Pos.Line, s.def.Pos.Col)
	}
	c := &checker{sc: sc, name: s.name, def: s.def}
	t, err := c.resolve(s.def)
	if err != nil {
		return Value{}, err
	}
	v, from, err := sc.parameterValue(s, t)
	if err != nil {
		return Value{}, err
	}
	if t.secure() && (v.kind != String || v.s != "") {
		v = v.taint() // nothing is no secret: templates have tokens that are empty unless they are needed
	}
	c.at = from
	if err := c.check(v, t, s.def, ""); err != nil {
		return Value{}, err
	}
	s.v, s.done = v, true
	return v, nil
}

// parameterValue is the value given, else the default, else null where that is allowed.
func (sc *scope) parameterValue(s *slot, t *paramType) (Value, *Node, error) {
	if g := sc.given.Get(s.name); g.Present() {
		if r := g.Get("reference"); r.Present() {
			return Value{}, nil, keyVaultError(g, s.name, r)
		}
		if v := g.Get("value"); v != nil && (v.Kind != Null || t.get("defaultValue") == nil) {
			if v.Kind == Null && !t.nullable {
				return Value{}, nil, g.errorf(CodeInvalidParameterValue, "The value of deployment parameter '%s' is null. Please specify the value or use the parameter reference. See https://aka.ms/arm-create-parameter-file for details.", s.name)
			}
			return v.Value(), v, nil
		}
	}
	if d := t.get("defaultValue"); d != nil {
		e := *sc.base
		e.defaults = true
		e.noRuntime = "default values are worked out before any resource exists"
		v, err := e.evalNode(d)
		if err != nil {
			return v, d, explain(err, "The template parameter '%s' is not valid: %s", s.name)
		}
		return v, d, nil
	}
	if t.nullable {
		return Value{}, s.def, nil
	}
	return Value{}, nil, validationError(s.def, "The value for the template parameter '%s' at line '%d' and column '%d' is not provided. Please see https://aka.ms/arm-create-parameter-file for usage details", s.name, s.def.Pos.Line, s.def.Pos.Col)
}

func keyVaultError(at *Node, name string, ref *Node) error {
	return at.errorf(CodeKeyVaultUnsupported, "The value of the parameter '%s' is a reference to the secret '%s' of the key vault '%s'. lido serves no key vaults yet: give the value itself; as the parameter of a securestring it is sealed and never shown.",
		name, ref.Get("secretName").Str(), ref.At("keyVault", "id").Str())
}
