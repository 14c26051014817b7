package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Store keeps built images in a directory: HASH/rootfs, HASH/image.json and HASH/build.log for each.
//
// A directory under its final name is a whole image: it is built under another name and renamed when all of it is on
// disk. Several lidos may use one directory.
type Store struct {
	dir   string
	seeds []string
	apt   string // directory above etc/apt: the host's package sources
	inUse func(hash string) []string
	log   *slog.Logger
	now   func() time.Time

	mu      sync.Mutex
	flights map[string]*flight // builds under way in this process, by hash and kind
}

// Options are what a Store may be told. The zero value will do.
type Options struct {
	// InUse names what uses an image; such an image is not removed.
	InUse func(hash string) []string
	// Seeds are directories of other stores. What one of them has is taken over instead of built.
	Seeds []string
	Log   *slog.Logger
}

// Open returns the store in dir, making the directory if needed, and removes what builds that were cut left there.
func Open(dir string, o Options) (*Store, error) {
	if err := os.MkdirAll(filepath.Join(dir, "cache"), 0o700); err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	s := &Store{dir: dir, seeds: o.Seeds, apt: "/", inUse: o.InUse, log: o.Log, now: time.Now, flights: map[string]*flight{}}
	if s.inUse == nil {
		s.inUse = func(string) []string { return nil }
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.sweep()
	return s, nil
}

// Get returns the recipe's image if it is built; else ErrUnknown.
func (s *Store) Get(recipe Recipe) (Rootfs, error) {
	r, err := s.read(recipe.Hash())
	if err != nil {
		return Rootfs{}, fmt.Errorf("image %q: %w", recipe.Name, err)
	}
	r.Substitution = recipe.Substitution
	return r, nil
}

// Ensure returns the recipe's image, building it and what it is built on first when they do not exist. Callers that
// ask for the same image at the same time share one build, which is given up when none of them waits any more.
func (s *Store) Ensure(ctx context.Context, recipe Recipe, progress Progress) (Rootfs, error) {
	if r, err := s.Get(recipe); err == nil {
		return r, nil
	}
	return s.fly(ctx, recipe.Hash(), recipe, s.build, progress)
}

// Build builds the recipe's image even if it exists, and puts the new one in the place of the old, which stays as it
// is when the build fails. It is ErrInUse when machines use the old one.
func (s *Store) Build(ctx context.Context, recipe Recipe, progress Progress) (Rootfs, error) {
	if err := s.free(Rootfs{Name: recipe.Name, Hash: recipe.Hash()}); err != nil {
		return Rootfs{}, err
	}
	return s.fly(ctx, recipe.Hash()+" anew", recipe, s.rebuild, progress)
}

// List returns the built images, ordered by name and then age.
func (s *Store) List() ([]Rootfs, error) {
	dirs, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, fmt.Errorf("image store: %w", err)
	}
	var out []Rootfs
	for _, d := range dirs {
		if r, err := s.read(d.Name()); err == nil {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b Rootfs) int {
		if c := strings.Compare(a.Name, b.Name); c != 0 {
			return c
		}
		return a.Built.Compare(b.Built)
	})
	return out, nil
}

// Remove removes an image by its hash, or by its name when there is one image of that name. It is ErrInUse when
// machines use it.
func (s *Store) Remove(hashOrName string) error {
	r, err := s.lookup(hashOrName)
	if err != nil {
		return err
	}
	if err := s.free(r); err != nil {
		return err
	}
	trash := filepath.Join(s.dir, tempPrefix+r.Hash+"-removed")
	os.RemoveAll(trash)
	if err := os.Rename(filepath.Join(s.dir, r.Hash), trash); err != nil {
		return fmt.Errorf("image %q: %w", r.Name, err)
	}
	return os.RemoveAll(trash)
}

// free is nil when nothing uses the image.
func (s *Store) free(r Rootfs) error {
	users := s.inUse(r.Hash)
	if len(users) == 0 {
		return nil
	}
	return fmt.Errorf("image %q (%s): %w by %s; delete them first", r.Name, r.Hash, ErrInUse, strings.Join(users, ", "))
}

// Log returns the path of an image's build log, whether its build ended well or not.
func (s *Store) Log(hash string) string {
	if _, err := s.read(hash); err == nil {
		return filepath.Join(s.dir, hash, "build.log")
	}
	return filepath.Join(s.dir, hash+".failed.log")
}

func (s *Store) lookup(hashOrName string) (Rootfs, error) {
	if r, err := s.read(hashOrName); err == nil {
		return r, nil
	}
	all, err := s.List()
	if err != nil {
		return Rootfs{}, err
	}
	named := slices.DeleteFunc(slices.Clone(all), func(r Rootfs) bool { return r.Name != hashOrName })
	switch len(named) {
	case 1:
		return named[0], nil
	case 0:
		return Rootfs{}, fmt.Errorf("image %q: %w; `lido image ls` shows those that are built", hashOrName, ErrUnknown)
	}
	return Rootfs{}, fmt.Errorf("image %q: there are %d of that name; say which by its hash", hashOrName, len(named))
}

func (s *Store) read(hash string) (Rootfs, error) {
	if !validHash(hash) {
		return Rootfs{}, ErrUnknown
	}
	data, err := os.ReadFile(filepath.Join(s.dir, hash, metadata))
	if errors.Is(err, os.ErrNotExist) {
		return Rootfs{}, ErrUnknown
	}
	if err != nil {
		return Rootfs{}, err
	}
	var r Rootfs
	if err := json.Unmarshal(data, &r); err != nil {
		return Rootfs{}, fmt.Errorf("%s: %w", filepath.Join(s.dir, hash, metadata), err)
	}
	r.Dir = filepath.Join(s.dir, hash, "rootfs")
	return r, nil
}

func validHash(s string) bool {
	return len(s) == 16 && strings.Trim(s, "0123456789abcdef") == ""
}
