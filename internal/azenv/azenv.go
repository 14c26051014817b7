// Package azenv makes an isolated place for the stock az CLI: a configuration directory in which a lido is the cloud,
// trusted and signed in, and the environment variables that lead there. The user's own ~/.azure is never touched.
//
// It writes the files that az itself would write instead of running az: that takes milliseconds instead of seconds,
// needs no az on the PATH, and one directory serves old and new versions, which agree on these files. DESIGN.md says
// what is in them.
package azenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// marker is the file by which Remove knows that a directory is one of Make's.
const marker = "lido-az.json"

// Server is a lido as its clients see it.
type Server struct {
	URL string // https://HOST:PORT
	CA  []byte // its CA's certificate in PEM form: the only one that is trusted while signing in
}

// Login is who signs in.
type Login struct {
	User     string // a person's name, or a service principal's app id
	Password string
	App      bool // a service principal
}

// Options say what to make.
type Options struct {
	Dir    string // the configuration directory to make, or to make anew
	Server Server
	Login  Login
	Data   string // the server's data directory, if it is on this computer: Find finds by it
	// SystemCAs is a file of the certificates that are trusted besides the server's, in PEM form; empty for none.
	SystemCAs string
	// Owner owns the files, if it is not this process's user; nil otherwise.
	Owner *Owner
	Now   time.Time
}

// Owner is a user of this computer.
type Owner struct{ UID, GID int }

// Make signs in and writes the directory. An earlier one of the same name is replaced; another directory of that name
// is an error.
func Make(ctx context.Context, o Options) error {
	if err := checkOurs(o.Dir); err != nil {
		return err
	}
	s, err := signIn(ctx, o.Server, o.Login)
	if err != nil {
		return err
	}
	files, err := s.files(o)
	if err != nil {
		return err
	}
	if err := o.Owner.MkdirAll(o.Dir); err != nil {
		return fmt.Errorf("make the az directory: %w", err)
	}
	// The marker comes first: whatever is left by a crash can be removed.
	for _, f := range append([]file{{marker, mustJSON(origin{Server: o.Server.URL, Data: o.Data})}}, files...) {
		if err := writeFile(filepath.Join(o.Dir, f.name), f.data); err != nil {
			return fmt.Errorf("make the az directory: %w", err)
		}
	}
	return o.Owner.Give(o.Dir)
}

// MkdirAll makes a directory and those above it that are missing, all of them the owner's. A nil owner is this
// process's user.
func (w *Owner) MkdirAll(dir string) error {
	var missing []string
	for p := dir; ; p = filepath.Dir(p) {
		if _, err := os.Stat(p); err == nil || p == filepath.Dir(p) {
			break
		}
		missing = append(missing, p)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil || w == nil {
		return err
	}
	for _, p := range missing {
		if err := os.Lchown(p, w.UID, w.GID); err != nil {
			return err
		}
	}
	return nil
}

// origin is what the marker says.
type origin struct {
	Server string `json:"server"`
	Data   string `json:"data,omitempty"`
}

// Find returns the directories right below root that Make made for the server of a data directory.
func Find(root, data string) []string {
	markers, _ := filepath.Glob(filepath.Join(root, "*", marker)) // the pattern is a good one
	var dirs []string
	for _, m := range markers {
		var o origin
		if raw, err := os.ReadFile(m); err == nil && json.Unmarshal(raw, &o) == nil && o.Data == data {
			dirs = append(dirs, filepath.Dir(m))
		}
	}
	return dirs
}

// Give makes a directory and all in it the owner's.
func (w *Owner) Give(dir string) error {
	if w == nil {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, w.UID, w.GID)
	})
}

// Remove deletes a directory that Make made, with everything that az put there since. It is an error if it is not one.
func Remove(dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
		return fmt.Errorf("%s was not made by `lido az env`; it is left alone", dir)
	}
	return os.RemoveAll(dir)
}

// checkOurs refuses to write into a directory that holds something else, such as ~/.azure.
func checkOurs(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || (err == nil && len(entries) == 0) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("the az directory: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, marker)); err != nil {
		return fmt.Errorf("%s exists and was not made by `lido az env`; it is left alone: choose another with --dir", dir)
	}
	return nil
}

type file struct {
	name string
	data []byte
}

func writeFile(path string, data []byte) error {
	tmp := path + ".new"
	if err := os.WriteFile(tmp, data, 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func mustJSON(v any) []byte {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err) // only values of this package come here, and they marshal
	}
	return append(b, '\n')
}
