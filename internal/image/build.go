package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	metadata   = "image.json" // in an image's directory
	tempPrefix = ".tmp-"      // of directories that are not images, or not yet
	lockPrefix = ".lock-"
)

// build makes the recipe's image, alone among all lidos that share the directory, or takes it over from a seed.
func (s *Store) build(ctx context.Context, recipe Recipe, progress Progress) (Rootfs, error) {
	unlock, err := s.lock(ctx, recipe.Hash())
	if err != nil {
		return Rootfs{}, fmt.Errorf("image %q: %w", recipe.Name, err)
	}
	defer unlock()
	if r, err := s.Get(recipe); err == nil { // another lido has built it meanwhile
		return r, nil
	}
	rootfs, err := s.seedLocked(ctx, recipe)
	if err == nil && rootfs.Dir == "" {
		rootfs, err = s.buildLocked(ctx, recipe, progress)
	}
	if err != nil {
		return Rootfs{}, fmt.Errorf("image %q: %w", recipe.Name, err)
	}
	return rootfs, nil
}

// rebuild builds the recipe's image whether or not it exists.
func (s *Store) rebuild(ctx context.Context, recipe Recipe, progress Progress) (Rootfs, error) {
	unlock, err := s.lock(ctx, recipe.Hash())
	if err != nil {
		return Rootfs{}, fmt.Errorf("image %q: %w", recipe.Name, err)
	}
	defer unlock()
	rootfs, err := s.buildLocked(ctx, recipe, progress)
	if err != nil {
		return Rootfs{}, fmt.Errorf("image %q: %w", recipe.Name, err)
	}
	return rootfs, nil
}

// buildLocked builds in a temporary directory and renames it when it is whole and on disk. What the recipe is built
// on is ensured first: a lock is only ever waited for while holding those of images that are built on it.
func (s *Store) buildLocked(ctx context.Context, recipe Recipe, progress Progress) (Rootfs, error) {
	parent := ""
	if recipe.Parent != nil {
		p, err := s.Ensure(ctx, *recipe.Parent, progress)
		if err != nil {
			return Rootfs{}, err
		}
		parent = p.Dir
	}
	hash, start := recipe.Hash(), s.now()
	tmp, err := os.MkdirTemp(s.dir, tempPrefix+hash+"-")
	if err != nil {
		return Rootfs{}, err
	}
	defer removeAll(tmp)
	log, err := os.Create(filepath.Join(tmp, "build.log"))
	if err != nil {
		return Rootfs{}, err
	}
	defer log.Close()
	b := &build{
		store: s, recipe: recipe, parent: parent, root: filepath.Join(tmp, "rootfs"), tmp: tmp,
		box: &sandbox{log: log}, progress: progress, start: start,
	}
	s.log.Info("building an image", "image", recipe.Name, "hash", hash)
	if err := b.run(ctx); err != nil {
		return Rootfs{}, s.failed(hash, log, err)
	}
	r, err := b.describe(s.now())
	if err != nil {
		return Rootfs{}, err
	}
	if err := s.publish(tmp, hash); err != nil {
		return Rootfs{}, err
	}
	s.log.Info("built an image", "image", recipe.Name, "hash", hash, "took", r.Took, "bytes", r.Size)
	r.Dir = filepath.Join(s.dir, hash, "rootfs")
	return r, nil
}

// seedLocked takes the image over from a seed; without one that has it the result is empty.
func (s *Store) seedLocked(ctx context.Context, recipe Recipe) (Rootfs, error) {
	hash := recipe.Hash()
	tmp, err := os.MkdirTemp(s.dir, tempPrefix+hash+"-")
	if err != nil {
		return Rootfs{}, err
	}
	defer removeAll(tmp)
	found, err := s.fromSeed(ctx, hash, tmp)
	if err != nil || !found {
		return Rootfs{}, err
	}
	if err := s.publish(tmp, hash); err != nil {
		return Rootfs{}, err
	}
	return s.Get(recipe)
}

