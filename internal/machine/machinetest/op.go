package machinetest

import (
	"context"
	"fmt"

	"lido.dev/lido/internal/machine"
)

// Do does one operation on the machine that spec describes; Fixture.Crash has it done by the process to be killed.
func Do(ctx context.Context, e machine.Engine, op Op, spec machine.Spec) error {
	switch op {
	case OpCreate:
		return e.Create(ctx, spec)
	case OpStart:
		return e.Start(ctx, spec.ID)
	case OpStop:
		return e.Stop(ctx, spec.ID, grace)
	case OpDelete:
		return e.Delete(ctx, spec.ID)
	case OpMount:
		return e.Mount(ctx, spec.ID, machine.Mount{Source: "/srv", Target: "/mnt/killed"})
	}
	return fmt.Errorf("no operation %q", op)
}
