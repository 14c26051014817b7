package node

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// makeDirs makes directories, all as the user if that goes. It returns which one could not be made.
func makeDirs(paths []string, who *account) (failed string, err error) {
	rest := paths
	who.do(func() error {
		for len(rest) > 0 && os.MkdirAll(rest[0], 0o755) == nil {
			rest = rest[1:]
		}
		return nil
	})
	for _, p := range rest {
		if err := makeDir(p, who); err != nil {
			return p, err
		}
	}
	return "", nil
}

// makeDir makes a directory as the user, with those above it. Where the user may not, on the node's own disk, root
// makes it for the user.
func makeDir(path string, who *account) error {
	err := who.do(func() error { return os.MkdirAll(path, 0o755) })
	if !errors.Is(err, fs.ErrPermission) || who.self {
		return err
	}
	if e := makeForUser(path, who); e != nil {
		return errors.Join(err, e)
	}
	return nil
}

// makeForUser makes a directory for a user where only root may, if it is where everybody may go. It passes no symbolic
// link, since the user could have made it, and stays on the node's own disk, since a share has rights of its own.
func makeForUser(path string, who *account) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s is not an absolute path", path)
	}
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { unix.Close(fd) }()
	made := false
	for _, name := range components(path) {
		if !public(fd) {
			return unix.EACCES
		}
		if err = unix.Mkdirat(fd, name, 0o755); err != nil && err != unix.EEXIST {
			return err
		}
		made = err == nil
		next, err := unix.Openat2(fd, name, &unix.OpenHow{Flags: unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
			Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH})
		if err != nil {
			return err
		}
		unix.Close(fd)
		fd = next
		if !made {
			continue
		}
		if !sameDisk(fd) {
			return unix.EPERM
		}
		if err := unix.Fchownat(fd, "", int(who.uid), int(who.gid), unix.AT_EMPTY_PATH); err != nil {
			return err
		}
	}
	if !made {
		return fs.ErrPermission
	}
	return nil
}

func sameDisk(fd int) bool {
	var a, b unix.Stat_t
	return unix.Fstat(fd, &a) == nil && unix.Stat("/", &b) == nil && a.Dev == b.Dev
}

// public tells whether everybody may pass a directory.
func public(fd int) bool {
	var st unix.Stat_t
	return unix.Fstat(fd, &st) == nil && st.Mode&0o001 != 0
}

func components(path string) []string {
	var parts []string
	for p := filepath.Clean(path); p != "/"; p = filepath.Dir(p) {
		parts = append([]string{filepath.Base(p)}, parts...)
	}
	return parts
}

// writeFile writes a file as its owner.
func writeFile(f File, who *account) error {
	if err := makeDir(filepath.Dir(f.Path), who); err != nil {
		return err
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o644
	}
	err := who.do(func() error { return replaceFile(f.Path, f.Data, mode) })
	if errors.Is(err, fs.ErrPermission) && !who.self && trusted(filepath.Dir(f.Path)) {
		if err = replaceFile(f.Path, f.Data, mode); err == nil {
			err = os.Lchown(f.Path, int(who.uid), int(who.gid))
		}
	}
	return err
}

// trusted tells whether a directory is root's alone.
func trusted(dir string) bool {
	var st unix.Stat_t
	return unix.Lstat(dir, &st) == nil && st.Uid == 0 && st.Mode&0o022 == 0
}

// replaceFile puts a file in place whole, and not through a symbolic link.
func replaceFile(path, data string, mode uint32) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".lido-*")
	if err != nil {
		return err
	}
	_, err = f.WriteString(data)
	err = errors.Join(err, unix.Fchmod(int(f.Fd()), mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}