// publish makes the temporary directory the image. An older one changes places with it and is removed with the
// temporary directory.
func (s *Store) publish(tmp, hash string) error {
	d, err := os.Open(tmp)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := unix.Syncfs(int(d.Fd())); err != nil {
		return fmt.Errorf("writing the image to disk: %w", err)
	}
	os.Remove(filepath.Join(s.dir, hash+".failed.log"))
	image := filepath.Join(s.dir, hash)
	if _, err := os.Stat(image); err == nil {
		return unix.Renameat2(unix.AT_FDCWD, tmp, unix.AT_FDCWD, image, unix.RENAME_EXCHANGE)
	}
	return os.Rename(tmp, image)
}

// failed keeps the log of a build that did not end well, and says where it is.
func (s *Store) failed(hash string, log *os.File, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	keep := filepath.Join(s.dir, hash+".failed.log")
	fmt.Fprintf(log, "%v\n", err)
	if os.Rename(log.Name(), keep) != nil {
		return err
	}
	return fmt.Errorf("%w\nThe whole log is %s", err, keep)
}

// build is one build under way.
type build struct {
	store    *Store
	recipe   Recipe
	parent   string // root directory of the image it is built on
	root     string
	tmp      string
	box      *sandbox
	progress Progress
	start    time.Time

	step, steps int
	name        string
}

// step is one of the things that a build does, in order.
type step struct {
	name string
	do   func(context.Context) error
}

func (b *build) run(ctx context.Context) error {
	steps := b.plan()
	b.steps = len(steps)
	for i, s := range steps {
		b.step, b.name = i+1, s.name
		fmt.Fprintf(b.box.log, "== %s\n", s.name)
		b.tell(0, 0)
		if err := s.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// plan lists the steps that the recipe needs.
func (b *build) plan() []step {
	r := b.recipe
	var steps []step
	if r.Parent == nil {
		steps = append(steps, step{"install " + r.Distribution + " " + r.Suite, b.bootstrap})
	} else {
		steps = append(steps, step{"copy " + r.Parent.Name, b.copyParent})
		if len(r.Packages) > 0 {
			steps = append(steps, step{"install packages", b.packages})
		}
	}
	if r.PythonLock != "" {
		steps = append(steps, step{"download Python packages", b.downloadPython}, step{"install Python packages", b.installPython})
	}
	if r.PackageLock != "" {
		steps = append(steps, step{"install Node.js packages", b.node})
	}
	return append(steps, step{"set up", b.setup}, step{"clean up", b.clean})
}

func (b *build) tell(done, total int) {
	b.progress.tell(Event{
		Image: b.recipe.Name, Step: b.step, Steps: b.steps, Name: b.name,
		Done: min(done, total), Total: total, Elapsed: b.store.now().Sub(b.start),
	})
}

// describe writes the image's metadata.
func (b *build) describe(now time.Time) (Rootfs, error) {
	size, err := diskUsage(b.root)
	if err != nil {
		return Rootfs{}, err
	}
	r := Rootfs{
		Name: b.recipe.Name, Hash: b.recipe.Hash(), Size: size, Built: now.UTC(), Took: now.Sub(b.start),
		Distribution: prettyName(b.root), Substitution: b.recipe.Substitution,
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return Rootfs{}, err
	}
	return r, os.WriteFile(filepath.Join(b.tmp, metadata), data, 0o600)
}

// prettyName reads what a root calls itself.
func prettyName(root string) string {
	data, _ := os.ReadFile(filepath.Join(root, "usr/lib/os-release"))
	for _, line := range strings.Split(string(data), "\n") {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// removeAll removes a directory whose writers may still be dying.
func removeAll(dir string) error {
	var err error
	for range 20 {
		if err = os.RemoveAll(dir); err == nil {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// writeFile makes a file of a recipe, executable when it starts with "#!".
func writeFile(path, content string) error {
	mode := os.FileMode(0o644)
	if strings.HasPrefix(content, "#!") {
		mode = 0o755
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, mode)
	if err != nil {
		return err
	}
	_, err = io.WriteString(f, content)
	return errors.Join(err, f.Chmod(mode), f.Close())
}
