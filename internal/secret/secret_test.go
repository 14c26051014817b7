package secret

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lido.dev/lido/internal/store"
)

type fixture struct {
	*testing.T
	dir   string
	store *store.Store
	box   *Box
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(filepath.Join(dir, "lido.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	box, err := Open(filepath.Join(dir, "sub", "secret.key"))
	if err != nil {
		t.Fatal(err)
	}
	return &fixture{t, dir, st, box}
}

func (f *fixture) update(fn func(*store.Tx) error) error { return f.store.Update(f.Context(), fn) }

// conceal returns a document as it is stored, or the error.
func (f *fixture) conceal(owner, doc string, paths ...string) (string, error) {
	f.Helper()
	m := map[string]any{}
	if err := json.Unmarshal([]byte(doc), &m); err != nil {
		f.Fatal(err)
	}
	err := f.update(func(tx *store.Tx) error { return f.box.Conceal(tx, owner, m, paths) })
	b, _ := json.Marshal(m)
	return string(b), err
}

func (f *fixture) reveal(owner, doc string) (string, error) {
	f.Helper()
	var v any
	if err := json.Unmarshal([]byte(doc), &v); err != nil {
		f.Fatal(err)
	}
	var out any
	err := f.update(func(tx *store.Tx) (err error) { out, err = f.box.Reveal(tx, owner, v); return err })
	b, _ := json.Marshal(out)
	return string(b), err
}

func TestConcealAndReveal(t *testing.T) {
	f := newFixture(t)
	for _, c := range []struct {
		doc   string
		paths []string
		shown string // what stays legible
	}{
		{`{"a":{"key":"hush"},"b":1}`, []string{"a.key"}, `"b":1`},
		{`{"A":{"Key":"hush"}}`, []string{"a.key"}, `"A"`},
		{`{"l":[{"key":"hush","n":"one"},{"key":"hush2","n":"two"}]}`, []string{"l[*].key"}, `"n":"two"`},
		{`{"l":[{"key":"plain"},{"key":"hush"}]}`, []string{"l[1].key"}, `plain`},
		{`{"l":["hush","hush2"]}`, []string{"l[*]"}, `"l"`},
		{`{"whole":{"x":["hush",{"y":"hush"}],"n":3}}`, []string{"whole"}, `"whole"`},
		{`{"tags":{"a.b[0]":"hush","a":{"c":"fine"}}}`, []string{"tags.a.b[0]"}, `fine`},
		{`{"a":{"n":12345678}}`, []string{"a.n"}, `"n"`},
		{`{"a":{"none":null,"empty":""}}`, []string{"a.none", "a.empty", "a.missing", "a.none.deep"}, `"empty":""`},
	} {
		stored, err := f.conceal("/s/Doc", c.doc, c.paths...)
		if err != nil || strings.Contains(stored, "hush") || strings.Contains(stored, "12345678") || !strings.Contains(stored, c.shown) {
			t.Errorf("%s at %v: stored %s, %v", c.doc, c.paths, stored, err)
		}
		again, err := f.conceal("/S/doc", stored, c.paths...)
		if err != nil || again != stored {
			t.Errorf("what is shown, sent back, becomes %s (%v), was %s", again, err, stored)
		}
		back, err := f.reveal("/s/doc", stored)
		if want := canonical(c.doc); err != nil || back != want {
			t.Errorf("revealed %s (%v), want %s", back, err, want)
		}
	}
}

func canonical(doc string) string {
	var v any
	json.Unmarshal([]byte(doc), &v)
	b, _ := json.Marshal(v)
	return string(b)
}

func TestPlaceholders(t *testing.T) {
	f := newFixture(t)
	one, _ := f.conceal("/s/one", `{"k":"hush"}`, "k")
	same, _ := f.conceal("/s/one", `{"k":"hush"}`, "k")
	other, _ := f.conceal("/s/two", `{"k":"hush"}`, "k")
	changed, _ := f.conceal("/s/one", `{"k":"hush2"}`, "k")
	if one != same || one == other || one == changed || !strings.Contains(one, Prefix) {
		t.Errorf("%s %s %s %s", one, same, other, changed)
	}
	// Worth nothing in another document, wherever it stands in it.
	for _, doc := range []string{one, `{"deep":[{"x":` + one[5:len(one)-1] + `}]}`, `{"k":"` + Prefix + `made up"}`} {
		if _, err := f.conceal("/s/three", doc, "k"); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", doc, err)
		}
	}
	if _, err := f.conceal("/s/three", `{"deep":[{"x":"`+Prefix+`z"}]}`); err == nil || !strings.Contains(err.Error(), "deep[0].x") {
		t.Errorf("error without the path: %v", err)
	}
	if _, err := f.reveal("/s/two", one); !errors.Is(err, ErrUnknown) {
		t.Errorf("revealed to another: %v", err)
	}
	f.update(func(tx *store.Tx) error { return f.box.Forget(tx, "/S/ONE") })
	if _, err := f.reveal("/s/one", one); !errors.Is(err, ErrUnknown) {
		t.Errorf("after Forget: %v", err)
	}
}

func TestHide(t *testing.T) {
	doc := map[string]any{}
	json.Unmarshal([]byte(`{"a":{"Key":"x","l":[{"key":"y","n":1},{"n":2}]},"key":"z"}`), &doc)
	Hide(doc, []string{"a.key", "a.l[*].key", "nothing.here"})
	if b, _ := json.Marshal(doc); string(b) != `{"a":{"l":[{"n":1},{"n":2}]},"key":"z"}` {
		t.Errorf("%s", b)
	}
}

func TestNothingInClearOnTheDisk(t *testing.T) {
	f := newFixture(t)
	if _, err := f.conceal("/s/doc", `{"k":"correct horse battery staple","o":{"p":"staple battery"}}`, "k", "o"); err != nil {
		t.Fatal(err)
	}
	filepath.WalkDir(f.dir, func(path string, e os.DirEntry, err error) error {
		b, _ := os.ReadFile(path)
		if bytes.Contains(b, []byte("battery")) {
			t.Errorf("%s holds the secret", path)
		}
		return nil
	})
}

func TestKeyFile(t *testing.T) {
	f := newFixture(t)
	path := filepath.Join(f.dir, "sub", "secret.key")
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 || info.Size() != 32 {
		t.Errorf("%v %v", info, err)
	}
	sealed := f.box.SealBytes([]byte("hush"), "purpose")
	again, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := again.OpenBytes(sealed, "purpose"); err != nil || string(plain) != "hush" {
		t.Errorf("%q %v", plain, err)
	}
	if _, err := again.OpenBytes(sealed, "another"); err == nil {
		t.Error("opened for another purpose")
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := again.OpenBytes(sealed, "purpose"); err == nil {
		t.Error("opened though changed")
	}
	if _, err := again.OpenBytes([]byte("short"), "purpose"); err == nil {
		t.Error("opened a fragment")
	}
	other, _ := New(make([]byte, 32))
	if _, err := other.OpenBytes(f.box.SealBytes([]byte("hush"), "p"), "p"); err == nil {
		t.Error("opened with another key")
	}
	os.WriteFile(path, []byte("short"), 0o600)
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "5 bytes where 32 are expected") {
		t.Errorf("%v", err)
	}
}
