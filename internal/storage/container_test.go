package storage

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestContainers: a container's directory is the account's, is opened by its keys alone, and goes with the account.
func TestContainers(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	f.put(pool, wish, 200)
	key := func() string {
		return f.must("POST", pool+"/listKeys", "", 200)["keys"].([]any)[0].(map[string]any)["value"].(string)
	}
	dir, err := f.AuthorizeContainer(ctx, "PoolShare", key(), "models")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(dir, "/poolshare/$blob/models") {
		t.Errorf("directory %s", dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "net"), []byte("weights"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		account, key, name string
		want               error
	}{
		{"poolshare", "d3Jvbmc=", "models", ErrWrongKey}, {"nobody", key(), "models", ErrNoAccount},
		{"poolshare", key(), "../drive", ErrNoShare}, {"poolshare", key(), "a", ErrNoShare}, {"poolshare", key(), "a--b", ErrNoShare},
	} {
		if _, err := f.AuthorizeContainer(ctx, c.account, c.key, c.name); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.account, c.name, err, c.want)
		}
	}
	f.must("DELETE", pool, "", 200)
	f.put(pool, wish, 200)
	if dir, err = f.AuthorizeContainer(ctx, "poolshare", key(), "models"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "net")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a new account finds the data of the one before: %v", err)
	}
}
