package template

import (
	"strconv"
	"strings"

	"github.com/google/uuid"
)

// scopes enters the functions about the deployment and where it goes.
func (t table) scopes() {
	t.special("parameters", 1, 1, fnParameters)
	t.special("variables", 1, 1, fnVariables)
	t.special("copyIndex", 0, 2, fnCopyIndex)
	for name, get := range map[string]func(*Inputs) Value{
		"resourceGroup": func(in *Inputs) Value { return in.ResourceGroup },
		"subscription":  func(in *Inputs) Value { return in.Subscription },
		"tenant":        func(in *Inputs) Value { return in.Tenant },
		"deployment":    func(in *Inputs) Value { return in.Deployment },
		"environment":   func(in *Inputs) Value { return in.Environment },
		"deployer":      func(in *Inputs) Value { return in.Deployer },
	} {
		t.special(name, 0, 0, func(e *env, x *call) (Value, error) {
			if v := get(e.sc.in); v.kind != Null {
				return v, nil
			}
			return Value{}, faultf("The template function '%s' is not expected at this location. Please see https://aka.ms/arm-functions for usage details.", x.shown)
		})
	}
	t.special("managementGroup", 0, 0, func(_ *env, x *call) (Value, error) {
		return Value{}, faultf("The template function '%s' is not expected at this location: the deployment is not at the scope of a management group.", x.shown)
	})
}

// nameArg evaluates the one argument that names a parameter or a variable.
func (e *env) nameArg(x *call, i int) (string, error) {
	v, err := e.eval(x.args[i])
	if err != nil {
		return "", err
	}
	if v.kind != String {
		return "", faultf("The template language function '%s' expects its parameter number %d to be of type 'String'. The provided value is of type '%s'. Please see https://aka.ms/arm-functions for usage details.", x.shown, i+1, v.kind)
	}
	return v.s, nil
}

func fnParameters(e *env, x *call) (Value, error) {
	name, err := e.nameArg(x, 0)
	if err != nil {
		return Value{}, err
	}
	if e.args != nil {
		if v, ok := e.args.vals[strings.ToLower(name)]; ok {
			return v, nil
		}
		return Value{}, faultf("The function parameter '%s' is not found. Please see https://aka.ms/arm-template-user-defined-functions for usage details.", name)
	}
	return e.sc.parameter(e, name)
}

func fnVariables(e *env, x *call) (Value, error) {
	name, err := e.nameArg(x, 0)
	if err != nil {
		return Value{}, err
	}
	if e.args != nil && !e.sc.v2 {
		return Value{}, faultf("The template function 'variables' is not expected at this location: a user-defined function can read variables only in a template of languageVersion 2.0. Please see https://aka.ms/arm-template-user-defined-functions for usage details.")
	}
	return e.sc.variable(e, name)
}

// fnCopyIndex is the turn of a loop plus an offset.
func fnCopyIndex(e *env, x *call) (Value, error) {
	name, offset := "", int64(0)
	for i, a := range x.args {
		v, err := e.eval(a)
		switch {
		case err != nil:
			return v, err
		case v.kind == String && i == 0:
			name = v.s
		case v.kind == Int && (i == 1 || len(x.args) == 1):
			offset = v.n
		default:
			return v, faultf("The template language function 'copyIndex' takes the name of a loop and an integer offset, either may be left out. Please see https://aka.ms/arm-resource-loops for usage details.")
		}
	}
	if l := e.loops.counted(name); l != nil {
		return IntValue(int64(l.turn) + offset), nil
	}
	if name != "" {
		return Value{}, faultf("The template function 'copyIndex' has no copy loop named '%s' around it. Please see https://aka.ms/arm-resource-loops for usage details.", name)
	}
	return Value{}, faultf("The template function 'copyIndex' is not expected at this location. The function can only be used in a resource with copy specified. Please see https://aka.ms/arm-resource-loops for usage details.")
}

// fnNewGUID makes a guid of the seed, so that expanding again gives the same.
func fnNewGUID(e *env, x *call) (Value, error) {
	if !e.defaults {
		return Value{}, faultf("The template function 'newGuid' is not expected at this location. It may only be used in the default value of a parameter. Please see https://aka.ms/arm-functions for usage details.")
	}
	e.sc.guids++
	return StringValue(uuid.NewSHA1(guidNamespace, []byte(e.sc.in.Seed+"/"+strconv.Itoa(e.sc.guids))).String()), nil
}
