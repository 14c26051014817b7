package main

import (
	"context"
	"fmt"

	"lido.dev/lido/internal/compute"
	"lido.dev/lido/internal/frontdoor"
	"lido.dev/lido/internal/machine"
)

// simDoor carries out nothing: the networks of simulated machines exist on paper.
type simDoor struct{ *frontdoor.Door }

func (simDoor) Apply(context.Context, frontdoor.Network) error  { return nil }
func (simDoor) ApplyHost(context.Context, frontdoor.Host) error { return nil }
func (simDoor) Remove(context.Context, string, string) error    { return nil }
func (simDoor) Sweep(context.Context, []string) error           { return nil }
func (simDoor) Status(string) (frontdoor.Status, error)         { return frontdoor.Status{}, nil }

// simImages has every image of the catalogue ready: simulated machines don't look into it.
type simImages struct{ compute.Images }

func (s simImages) Ensure(_ context.Context, ref compute.ImageRef, _ func(string)) (string, compute.ImageInfo, error) {
	info, err := s.Resolve(ref)
	return "/", info, err
}

// simGuest answers every command in a simulated machine with 0: no sessions, exit code 0.
func simGuest(_ context.Context, _ string, c machine.Command) (int, error) {
	if c.Stdout != nil {
		fmt.Fprintln(c.Stdout, 0)
	}
	return 0, nil
}
