package arm

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/store"
)

// stored returns the document of the test's cage.
func stored(t *testing.T, s *Server) *store.Doc {
	t.Helper()
	var d *store.Doc
	err := s.Store.View(t.Context(), func(tx *store.Tx) (err error) { d, err = tx.Get(ParsePath(cage).String()); return err })
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func inTx(t *testing.T, s *Server, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := s.Store.Update(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

// begin sends a write or a deletion and returns where its operation and its result are asked for.
func begin(t *testing.T, s *Server, method, body string) (status, result string) {
	t.Helper()
	code, m, h := call(t, s, method, cage, body)
	if code > 202 || h.Get("Azure-AsyncOperation") == "" || h.Get("Retry-After") != "1" {
		t.Fatalf("%s: %d %v %v", method, code, m, h)
	}
	return path(h.Get("Azure-AsyncOperation")), path(h.Get("Location"))
}

func path(url string) string {
	url, _, _ = strings.Cut(strings.TrimPrefix(url, "https://example.com"), "?")
	return url
}

func expectStatus(t *testing.T, s *Server, op, want string) map[string]any {
	t.Helper()
	code, m, h := call(t, s, "GET", op, "")
	if code != 200 || m["status"] != want || (want == InProgress) != (h.Get("Retry-After") == "1") {
		t.Fatalf("operation: %d %v, want %s", code, m, want)
	}
	return m
}

func TestWriteThatFailsAndIsRepeated(t *testing.T) {
	s := newServer(t)
	op, _ := begin(t, s, "PUT", `{"location":"local"}`)
	failure := Conflict("AllocationFailed", "There is no room: 2 GiB are free.")
	inTx(t, s, func(tx *store.Tx) error {
		d, err := tx.Get(ParsePath(cage).String())
		if err != nil {
			return err
		}
		return errors.Join(tx.SetStatus(d.ID, d.UID, Status{Settled: 1, ProvisioningState: Failed, Error: failure}), s.SettleWrites(tx, d, 1, failure))
	})
	m := expectStatus(t, s, op, Failed)
	if e, _ := m["error"].(map[string]any); e["code"] != "AllocationFailed" || m["endTime"] == nil {
		t.Errorf("%v", m)
	}
	_, m, _ = call(t, s, "GET", cage, "")
	if m["properties"].(map[string]any)["provisioningState"] != Failed {
		t.Errorf("%v", m)
	}
	// The same wish again is another try.
	op, _ = begin(t, s, "PUT", `{"location":"local"}`)
	if d := stored(t, s); d.Generation != 2 {
		t.Errorf("generation %d", d.Generation)
	}
	expectStatus(t, s, op, InProgress)
	settle(t, s, 2)
	expectStatus(t, s, op, Succeeded)
	// A wish that is carried out needs no operation.
	if _, _, h := call(t, s, "PUT", cage, `{"location":"local"}`); h.Get("Azure-AsyncOperation") != "" {
		t.Errorf("%v", h)
	}
}

func TestWritesSettleUpToTheirGeneration(t *testing.T) {
	s := newServer(t)
	first, _ := begin(t, s, "PUT", `{"location":"local"}`)
	second, _ := begin(t, s, "PUT", `{"location":"local","tags":{"a":"b"}}`)
	settle(t, s, 1)
	expectStatus(t, s, first, Succeeded)
	expectStatus(t, s, second, InProgress)
	if _, m, _ := call(t, s, "GET", cage, ""); m["properties"].(map[string]any)["provisioningState"] != "Updating" {
		t.Errorf("%v", m)
	}
	settle(t, s, 2)
	expectStatus(t, s, second, Succeeded)
}

func TestDeletionPreemptsWrites(t *testing.T) {
	s := newServer(t)
	write, _ := begin(t, s, "PUT", `{"location":"local"}`)
	first, result := begin(t, s, "DELETE", "")
	second, _ := begin(t, s, "DELETE", "")
	if code, _, h := call(t, s, "GET", result, ""); code != 202 || h.Get("Location") == "" || h.Get("Retry-After") != "1" {
		t.Errorf("result before the end: %d %v", code, h)
	}
	inTx(t, s, func(tx *store.Tx) error {
		d, err := tx.Get(ParsePath(cage).String())
		if err != nil {
			return err
		}
		return s.Gone(tx, d)
	})
	for _, op := range []string{first, second} {
		expectStatus(t, s, op, Succeeded)
	}
	m := expectStatus(t, s, write, Failed)
	if e, _ := m["error"].(map[string]any); e["code"] != "OperationPreempted" {
		t.Errorf("%v", m)
	}
	if code, _, _ := call(t, s, "GET", result, ""); code != 200 {
		t.Errorf("result: %d", code)
	}
	inTx(t, s, func(tx *store.Tx) error {
		open, err := s.OpenOperations(tx, ParsePath(cage).String())
		if len(open) != 0 {
			t.Errorf("still open: %+v", open)
		}
		return err
	})
}

func TestActionsHaveResults(t *testing.T) {
	s := newServer(t)
	put(t, s, cage, `{"location":"local"}`, 201)
	var good, bad, taken *Operation
	d := stored(t, s)
	inTx(t, s, func(tx *store.Tx) (err error) {
		good, err = s.StartOperation(tx, d, "runCommand", 0)
		bad, _ = s.StartOperation(tx, d, "runCommand", 0)
		taken, _ = s.StartOperation(tx, d, "runCommand", 0)
		return err
	})
	inTx(t, s, func(tx *store.Tx) error {
		return errors.Join(s.FinishOperation(tx, good, map[string]any{"value": "out"}, nil),
			s.FinishOperation(tx, bad, nil, Errorf(0, "Broken", "It broke.")),
			s.CancelOperation(tx, taken, Conflict("OperationPreempted", "Taken back.")))
	})
	base := "/subscriptions/s/providers/Test.Zoo/locations/local/"
	if m := expectStatus(t, s, base+"operations/"+good.ID, Succeeded); m["properties"].(map[string]any)["output"].(map[string]any)["value"] != "out" {
		t.Errorf("%v", m)
	}
	if code, m, _ := call(t, s, "GET", base+"operationResults/"+good.ID, ""); code != 200 || m["value"] != "out" {
		t.Errorf("%d %v", code, m)
	}
	if code, m, _ := call(t, s, "GET", base+"operationresults/"+bad.ID, ""); code != 409 || m["error"].(map[string]any)["code"] != "Broken" {
		t.Errorf("%d %v", code, m)
	}
	expectStatus(t, s, base+"operations/"+taken.ID, Canceled)
	if code, m, _ := call(t, s, "GET", base+"operations/none", ""); code != 404 || m["error"].(map[string]any)["code"] != "OperationNotFound" {
		t.Errorf("%d %v", code, m)
	}
}

func TestWait(t *testing.T) {
	s := newServer(t)
	put(t, s, cage, `{"location":"local"}`, 201)
	d := stored(t, s)
	var op *Operation
	inTx(t, s, func(tx *store.Tx) (err error) { op, err = s.StartOperation(tx, d, "restart", 0); return err })
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if got, err := s.Wait(ctx, op.ID); !errors.Is(err, context.DeadlineExceeded) || got.Done() {
		t.Errorf("%+v %v", got, err)
	}
	done := make(chan *Operation)
	go func() {
		got, _ := s.Wait(context.Background(), op.ID)
		done <- got
	}()
	inTx(t, s, func(tx *store.Tx) error { return s.FinishOperation(tx, op, nil, nil) })
	select {
	case got := <-done:
		if got.Status != Succeeded {
			t.Errorf("%+v", got)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("never woken")
	}
	if _, err := s.Wait(t.Context(), "none"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("%v", err)
	}
}

func TestPruneKeepsTheOpenAndTheRecent(t *testing.T) {
	s := newServer(t)
	put(t, s, cage, `{"location":"local"}`, 201)
	d, now := stored(t, s), time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	s.Now = func() time.Time { return now }
	var old, recent, open *Operation
	inTx(t, s, func(tx *store.Tx) error {
		open, _ = s.StartOperation(tx, d, "a", 0)
		old, _ = s.StartOperation(tx, d, "b", 0)
		recent, _ = s.StartOperation(tx, d, "c", 0)
		return s.FinishOperation(tx, old, nil, nil)
	})
	now = now.Add(20 * time.Hour)
	inTx(t, s, func(tx *store.Tx) error { return s.FinishOperation(tx, recent, nil, nil) })
	now = now.Add(5 * time.Hour)
	inTx(t, s, s.PruneOperations)
	for op, kept := range map[*Operation]bool{open: true, old: false, recent: true} {
		if _, err := s.operation(t.Context(), op.ID); (err == nil) != kept {
			t.Errorf("%s: %v, kept should be %v", op.Verb, err, kept)
		}
	}
}

// Whoever may not read a resource may not read its operations either.
func TestOperationsAreForReaders(t *testing.T) {
	s := newServer(t)
	op, _ := begin(t, s, "PUT", `{"location":"local"}`)
	s.Access = nobody{}
	if code, _, _ := call(t, s, "GET", op, ""); code != 403 {
		t.Errorf("%d", code)
	}
}

type nobody struct{ everybody }

func (nobody) Allowed(context.Context, Caller, string, ID) bool { return false }
