// Package mirror fetches what templates name by URL: linked templates, scripts of extensions. An operator can send
// URLs below a prefix elsewhere, to a server or a directory of his own, so that a site without a way to the outside
// runs templates from outside as they are.
package mirror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

// MaxSize is how many bytes Fetch takes at most.
const MaxSize = 64 << 20

// Fetcher fetches URLs. It is safe for concurrent use.
type Fetcher struct {
	rules   []rule // longest prefix first
	direct  *http.Client
	mirrors *http.Client
}

type rule struct {
	prefix string // scheme and host in lower case
	to     string // URL, or absolute directory
}

// Source is where a URL is fetched from.
type Source struct {
	URL    string // set if it is fetched from a server
	Dir    string // set if it is read from a file: the mirror's directory,
	File   string // and the path below it
	Prefix string // of the mirror that was chosen; empty for the URL's own server
}

// New returns a fetcher with mirrors: URL prefix → URL or absolute directory.
func New(mirrors map[string]string) (*Fetcher, error) {
	f := &Fetcher{direct: newClient(refuseLocal), mirrors: newClient(nil)}
	for prefix, to := range mirrors {
		u, err := url.Parse(prefix)
		if err != nil || u.Scheme == "" || u.Host == "" {
			return nil, fmt.Errorf("mirrors: %q is not the beginning of a URL", prefix)
		}
		if t, err := url.Parse(to); !filepath.IsAbs(to) && (err != nil || !isWeb(t)) {
			return nil, fmt.Errorf("mirrors: %q is neither a URL nor an absolute directory", to)
		}
		f.rules = append(f.rules, rule{prefix: normal(u), to: to})
	}
	slices.SortFunc(f.rules, func(a, b rule) int { return len(b.prefix) - len(a.prefix) })
	return f, nil
}

func isWeb(u *url.URL) bool { return (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" }

// normal writes a URL so that prefixes can be compared: scheme and host in lower case, no default port, no fragment.
func normal(u *url.URL) string {
	v := *u
	v.Fragment, v.User = "", nil
	v.Scheme, v.Host = strings.ToLower(v.Scheme), strings.ToLower(v.Host)
	if v.Scheme == "https" {
		v.Host = strings.TrimSuffix(v.Host, ":443")
	}
	return v.String()
}

// Resolve says where a URL is fetched from. The longest prefix that fits is taken; a prefix ends at a "/".
func (f *Fetcher) Resolve(raw string) (Source, error) {
	u, err := url.Parse(raw)
	if err != nil || !isWeb(u) {
		return Source{}, fmt.Errorf("%q is not an https URL", withoutQuery(raw))
	}
	full := normal(u)
	for _, r := range f.rules {
		rest, ok := below(full, r.prefix)
		if !ok {
			continue
		}
		if filepath.IsAbs(r.to) {
			return fileSource(r, rest)
		}
		return Source{URL: strings.TrimSuffix(r.to, "/") + rest, Prefix: r.prefix}, nil
	}
	if u.Scheme != "https" {
		return Source{}, fmt.Errorf("%s is not fetched: only https can be trusted to deliver what it says; %s", withoutQuery(raw), advice(u))
	}
	return Source{URL: raw}, nil
}

// below returns what follows the prefix, beginning with "/" or "?", or empty.
func below(full, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(full, strings.TrimSuffix(prefix, "/"))
	return rest, ok && (rest == "" || rest[0] == '/' || rest[0] == '?')
}

func fileSource(r rule, rest string) (Source, error) {
	rest, _, _ = strings.Cut(rest, "?")
	path, err := url.PathUnescape(strings.Trim(rest, "/"))
	if err != nil {
		return Source{}, fmt.Errorf("the URL's path %q is not well encoded: %w", rest, err)
	}
	if !filepath.IsLocal(path) {
		return Source{}, fmt.Errorf("the path %q leads out of the mirror of %s", path, r.prefix)
	}
	return Source{Dir: r.to, File: path, Prefix: r.prefix}, nil
}

// Fetch returns what a URL holds. It fails on more than MaxSize bytes. Its errors never hold the URL's query, which
// may be a signature.
func (f *Fetcher) Fetch(ctx context.Context, raw string) ([]byte, error) {
	src, err := f.Resolve(raw)
	if err != nil {
		return nil, err
	}
	if src.Dir != "" {
		return readFile(src, raw)
	}
	return f.download(ctx, src, raw)
}

func readFile(src Source, raw string) ([]byte, error) {
	root, err := os.OpenRoot(src.Dir) // nothing below it leads out of it, links included
	if err != nil {
		return nil, fmt.Errorf("fetch %s: the mirror of %s: %w", withoutQuery(raw), src.Prefix, err)
	}
	defer root.Close()
	file, err := root.OpenFile(src.File, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a named pipe must not hold us
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("fetch %s: the mirror of %s has no file %s; put it there", withoutQuery(raw), src.Prefix, filepath.Join(src.Dir, src.File))
	}
	if err != nil {
		return nil, fmt.Errorf("fetch %s: the mirror of %s: %w", withoutQuery(raw), src.Prefix, err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, fmt.Errorf("fetch %s: %s is not a file", withoutQuery(raw), filepath.Join(src.Dir, src.File))
	}
	return readAll(file, raw)
}

func (f *Fetcher) download(ctx context.Context, src Source, raw string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, src.URL, nil)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %s", withoutQuery(raw), inner(err))
	}
	resp, err := f.client(src, req).Do(req)
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %s; %s", withoutQuery(raw), inner(err), hint(src, req.URL))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetch %s: the server answered %s; %s", withoutQuery(raw), resp.Status, hint(src, req.URL))
	}
	return readAll(resp.Body, raw)
}

func readAll(r io.Reader, raw string) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %s", withoutQuery(raw), inner(err))
	}
	if len(b) > MaxSize {
		return nil, fmt.Errorf("fetch %s: it is larger than %d MiB; let the machines fetch it themselves", withoutQuery(raw), MaxSize>>20)
	}
	return b, nil
}

func hint(src Source, u *url.URL) string {
	if src.Prefix != "" {
		return fmt.Sprintf("this is the mirror of %s in lido's config (%s)", src.Prefix, withoutQuery(u.String()))
	}
	return advice(u)
}

// advice says how to fetch a URL from elsewhere.
func advice(u *url.URL) string {
	return fmt.Sprintf("to fetch it from elsewhere, add %q under `mirrors` in lido's config, with another URL or a directory", u.Scheme+"://"+u.Host+"/")
}

// inner takes the URL out of an error of package http: it may hold a signature.
func inner(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err.Error()
	}
	return err.Error()
}

func withoutQuery(raw string) string {
	raw, _, _ = strings.Cut(raw, "?")
	return raw
}
