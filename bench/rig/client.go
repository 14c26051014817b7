package rig

import (
	"context"
	"os"
	"path/filepath"

	"lido.dev/lido/internal/client"
	"lido.dev/lido/internal/image"
)

// Client returns a client of the lido, signed in as its admin.
func (l *Lido) Client(ctx context.Context) (*client.Client, error) { return client.New(ctx, l.signIn) }

// Image returns one of lido's images, built if it is not in dir; an empty dir means the tests' cache.
func Image(ctx context.Context, dir, name string) (image.Rootfs, error) {
	if dir == "" {
		cache := os.Getenv("LIDO_TEST_CACHE")
		if cache == "" {
			cache = "/var/cache/lido-test"
		}
		dir = filepath.Join(cache, "images")
	}
	catalogue, err := image.NewCatalogue(image.Overrides{})
	if err != nil {
		return image.Rootfs{}, err
	}
	recipe, err := catalogue.Recipe(name)
	if err != nil {
		return image.Rootfs{}, err
	}
	store, err := image.Open(dir, image.Options{})
	if err != nil {
		return image.Rootfs{}, err
	}
	return store.Ensure(ctx, recipe, nil)
}
