package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// fromSeed takes the image over from another store's directory that has it: by hard links, or by a copy where the
// two are on different file systems. Either way the image stays when the other store removes its own.
func (s *Store) fromSeed(ctx context.Context, hash, tmp string) (bool, error) {
	for _, seed := range s.seeds {
		other := &Store{dir: seed}
		if _, err := other.read(hash); err != nil {
			continue
		}
		args := []string{"cp", "-a"}
		if sameFileSystem(seed, s.dir) {
			args = append(args, "-l")
		} else {
			args = append(args, "--reflink=auto")
		}
		log, err := os.CreateTemp(s.dir, tempPrefix+hash+"-log-")
		if err != nil {
			return false, err
		}
		defer os.Remove(log.Name())
		defer log.Close()
		box := &sandbox{log: log}
		if err := box.run(ctx, command{args: append(args, filepath.Join(seed, hash)+"/.", tmp), dir: "/"}); err != nil {
			return false, err
		}
		return true, nil
	}
	return false, nil
}

func sameFileSystem(a, b string) bool {
	var x, y unix.Stat_t
	return errors.Join(unix.Stat(a, &x), unix.Stat(b, &y)) == nil && x.Dev == y.Dev
}
