package oci

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	whiteout = ".wh."
	opaque   = ".wh..wh..opq"
	capsName = "SCHILY.xattr.security.capability"
)

// layer is one layer on its way into a root directory. No entry, and no link in the directory, leads out of it.
type layer struct {
	root *os.Root
	own  map[string]bool // paths that this layer made: its whiteouts are for those of the layers below
	dirs []*tar.Header   // their times are set last
}

// Unpack applies a layer, an uncompressed tar stream, to a root directory. Devices are left out.
func Unpack(ctx context.Context, r io.Reader, dir string) error {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	l := &layer{root: root, own: map[string]bool{}}
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if err == io.EOF {
			break
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
		if err := l.apply(h, t); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
	for i := len(l.dirs) - 1; i >= 0; i-- {
		h := l.dirs[i]
		root.Chtimes(h.Name, h.ModTime, h.ModTime)
	}
	return nil
}

func (l *layer) apply(h *tar.Header, r io.Reader) error {
	h.Name = clean(h.Name)
	if h.Name == "." {
		return l.root.Chmod(".", mode(h))
	}
	dir, base := path.Split(h.Name)
	dir, err := l.inside(path.Clean(dir))
	if err != nil {
		return err
	}
	h.Name = path.Join(dir, base)
	if base == opaque {
		return l.clear(dir)
	}
	if gone, ok := strings.CutPrefix(base, whiteout); ok {
		if gone == "" || gone == "." || gone == ".." {
			return errors.New("a whiteout of nothing")
		}
		return l.drop(path.Join(dir, gone))
	}
	if err := l.parents(dir); err != nil {
		return err
	}
	if err := l.makeWay(h); err != nil {
		return err
	}
	made, err := l.place(h, r) // not through links: inside has followed them
	if made {
		l.note(h.Name)
	}
	return err
}

// clean makes a name relative to the root; ".." goes no higher than that.
func clean(name string) string {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if name == "" {
		return "."
	}
	return name
}

// maxLinks is how many symbolic links may be on the way to a file.
const maxLinks = 40

// inside follows the links on a directory's path as they will lead in the image: absolute ones, and too many dots, begin
// at the image's root. What does not exist yet is taken for what it says.
func (l *layer) inside(dir string) (string, error) {
	at, rest := ".", dir
	for links := 0; rest != "." && rest != ""; {
		first, more, _ := strings.Cut(rest, "/")
		next := path.Join(at, first)
		info, err := l.root.Lstat(next)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err != nil || info.Mode()&os.ModeSymlink == 0 {
			at, rest = next, more
			continue
		}
		if links++; links > maxLinks {
			return "", fmt.Errorf("%s: too many links", dir)
		}
		to, err := l.root.Readlink(next)
		if err != nil {
			return "", err
		}
		if !path.IsAbs(to) {
			to = path.Join("/", at, to)
		}
		at, rest = ".", clean(path.Join(to, more))
	}
	return at, nil
}

func mode(h *tar.Header) os.FileMode {
	return h.FileInfo().Mode() & (os.ModePerm | os.ModeSetuid | os.ModeSetgid | os.ModeSticky)
}

// note remembers a path, and those above it, as this layer's.
func (l *layer) note(name string) {
	for ; name != "." && !l.own[name]; name = path.Dir(name) {
		l.own[name] = true
	}
}

// parents makes directories that the layer forgot to mention.
func (l *layer) parents(dir string) error {
	if dir == "." {
		return nil
	}
	if info, err := l.root.Stat(dir); err == nil && info.IsDir() {
		return nil
	}
	return l.root.MkdirAll(dir, 0o755)
}

// makeWay removes what stands where an entry is to be; a directory stays if the entry is one.
func (l *layer) makeWay(h *tar.Header) error {
	info, err := l.root.Lstat(h.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() && h.Typeflag == tar.TypeDir {
		return nil
	}
	return l.root.RemoveAll(h.Name)
}

// drop removes a path of the layers below.
func (l *layer) drop(name string) error {
	if l.own[name] {
		return nil
	}
	err := l.root.RemoveAll(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// clear removes all of a directory that came from the layers below.
func (l *layer) clear(dir string) error {
	f, err := l.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	names, err := f.Readdirnames(-1)
	f.Close()
	for _, n := range names {
		p := path.Join(dir, n)
		if !l.own[p] {
			err = errors.Join(err, l.drop(p))
			continue
		}
		if info, e := l.root.Lstat(p); e == nil && info.IsDir() {
			err = errors.Join(err, l.clear(p))
		}
	}
	return err
}

// place makes an entry; made is false for what is left out.
func (l *layer) place(h *tar.Header, r io.Reader) (made bool, err error) {
	switch h.Typeflag {
	case tar.TypeReg:
		return true, l.file(h, r)
	case tar.TypeDir:
		if err := l.root.Mkdir(h.Name, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return false, err
		}
		l.dirs = append(l.dirs, h)
		return true, errors.Join(l.root.Lchown(h.Name, h.Uid, h.Gid), l.root.Chmod(h.Name, mode(h)))
	case tar.TypeSymlink:
		if err := l.root.Symlink(h.Linkname, h.Name); err != nil {
			return false, err
		}
		return true, l.root.Lchown(h.Name, h.Uid, h.Gid)
	case tar.TypeLink:
		old := clean(h.Linkname)
		dir, err := l.inside(path.Dir(old))
		if err != nil {
			return false, err
		}
		return true, l.root.Link(path.Join(dir, path.Base(old)), h.Name)
	case tar.TypeFifo, tar.TypeChar, tar.TypeBlock, tar.TypeXGlobalHeader:
		return false, nil
	}
	return false, fmt.Errorf("unknown kind of entry %q", h.Typeflag)
}

func (l *layer) file(h *tar.Header, r io.Reader) error {
	f, err := l.root.OpenFile(h.Name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := io.Copy(f, r); err != nil {
		return err
	}
	if err := errors.Join(f.Chown(h.Uid, h.Gid), f.Chmod(mode(h))); err != nil { // in this order: chown takes setuid away
		return err
	}
	if caps := h.PAXRecords[capsName]; caps != "" {
		unix.Fsetxattr(int(f.Fd()), "security.capability", []byte(caps), 0) // some disks have none; the program then lacks them
	}
	return l.root.Chtimes(h.Name, h.ModTime, h.ModTime)
}
