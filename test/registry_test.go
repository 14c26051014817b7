//go:build root

package test

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/rogpeppe/go-internal/testscript"
)

// cmdRegistry starts a registry for the script's time, at $REGISTRY, that wants user and pass and has the image
// team/tool:1: BusyBox, with /etc/tool and a variable.
func cmdRegistry(ts *testscript.TestScript, neg bool, _ []string) {
	refuse(ts, neg, "registry")
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "user" || p != "pass" {
			w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		inner.ServeHTTP(w, r)
	}))
	ts.Defer(srv.Close)
	host := strings.TrimPrefix(srv.URL, "http://")
	ts.Setenv("REGISTRY", host)
	img, err := toolImage()
	ts.Check(err)
	ref, err := name.ParseReference(host + "/team/tool:1")
	ts.Check(err)
	ts.Check(remote.Write(ref, img, remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: "user", Password: "pass"}))))
}

func toolImage() (v1.Image, error) {
	path, err := exec.LookPath("busybox")
	if err != nil {
		return nil, fmt.Errorf("busybox-static is missing: run make setup-test: %w", err)
	}
	busybox, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	add := func(h tar.Header, data []byte) {
		h.Size, h.Mode = int64(len(data)), 0o755
		w.WriteHeader(&h)
		w.Write(data)
	}
	add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg}, busybox)
	for _, c := range []string{"sh", "base64", "cat", "df", "echo", "env", "gunzip", "hostname", "id", "ls", "sleep", "tar", "touch", "tr", "wget"} {
		add(tar.Header{Name: "bin/" + c, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
	}
	add(tar.Header{Name: "etc/tool", Typeflag: tar.TypeReg}, []byte("of the image\n"))
	w.Close()
	data := b.Bytes()
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	return mutate.Config(img, v1.Config{Env: []string{"TOOL=yes", "PATH=/bin"}, WorkingDir: "/"})
}
