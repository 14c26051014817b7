package storage

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// ensureDir makes the directory of a share or container, or finishes its restoring; ErrNoShare says that the share is gone. Done
// again it does nothing; it never empties or changes a directory that is there. The lock is taken before the document
// is looked for: a share that is deleted from then on is moved aside after we have made its directory.
func (r *Room) ensureDir(ctx context.Context, account, share string) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.exists(ctx, account, share); err != nil {
		return "", err
	}
	dir := r.Dir(account, share)
	if err := r.bringBackLocked(ctx, account, share, dir); err != nil {
		return "", err
	}
	return dir, placeDir(dir)
}

// placeDir makes a directory, if it is not there.
func placeDir(dir string) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	err := os.MkdirAll(filepath.Dir(dir), 0o700)
	if err == nil {
		err = makeShareRoot(dir)
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", dir, err)
	}
	return nil
}

func (r *Room) exists(ctx context.Context, account, share string) error {
	return r.arm.Store.View(ctx, func(tx *store.Tx) error {
		rec, err := r.account(tx, account)
		if err != nil {
			return err
		}
		return findShare(tx, rec, account, share)
	})
}

func findShare(tx *store.Tx, rec *accountRecord, account, share string) error {
	_, err := tx.Get(placeID(rec.ID, share))
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("%w: %q in the account %q", ErrNoShare, share, account)
	}
	return err
}

// ensure is ensureDir for a share or container that may be deleted meanwhile.
func (r *Room) ensure(ctx context.Context, id arm.ID) error {
	account, share := place(id)
	_, err := r.ensureDir(ctx, account, share)
	if errors.Is(err, ErrNoShare) || errors.Is(err, ErrNoAccount) {
		return nil
	}
	return err
}

// makeShareRoot makes a directory that everybody may write to and nobody may remove others' files from: the accounts
// of machines differ, and scripts written for Azure Files (dir_mode=0777) expect to write to the root.
func makeShareRoot(dir string) error {
	tmp := dir + ".new" // not a share's name
	if err := os.Mkdir(tmp, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := os.Chmod(tmp, 0o777|fs.ModeSticky); err != nil {
		return err
	}
	if err := os.Rename(tmp, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

// syncDir makes changes of a directory's entries last over a crash of the host.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// listPlaces returns the documents that have a directory: shares and containers.
func listPlaces(tx *store.Tx) ([]*store.Doc, error) {
	shares, err := tx.List(store.Query{Type: typeShares})
	if err != nil {
		return nil, err
	}
	containers, err := tx.List(store.Query{Type: typeContainers})
	return append(shares, containers...), err
}

// ensureAll makes the directories that are missing.
func (r *Room) ensureAll(ctx context.Context) error {
	var docs []*store.Doc
	err := r.arm.Store.View(ctx, func(tx *store.Tx) (err error) {
		docs, err = listPlaces(tx)
		return err
	})
	if err != nil {
		return err
	}
	var errs []error
	for _, d := range docs {
		if err := r.ensure(ctx, arm.ParsePath(d.ID)); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// userDirs is held while a person's directory is made: machines that start together ask for the same one at once.
var userDirs sync.Mutex

// EnsureUserDir makes notebooks/USER on a share, the place of a person's own work, with its owner, and returns its
// path. Only that owner can enter it. What is there already is left as it is, whoever owns it.
func EnsureUserDir(share, user string, uid, gid int) (string, error) {
	if user == "" || user != filepath.Base(user) || strings.HasPrefix(user, ".") {
		return "", fmt.Errorf("directory of %q on the share: that is not a user's name", user)
	}
	userDirs.Lock()
	defer userDirs.Unlock()
	root, err := os.OpenRoot(share) // people write here: nothing they link to may lead us out
	if err != nil {
		return "", fmt.Errorf("directory of %q on the share: %w", user, err)
	}
	defer root.Close()
	if err := root.Mkdir("notebooks", 0o755); err == nil {
		err = root.Chmod("notebooks", 0o755) // whatever the umask
	} else if !errors.Is(err, fs.ErrExist) {
		return "", fmt.Errorf("directory of %q on the share: %w", user, err)
	}
	name := filepath.Join("notebooks", user)
	if err := makeOwned(root, name, uid, gid); err != nil {
		return "", fmt.Errorf("directory of %q on the share: %w", user, err)
	}
	return filepath.Join(share, name), nil
}

// makeOwned makes a directory under another name, gives it its owner, and only then its name. It gives away only a
// directory that it holds open and that is still its own: one that somebody moved there is not.
func makeOwned(root *os.Root, name string, uid, gid int) error {
	if _, err := root.Lstat(name); err == nil {
		return nil
	}
	tmp := filepath.Join(filepath.Dir(name), ".lido-"+filepath.Base(name))
	if err := root.Mkdir(tmp, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	dir, err := root.Open(tmp)
	if err != nil {
		return err
	}
	defer dir.Close()
	info, err := dir.Stat()
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || !info.IsDir() || int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s is in the way: remove it", tmp)
	}
	if err := dir.Chown(uid, gid); err != nil {
		return err
	}
	return root.Rename(tmp, name)
}

// diskUsage returns the bytes that the files below a directory take on the disk; a file with several names counts once.
func diskUsage(ctx context.Context, dir string) (int64, error) {
	var sum int64
	seen := map[[2]uint64]bool{}
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				return nil // removed while we looked
			}
			return err
		}
		info, err := e.Info()
		if err != nil || path == dir {
			return nil
		}
		st, ok := info.Sys().(*syscall.Stat_t)
		if key := [2]uint64{st.Dev, st.Ino}; ok && (e.IsDir() || st.Nlink == 1 || !seen[key]) {
			seen[key] = st.Nlink > 1
			sum += st.Blocks * 512
		}
		return ctx.Err()
	})
	if err != nil {
		return 0, fmt.Errorf("usage of %s: %w", dir, err)
	}
	return sum, nil
}
