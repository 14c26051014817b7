package batch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// outputFile is an entry of listOutputFiles.
type outputFile struct {
	Name       string          `json:"name"`
	URL        string          `json:"downloadUrl,omitempty"`
	Type       string          `json:"fileType"` // file, directory
	Properties *fileProperties `json:"properties,omitempty"`
}

type fileProperties struct {
	Modified string `json:"lastModified"`
	Length   int64  `json:"contentLength"`
}

// listing is what a call of listOutputFiles asks for.
type listing struct {
	output, dir string
	expiry      time.Duration
	max         int
	after       string
}

func listingOf(q url.Values) (listing, error) {
	l := listing{output: param(q, "outputdirectoryid"), dir: relative(param(q, "directory")), after: param(q, "$skiptoken")}
	if l.output == "" {
		return l, arm.BadRequest("InvalidParameter", "outputdirectoryid", "The query parameter outputdirectoryid is required: 'stdouterr', or the id of one of the job's output directories.")
	}
	minutes, err := numberParam(q, "linkexpiryinminutes", 60, 600)
	if err != nil {
		return l, err
	}
	l.expiry = time.Duration(minutes) * time.Minute
	l.max, err = numberParam(q, "maxresults", 1000, 1000)
	return l, err
}

func numberParam(q url.Values, name string, def, most int) (int, error) {
	text := param(q, name)
	if text == "" {
		return def, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, arm.BadRequest("InvalidParameter", name, "The query parameter %s is not a number from 1 to %d.", name, most)
	}
	return n, nil
}

// param returns a query parameter by its name in any case.
func param(q url.Values, name string) string {
	for k, v := range q {
		if strings.EqualFold(k, name) && len(v) > 0 {
			return v[0]
		}
	}
	return ""
}

// listOutputFiles lists a job's output directory, with a signed link for each file. req.ID is the collection
// .../jobs/J/listOutputFiles: the first page is asked for by POST, the others by GET.
func (r *Room) listOutputFiles(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	id := req.ID.Parent()
	l, err := listingOf(req.Query)
	if err != nil {
		return nil, err
	}
	out, err := r.openOutput(ctx, id, "", l.output)
	if errors.Is(err, fs.ErrNotExist) {
		return arm.Page([]outputFile{}), nil // the job has written nothing yet
	}
	if err != nil {
		return nil, err
	}
	defer out.root.Close()
	names, err := readNames(out.root, l.dir)
	if err != nil {
		return nil, err
	}
	at, _ := slices.BinarySearch(names, l.after+"\x00")
	if l.after == "" {
		at = 0
	}
	page, next := []outputFile{}, any(nil)
	for _, name := range names[at:] {
		if len(page) == l.max {
			next = nextPage(req, page[len(page)-1].Name)
			break
		}
		if f, ok := r.describe(req, out, l, name); ok {
			page = append(page, f)
		}
	}
	return arm.OK(map[string]any{"value": page, "nextLink": next}), nil
}

func nextPage(req *arm.Request, last string) string {
	query := url.Values{}
	for k, v := range req.Query {
		query[k] = v
	}
	query.Set("$skiptoken", last)
	return req.BaseURL + (&url.URL{Path: req.ID.String()}).EscapedPath() + "?" + query.Encode()
}

