//go:build root

package image_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"lido.dev/lido/internal/image"
	"lido.dev/lido/internal/image/imagetest"
)

// onBase returns a store of the test's own that has the base image, and a recipe on it with the script.
func onBase(t *testing.T, name, setup string) (*image.Store, image.Recipe, string) {
	t.Helper()
	imagetest.Base(t)
	dir := t.TempDir()
	return open(t, dir, image.Options{}), recipe(t, name, setup), dir
}

func open(t *testing.T, dir string, o image.Options) *image.Store {
	t.Helper()
	o.Seeds = []string{imagetest.Dir()}
	s, err := image.Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func recipe(t *testing.T, name, setup string) image.Recipe {
	t.Helper()
	c, err := image.NewCatalogue(image.Overrides{Recipes: map[string]image.Recipe{name: {From: "base", Setup: setup}}})
	if err != nil {
		t.Fatal(err)
	}
	r, err := c.Recipe(name)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestConcurrentEnsureBuildsOnce(t *testing.T) {
	s, r, dir := onBase(t, "once", "date +%s%N >/built; sleep 1")
	var wg sync.WaitGroup
	var mu sync.Mutex
	dirs, told := map[string]int{}, 0
	for i := range 6 {
		store := s
		if i%2 == 1 { // as another lido would
			store = open(t, dir, image.Options{})
		}
		wg.Go(func() {
			got, err := store.Ensure(t.Context(), r, func(image.Event) { mu.Lock(); told++; mu.Unlock() })
			if err != nil {
				t.Error(err)
				return
			}
			stamp, _ := os.ReadFile(filepath.Join(got.Dir, "built"))
			mu.Lock()
			dirs[string(stamp)]++
			mu.Unlock()
		})
	}
	wg.Wait()
	if len(dirs) != 1 {
		t.Errorf("built %d times: %v", len(dirs), dirs)
	}
	if told == 0 {
		t.Error("no progress was told")
	}
	nothingLeft(t, dir)
}

func TestFailedBuildShowsItsLog(t *testing.T) {
	s, r, dir := onBase(t, "broken", "echo the reason is this; exit 3")
	_, err := s.Ensure(t.Context(), r, nil)
	if !errors.Is(err, image.ErrBuild) || !strings.Contains(err.Error(), "the reason is this") || !strings.Contains(err.Error(), s.Log(r.Hash())) {
		t.Errorf("got %v, want the end of the log and its path", err)
	}
	if log, _ := os.ReadFile(s.Log(r.Hash())); !strings.Contains(string(log), "the reason is this") {
		t.Errorf("the kept log: %q", log)
	}
	if _, err := s.Get(r); !errors.Is(err, image.ErrUnknown) {
		t.Errorf("a broken image is there: %v", err)
	}
	nothingLeft(t, dir)
}

func TestBuildAnew(t *testing.T) {
	s, r, dir := onBase(t, "anew", "date +%s%N >/built")
	stamp := func(build func(context.Context, image.Recipe, image.Progress) (image.Rootfs, error)) string {
		t.Helper()
		got, err := build(t.Context(), r, nil)
		if err != nil {
			t.Fatal(err)
		}
		data, _ := os.ReadFile(filepath.Join(got.Dir, "built"))
		return string(data)
	}
	first := stamp(s.Ensure)
	if again := stamp(s.Ensure); again != first {
		t.Error("Ensure built an image that is there")
	}
	second := stamp(s.Build)
	if second == first {
		t.Error("Build did not build anew")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Build(ctx, r, nil); err == nil {
		t.Error("a build without time succeeded")
	}
	waitFor(t, "the directory to go", func() bool { return len(left(dir)) == 0 })
	if now := stamp(s.Ensure); now != second {
		t.Error("a build that failed changed the image")
	}
	users := open(t, dir, image.Options{InUse: func(string) []string { return []string{"machine a"} }})
	if _, err := users.Build(t.Context(), r, nil); !errors.Is(err, image.ErrInUse) {
		t.Errorf("building an image in use anew: %v", err)
	}
}

func TestBuildIsGivenUpWithItsLastWaiter(t *testing.T) {
	sleeper := fmt.Sprintf("4%d.5", time.Now().UnixNano()%1e9)
	s, r, dir := onBase(t, "slow", "sleep "+sleeper)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := s.Ensure(ctx, r, nil); done <- err }()
	waitFor(t, "the script to run", func() bool { return running(sleeper) })
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	waitFor(t, "the script to end", func() bool { return !running(sleeper) })
	waitFor(t, "the directory to go", func() bool { return len(left(dir)) == 0 })
}

// TestKilledBuild kills a process that builds, as `kill -9` of lido does.
func TestKilledBuild(t *testing.T) {
	sleeper := fmt.Sprintf("5%d.5", time.Now().UnixNano()%1e9)
	setup := "[ -e /etc/second ] || { touch /half; sleep " + sleeper + "; }"
	if dir := os.Getenv("LIDO_TEST_BUILD_IN"); dir != "" {
		_, err := open(t, dir, image.Options{}).Ensure(t.Context(), recipe(t, "killed", os.Getenv("LIDO_TEST_SETUP")), nil)
		t.Fatalf("the build ended: %v", err)
	}
	_, r, dir := onBase(t, "killed", setup)
	child := exec.Command(os.Args[0], "-test.run=^TestKilledBuild$")
	child.Env = append(os.Environ(), "LIDO_TEST_BUILD_IN="+dir, "LIDO_TEST_SETUP="+setup)
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the script to run", func() bool { return running(sleeper) })
	child.Process.Kill()
	child.Wait()
	waitFor(t, "the script to die with its builder", func() bool { return !running(sleeper) })
	if len(left(dir)) == 0 {
		t.Fatal("nothing was left: this test does not show what it should")
	}
	s := open(t, dir, image.Options{})
	nothingLeft(t, dir)
	if _, err := s.Get(r); !errors.Is(err, image.ErrUnknown) {
		t.Errorf("a half-built image is used: %v", err)
	}
	if mounts, _ := os.ReadFile("/proc/self/mountinfo"); strings.Contains(string(mounts), dir) {
		t.Error("mounts were left")
	}
}

func TestRemove(t *testing.T) {
	users := []string{"machine a"}
	imagetest.Base(t)
	dir := t.TempDir()
	s := open(t, dir, image.Options{InUse: func(string) []string { return users }})
	r, err := s.Ensure(t.Context(), recipe(t, "gone", "true"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("gone"); !errors.Is(err, image.ErrInUse) || !strings.Contains(err.Error(), "machine a") {
		t.Errorf("removing an image in use: %v", err)
	}
	users = nil
	if err := s.Remove("gone"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.Dir); !os.IsNotExist(err) {
		t.Errorf("its directory: %v", err)
	}
	if err := s.Remove("gone"); !errors.Is(err, image.ErrUnknown) {
		t.Errorf("removing it again: %v", err)
	}
	nothingLeft(t, dir)
}

func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	if l := left(dir); len(l) > 0 {
		t.Errorf("left over: %v", l)
	}
}

func left(dir string) []string {
	l, _ := filepath.Glob(filepath.Join(dir, ".tmp-*"))
	return l
}

// running tells whether a process on this host sleeps for exactly that long.
func running(seconds string) bool {
	procs, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range procs {
		if data, _ := os.ReadFile(p); string(data) == "sleep\x00"+seconds+"\x00" {
			return true
		}
	}
	return false
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(90 * time.Second); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
