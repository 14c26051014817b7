package main

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
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

// make creates the directories.
func (p paths) make() error {
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
