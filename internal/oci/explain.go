package oci

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

// Errors of Ensure, wrapped in a sentence.
var (
	ErrUnauthorized = errors.New("unauthorized")
	ErrNoImage      = errors.New("no such image")
	ErrUnreachable  = errors.New("the registry cannot be reached")
)

// explain says what a registry's answer means to the person whose image it is.
func explain(ref name.Reference, err error) error {
	host := ref.Context().RegistryStr()
	var refused *transport.Error
	var network net.Error
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case errors.As(err, &refused):
		return explainRefusal(ref, host, refused)
	case errors.As(err, &op), errors.As(err, &network), errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("image %s: %w at %s: %v", ref, ErrUnreachable, host, err)
	}
	return fmt.Errorf("image %s: %w", ref, err)
}

func explainRefusal(ref name.Reference, host string, e *transport.Error) error {
	switch e.StatusCode {
	case http.StatusUnauthorized, http.StatusForbidden:
		return fmt.Errorf("image %s: %w: registry %s does not accept the credentials, or wants some: set imageSourceRegistry.credentials", ref, ErrUnauthorized, host)
	case http.StatusNotFound:
		return fmt.Errorf("image %s: %w in registry %s: check its name and tag", ref, ErrNoImage, host)
	}
	if e.StatusCode >= 500 {
		return fmt.Errorf("image %s: %w: %s answers %d %s", ref, ErrUnreachable, host, e.StatusCode, http.StatusText(e.StatusCode))
	}
	return fmt.Errorf("image %s: registry %s: %w", ref, host, e)
}
