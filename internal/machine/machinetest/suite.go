// Package machinetest is the contract suite for machine engines: what an Engine promises, each engine proves by Run.
package machinetest

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"lido.dev/lido/internal/machine"
)

// Fixture is what the suite needs to know of an engine under test and to do behind its back.
type Fixture struct {
	// Spec describes a machine that boots; Broken one whose every start fails.
	Spec, Broken func(id string) machine.Spec
	// Does makes the machine do one of the Events by itself.
	Does func(t *testing.T, id string, event Event)
	// Dir returns an empty directory of the host that can be mounted into machines.
	Dir func(t *testing.T) string
	// Leftovers lists whatever can be found on the host of a machine that was deleted.
	Leftovers func(t *testing.T, id string) []string

	// Real is set if machines are systems in which commands run.
	Real bool
	// Leave closes the engine while its machines run on; Reopen leaves it, if need be, and opens another on the same
	// state. Nil if there is no state.
	Leave  func()
	Reopen func(t *testing.T) machine.Engine
	// Crash does an operation in a process that is killed when it comes to the named step; Reopen follows. Steps lists
	// the names. Nil if the engine has no state.
	Crash func(t *testing.T, op Op, spec machine.Spec, step string)
	Steps map[Op][]string
}

// Event is what a machine does by itself.
type Event string

// The events.
const (
	PowersOff Event = "poweroff"
	Reboots   Event = "reboot"
	Crashes   Event = "crash"
)

// Op is an operation that may be killed half-way.
type Op string

// The operations.
const (
	OpCreate Op = "create"
	OpStart  Op = "start"
	OpStop   Op = "stop"
	OpDelete Op = "delete"
	OpMount  Op = "mount"
)

// bed is one test's engine with what surrounds it.
type bed struct {
	machine.Engine
	Fixture
	t   *testing.T
	ctx context.Context
}

// Run puts an engine through the suite. newEngine is called for each test and cleans up by t.Cleanup.
func Run(t *testing.T, newEngine func(t *testing.T) (machine.Engine, Fixture)) {
	test := func(name string, f func(b *bed)) {
		t.Run(name, func(t *testing.T) {
			e, fix := newEngine(t)
			f(&bed{Engine: e, Fixture: fix, t: t, ctx: t.Context()})
		})
	}
	test("Life", testLife)
	test("CreateIsIdempotent", testCreate)
	test("Unknown", testUnknown)
	test("ListIsOrdered", testList)
	test("StopThenStartKeepsFiles", testStopStart)
	test("DeleteWhileRunning", testDeleteRunning)
	test("Together", testTogether)
	test("PowerOff", testPowerOff)
	test("Reboot", testReboot)
	test("CrashIsRestarted", testCrash)
	test("BrokenFails", testBroken)
	test("Mounts", testMounts)
	test("MountRefused", testMountRefused)
	test("Exec", testExec)
	test("Furnished", testFurnished)
	test("ReadOptionsOfMount", testMountOptions)
	test("AdoptedByTheNext", testAdopt)
	test("ExitWhileAway", testExitWhileAway)
	test("KilledHalfWay", testKilled)
}

// must stops the test on an error.
func (b *bed) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bed) create(id string) machine.Spec {
	b.t.Helper()
	s := b.Spec(id)
	b.must(b.Create(b.ctx, s))
	return s
}

func (b *bed) boot(id string) {
	b.t.Helper()
	b.create(id)
	b.must(b.Start(b.ctx, id))
}

func (b *bed) info(id string) machine.Info {
	b.t.Helper()
	i, err := b.Get(b.ctx, id)
	b.must(err)
	return i
}

// eventually waits until the machine is as ok wants it.
func (b *bed) eventually(id, what string, ok func(machine.Info) bool) machine.Info {
	b.t.Helper()
	var i machine.Info
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if i = b.info(id); ok(i) {
			return i
		}
	}
	b.t.Fatalf("machine %s never came to %s; it is %s (%s), boots %d", id, what, i.State, i.Reason, i.Boots)
	return i
}

func (b *bed) state(id string, want machine.State) machine.Info {
	b.t.Helper()
	return b.eventually(id, string(want), func(i machine.Info) bool { return i.State == want })
}

// absent checks that nothing is left of a machine.
func (b *bed) absent(id string) {
	b.t.Helper()
	if _, err := b.Get(b.ctx, id); !errors.Is(err, machine.ErrNotFound) {
		b.t.Errorf("Get of a machine that is not there: %v, want ErrNotFound", err)
	}
	for _, l := range b.Leftovers(b.t, id) {
		b.t.Errorf("left over from %s: %s", id, l)
	}
}

// sh runs a shell command in a real machine and returns what it prints.
func (b *bed) sh(id, script string) string {
	b.t.Helper()
	var out, errs bytes.Buffer
	code, err := b.Exec(b.ctx, id, machine.Command{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &errs})
	if err != nil || code != 0 {
		b.t.Fatalf("%s: sh -c %q: exit code %d, %v\n%s%s", id, script, code, err, out.String(), errs.String())
	}
	return out.String()
}

// up waits until the machine's init says that all is well.
func (b *bed) up(id string) {
	b.t.Helper()
	b.sh(id, `for i in $(seq 300); do test "$(systemctl is-system-running --wait 2>/dev/null)" = running && exit 0; sleep 0.1; done; systemctl --failed --no-legend; exit 1`)
}

func (b *bed) needsReal() {
	b.t.Helper()
	if !b.Real {
		b.t.Skip("machines of this engine run no commands")
	}
}
