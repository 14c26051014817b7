//go:build root

package runc

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/machinetest"
)

// opChurn has the process to be killed do everything with several machines until it dies.
const opChurn machinetest.Op = "churn"

func churn(e *Engine, specs []machine.Spec) {
	ctx := context.Background()
	var wg sync.WaitGroup
	for _, s := range specs {
		wg.Go(func() {
			for {
				switch rand.IntN(6) {
				case 0, 1:
					_ = e.Create(ctx, s)
				case 2, 3:
					_ = e.Start(ctx, s.ID)
				case 4:
					_ = e.Stop(ctx, s.ID, time.Duration(rand.IntN(2))*time.Second)
				case 5:
					_ = e.Delete(ctx, s.ID)
				}
			}
		})
	}
	wg.Wait()
}

// TestKilledAtAnyMoment kills a busy engine at random moments, again and again on the same state, and wants each next
// one to find its way, and nothing of it to be left at the end.
func TestKilledAtAnyMoment(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	l := newLab(t)
	job := crashJob{Dir: l.cfg.Dir, RunDir: l.cfg.RunDir, Tag: l.cfg.Tag, Op: opChurn}
	for i := range 3 {
		job.Specs = append(job.Specs, l.spec(fmt.Sprintf("m%d", i)))
	}
	for range rounds {
		l.killedAfter(t, job, time.Duration(50+rand.IntN(700))*time.Millisecond)
	}
	e := l.open(t)
	for _, s := range job.Specs {
		start(t, e, s)
		up(t, e, s.ID)
		if err := e.Delete(t.Context(), s.ID); err != nil {
			t.Error(err)
		}
		for _, f := range l.leftovers(t, s.ID) {
			t.Errorf("left over from %s: %s", s.ID, f)
		}
	}
}

func (l *lab) killedAfter(t *testing.T, job crashJob, d time.Duration) {
	t.Helper()
	data, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env, cmd.Stderr = append(os.Environ(), "LIDO_TEST_CRASH="+string(data)), log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(d)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code >= 0 {
		out, _ := os.ReadFile(log.Name())
		t.Fatalf("the busy engine ended by itself with %d:\n%s", code, out)
	}
}
