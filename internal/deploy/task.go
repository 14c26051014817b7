package deploy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// task is what came of one resource in a run.
type task struct {
	Operation string     `json:"operation"` // its id in the list of operations
	ID        string     `json:"id"`
	Type      string     `json:"type,omitempty"`
	Name      string     `json:"name,omitempty"`
	State     string     `json:"state"` // Running, Succeeded or Failed
	Status    int        `json:"status,omitempty"`
	Started   time.Time  `json:"started"`
	Ended     time.Time  `json:"ended,omitzero"`
	Error     *arm.Error `json:"error,omitempty"`
}

// outputTask is the key of the task that works the outputs out.
const outputTask = "outputs"

func (x *runner) loadTasks(tx *store.Tx) error {
	entries, err := tx.ListKV(bucketTasks + x.run)
	if err != nil {
		return err
	}
	for _, e := range entries {
		t := &task{}
		if err := json.Unmarshal(e.Value, t); err != nil {
			return err
		}
		x.tasks[e.Key] = t
	}
	return nil
}

func (x *runner) isDone(id string) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	t := x.tasks[strings.ToLower(id)]
	return t != nil && t.State == arm.Succeeded
}

// begin notes that work on a task begins.
func (x *runner) begin(key, id, resourceType, name string) {
	key = strings.ToLower(key)
	sum := sha256.Sum256([]byte(x.run + key))
	x.mu.Lock()
	defer x.mu.Unlock()
	x.tasks[key] = &task{Operation: strings.ToUpper(hex.EncodeToString(sum[:8])), ID: id, Type: resourceType, Name: name, State: stateRunning, Started: x.now()}
	x.dirty[key] = true
}

// end notes how a task ended.
func (x *runner) end(key, id string, status int, failure *arm.Error) {
	key = strings.ToLower(key)
	x.mu.Lock()
	defer x.mu.Unlock()
	t := *x.tasks[key]
	t.State, t.Ended, t.Status, t.Error = arm.Succeeded, x.now(), status, failure
	if failure != nil {
		t.State = arm.Failed
		if status == 0 {
			t.Status = http.StatusConflict
		}
	}
	x.tasks[key] = &t
	x.dirty[key] = true
}

// flushEvery is how often tasks are stored. They are for people to look at, and save work after a restart; the run does
// not hang on them.
const flushEvery = 100 * time.Millisecond

// keepFlushing stores changed tasks now and then until the function it returns is called.
func (x *runner) keepFlushing(ctx context.Context) func() {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(flushEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				x.flush(ctx)
			}
		}
	}()
	return func() { cancel(); <-done }
}

func (x *runner) flush(ctx context.Context) {
	x.mu.Lock()
	idle := len(x.dirty) == 0
	x.mu.Unlock()
	if idle {
		return
	}
	err := x.store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(x.doc.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && statusOf(d).Run != x.run {
			return nil // the deployment was deleted, or runs anew: nobody would ever remove these notes
		}
		if err != nil {
			return err
		}
		return x.flushTx(tx)
	})
	if err != nil && ctx.Err() == nil {
		x.log.Error("store tasks of a deployment", "id", x.doc.ID, "err", err)
	}
}

func (x *runner) flushTx(tx *store.Tx) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for key := range x.dirty {
		if err := tx.SetJSON(bucketTasks+x.run, key, x.tasks[key]); err != nil {
			return err
		}
	}
	clear(x.dirty)
	return nil
}
