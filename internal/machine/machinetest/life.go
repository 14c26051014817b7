package machinetest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"lido.dev/lido/internal/machine"
)

// grace is ample time for an orderly shutdown.
const grace = 30 * time.Second

func testLife(b *bed) {
	spec := b.create("m1")
	if i := b.info("m1"); i.State != machine.Created || i.Boots != 0 || i.Spec.Hostname != spec.Hostname {
		b.t.Errorf("after create: %+v", i)
	}
	for range 2 { // the second does nothing
		b.must(b.Start(b.ctx, "m1"))
	}
	if i := b.info("m1"); i.State != machine.Running || i.Boots != 1 || i.StartedAt.IsZero() {
		b.t.Errorf("after start: %+v", i)
	}
	for range 2 {
		b.must(b.Stop(b.ctx, "m1", grace))
	}
	if i := b.info("m1"); i.State != machine.Stopped || i.Restarts != 0 || i.StoppedAt.IsZero() {
		b.t.Errorf("after stop: %+v", i)
	}
	for range 2 {
		b.must(b.Delete(b.ctx, "m1"))
	}
	b.absent("m1")
}

func testCreate(b *bed) {
	spec := b.create("m1")
	b.must(b.Create(b.ctx, spec))
	spec.Hostname += "-other"
	if err := b.Create(b.ctx, spec); !errors.Is(err, machine.ErrExists) {
		b.t.Errorf("create with another spec: %v, want ErrExists", err)
	}
	b.must(b.Delete(b.ctx, "m1"))
	b.must(b.Create(b.ctx, spec))
	if got := b.info("m1").Spec.Hostname; got != spec.Hostname {
		b.t.Errorf("hostname after delete and create: %q", got)
	}
}

func testUnknown(b *bed) {
	_, getErr := b.Get(b.ctx, "none")
	_, execErr := b.Exec(b.ctx, "none", machine.Command{Args: []string{"true"}})
	for what, err := range map[string]error{
		"Get": getErr, "Exec": execErr, "Start": b.Start(b.ctx, "none"), "Stop": b.Stop(b.ctx, "none", 0),
		"Mount": b.Mount(b.ctx, "none", machine.Mount{Source: "/", Target: "/x"}), "Unmount": b.Unmount(b.ctx, "none", "/x"),
	} {
		if !errors.Is(err, machine.ErrNotFound) {
			b.t.Errorf("%s of an unknown machine: %v, want ErrNotFound", what, err)
		}
	}
	b.must(b.Delete(b.ctx, "none"))
	b.create("idle")
	if _, err := b.Exec(b.ctx, "idle", machine.Command{Args: []string{"true"}}); !errors.Is(err, machine.ErrNotRunning) {
		b.t.Errorf("Exec in a machine that does not run: %v, want ErrNotRunning", err)
	}
	b.must(b.Stop(b.ctx, "idle", 0))
	if s := b.info("idle").State; s != machine.Created {
		b.t.Errorf("stopped before its first start, the machine is %s", s)
	}
}

func testList(b *bed) {
	for _, id := range []string{"c", "a", "b"} {
		b.create(id)
	}
	infos, err := b.List(b.ctx)
	b.must(err)
	var ids []string
	for _, i := range infos {
		ids = append(ids, i.ID)
	}
	if got := strings.Join(ids, " "); got != "a b c" {
		b.t.Errorf("listed %q", got)
	}
}

func testStopStart(b *bed) {
	b.boot("m1")
	if b.Real {
		b.sh("m1", "echo kept > /root/note")
	}
	b.must(b.Stop(b.ctx, "m1", grace))
	b.must(b.Start(b.ctx, "m1"))
	if i := b.info("m1"); i.State != machine.Running || i.Boots != 2 || i.Restarts != 0 {
		b.t.Errorf("after the second start: %+v", i)
	}
	if b.Real && b.sh("m1", "cat /root/note") != "kept\n" {
		b.t.Error("a stop lost files")
	}
	b.must(b.Stop(b.ctx, "m1", 0)) // at once
	if s := b.info("m1").State; s != machine.Stopped {
		b.t.Errorf("stopped without grace, the machine is %s", s)
	}
}

func testDeleteRunning(b *bed) {
	b.boot("m1")
	b.must(b.Delete(b.ctx, "m1"))
	b.absent("m1")
	b.boot("m1") // the id, the link's name and the range are free again
	b.must(b.Delete(b.ctx, "m1"))
	b.absent("m1")
}

