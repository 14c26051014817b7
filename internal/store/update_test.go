package store

import (
	"errors"
	"runtime"
	"slices"
	"testing"
)

// together runs functions in one transaction, in this order, and returns what their Updates returned; one that panics
// returns errPanicked.
func together(t *testing.T, s *Store, fns ...func(*Tx) error) []error {
	t.Helper()
	errs := make([]error, len(fns))
	ended := make(chan struct{})
	for i, fn := range fns {
		started := make(chan struct{})
		go func() {
			defer func() {
				if recover() != nil {
					errs[i] = errPanicked
				}
				ended <- struct{}{}
			}()
			errs[i] = s.Update(t.Context(), func(tx *Tx) error {
				close(started)
				for i < len(fns)-1 && s.waiting.Load() == 0 { // until the next one is there
					runtime.Gosched()
				}
				return fn(tx)
			})
		}()
		<-started
	}
	for range fns {
		<-ended
	}
	return errs
}

var errPanicked, errBoom = errors.New("panicked"), errors.New("boom")

func set(key string) func(*Tx) error {
	return func(tx *Tx) error { return tx.SetKV("b", key, []byte(key)) }
}

func keys(t *testing.T, s *Store) (out []string) {
	t.Helper()
	err := s.View(t.Context(), func(tx *Tx) error {
		entries, err := tx.ListKV("b")
		for _, e := range entries {
			out = append(out, e.Key)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Updates that share a transaction fail alone.
func TestFailureInABatchIsOnesOwn(t *testing.T) {
	s := fresh(t)
	errs := together(t, s,
		func(tx *Tx) error { set("first")(tx); return errBoom },
		set("a"),
		func(tx *Tx) error { set("a")(tx); set("failed")(tx); return errBoom },
		func(tx *Tx) error {
			if v, err := tx.GetKV("b", "a"); err != nil || string(v) != "a" {
				t.Errorf("what came before: %q, %v", v, err)
			}
			return set("c")(tx)
		},
		func(tx *Tx) error { set("panicked")(tx); panic("no") },
		set("d"))
	if want := []error{errBoom, nil, errBoom, nil, errPanicked, nil}; !slices.Equal(errs, want) {
		t.Errorf("%v, not %v", errs, want)
	}
	if got := keys(t, s); !slices.Equal(got, []string{"a", "c", "d"}) {
		t.Errorf("%q", got)
	}
}

// Where SQLite undoes the whole transaction, all who are in it are told, and the store goes on.
func TestUndoneBatchIsEverybodys(t *testing.T) {
	s := fresh(t)
	sub := s.Subscribe()
	defer sub.Close()
	errs := together(t, s,
		func(tx *Tx) error { return tx.Put(&Doc{ID: "/s/a", Type: "t"}, now) },
		func(tx *Tx) error { tx.exec("ROLLBACK"); return errBoom },
		set("b"))
	if errs[0] == nil || !errors.Is(errs[1], errBoom) || errs[2] != nil {
		t.Errorf("%v", errs)
	}
	if woken(sub) {
		t.Error("woken")
	}
	if got := keys(t, s); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%q", got)
	}
}
