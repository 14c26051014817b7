package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"lido.dev/lido/internal/machine"
)

// layer writes into a machine's own layer as the machine would see it: through the image's links, and below copies of
// the image's directories. Used only while the machine does not run.
type layer struct {
	lower, upper string
}

// lstat looks a path up whose parents are no links, the machine's own layer first.
func (l layer) lstat(p string) (fs.FileInfo, string, error) {
	for _, root := range []string{l.upper, l.lower} {
		full := filepath.Join(root, p)
		st, err := os.Lstat(full)
		if err == nil && isWhiteout(st) {
			return nil, "", fs.ErrNotExist
		}
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			return st, full, err
		}
	}
	return nil, "", fs.ErrNotExist
}

func isWhiteout(st fs.FileInfo) bool {
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && st.Mode()&fs.ModeCharDevice != 0 && sys.Rdev == 0
}

// resolve follows the links in a path, all of it if last is set, else all but its last name. What does not exist is
// taken as it is written.
func (l layer) resolve(p string, last bool) (string, error) {
	todo := strings.Split(path.Clean("/"+p), "/")
	at := "/"
	for hops := 0; len(todo) > 0; {
		name := todo[0]
		todo = todo[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			at = path.Dir(at)
			continue
		}
		next := path.Join(at, name)
		st, full, err := l.lstat(next)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", err
		}
		if err != nil || st.Mode()&fs.ModeSymlink == 0 || len(todo) == 0 && !last {
			at = next
			continue
		}
		if hops++; hops > 40 {
			return "", fmt.Errorf("%s: %w", p, syscall.ELOOP)
		}
		link, err := os.Readlink(full)
		if err != nil {
			return "", err
		}
		if path.IsAbs(link) {
			at = "/"
		}
		todo = append(strings.Split(link, "/"), todo...)
	}
	return at, nil
}

// read returns a file as the machine sees it.
func (l layer) read(p string) ([]byte, error) {
	p, err := l.resolve(p, true)
	if err != nil {
		return nil, err
	}
	_, full, err := l.lstat(p)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(full)
}

// mkdir makes a directory with its parents, each like the image's if the image has it, and returns its resolved path.
func (l layer) mkdir(p string) (string, error) {
	p, err := l.resolve(p, true)
	if err != nil {
		return "", err
	}
	if p == "/" {
		return p, nil
	}
	if _, err := l.mkdir(path.Dir(p)); err != nil {
		return "", err
	}
	full := filepath.Join(l.upper, p)
	if st, err := os.Lstat(full); err == nil && st.IsDir() {
		return p, nil
	}
	mode, uid, gid := fs.FileMode(0o755), 0, 0
	if st, err := os.Lstat(filepath.Join(l.lower, p)); err == nil {
		if !st.IsDir() {
			return "", fmt.Errorf("%s: %w", p, syscall.ENOTDIR)
		}
		sys := st.Sys().(*syscall.Stat_t)
		mode, uid, gid = st.Mode(), int(sys.Uid), int(sys.Gid)
	}
	return p, makeDir(full, mode, uid, gid)
}

func makeDir(full string, mode fs.FileMode, uid, gid int) error {
	if err := os.Mkdir(full, 0o700); err != nil {
		return err
	}
	if err := os.Lchown(full, uid, gid); err != nil {
		return err
	}
	return os.Chmod(full, mode&(fs.ModePerm|fs.ModeSticky|fs.ModeSetgid|fs.ModeSetuid))
}

// write puts a file into the layer in place of whatever is at its path, a link included.
func (l layer) write(f machine.File) error {
	dir, err := l.mkdir(path.Dir(path.Clean("/" + f.Path)))
	if err != nil {
		return err
	}
	full := filepath.Join(l.upper, dir, path.Base(f.Path))
	if err := os.Remove(full); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	out, err := os.OpenFile(full, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	mode := fs.FileMode(f.Mode & 0o777)
	if f.Mode == 0 {
		mode = 0o644
	}
	if f.Mode&0o4000 != 0 {
		mode |= fs.ModeSetuid
	}
	_, err = out.Write(f.Data)
	return errors.Join(err, out.Chown(f.UID, f.GID), out.Chmod(mode), out.Close())
}
