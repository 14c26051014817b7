package storage

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
)

func (f *fixture) keys() []string {
	f.Helper()
	var keys []string
	for _, k := range f.must("POST", pool+"/listKeys", "", 200)["keys"].([]any) {
		keys = append(keys, k.(map[string]any)["value"].(string))
	}
	return keys
}

func TestKeysOpenShares(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.put(shares+"/work", `{}`, 201)
	keys := f.keys()
	if raw, err := base64.StdEncoding.DecodeString(keys[0]); err != nil || len(raw) != 64 || len(keys) != 2 || keys[0] == keys[1] {
		t.Fatalf("%v %v", keys, err)
	}
	for _, key := range keys {
		dir, err := f.Authorize(t.Context(), "poolshare", key, "work")
		if err != nil || dir != filepath.Join(f.dir, "shares/poolshare/work") {
			t.Fatalf("%q %v", dir, err)
		}
		if info, err := os.Stat(dir); err != nil || info.Mode() != fs.ModeDir|fs.ModeSticky|0o777 {
			t.Errorf("%v %v", info, err)
		}
	}
	for _, c := range []struct {
		account, key, share string
		want                error
	}{
		{"nobody", keys[0], "work", ErrNoAccount}, {"poolshare", "", "work", ErrWrongKey}, {"poolshare", keys[0] + "x", "work", ErrWrongKey},
		{"poolshare", keys[0], "play", ErrNoShare}, {"poolshare", "x", "play", ErrWrongKey}, {"../poolshare", keys[0], "work", ErrNoAccount},
		{"poolshare", keys[0], "../work", ErrNoShare}, {"POOLSHARE", keys[0], "WORK", nil},
	} {
		if _, err := f.Authorize(t.Context(), c.account, c.key, c.share); !errors.Is(err, c.want) {
			t.Errorf("%v: %v", c, err)
		}
	}
	f.must("POST", pool+"/regenerateKey", `{"keyName":"key1"}`, 200)
	renewed := f.keys()
	if renewed[0] == keys[0] || renewed[1] != keys[1] {
		t.Errorf("renewed %v to %v", keys, renewed)
	}
	if _, err := f.Authorize(t.Context(), "poolshare", keys[0], "work"); !errors.Is(err, ErrWrongKey) {
		t.Errorf("old key: %v", err)
	}
	f.restart()
	if _, err := f.Authorize(t.Context(), "poolshare", renewed[0], "work"); err != nil {
		t.Errorf("after restart: %v", err)
	}
	for _, file := range []string{"lido.db", "lido.db-wal"} {
		b, _ := os.ReadFile(filepath.Join(f.dir, file))
		for _, k := range append(keys, renewed...) {
			raw, _ := base64.StdEncoding.DecodeString(k)
			if bytes.Contains(b, []byte(k)) || bytes.Contains(b, raw) {
				t.Errorf("%s holds a key in clear", file)
			}
		}
	}
}

// TestKeysOfOldVersions: templates of 2015 read listKeys(...).key1.
func TestKeysOfOldVersions(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	w := httptest.NewRecorder()
	f.arm.ServeHTTP(w, httptest.NewRequest("POST", pool+"/listKeys?api-version=2015-06-15", nil))
	var old map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &old); err != nil {
		t.Fatal(err)
	}
	if keys := f.keys(); old["key1"] != keys[0] || old["key2"] != keys[1] {
		t.Errorf("%v, want %q", old, keys)
	}
	if m := f.must("POST", pool+"/listKeys", "", 200); m["key1"] != nil {
		t.Errorf("a new version shows key1: %v", m)
	}
}
