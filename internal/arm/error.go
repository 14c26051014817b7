package arm

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"lido.dev/lido/internal/store"
)

// Error is an error in ARM's form. It is the only kind that clients see in full; any other error is shown to them as
// InternalServerError and logged.
type Error struct {
	Status         int              `json:"-"` // HTTP status
	Code           string           `json:"code"`
	Message        string           `json:"message"`
	Target         string           `json:"target,omitempty"` // path of the offending property
	Details        []*Error         `json:"details,omitempty"`
	AdditionalInfo []AdditionalInfo `json:"additionalInfo,omitempty"`
}

// AdditionalInfo is typed extra information of an error, e.g. the place in a template.
type AdditionalInfo struct {
	Type string `json:"type"`
	Info any    `json:"info"`
}

func (e *Error) Error() string {
	s := e.Code + ": " + e.Message
	for _, d := range e.Details {
		s += " (" + d.Error() + ")"
	}
	return s
}

// Errorf makes an error with a status, one of Azure's codes, and a sentence.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// At names the property that an error is about and returns the error.
func (e *Error) At(path string) *Error {
	e.Target = path
	return e
}

// BadRequest is a 400 about a property.
func BadRequest(code, target, format string, args ...any) *Error {
	return Errorf(http.StatusBadRequest, code, format, args...).At(target)
}

// Conflict is a 409.
func Conflict(code, format string, args ...any) *Error {
	return Errorf(http.StatusConflict, code, format, args...)
}

// NotFound is ARM's 404 for a resource.
func NotFound(id ID) *Error {
	if len(id.Types) == 2 && id.Scope == "" && id.Namespace == RootNamespace {
		return Errorf(http.StatusNotFound, "ResourceGroupNotFound", "Resource group '%s' could not be found.", id.Name())
	}
	if id.Group() == "" {
		return Errorf(http.StatusNotFound, "ResourceNotFound", "The resource '%s/%s' was not found.", id.Type(), id.FullName())
	}
	return Errorf(http.StatusNotFound, "ResourceNotFound", "The Resource '%s/%s' under resource group '%s' was not found.", id.Type(), id.FullName(), id.Group())
}

// AsError returns err as ARM's: itself if it is one, a client's going away, or an internal error that hides err.
func AsError(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled):
		return Errorf(499, "ClientClosedRequest", "The client went away before the answer.")
	case errors.Is(err, store.ErrFull):
		return Errorf(http.StatusInsufficientStorage, "InsufficientStorage", "The disk that lido keeps its state on has no room left, and nothing was changed. Free some space there and try again.")
	}
	return Errorf(http.StatusInternalServerError, "InternalServerError", "The server met an unexpected condition. The server's log has the details under this request's id.")
}
