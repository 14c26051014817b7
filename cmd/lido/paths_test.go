package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// dataDir makes a data directory with the named things in it; a name that ends in a slash is a directory.
func dataDir(t *testing.T, names ...string) paths {
	t.Helper()
	dir := t.TempDir()
	for _, n := range names {
		at := filepath.Join(dir, n)
		if strings.HasSuffix(n, "/") {
			if err := os.MkdirAll(at, 0o755); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(at, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := newPaths(dir)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestDataDirectory(t *testing.T) {
	for _, test := range []struct {
		name  string
		holds []string
		want  dirState
	}{
		{"empty", nil, dirFree},
		{"prepared", []string{"lido.yaml", "images/", "lost+found/"}, dirFree},
		{"a first start that failed", []string{"ca/", "log/", "lock"}, dirOwn},
		{"in use", []string{"ca/", "log/", "lock", "lido.db"}, dirOwn},
		{"in use, with a note in it", []string{"lido.db", "README"}, dirOwn},
		{"somebody's home", []string{"images/", "log/", "ca/", ".profile"}, dirForeign},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := dataDir(t, test.holds...)
			if got, _, err := p.state(); err != nil || got != test.want {
				t.Errorf("state is %d (%v), want %d", got, err, test.want)
			}
			if refused := p.check() != nil; refused != (test.want == dirForeign) {
				t.Errorf("check refused it: %v", refused)
			}
		})
	}
	if p, err := newPaths(filepath.Join(t.TempDir(), "none")); err != nil {
		t.Error(err)
	} else if got, _, err := p.state(); err != nil || got != dirMissing {
		t.Errorf("a missing directory: %d, %v", got, err)
	}
	if _, err := newPaths(""); err == nil {
		t.Error("an empty --data was taken for the working directory")
	}
}

// What is not lido's is not removed, and nothing in it is touched.
func TestPurgeRefusesForeign(t *testing.T) {
	p := dataDir(t, "letters/", "images/")
	if err := purgeAll(context.Background(), p, &bytes.Buffer{}); err == nil || !strings.Contains(err.Error(), "letters") {
		t.Errorf("purge: %v", err)
	}
	if entries, _ := os.ReadDir(p.Data); len(entries) != 2 {
		t.Errorf("left: %v", entries)
	}
}

// A purge that was cut can be repeated, for the database goes last.
func TestRemoveData(t *testing.T) {
	p := dataDir(t, "admin.json", "lido.db", "shares/", "zzz")
	if err := removeData(p); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(p.Data); !os.IsNotExist(err) {
		t.Errorf("still there: %v", err)
	}
}

func TestDryRun(t *testing.T) {
	p := dataDir(t, "lido.yaml")
	for engine, want := range map[string]string{engineSim: "simulated", engineRunc: "nftables table ip lido_" + p.Tag} {
		var out bytes.Buffer
		if err := dryRun(context.Background(), &out, p, upOptions{engine: engine}); err != nil || !strings.Contains(out.String(), want) {
			t.Errorf("%s: %v\n%s", engine, err, out.String())
		}
	}
	if err := dryRun(context.Background(), &bytes.Buffer{}, dataDir(t, "letters"), upOptions{engine: engineSim}); err == nil {
		t.Error("a directory that lido would refuse passed the dry run")
	}
	if entries, _ := os.ReadDir(p.Data); len(entries) != 1 {
		t.Errorf("a dry run left %v", entries)
	}
}
