package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

const defaultData = "/var/lib/lido"

// paths are the places of one lido on this host. Several live side by side, told apart by the tag.
type paths struct {
	Data string // state that lasts; mode 0700
	Run  string // sockets and other things that a reboot clears
	Tag  string // six hex digits out of Data's path, part of the name of everything that this lido makes on the host
}

func newPaths(data string) (paths, error) {
	if data == "" { // would be the working directory, as when a script's variable is not set
		return paths{}, errors.New("--data is empty: name the directory of lido's state, or leave --data out for " + defaultData)
	}
	abs, err := filepath.Abs(data)
	if err != nil {
		return paths{}, fmt.Errorf("data directory %s: %w", data, err)
	}
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	sum := sha256.Sum256([]byte(abs))
	tag := hex.EncodeToString(sum[:3])
	return paths{Data: abs, Run: filepath.Join("/run/lido", tag), Tag: tag}, nil
}

func (p paths) in(name string) string { return filepath.Join(p.Data, name) }
func (p paths) control() string       { return filepath.Join(p.Run, "control.sock") }
func (p paths) log() string           { return filepath.Join(p.Data, "log", "lido.log") }
func (p paths) exists() bool          { _, err := os.Stat(p.in("lido.db")); return err == nil }

// belongings are what lies in a data directory, and what may be there beforehand.
var belongings = strings.Fields("admin.json ca fileservers images lido.db lido.db-shm lido.db-wal lido.yaml lock log lost+found machines oci secret.key shares token-keys.json")

// state says what the data directory is, and names one thing in it that is not lido's.
func (p paths) state() (dirState, string, error) {
	entries, err := os.ReadDir(p.Data)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return dirMissing, "", nil
	case err != nil:
		return 0, "", fmt.Errorf("data directory: %w", err)
	case p.exists():
		return dirOwn, "", nil
	}
	for _, e := range entries {
		if !slices.Contains(belongings, e.Name()) {
			return dirForeign, e.Name(), nil
		}
	}
	if isDir(p.in("ca")) && isDir(p.in("log")) { // a first start that failed
		return dirOwn, "", nil
	}
	return dirFree, "", nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

type dirState int

const (
	dirMissing dirState = iota
	dirFree             // empty, or only prepared for lido
	dirOwn              // lido's state is in it
	dirForeign          // somebody else's
)

// check refuses a directory with other things in it: lido closes its data directory to others, and a purge removes it.
func (p paths) check() error {
	state, other, err := p.state()
	if err == nil && state == dirForeign {
		err = fmt.Errorf("%s is not lido's: it has other things in it (%s), and lido needs a directory of its own. Give a new or an empty one with --data", p.Data, other)
	}
	return err
}

// make creates the directories.
func (p paths) make() error {
	if err := p.check(); err != nil {
		return err
	}
	for _, dir := range []string{p.Data, p.in("log"), p.in("ca"), p.Run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("make %s: %w", dir, err)
		}
	}
	return os.Chmod(p.Data, 0o700)
}

// lock takes the data directory for this process, so that two servers don't share one.
func (p paths) lock() (*os.File, error) {
	f, err := os.OpenFile(p.in("lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", p.Data, err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("%s is in use by a running lido: stop it with 'lido down --data %s', or choose another --data", p.Data, p.Data)
		}
		return nil, fmt.Errorf("lock %s: %w", p.Data, err)
	}
	return f, nil
}

// dataFlag adds --data, which LIDO_DATA presets.
func dataFlag(cmd *cobra.Command) *string {
	preset := defaultData
	if v := os.Getenv("LIDO_DATA"); v != "" {
		preset = v
	}
	return cmd.Flags().String("data", preset, "directory of lido's state (preset by LIDO_DATA)")
}

func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s needs root: it makes namespaces, mounts and firewall rules. Run it with sudo", what)
	}
	return nil
}
