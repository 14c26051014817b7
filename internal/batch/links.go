package batch

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"syscall"

	"lido.dev/lido/internal/arm"
)

// FilesPath is where Files is served.
const FilesPath = "/batch/files/"

// fileLink is a signed link to a file of a job's output. Who has it may read that file until it expires.
type fileLink struct {
	Job, UID string // the job's document
	Output   string // stdouterr, or an id of outputDirectories
	Path     string // in that directory
	Expires  int64  // Unix seconds
}

func (l fileLink) sign(key []byte) string {
	h := hmac.New(sha256.New, key)
	fmt.Fprintf(h, "%q %q %q %q %d", strings.ToLower(l.Job), l.UID, l.Output, l.Path, l.Expires)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// url returns the link without scheme and host.
func (l fileLink) url(key []byte) string {
	q := url.Values{"job": {l.Job}, "uid": {l.UID}, "dir": {l.Output}, "se": {strconv.FormatInt(l.Expires, 10)}, "sig": {l.sign(key)}}
	return (&url.URL{Path: FilesPath + l.Path, RawQuery: q.Encode()}).String()
}

func parseLink(u *url.URL) (l fileLink, sig string) {
	q := u.Query()
	expires, _ := strconv.ParseInt(q.Get("se"), 10, 64)
	return fileLink{q.Get("job"), q.Get("uid"), q.Get("dir"), strings.TrimPrefix(u.Path, FilesPath), expires}, q.Get("sig")
}

// Files serves signed links to jobs' files, whole and in ranges: a file that grows is followed by asking for what
// comes after the part that is known (416 as long as there is nothing).
func (r *Room) Files() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Method != http.MethodGet && req.Method != http.MethodHead {
			http.Error(w, "Files are read with GET or HEAD.", http.StatusMethodNotAllowed)
			return
		}
		l, sig := parseLink(req.URL)
		switch {
		case !hmac.Equal([]byte(sig), []byte(l.sign(r.FilesKey))):
			http.Error(w, "The link's signature is not valid. List the job's files to get another link.", http.StatusForbidden)
		case r.Now().Unix() >= l.Expires:
			http.Error(w, "The link has expired. List the job's files to get another one.", http.StatusForbidden)
		default:
			r.serveFile(w, req, l)
		}
	})
}

func (r *Room) serveFile(w http.ResponseWriter, req *http.Request, l fileLink) {
	out, err := r.openOutput(req.Context(), arm.ParsePath(l.Job), l.UID, l.Output)
	if errors.Is(err, fs.ErrNotExist) {
		err = errNoFile
	}
	if err != nil {
		status, text := statusOf(err)
		http.Error(w, text, status)
		return
	}
	defer out.root.Close()
	f, info, err := openRegular(out.root, relative(l.Path))
	if err != nil {
		http.Error(w, errNoFile.Message, errNoFile.Status)
		return
	}
	defer f.Close()
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "no-store")
	http.ServeContent(w, req, "", info.ModTime(), f)
}

var errNoFile = arm.Errorf(http.StatusNotFound, "FileNotFound", "There is no such file.")

var errNotRegular = errors.New("not a regular file")

// openRegular opens a file without waiting for the other end of a pipe.
func openRegular(root *os.Root, p string) (*os.File, fs.FileInfo, error) {
	f, err := root.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}