// readNames returns the sorted names in a directory; none if it is not there (yet).
func readNames(root *os.Root, dir string) ([]string, error) {
	f, err := root.Open(orDot(dir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unreadable(dir, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(-1)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	slices.Sort(names)
	return names, nil
}

func unreadable(p string, err error) error {
	return arm.Conflict("FileNotReadable", "'%s' cannot be read: %v.", p, errors.Unwrap(err))
}

func orDot(p string) string {
	if p == "" {
		return "."
	}
	return p
}

// describe returns an entry of a directory. What is neither a file nor a directory, or a link out of the output directory, is
// left out.
func (r *Room) describe(req *arm.Request, out *output, l listing, name string) (outputFile, bool) {
	info, err := out.root.Stat(path.Join(l.dir, name))
	switch {
	case err != nil:
		return outputFile{}, false
	case info.IsDir():
		return outputFile{Name: name, Type: "directory"}, true
	case !info.Mode().IsRegular():
		return outputFile{}, false
	}
	link := fileLink{Job: out.doc.ID, UID: out.doc.UID, Output: l.output, Path: path.Join(l.dir, name), Expires: r.Now().Add(l.expiry).Unix()}
	base := req.BaseURL
	if base == "" && r.FilesURL != nil {
		base = r.FilesURL()
	}
	return outputFile{Name: name, Type: "file", URL: base + link.url(r.FilesKey),
		Properties: &fileProperties{Modified: stamp(info.ModTime()), Length: info.Size()}}, true
}

// output is an opened output directory of a job. Links cannot lead out of it: lido reads as root, and a share holds what
// others than the job's owner keep for themselves.
type output struct {
	root *os.Root
	doc  *store.Doc
}

// openOutput opens a job's output directory. uid is the incarnation that is meant; "" means any. The error is
// fs.ErrNotExist if the directory is not there.
func (r *Room) openOutput(ctx context.Context, id arm.ID, uid, name string) (*output, error) {
	var j job
	var c cluster
	out := &output{}
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		d, err := getDoc(tx, id)
		if err != nil {
			return err
		}
		if uid != "" && d.UID != uid {
			return arm.NotFound(id)
		}
		out.doc = d
		if j, _, err = readJob(r.Server, tx, d); err != nil {
			return err
		}
		cd, err := tx.Get(j.Cluster.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil // its mounts are unknown; the job's own may do
		}
		if err != nil {
			return err
		}
		c, _, err = readCluster(r.Server, tx, cd)
		return err
	})
	if err != nil {
		return nil, err
	}
	dir, ok := j.outputPath(name)
	if !ok {
		return nil, arm.BadRequest("InvalidOutputDirectoryId", "outputdirectoryid", "The job has no output directory '%s'. It is 'stdouterr', or the id of one of its outputDirectories.", name)
	}
	at, ok := locate(dir, &c.Setup.Mounts, &j.Mounts)
	if !ok {
		return nil, arm.Conflict("OutputDirectoryNotMounted", "The files cannot be listed: '%s' is in none of the volumes that the job and its cluster mount.", dir)
	}
	out.root, err = r.openPlace(ctx, at)
	return out, err
}

func (r *Room) openPlace(ctx context.Context, at place) (*os.Root, error) {
	dir, err := r.dirOf(ctx, at.volume)
	if err != nil {
		return nil, err
	}
	rel := at.rel
	if at.share != nil {
		_, sub := at.share.shareName()
		rel = path.Join(sub, rel)
	}
	if at.server != nil {
		rel = path.Join(relative(at.server.SourceDir), rel)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open volume: %w", err)
	}
	return openBelow(root, rel)
}

// openBelow goes down from a directory, which it closes, along a path that has no links in it.
func openBelow(root *os.Root, rel string) (*os.Root, error) {
	for name := range strings.SplitSeq(rel, "/") {
		if name == "" {
			continue
		}
		next, err := openStep(root, name)
		root.Close()
		if err != nil {
			return nil, err
		}
		root = next
	}
	return root, nil
}

// openStep opens a directory in another, unless it is a link. That the opened one is what was looked at is checked, for a
// link may be put in its place meanwhile.
func openStep(root *os.Root, name string) (*os.Root, error) {
	seen, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	link := arm.Conflict("OutputDirectoryNotReadable", "The files cannot be read: on the way to the output directory '%s' is a link, or not a directory.", name)
	if !seen.IsDir() {
		return nil, link
	}
	next, err := root.OpenRoot(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err != nil {
		return nil, link
	}
	if opened, err := next.Stat("."); err != nil || !os.SameFile(seen, opened) {
		next.Close()
		return nil, link
	}
	return next, nil
}

// dirOf returns the host's directory of a volume.
func (r *Room) dirOf(ctx context.Context, v volume) (dir string, err error) {
	switch {
	case r.Drives == nil || v.unmanaged != nil:
		return "", arm.Conflict("OutputDirectoryNotReadable", "The files cannot be listed: they are on a file system that lido does not manage. Read them in a node (az batchai job node exec).")
	case v.share != nil:
		share, _ := v.share.shareName()
		dir, err = r.Drives.ShareDir(ctx, v.share.Account, v.share.Credentials.Key, share)
	case v.container != nil:
		dir, err = r.Drives.ContainerDir(ctx, v.container.Account, v.container.Credentials.Key, v.container.Container)
	default:
		return r.serverDir(ctx, v.server.Server.ID)
	}
	if errors.Is(err, ErrNoAccount) || errors.Is(err, ErrWrongKey) || errors.Is(err, ErrNoShare) {
		return "", arm.Conflict("OutputDirectoryNotReadable", "The files cannot be listed: %v.", err)
	}
	return dir, err
}

func (r *Room) serverDir(ctx context.Context, id string) (string, error) {
	uid := ""
	err := r.Store.View(ctx, func(tx *store.Tx) error {
		d, err := getDoc(tx, arm.ParsePath(id))
		if err == nil {
			uid = d.UID
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return r.Drives.ServerDir(ctx, uid)
}

// statusOf is the HTTP status of an error for a link's answer.
func statusOf(err error) (int, string) {
	e := arm.AsError(err)
	if e.Status == 0 {
		return http.StatusInternalServerError, e.Message
	}
	return e.Status, e.Message
}
