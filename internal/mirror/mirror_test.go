package mirror

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func fetcher(t *testing.T, mirrors map[string]string) *Fetcher {
	t.Helper()
	f, err := New(mirrors)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestResolve(t *testing.T) {
	f := fetcher(t, map[string]string{
		"https://raw.example/":         "/srv/all",
		"https://RAW.example:443/a/b":  "/srv/ab",
		"https://raw.example/a/b/deep": "https://m.example/x/",
		"http://plain.example":         "http://m.example:8080",
	})
	for _, c := range []struct{ url, want, err string }{
		{url: "https://raw.example/x.json", want: "/srv/all x.json"},
		{url: "HTTPS://Raw.Example/a/b/c%20d.sh?sig=1", want: "/srv/ab c d.sh"},
		{url: "https://raw.example:443/a/b/deep/f?sig=1", want: "https://m.example/x/f?sig=1"},
		{url: "https://raw.example/a/bc", want: "/srv/all a/bc"},
		{url: "https://raw.example.evil/x", want: "https://raw.example.evil/x"},
		{url: "http://plain.example/f", want: "http://m.example:8080/f"},
		{url: "https://raw.example/../../etc/passwd", err: "leads out of the mirror"},
		{url: "https://raw.example/%2e%2e/etc/passwd", err: "leads out of the mirror"},
		{url: "https://raw.example/a%2f..%2f..%2f..%2fetc", err: "leads out of the mirror"},
		{url: "https://raw.example", err: "leads out"},
		{url: "http://other.example/x", err: "add \"http://other.example/\" under `mirrors`"},
		{url: "file:///etc/passwd", err: "not an https URL"},
		{url: "x.sh", err: "not an https URL"},
	} {
		src, err := f.Resolve(c.url)
		got := src.URL
		if src.Dir != "" {
			got = src.Dir + " " + src.File
		}
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %q %v, want %q %q", c.url, got, err, c.want, c.err)
		}
	}
}

func TestFetchFromDirectory(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(t.TempDir(), "secret")
	os.WriteFile(outside, []byte("no"), 0o600)
	os.WriteFile(filepath.Join(dir, "script.sh"), []byte("echo hi"), 0o600)
	os.Symlink(outside, filepath.Join(dir, "link"))
	os.Mkdir(filepath.Join(dir, "sub"), 0o700)
	f := fetcher(t, map[string]string{"https://raw.example/": dir})
	if b, err := f.Fetch(t.Context(), "https://raw.example/script.sh?sig=hush"); err != nil || string(b) != "echo hi" {
		t.Errorf("%q %v", b, err)
	}
	for path, want := range map[string]string{"none": "put it there", "link": "escapes", "sub": "is not a file"} {
		_, err := f.Fetch(t.Context(), "https://raw.example/"+path+"?sig=hush")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestFetchFromServer(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/m/ok":
			w.Write([]byte("template"))
		case "/m/huge":
			w.Write(make([]byte, MaxSize+1))
		default:
			http.NotFound(w, r)
		}
	}))
	defer srv.Close()
	f := fetcher(t, map[string]string{"https://raw.example/": srv.URL + "/m"})
	if b, err := f.Fetch(t.Context(), "https://raw.example/ok"); err != nil || string(b) != "template" {
		t.Errorf("%q %v", b, err)
	}
	for path, want := range map[string]string{"none": "404 Not Found; this is the mirror of https://raw.example/", "huge": "larger than 64 MiB"} {
		_, err := f.Fetch(t.Context(), "https://raw.example/"+path+"?sig=hush")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestTemplatesMayNotReachThisHost(t *testing.T) {
	for _, v := range []string{"HTTPS_PROXY", "https_proxy"} {
		t.Setenv(v, "")
	}
	srv := httptest.NewTLSServer(http.NotFoundHandler())
	defer srv.Close()
	_, err := fetcher(t, nil).Fetch(t.Context(), srv.URL+"/x?sig=hush")
	if err == nil || !strings.Contains(err.Error(), "address of this host itself") || !strings.Contains(err.Error(), "`mirrors`") || strings.Contains(err.Error(), "hush") {
		t.Error(err)
	}
}
