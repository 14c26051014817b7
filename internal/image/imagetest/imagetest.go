// Package imagetest gives tests real images. They are built on first use and kept in a cache directory for the tests
// of other packages and for later runs: $LIDO_TEST_CACHE, or /var/cache/lido-test.
package imagetest

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"lido.dev/lido/internal/image"
)

// Base returns the root directory of the image "base".
func Base(t testing.TB) string { return Ensure(t, "base").Dir }

// DSVM returns the root directory of the image "dsvm".
func DSVM(t testing.TB) string { return Ensure(t, "dsvm").Dir }

// Ensure returns the image of one of lido's own recipes, built if needed. It fails the test if that does not work
// within 20 minutes, and skips it for those who are not root.
func Ensure(t testing.TB, recipe string) image.Rootfs {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("building images needs root")
	}
	catalogue, err := image.NewCatalogue(image.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	r, err := catalogue.Recipe(recipe)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	rootfs, err := Store(t).Ensure(ctx, r, steps(t))
	if err != nil {
		t.Fatal(err)
	}
	return rootfs
}

// Store returns the store that the tests share.
func Store(t testing.TB) *image.Store {
	t.Helper()
	s, err := image.Open(Dir(), image.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Dir returns the directory of the store that the tests share.
func Dir() string {
	cache := os.Getenv("LIDO_TEST_CACHE")
	if cache == "" {
		cache = "/var/cache/lido-test"
	}
	return filepath.Join(cache, "images")
}

// steps logs a line for each step of a build.
func steps(t testing.TB) image.Progress {
	last := 0
	return func(e image.Event) {
		if e.Step != last {
			t.Log(e)
		}
		last = e.Step
	}
}
