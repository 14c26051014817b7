package storage

import (
	"context"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"lido.dev/lido/internal/store"
)

// dying is a context that ends when it has been asked a number of times, somewhere in the middle of the work.
type dying struct {
	context.Context
	left   atomic.Int64
	cancel context.CancelFunc
}

func dieAfter(n int64) *dying {
	ctx, cancel := context.WithCancel(context.Background())
	d := &dying{Context: ctx, cancel: cancel}
	d.left.Store(n)
	return d
}

func (d *dying) Done() <-chan struct{} {
	d.tick()
	return d.Context.Done()
}

func (d *dying) Err() error {
	d.tick()
	return d.Context.Err()
}

func (d *dying) tick() {
	if d.left.Add(-1) < 0 {
		d.cancel()
	}
}

// Deleting and restoring may stop anywhere: after the next start the data is where its document says, and only there.
func TestEveryStepMayBeTheLast(t *testing.T) {
	alive := false
	step := int64(3)
	if testing.Short() {
		step = 9
	}
	n := step
	for ; !alive && n < 1000; n += step {
		f := newFixture(t)
		f.put(pool, wish, 200)
		f.put(pool+"/fileServices/default", `{"properties":{"shareDeleteRetentionPolicy":{"enabled":true,"days":7}}}`, 200)
		f.put(shares+"/work", `{}`, 201)
		os.WriteFile(filepath.Join(f.Dir("poolshare", "work"), "mine"), []byte("x"), 0o600)

		ctx := dieAfter(n)
		f.mounts.fail = fmt.Errorf("not now") // so that the steps come when we take them
		f.must("DELETE", shares+"/work", "", 200)
		f.mounts.fail = nil
		f.moveAside(ctx)
		for _, item := range f.must("GET", shares+"?$expand=deleted", "", 200)["value"].([]any) {
			body := fmt.Sprintf(`{"deletedShareName":"work","deletedShareVersion":%q}`, props(item.(map[string]any))["version"])
			r := httptest.NewRequest("POST", shares+"/back/restore?api-version=2022-09-01", strings.NewReader(body)).WithContext(ctx)
			f.arm.ServeHTTP(httptest.NewRecorder(), r)
		}
		alive = ctx.Context.Err() == nil

		f.restart()
		f.run()
		f.checkWhereItIs(n)
		f.stop()
	}
	if !alive {
		t.Error("it never came to the end")
	}
	t.Logf("%d steps", n)
}

// checkWhereItIs waits until the room is at rest and looks for the one copy of the file.
func (f *fixture) checkWhereItIs(n int64) {
	f.Helper()
	f.eventually("nothing is under way", func() bool {
		var open []*discarded
		f.arm.Store.View(context.Background(), func(tx *store.Tx) (err error) { open, err = listTrash(tx); return err })
		for _, t := range open {
			if !t.Moved || t.Restoring {
				return false
			}
		}
		return true
	})
	all, _ := filepath.Glob(filepath.Join(f.dir, "shares", "*", "*", "mine")) // what was moved aside, too
	code, _ := f.call("GET", shares+"/back", "")
	kept := 0
	for _, item := range f.must("GET", shares+"?$expand=deleted", "", 200)["value"].([]any) {
		if props(item.(map[string]any))["deleted"] == true {
			kept++
		}
	}
	want := filepath.Join(f.dir, "shares", trashDir)
	if code == 200 {
		want = f.Dir("poolshare", "back")
	}
	if len(all) != 1 || !strings.HasPrefix(all[0], want) || (code == 200) == (kept == 1) {
		f.Fatalf("after %d steps: share %d, deleted ones %d, file in %v", n, code, kept, all)
	}
}
