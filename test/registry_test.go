//go:build root

package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
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
// team/tool:1: BusyBox, with /etc/tool and a variable. With "mpi" it has team/mpi:1, too: Open MPI and Python.
func cmdRegistry(ts *testscript.TestScript, neg bool, args []string) {
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
	push := func(image string, img v1.Image, err error) {
		ts.Check(err)
		ref, err := name.ParseReference(host + "/" + image)
		ts.Check(err)
		ts.Check(remote.Write(ref, img, remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: "user", Password: "pass"}))))
	}
	img, err := toolImage()
	push("team/tool:1", img, err)
	if len(args) == 1 && args[0] == "mpi" {
		img, err := mpiImage(ts.MkAbs("mpi.tar"))
		push("team/mpi:1", img, err)
	}
}

// mpiImage is what a job wants that calls mpirun and Python, out of the machine image "dsvm". In place of apt and pip it
// has a program that notes what it was called with in /prepared.
func mpiImage(file string) (v1.Image, error) {
	root, err := imageRoot("dsvm")
	if err != nil {
		return nil, err
	}
	script := `set -e; cd "$1"
		tar cf "$2" --exclude='*.a' --exclude='*/gcc' --exclude='*torch*' --exclude='*.pyc' --exclude='*/libLLVM*' --exclude='*/dri' --exclude=usr/bin/apt \
			bin lib lib64 sbin etc usr/bin usr/sbin usr/lib usr/lib64 usr/share/openmpi usr/local/lib/python3*/dist-packages/mpi4py*
		d=$(mktemp -d); trap 'rm -rf $d' EXIT; mkdir -p $d/usr/bin $d/usr/local/bin $d/tmp $d/root
		printf '#!/bin/sh\necho "$(basename $0) $*" >>/prepared\n' >$d/usr/local/bin/pip; chmod 755 $d/usr/local/bin/pip; cp $d/usr/local/bin/pip $d/usr/bin/apt
		tar rf "$2" -C $d usr/local/bin/pip usr/bin/apt tmp root`
	if out, err := exec.Command("/bin/bash", "-c", script, "sh", root, file).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	return imageOf(func() (io.ReadCloser, error) { return os.Open(file) }, v1.Config{Env: []string{"PATH=/usr/local/bin:/usr/bin:/bin"}})
}

func imageOf(open func() (io.ReadCloser, error), config v1.Config) (v1.Image, error) {
	layer, err := tarball.LayerFromOpener(open, tarball.WithCompressionLevel(gzip.BestSpeed))
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	return mutate.Config(img, config)
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
	return imageOf(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, v1.Config{Env: []string{"TOOL=yes", "PATH=/bin"}, WorkingDir: "/"})
}
