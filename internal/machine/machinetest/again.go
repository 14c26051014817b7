package machinetest

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
)

func ownerOf(path string) (uint32, error) {
	var st unix.Stat_t
	err := unix.Lstat(path, &st)
	return st.Uid, err
}

func (b *bed) needsState() {
	b.t.Helper()
	if b.Reopen == nil {
		b.t.Skip("this engine keeps no state")
	}
}

func testAdopt(b *bed) {
	b.needsState()
	b.boot("runs")
	b.boot("stopped")
	b.must(b.Stop(b.ctx, "stopped", 0))
	b.create("created")
	before := b.info("runs")
	b.Engine = b.Reopen(b.t)
	after := b.info("runs")
	if after.State != machine.Running || after.Init != before.Init || after.Boots != 1 || !after.StartedAt.Equal(before.StartedAt) {
		b.t.Errorf("adopted as %+v, was %+v", after, before)
	}
	if s := b.info("stopped").State; s != machine.Stopped {
		b.t.Errorf("a stopped machine became %s", s)
	}
	if s := b.info("created").State; s != machine.Created {
		b.t.Errorf("a created machine became %s", s)
	}
	b.watching("runs", func() {
		b.Does(b.t, "runs", Reboots)
		b.eventually("runs", "its second boot", func(i machine.Info) bool { return i.Boots == 2 && i.State == machine.Running })
	})
}

// testExitWhileAway has machines end while no engine is open.
func testExitWhileAway(b *bed) {
	b.needsState()
	for _, id := range []string{"off", "boots", "dies"} {
		b.boot(id)
	}
	b.Leave()
	for id, event := range map[string]Event{"off": PowersOff, "boots": Reboots, "dies": Crashes} {
		b.Does(b.t, id, event)
	}
	b.Engine = b.Reopen(b.t)
	b.state("off", machine.Stopped)
	b.eventually("boots", "its second boot", func(i machine.Info) bool { return i.Boots == 2 && i.State == machine.Running && i.Restarts == 0 })
	b.eventually("dies", "its restart", func(i machine.Info) bool { return i.Boots == 2 && i.State == machine.Running && i.Restarts == 1 })
}

// testKilled kills the process at each step of each operation, opens the state again and repeats the operation.
func testKilled(b *bed) {
	if b.Crash == nil {
		b.t.Skip("this engine keeps no state")
	}
	for _, op := range []Op{OpCreate, OpStart, OpMount, OpStop, OpDelete} {
		steps := b.Steps[op]
		if testing.Short() {
			steps = steps[len(steps)-1:]
		}
		for _, step := range steps {
			b.t.Run(string(op)+"/"+step, func(t *testing.T) {
				c := *b
				c.t = t
				c.killedAt(op, step)
				b.Engine = c.Engine
			})
		}
	}
}

func (b *bed) killedAt(op Op, step string) {
	spec := b.Spec("m1")
	if op != OpCreate {
		b.must(b.Create(b.ctx, spec))
	}
	if op != OpCreate && op != OpStart {
		b.must(b.Start(b.ctx, "m1"))
	}
	b.Crash(b.t, op, spec, step)
	b.Engine = b.Reopen(b.t)
	b.must(Do(b.ctx, b.Engine, op, spec))
	switch op {
	case OpCreate, OpStart, OpMount:
		b.must(b.Create(b.ctx, spec))
		b.must(b.Start(b.ctx, "m1"))
		if i := b.info("m1"); i.State != machine.Running {
			b.t.Errorf("after the retry: %+v", i)
		}
		if b.Real {
			b.sh("m1", "true")
		}
	case OpStop:
		b.state("m1", machine.Stopped)
	}
	b.must(b.Delete(b.ctx, "m1"))
	b.absent("m1")
	time.Sleep(time.Millisecond)
}
