package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/machine"
)

// adoptAll makes the engine what its directories say: whole machines are taken over, half made ones undone, half
// deleted ones deleted, and things without a machine swept.
func (e *Engine) adoptAll() error {
	ids, err := e.recordedIDs()
	if err != nil {
		return err
	}
	e.strays = e.helperProcesses()
	defer func() { e.strays = nil }()
	for _, id := range ids {
		if err := e.adopt(id); err != nil {
			return fmt.Errorf("machine %q: %w", id, err)
		}
	}
	if err := e.sweep(); err != nil {
		return err
	}
	scratch, _ := filepath.Glob(filepath.Join(e.cfg.RunDir, "exec-*"))
	for _, d := range scratch {
		os.RemoveAll(d)
	}
	return e.releaseStrays()
}

func (e *Engine) adopt(id string) error {
	r, err := e.load(id)
	if errors.Is(err, fs.ErrNotExist) {
		return e.removeDir(id)
	}
	if err != nil {
		return e.setAside(id, err)
	}
	b := &box{id: id, rec: *r}
	b.mu.Lock()
	defer b.mu.Unlock()
	e.machines[id] = b
	e.cpuSets[id] = r.CPUSet
	e.publish(r)
	if r.Phase != ready {
		e.killStrays(id)
		return e.unmake(b)
	}
	if e.findRunning(b) {
		e.watch(b)
		if b.rec.Want == machine.Stopped {
			e.finishStop(b)
		}
		return nil
	}
	e.killStrays(id)
	if r.Want == machine.Running {
		e.settleAdopted(b)
		return nil
	}
	if r.State == machine.Running {
		e.rest(b, machine.Stopped)
		return nil
	}
	return e.teardown(b)
}

// setAside takes a machine out of the engine's sight whose record cannot be read, so that it costs the host nothing and
// the others live on; what it wrote is kept.
func (e *Engine) setAside(id string, why error) error {
	aside := filepath.Join(e.cfg.Dir, ".lost-"+id)
	e.log.Error("a machine's record cannot be read; its files are set aside", "machine", id, "err", why, "at", aside)
	e.killStrays(id)
	b := &box{id: id, rec: record{Init: e.initFromPidFile(id)}}
	return errors.Join(e.teardown(b), os.RemoveAll(aside), os.Rename(e.dir(id), aside))
}

// findRunning tells whether the machine's init runs, started and not only made, or has ended so lately that conmon is
// still about to note it. It completes the record.
func (e *Engine) findRunning(b *box) bool {
	if _, err := os.Stat(filepath.Join(e.stateDir(), b.id, "state.json")); err != nil {
		return false
	}
	if _, err := os.Stat(filepath.Join(e.stateDir(), b.id, "exec.fifo")); err == nil {
		return false // made, but never told to go on
	}
	if b.rec.Init.PID == 0 {
		b.rec.Init = e.initFromPidFile(b.id)
	}
	if b.rec.Conmon.PID == 0 {
		b.rec.Conmon = e.conmonOf(b.id)
	}
	if !e.host.alive(b.rec.Init) && !e.host.alive(b.rec.Conmon) {
		return false
	}
	if b.rec.State != machine.Running {
		b.rec.State, b.rec.StartedAt = machine.Running, e.cfg.Now()
	}
	if err := e.save(&b.rec); err != nil {
		e.log.Error("machine record not saved", "machine", b.id, "err", err)
	}
	return true
}

// initFromPidFile finds the init of a boot whose record was not written any more. The pid is believed only if the
// process is in the machine's cgroup.
func (e *Engine) initFromPidFile(id string) process {
	data, err := os.ReadFile(filepath.Join(e.bundle(id), "init.pid"))
	if err != nil {
		return process{}
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return process{}
	}
	groups, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cgroup")
	if !strings.Contains(string(groups), filepath.Join(e.cgroupParent(), e.cgroupName(id))) {
		return process{}
	}
	p, err := e.host.process(pid)
	if err != nil {
		return process{}
	}
	return p
}

// settleAdopted does what follows the end of a boot that happened while no engine was there.
func (e *Engine) settleAdopted(b *box) {
	if b.rec.State == machine.Running && !b.rec.Ended {
		e.settle(b)
		return
	}
	e.rebootLater(b, 0) // the next boot was due or had not come to init
}

// finishStop goes on with a stop that was under way.
func (e *Engine) finishStop(b *box) {
	e.signal(b.rec.Init, sigPoweroff)
	run := b.run
	e.wg.Go(func() { e.awaitEnd(b.id, run, 30*time.Second) })
}

// sweep removes bundles, container states and cgroups that belong to no machine.
func (e *Engine) sweep() error {
	strays := map[string]bool{}
	for _, dir := range append([]string{e.stateDir(), filepath.Join(e.cfg.RunDir, "m")}, e.cgroupDirsOfAll()...) {
		entries, _ := os.ReadDir(dir)
		for _, d := range entries {
			id := e.idOfCgroup(d.Name())
			if d.IsDir() && idForm.MatchString(id) && e.machines[id] == nil {
				strays[id] = true
			}
		}
	}
	for id := range strays {
		e.killStrays(id)
		e.log.Info("sweeping what a lost machine left", "machine", id)
		b := &box{id: id, rec: record{Init: e.initFromPidFile(id)}}
		if err := e.teardown(b); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) idOfCgroup(name string) string {
	return strings.TrimSuffix(strings.TrimPrefix(name, "lido-"+e.cfg.Tag+"-"), ".scope")
}
