package deploy

import (
	"context"

	"lido.dev/lido/internal/arm"
)

// whatIf is not here yet.
func (m *Room) whatIf(context.Context, *arm.Request) (*arm.Response, error) {
	return nil, arm.BadRequest("WhatIfNotSupported", "", "lido does not work out yet what a deployment would change.")
}
