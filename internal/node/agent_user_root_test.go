//go:build root

package node

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"
)

// TestDo calls functions as a user, many at once, and as root between them: each has its own rights and no more, and no
// thread keeps the user's.
func TestDo(t *testing.T) {
	private := filepath.Join(t.TempDir(), "private")
	if err := os.WriteFile(private, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	read := func() error { _, err := os.ReadFile(private); return err }
	who := &account{name: "nobody", uid: 65534, gid: 65534, groups: []uint32{65533}}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if err := who.do(read); !errors.Is(err, fs.ErrPermission) {
					t.Errorf("the user reads root's file: %v", err)
				}
				if err := read(); err != nil {
					t.Errorf("root: %v", err)
				}
			}
		})
	}
	wg.Wait()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		kept := usersThreads(t)
		if len(kept) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("threads with a user's rights: %q", kept)
		}
	}
}

var userRights = regexp.MustCompile(`(?m)^([UG]id:.*\t65534|Groups:.*\b6553[34]\b.*)$`)

// usersThreads are the rights of threads that have some of the user's.
func usersThreads(t *testing.T) (kept []string) {
	all, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil || len(all) == 0 {
		t.Fatal("no threads", err)
	}
	for _, name := range all {
		status, _ := os.ReadFile(name) // it may have ended
		kept = append(kept, userRights.FindAllString(string(status), -1)...)
	}
	return kept
}
