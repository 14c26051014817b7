package template

import "strings"

// expr is a parsed expression.
type expr interface{ String() string }

type (
	// literal is a constant.
	literal struct{ v Value }
	// call is a function call; name is in lower case and has the namespace of a user function before a dot.
	call struct {
		name, shown string
		args        []expr
	}
	// property is access to a member by name, index access by any expression.
	property struct {
		of   expr
		name string
	}
	index struct{ of, at expr }
)

func (x *literal) String() string {
	switch x.v.kind {
	case Null:
		return "null()"
	case Bool:
		return strings.ToLower(x.v.text()) + "()"
	case String:
		return quoteLiteral(x.v.s)
	case Array, Object:
		return "json(" + quoteLiteral(x.v.text()) + ")"
	case Float:
		return "float(" + quoteLiteral(x.v.s) + ")"
	}
	return x.v.text()
}

func (x *call) String() string {
	args := make([]string, len(x.args))
	for i, a := range x.args {
		args[i] = a.String()
	}
	return x.shown + "(" + strings.Join(args, ", ") + ")"
}

func (x *property) String() string { return x.of.String() + "." + x.name }

func (x *index) String() string { return x.of.String() + "[" + x.at.String() + "]" }

func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
