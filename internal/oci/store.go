// Package oci brings images of OCI registries to machines: an image is pulled once for each digest, unpacked into a
// root directory of its own, and attached to machines read-only.
//
// DIR/sha256-HEX/{rootfs,config.json} is an image; it is complete from the moment it has that name. What is being
// unpacked is in DIR/new-*, removed at the next start.
package oci

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/node"
)

// Mounter puts directories of the host into machines: a machine.Engine.
type Mounter interface {
	Mount(ctx context.Context, id string, m machine.Mount) error
}

// Store is the images on this host. Its methods are safe for concurrent use.
type Store struct {
	dir       string
	mounter   Mounter
	Transport http.RoundTripper // nil means the default

	mu    sync.Mutex
	pulls map[string]*sync.Mutex // by digest
}

// Open opens the images in a directory, making it if it is not there.
func Open(dir string, m Mounter) (*Store, error) {
	if err := os.MkdirAll(dir, 0o711); err != nil {
		return nil, fmt.Errorf("images of registries: %w", err)
	}
	halves, _ := filepath.Glob(filepath.Join(dir, "new-*"))
	for _, d := range halves {
		os.RemoveAll(d)
	}
	return &Store{dir: dir, mounter: m, pulls: map[string]*sync.Mutex{}}, nil
}

// Ensure pulls an image, if its digest is not here yet, and returns what a task needs of it; Root is a directory of this
// host. The registry is asked each time: what a name means, and whether this user may have it. Progress is told in
// sentences.
func (s *Store) Ensure(ctx context.Context, server, image, user, password string, progress func(string)) (*node.Container, error) {
	ref, err := Reference(server, image)
	if err != nil {
		return nil, err
	}
	img, err := remote.Image(ref, s.options(ctx, user, password)...)
	if err != nil {
		return nil, explain(ref, err)
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, explain(ref, err)
	}
	dir := filepath.Join(s.dir, digest.Algorithm+"-"+digest.Hex)
	lock := s.lock(digest.String())
	lock.Lock()
	defer lock.Unlock()
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		if progress != nil {
			progress(fmt.Sprintf("Pulling image %s (%s).", ref, digest))
		}
		if err := s.pull(ctx, img, dir); err != nil {
			return nil, explain(ref, err)
		}
	}
	c, err := load(dir)
	if err != nil {
		return nil, fmt.Errorf("image %s: %w", ref, err)
	}
	c.Image = image
	return c, nil
}

func (s *Store) lock(digest string) *sync.Mutex {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pulls[digest] == nil {
		s.pulls[digest] = &sync.Mutex{}
	}
	return s.pulls[digest]
}

func (s *Store) options(ctx context.Context, user, password string) []remote.Option {
	auth := authn.Anonymous
	if user != "" || password != "" {
		auth = authn.FromConfig(authn.AuthConfig{Username: user, Password: password})
	}
	o := []remote.Option{remote.WithContext(ctx), remote.WithAuth(auth), remote.WithPlatform(v1.Platform{OS: "linux", Architecture: runtime.GOARCH}),
		remote.WithUserAgent("lido")}
	if s.Transport != nil {
		o = append(o, remote.WithTransport(s.Transport))
	}
	return o
}

// Reference reads an image's name, which may or may not begin with its server's. Registries on this host or with
// private addresses are asked without TLS, as other tools do, and one whose URL is http://.
func Reference(server, image string) (name.Reference, error) {
	image = strings.TrimSpace(image)
	var opts []name.Option
	if strings.HasPrefix(server, "http://") {
		opts = append(opts, name.Insecure)
	}
	server = strings.TrimSuffix(strings.TrimPrefix(strings.TrimPrefix(server, "https://"), "http://"), "/")
	if server != "" && !strings.HasPrefix(image, server+"/") {
		image = server + "/" + image
	}
	ref, err := name.ParseReference(image, opts...)
	if err != nil {
		return nil, fmt.Errorf("%q is not an image's name: %w", image, err)
	}
	return ref, nil
}

// pull unpacks an image into dir, which appears when all is there.
func (s *Store) pull(ctx context.Context, img v1.Image, dir string) error {
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(s.dir, "new-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	root := filepath.Join(tmp, "rootfs")
	if err := errors.Join(os.Chmod(tmp, 0o711), os.Mkdir(root, 0o755)); err != nil {
		return err
	}
	for i, l := range layers {
		if err := unpackLayer(ctx, l, root); err != nil {
			return fmt.Errorf("layer %d of %d: %w", i+1, len(layers), err)
		}
	}
	data, err := json.Marshal(config.Config)
	if err == nil {
		err = os.WriteFile(filepath.Join(tmp, "config.json"), data, 0o600)
	}
	if err != nil {
		return err
	}
	return os.Rename(tmp, dir)
}

func unpackLayer(ctx context.Context, l v1.Layer, root string) error {
	r, err := l.Uncompressed()
	if err != nil {
		return err
	}
	defer r.Close()
	return Unpack(ctx, r, root)
}

// load reads an image that is here.
func load(dir string) (*node.Container, error) {
	data, err := os.ReadFile(filepath.Join(dir, "config.json"))
	if err != nil {
		return nil, err
	}
	var c v1.Config
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	out := &node.Container{Root: filepath.Join(dir, "rootfs"), User: c.User, Dir: c.WorkingDir, Env: map[string]string{}}
	for _, e := range c.Env {
		k, v, _ := strings.Cut(e, "=")
		out.Env[k] = v
	}
	return out, nil
}

// Attach puts an image's root directory into a machine, read-only, and returns the path there.
func (s *Store) Attach(ctx context.Context, id, root string) (string, error) {
	hash := filepath.Base(filepath.Dir(root))
	if filepath.Dir(filepath.Dir(root)) != filepath.Clean(s.dir) || !strings.HasPrefix(hash, "sha256-") {
		return "", fmt.Errorf("attach %s: not an image of this store", root)
	}
	target := "/var/lib/lido/images/" + hash
	if err := s.mounter.Mount(ctx, id, machine.Mount{Source: root, Target: target, ReadOnly: true}); err != nil {
		return "", fmt.Errorf("attach an image to machine %s: %w", id, err)
	}
	return target, nil
}
