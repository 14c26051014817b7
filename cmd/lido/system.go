package main

import (
	"context"

	"lido.dev/lido/internal/arm"
)

// systemCaller is lido itself, when it asks for resources that others wished for by way of something else.
var systemCaller = arm.Caller{Name: "lido", ObjectID: "lido"}

// systemAccess allows lido itself everything. No account has its object id: theirs are uuids.
type systemAccess struct{ arm.Access }

func (a systemAccess) Allowed(ctx context.Context, c arm.Caller, action string, id arm.ID) bool {
	return c.ObjectID == systemCaller.ObjectID || a.Access.Allowed(ctx, c, action, id)
}
