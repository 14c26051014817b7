package oci

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"lido.dev/lido/internal/machine"
)

func needRoot(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("files get owners")
	}
}

func tarOf(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		text := []byte(h.Uname) // what is to be in it
		h.Uname = ""
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
			h.Size = int64(len(text))
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			w.Write(text)
		}
	}
	w.Close()
	return b.Bytes()
}

func imageOf(t testing.TB, c v1.Config, layers ...[]byte) v1.Image {
	t.Helper()
	img := empty.Image
	for _, data := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil })
		if err == nil {
			img, err = mutate.AppendLayers(img, l)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	img, err := mutate.Config(img, c)
	if err != nil {
		t.Fatal(err)
	}
	return img
}

// shop is a registry that wants a password and counts what is fetched.
type shop struct {
	*httptest.Server
	host  string
	mu    sync.Mutex
	blobs int
}

func newShop(t testing.TB) *shop {
	s := &shop{}
	inner := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if u, p, _ := r.BasicAuth(); u != "user" || p != "pass" {
			w.Header().Set("WWW-Authenticate", `Basic realm="shop"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
			s.mu.Lock()
			s.blobs++
			s.mu.Unlock()
		}
		inner.ServeHTTP(w, r)
	}))
	s.host = strings.TrimPrefix(s.URL, "http://")
	t.Cleanup(s.Close)
	return s
}

func (s *shop) push(t testing.TB, image string, img v1.Image) {
	t.Helper()
	ref, err := name.ParseReference(s.host + "/" + image)
	if err == nil {
		err = remote.Write(ref, img, remote.WithAuth(authn.FromConfig(authn.AuthConfig{Username: "user", Password: "pass"})))
	}
	if err != nil {
		t.Fatal(err)
	}
}

type mounts []machine.Mount

func (m *mounts) Mount(_ context.Context, _ string, x machine.Mount) error {
	*m = append(*m, x)
	return nil
}

func TestEnsure(t *testing.T) {
	needRoot(t)
	s := newShop(t)
	config := v1.Config{Env: []string{"A=b=c", "PATH=/x"}, User: "1000:5", WorkingDir: "/work"}
	s.push(t, "team/tool:1", imageOf(t, config,
		tarOf(t, tar.Header{Name: "bin/", Typeflag: tar.TypeDir}, tar.Header{Name: "./bin/sh", Uname: "shell", Mode: 0o4755, Uid: 7}, tar.Header{Name: "etc/old", Uname: "x"},
			tar.Header{Name: "etc/gone/deep", Uname: "x"}, tar.Header{Name: "opt/a", Uname: "a"}, tar.Header{Name: "lib", Typeflag: tar.TypeSymlink, Linkname: "usr/lib"}),
		tarOf(t, tar.Header{Name: "etc/.wh.old"}, tar.Header{Name: "etc/.wh.gone"}, tar.Header{Name: "opt/b", Uname: "b"}, tar.Header{Name: "opt/.wh..wh..opq"},
			tar.Header{Name: "bin/also", Typeflag: tar.TypeLink, Linkname: "bin/sh"}, tar.Header{Name: "etc/old", Uname: "new"})))
	var m mounts
	dir := t.TempDir()
	st, err := Open(dir, &m)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if _, err := st.Ensure(t.Context(), s.URL, "team/tool:1", "user", "pass", nil); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	once := s.blobs
	c, err := st.Ensure(t.Context(), "", s.host+"/team/tool:1", "user", "pass", nil)
	if err != nil {
		t.Fatal(err)
	}
	if once > 2+4 || s.blobs != once { // layers, and at most the configuration for each
		t.Errorf("%d blobs, then %d", once, s.blobs)
	}
	if c.Env["A"] != "b=c" || c.User != "1000:5" || c.Dir != "/work" || c.Image != s.host+"/team/tool:1" {
		t.Errorf("%+v", c)
	}
	var got []string
	filepath.WalkDir(c.Root, func(p string, d os.DirEntry, err error) error {
		got = append(got, strings.TrimPrefix(p, c.Root))
		return err
	})
	if want := " /bin /bin/also /bin/sh /etc /etc/old /lib /opt /opt/b"; strings.Join(got, " ") != want {
		t.Errorf("files: %v", got)
	}
	if info, err := os.Stat(c.Root + "/bin/also"); err != nil || info.Mode() != 0o755|os.ModeSetuid {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if path, err := st.Attach(t.Context(), "m", c.Root); err != nil || len(m) != 1 || !m[0].ReadOnly || m[0].Source != c.Root || m[0].Target != path {
		t.Errorf("%v %v %v", path, err, m)
	}
	if _, err := st.Attach(t.Context(), "m", "/etc"); err == nil {
		t.Error("attached /etc")
	}
}

func TestRefusals(t *testing.T) {
	s := newShop(t)
	s.push(t, "a:1", imageOf(t, v1.Config{}, tarOf(t, tar.Header{Name: "x"})))
	down := httptest.NewServer(nil)
	down.Close()
	dir := t.TempDir()
	st, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		server, image, password string
		want                    error
		text                    string
	}{
		{s.URL, "a:1", "wrong", ErrUnauthorized, "does not accept the credentials"},
		{s.URL, "a:1", "", ErrUnauthorized, "imageSourceRegistry.credentials"},
		{s.URL, "a:2", "pass", ErrNoImage, "check its name and tag"},
		{down.URL, "a:1", "", ErrUnreachable, "connection refused"},
		{"", "UPPER CASE", "", nil, "is not an image's name"},
	} {
		user := ""
		if c.password != "" {
			user = "user"
		}
		_, err := st.Ensure(t.Context(), c.server, c.image, user, c.password, nil)
		if err == nil || !strings.Contains(err.Error(), c.text) || c.want != nil && !errors.Is(err, c.want) || strings.Contains(err.Error(), "pass") {
			t.Errorf("%v: %v", c, err)
		}
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestEscape unpacks layers that try to reach out of their root.
func TestEscape(t *testing.T) {
	needRoot(t)
	outside := t.TempDir()
	os.WriteFile(outside+"/secret", []byte("secret"), 0o600)
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	for what, entries := range map[string][]tar.Header{
		"dots":             {{Name: "../../../../../" + outside + "/x", Uname: "x"}},
		"link":             {link("l", outside), {Name: "l/x", Uname: "x"}},
		"relative link":    {link("l", "../../../../../../../../"+outside), {Name: "l/x", Uname: "x"}},
		"file over a link": {link("x", outside+"/secret"), {Name: "x", Uname: "x"}},
		"hard link":        {{Name: "h", Typeflag: tar.TypeLink, Linkname: outside + "/secret"}, {Name: "h", Uname: "x"}},
		"link by a link":   {link("l", outside), {Name: "h", Typeflag: tar.TypeLink, Linkname: "l/secret"}},
		"whiteout":         {link("l", outside), {Name: "l/.wh.secret"}},
		"opaque":           {link("l", outside), {Name: "l/.wh..wh..opq"}},
		"whiteout of dots": {{Name: "a/.wh..."}, {Name: "a/.wh..", Uname: "x"}},
		"directory":        {link("l", outside), {Name: "l", Typeflag: tar.TypeDir, Mode: 0o777}, {Name: "l/x", Uname: "x"}},
	} {
		dir := t.TempDir()
		err := Unpack(t.Context(), bytes.NewReader(tarOf(t, entries...)), dir)
		left, _ := os.ReadDir(outside)
		data, _ := os.ReadFile(outside + "/secret")
		if len(left) != 1 || string(data) != "secret" {
			t.Fatalf("%s: reached out: %v %q", what, left, data)
		}
		if _, e := os.Stat(dir + "/h"); e == nil && what != "hard link" {
			t.Errorf("%s: linked", what)
		}
		t.Logf("%s: %v", what, err)
	}
}

// TestLinks unpacks entries below links of the image.
func TestLinks(t *testing.T) {
	needRoot(t)
	dir := t.TempDir()
	link := func(name, to string) tar.Header {
		return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
	}
	err := Unpack(t.Context(), bytes.NewReader(tarOf(t, tar.Header{Name: "run/", Typeflag: tar.TypeDir}, link("var/run", "/run"), link("a", "var/../../../b"), link("b", "/a2"),
		link("loop", "/loop2"), link("loop2", "loop"), tar.Header{Name: "var/run/x", Uname: "x"}, tar.Header{Name: "a/c/y", Uname: "y"},
		tar.Header{Name: "var/run/z", Typeflag: tar.TypeLink, Linkname: "/var/run/x"})), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{"run/x", "run/z", "a2/c/y"} {
		if _, err := os.Lstat(dir + "/" + f); err != nil {
			t.Error(err)
		}
	}
	if err := Unpack(t.Context(), bytes.NewReader(tarOf(t, tar.Header{Name: "loop/x"})), dir); err == nil || !strings.Contains(err.Error(), "too many links") {
		t.Error(err)
	}
	if err := Unpack(t.Context(), bytes.NewReader(tarOf(t, tar.Header{Name: "var/run/.wh.x"})), dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(dir + "/run/x"); err == nil {
		t.Error("the whiteout had no effect")
	}
}
