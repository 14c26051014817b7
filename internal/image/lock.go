package image

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lock takes the lock of an image among all processes that use the directory. The kernel frees it when lido dies.
func (s *Store) lock(ctx context.Context, hash string) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, lockPrefix+hash), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			f.Close()
			return nil, err
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// sweep removes the temporary directories that nobody works on. There are no mounts in them: those went with the
// processes that made them (see sandbox).
func (s *Store) sweep() {
	dirs, _ := filepath.Glob(filepath.Join(s.dir, tempPrefix+"*"))
	for _, d := range dirs {
		hash, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(d), tempPrefix), "-")
		f, err := os.OpenFile(filepath.Join(s.dir, lockPrefix+hash), os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			s.log.Info("removing what a cut build left", "dir", d)
			if err := removeAll(d); err != nil {
				s.log.Warn("could not remove what a cut build left", "dir", d, "err", err)
			}
		}
		f.Close()
	}
}

// diskUsage adds up what a tree takes on disk, in bytes, hard links once.
func diskUsage(root string) (int64, error) {
	var total int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || (st.Nlink > 1 && !d.IsDir() && seen[st.Ino]) {
			return nil
		}
		seen[st.Ino] = true
		total += st.Blocks * 512
		return nil
	})
	return total, err
}
