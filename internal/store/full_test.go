package store

import (
	"errors"
	"path/filepath"
	"testing"
)

// A store without room says so, changes nothing, and goes on when there is room again.
func TestFull(t *testing.T) {
	s := open(t, filepath.Join(t.TempDir(), "lido.db"))
	limit := func(pages string) {
		t.Helper()
		if _, err := s.write.Exec("PRAGMA max_page_count = " + pages); err != nil {
			t.Fatal(err)
		}
	}
	put := func(key string) error {
		return s.Update(t.Context(), func(tx *Tx) error { return tx.SetKV("b", key, make([]byte, 1<<20)) })
	}
	limit("1") // which means as many as there are
	for range 3 {
		if err := put("big"); !errors.Is(err, ErrFull) {
			t.Fatalf("no room: %v", err)
		}
	}
	err := s.View(t.Context(), func(tx *Tx) error { _, err := tx.GetKV("b", "big"); return err })
	if !errors.Is(err, ErrNotFound) {
		t.Fatalf("what was refused is there: %v", err)
	}
	limit("1000000")
	if err := put("big"); err != nil {
		t.Fatalf("room again: %v", err)
	}
}
