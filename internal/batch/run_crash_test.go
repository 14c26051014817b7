package batch

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// TestJobsOverRestarts ends the room at any moment, again and again, while jobs run. Each job's side effect must be
// there exactly once.
func TestJobsOverRestarts(t *testing.T) {
	const jobs, nodes = 120, 3
	g := newRig(t, nodes)
	effects := filepath.Join(g.dir, "effects")
	if err := os.Mkdir(effects, 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range jobs {
		name := fmt.Sprintf("j%d", i)
		command := fmt.Sprintf("echo $RANDOM >> %s/%s; sleep 0.0%d", effects, name, i%5)
		switch i % 4 {
		case 3:
			g.submit(name, 2, custom(command), `,"jobPreparation":{"commandLine":"echo prepared"}`)
		case 2:
			g.submit(name, 1, custom(command+"; exit 7"), "")
		default:
			g.submit(name, 1, custom(command), "")
		}
	}
	dice := rand.New(rand.NewSource(7))
	restarts := 0
	for deadline := time.Now().Add(60 * time.Second); g.open() > 0; restarts++ {
		if time.Now().After(deadline) {
			t.Fatalf("%d jobs have not ended after %d restarts", g.open(), restarts)
		}
		time.Sleep(time.Duration(dice.Intn(60)) * time.Millisecond)
		g.down()
		g.up()
	}
	for i := range jobs {
		name := fmt.Sprintf("j%d", i)
		b, _ := os.ReadFile(filepath.Join(effects, name))
		st := g.status(name)
		code := map[bool]int{true: 7, false: 0}[i%4 == 2]
		if n := strings.Count(string(b), "\n"); n != 1 || st.ExitCode == nil || *st.ExitCode != code || st.Attempt != 1 {
			t.Errorf("%s ran %d times: %+v", name, n, st)
		}
	}
	t.Logf("%d restarts", restarts)
}

// open returns how many jobs have not ended.
func (g *rig) open() (n int) {
	g.room.Store.View(g.Context(), func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Type: TypeJob})
		for _, d := range docs {
			var st jobStatus
			arm.Decode(d.Status, &st)
			if !st.ended() {
				n++
			}
		}
		return err
	})
	return n
}

// TestManyJobs measures how fast trivial jobs are.
func TestManyJobs(t *testing.T) {
	const jobs = 100
	g := newRig(t, 4)
	began := time.Now()
	for i := range jobs {
		g.submit(fmt.Sprintf("j%d", i), 1, custom("true"), "")
	}
	submitted := time.Since(began)
	for g.open() > 0 {
		time.Sleep(5 * time.Millisecond)
	}
	took := time.Since(began)
	began = time.Now()
	g.submit("one", 1, custom("true"), "")
	g.ended("one")
	t.Logf("%d jobs: submitted in %v, done in %v; one job alone: %v", jobs, submitted, took, time.Since(began))
}

// TestJobsOverLostNodes also loses nodes' agents, with all that runs there. A job then runs again, but never more often
// than it was given nodes, and none is lost.
func TestJobsOverLostNodes(t *testing.T) {
	const jobs, nodes = 40, 3
	g := newRig(t, nodes)
	effects := filepath.Join(g.dir, "effects")
	if err := os.Mkdir(effects, 0o777); err != nil {
		t.Fatal(err)
	}
	for i := range jobs {
		name := fmt.Sprintf("j%d", i)
		g.submit(name, 1+i%2, custom(fmt.Sprintf("echo $RANDOM >> %s/%s; sleep 0.05", effects, name)), "")
	}
	dice := rand.New(rand.NewSource(11))
	for round := range 25 {
		time.Sleep(time.Duration(dice.Intn(100)) * time.Millisecond)
		name := fmt.Sprintf("n%d", dice.Intn(nodes))
		g.agents[name].stop()
		if round%3 == 0 {
			g.down()
			g.up()
		}
		g.startAgent(name)
	}
	for i := range jobs {
		name := fmt.Sprintf("j%d", i)
		st := g.ended(name)
		b, _ := os.ReadFile(filepath.Join(effects, name))
		lost := len(st.Errors) == 1 && st.Errors[0].Code == "NodeRestarted" && st.Retries == maxRetries
		if n := strings.Count(string(b), "\n"); n > st.Attempt || n == 0 && !lost || st.State != stateSucceeded && !lost {
			t.Errorf("%s ran %d times: %+v", name, n, st)
		}
	}
}