// testTogether has the same calls made by several at once.
func testTogether(b *bed) {
	spec, other := b.Spec("m1"), b.Spec("m2")
	var wg sync.WaitGroup
	for range 4 {
		for _, s := range []machine.Spec{spec, other} {
			wg.Go(func() {
				if err := errors.Join(b.Create(b.ctx, s), b.Start(b.ctx, s.ID)); err != nil {
					b.t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	for _, id := range []string{"m1", "m2"} {
		if i := b.info(id); i.State != machine.Running || i.Boots != 1 {
			b.t.Errorf("%s: %s after %d boots", id, i.State, i.Boots)
		}
	}
	for _, id := range []string{"m1", "m1", "m2", "m2"} {
		wg.Go(func() { b.must(b.Delete(b.ctx, id)) })
	}
	wg.Wait()
	b.absent("m1")
	b.absent("m2")
}

// watching calls f while the engine is watched and checks that the machine was reported.
func (b *bed) watching(id string, f func()) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.ctx)
	seen, ended := make(chan string, 100), make(chan error, 1)
	go func() {
		ended <- b.Watch(ctx, func(id string) {
			b.Get(ctx, id) // a watcher may look at the machine that it is told about
			seen <- id
		})
	}()
	time.Sleep(20 * time.Millisecond)
	f()
	select {
	case got := <-seen:
		if got != id {
			b.t.Errorf("watched %q, want %q", got, id)
		}
	case <-time.After(10 * time.Second):
		b.t.Error("the change was not reported to Watch")
	}
	cancel()
	if err := <-ended; err == nil {
		b.t.Error("Watch returned nil when its context ended")
	}
}

func testPowerOff(b *bed) {
	b.boot("m1")
	b.watching("m1", func() {
		b.Does(b.t, "m1", PowersOff)
		b.state("m1", machine.Stopped)
	})
	if i := b.info("m1"); i.Restarts != 0 || i.Reason == "" {
		b.t.Errorf("after poweroff: %+v", i)
	}
	b.must(b.Start(b.ctx, "m1"))
	b.state("m1", machine.Running)
}

func testReboot(b *bed) {
	b.create("m1")
	dir := b.Dir(b.t)
	b.must(b.Mount(b.ctx, "m1", machine.Mount{Source: dir, Target: "/mnt/share"}))
	b.must(b.Start(b.ctx, "m1"))
	if b.Real {
		b.sh("m1", "echo kept > /root/note; echo there > /mnt/share/note")
	}
	b.watching("m1", func() {
		b.Does(b.t, "m1", Reboots)
		b.eventually("m1", "its second boot", func(i machine.Info) bool { return i.Boots == 2 && i.State == machine.Running })
	})
	if i := b.info("m1"); i.Restarts != 0 {
		b.t.Errorf("a reboot counted as a crash: %+v", i)
	}
	if b.Real {
		if got := b.sh("m1", "cat /root/note /mnt/share/note"); got != "kept\nthere\n" {
			b.t.Errorf("after a reboot: %q", got)
		}
	}
}

func testCrash(b *bed) {
	b.boot("m1")
	if b.Real {
		b.sh("m1", "echo kept > /root/note; sync")
	}
	b.watching("m1", func() {
		b.Does(b.t, "m1", Crashes)
		b.eventually("m1", "its restart", func(i machine.Info) bool { return i.Boots == 2 && i.State == machine.Running })
	})
	if i := b.info("m1"); i.Restarts != 1 {
		b.t.Errorf("after a crash: %+v", i)
	}
	if b.Real && b.sh("m1", "cat /root/note") != "kept\n" {
		b.t.Error("a crash lost files")
	}
}

func testBroken(b *bed) {
	spec := b.Broken("m1")
	b.must(b.Create(b.ctx, spec))
	_ = b.Start(b.ctx, "m1") // may fail here already, or return when init was started and fails later
	i := b.state("m1", machine.Failed)
	if i.Reason == "" || i.Boots != 3 {
		b.t.Errorf("failed after %d boots with the reason %q", i.Boots, i.Reason)
	}
	b.t.Logf("reason: %s", i.Reason)
	_ = b.Start(b.ctx, "m1") // asked again, it is tried again
	b.eventually("m1", "three more tries", func(i machine.Info) bool { return i.Boots == 6 && i.State == machine.Failed })
	b.must(b.Delete(b.ctx, "m1"))
	b.absent("m1")
}

func describe(m []machine.Mount) string { return fmt.Sprintf("%+v", m) }
