package template

import (
	"fmt"
	"strings"
)

// The codes that this package's errors carry.
const (
	CodeInvalidTemplate       = "InvalidTemplate"
	CodeInvalidRequestContent = "InvalidRequestContent"
	CodeInvalidParameterValue = "InvalidDeploymentParameterValue"
	CodeExtensionUnsupported  = "ExtensionNotSupported"
	CodeKeyVaultUnsupported   = "KeyVaultParameterReferenceNotSupported"
)

// Error is what is wrong with a template, in Azure's words: a stable code, a sentence, and where.
type Error struct {
	Code    string
	Message string
	Pos     Pos    // where in the document, zero when no one place is to blame
	Path    string // JSON path from the template's root
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// fault is a complaint of the evaluator that does not know yet where in the document it arose.
type fault struct {
	text  string
	named bool // it says in which of the template's functions it arose
}

func (f *fault) Error() string { return f.text }

func faultf(format string, args ...any) error { return &fault{text: fmt.Sprintf(format, args...)} }

// validationError wraps a complaint about the template as Azure's validation does.
func validationError(at *Node, format string, args ...any) *Error {
	text := fmt.Sprintf(format, args...)
	return at.errorf(CodeInvalidTemplate, "Deployment template validation failed: '%s'.", strings.TrimSuffix(text, "."))
}

// errorf makes an error that points at n.
func (n *Node) errorf(code, format string, args ...any) *Error {
	e := &Error{Code: code, Message: fmt.Sprintf(format, args...), Path: n.Path()}
	if n != nil {
		e.Pos = n.Pos
	}
	return e
}

// placed is an evaluator's complaint together with the string in the document that it is about.
type placed struct {
	at  *Node
	err error
}

func (p *placed) Error() string { return p.err.Error() }

// plain is an error's own sentence, without the wrapping of validation.
func plain(err error) string {
	if e, ok := err.(*Error); ok {
		return strings.TrimSuffix(strings.TrimPrefix(e.Message, "Deployment template validation failed: '"), "'.")
	}
	return err.Error()
}

// explain makes a placed complaint an error by a format that takes a name and the complaint. Errors pass through.
func explain(err error, format, name string) error {
	p, ok := err.(*placed)
	if !ok {
		if f, ok := err.(*fault); ok {
			return &Error{Code: CodeInvalidTemplate, Message: fmt.Sprintf("Deployment template validation failed: '"+format+"'.", name, f.text)}
		}
		return err
	}
	return validationError(p.at, format, name, p.err)
}

// place notes where a complaint arose, unless that is known.
func place(n *Node, err error) error {
	if _, ok := err.(*fault); ok {
		return &placed{n, err}
	}
	return err
}
