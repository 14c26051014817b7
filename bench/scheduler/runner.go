package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/batch"
	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

// runnerMemory returns what lido's whole batch pool keeps in memory of each queued job, with so many in the store, after it
// was started: the scheduler's part, the document's id, and by which agents and requests find the job.
func runnerMemory(ctx context.Context, queue int, seed uint64, o options) (perJob float64, err error) {
	dir, err := os.MkdirTemp("", "lido-bench-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(dir)
	st, err := store.Open(filepath.Join(dir, "lido.db"))
	if err != nil {
		return 0, err
	}
	defer st.Close()
	if err := fill(ctx, st, queue, newWorkload(seed, o)); err != nil {
		return 0, err
	}
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		return 0, err
	}
	log := slog.New(slog.DiscardHandler)
	room := batch.New(batch.Config{Server: arm.New(st, box, nobody{}, log), Store: st, Log: log, Agents: node.NewHub(log)})
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	before := inUse()
	ended := make(chan error, 1)
	go func() { ended <- room.Run(ctx) }()
	loaded := make(chan struct{})
	go func() {
		defer close(loaded)
		room.Hear(node.Event{Machine: "none", Gone: true}) // waits until the store was read
	}()
	select {
	case <-loaded:
	case err := <-ended:
		return 0, errors.Join(err, errors.New("the batch pool ended before it had read the store"))
	}
	perJob = float64(inUse()-before) / float64(queue)
	cancel()
	err = <-ended
	runtime.KeepAlive(room)
	return perJob, err
}

const benchGroup = "/subscriptions/00000000-0000-4000-8000-000000000000/resourceGroups/bench/providers/Microsoft.BatchAI/workspaces/bench/"

// fill writes the documents of queued jobs.
func fill(ctx context.Context, st *store.Store, queue int, w *workload) error {
	for done := 0; done < queue; {
		err := st.Update(ctx, func(tx *store.Tx) error {
			for ; done < queue; done++ {
				if err := putJob(tx, w.job()); err != nil || done%1000 == 999 {
					done++
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func putJob(tx *store.Tx, j job) error {
	desired, err := json.Marshal(map[string]any{"submittedBy": j.person + "@lido.local", "properties": map[string]any{
		"cluster": map[string]any{"id": benchGroup + "clusters/bench"}, "nodeCount": j.nodes, "schedulingPriority": "normal",
		"constraints":           map[string]any{"maxWallClockTime": fmt.Sprintf("PT%dS", int(j.limit.Seconds()))},
		"stdOutErrPathPrefix":   "$AZ_BATCHAI_MOUNT_ROOT/out",
		"customToolkitSettings": map[string]any{"commandLine": "true"},
	}})
	if err != nil {
		return err
	}
	return tx.Put(&store.Doc{ID: benchGroup + "experiments/bench/jobs/" + j.id, Type: batch.TypeJob, APIVersion: "2018-05-01", Desired: desired}, epoch.Add(time.Duration(j.seq)*time.Second))
}

// nobody may do anything: no request is made.
type nobody struct{}

func (nobody) Authenticate(*http.Request) (arm.Caller, error) {
	return arm.Caller{}, errors.New("nobody is known here")
}

func (nobody) Allowed(context.Context, arm.Caller, string, arm.ID) bool { return false }
