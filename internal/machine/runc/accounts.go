package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"lido.dev/lido/internal/machine"
)

// database is one of the colon-separated files below /etc.
type database struct {
	path  string
	mode  uint32
	gid   int
	lines [][]string
}

func readDatabase(l layer, path string) (*database, error) {
	db := &database{path: path, mode: 0o644}
	data, err := l.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return db, nil
	}
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSpace(line); line != "" {
			db.lines = append(db.lines, strings.Split(line, ":"))
		}
	}
	if p, err := l.resolve(path, true); err == nil {
		if st, _, err := l.lstat(p); err == nil {
			db.mode, db.gid = uint32(st.Mode().Perm()), int(st.Sys().(*syscall.Stat_t).Gid)
		}
	}
	return db, nil
}

func (db *database) find(name string) []string {
	for _, l := range db.lines {
		if l[0] == name {
			return l
		}
	}
	return nil
}

func (db *database) set(fields ...string) {
	for i, l := range db.lines {
		if l[0] == fields[0] {
			db.lines[i] = fields
			return
		}
	}
	db.lines = append(db.lines, fields)
}

// taken tells whether a number is in the third field of any line.
func (db *database) taken(id int) bool {
	return slices.ContainsFunc(db.lines, func(l []string) bool { return len(l) > 2 && l[2] == strconv.Itoa(id) })
}

func (db *database) write(l layer) error {
	var b strings.Builder
	for _, line := range db.lines {
		b.WriteString(strings.Join(line, ":") + "\n")
	}
	return l.write(machine.File{Path: db.path, Data: []byte(b.String()), Mode: db.mode, GID: db.gid})
}

// accountFiles are the files that together say who there is.
type accountFiles struct {
	passwd, shadow, group, gshadow *database
}

func (a accountFiles) all() []*database { return []*database{a.passwd, a.shadow, a.group, a.gshadow} }

func readAccounts(l layer) (a accountFiles, err error) {
	for path, db := range map[string]**database{"/etc/passwd": &a.passwd, "/etc/shadow": &a.shadow, "/etc/group": &a.group, "/etc/gshadow": &a.gshadow} {
		if *db, err = readDatabase(l, path); err != nil {
			return a, err
		}
	}
	return a, nil
}

// addAccounts writes the accounts with their groups, homes, keys and rights into the layer.
func addAccounts(l layer, accounts []machine.Account) error {
	if len(accounts) == 0 {
		return nil
	}
	files, err := readAccounts(l)
	if err != nil {
		return err
	}
	for _, a := range accounts {
		uid, gid, home, err := files.add(a)
		if err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
		if err := furnishHome(l, a, home, uid, gid); err != nil {
			return fmt.Errorf("%s: %w", a.Name, err)
		}
	}
	for _, db := range files.all() {
		if err := db.write(l); err != nil {
			return err
		}
	}
	return nil
}

// add enters one account and returns its numbers and home.
func (a accountFiles) add(acc machine.Account) (uid, gid int, home string, err error) {
	if strings.ContainsAny(acc.Name, ":/\n ") || acc.Name == "" {
		return 0, 0, "", fmt.Errorf("not a name for an account")
	}
	if old := a.passwd.find(acc.Name); len(old) >= 7 {
		uid, err = strconv.Atoi(old[2])
		gid, _ = strconv.Atoi(old[3])
		home = old[5]
	} else {
		uid = a.freeID(acc.UID)
		if acc.UID != 0 && a.passwd.taken(acc.UID) {
			return 0, 0, "", fmt.Errorf("uid %d is another account's in the image", acc.UID)
		}
		home = "/home/" + acc.Name
		gid = a.ownGroup(acc.Name, uid)
		a.passwd.set(acc.Name, "x", strconv.Itoa(uid), strconv.Itoa(gid), "", home, "/bin/bash")
	}
	hash := acc.PasswordHash
	if hash == "" {
		hash = "!*" // no password fits, but keys may
	}
	a.shadow.set(acc.Name, hash, "19700", "0", "99999", "7", "", "", "")
	for _, g := range acc.Groups {
		a.join(g, acc.Name)
	}
	return uid, gid, home, err
}

func (a accountFiles) freeID(want int) int {
	if want != 0 {
		return want
	}
	id := 1000
	for a.passwd.taken(id) || a.group.taken(id) {
		id++
	}
	return id
}

// ownGroup makes the group named as the account, with the uid as its number if that is free.
func (a accountFiles) ownGroup(name string, uid int) int {
	if old := a.group.find(name); len(old) > 2 {
		gid, _ := strconv.Atoi(old[2])
		return gid
	}
	gid := uid
	if a.group.taken(gid) {
		gid = a.freeID(0)
	}
	a.group.set(name, "x", strconv.Itoa(gid), "")
	a.gshadow.set(name, "!", "", "")
	return gid
}

func (a accountFiles) join(group, name string) {
	for _, db := range []*database{a.group, a.gshadow} {
		l := db.find(group)
		if len(l) < 4 || slices.Contains(strings.Split(l[3], ","), name) {
			continue
		}
		if l[3] != "" {
			l[3] += ","
		}
		l[3] += name
	}
}

// furnishHome makes the account's home like /etc/skel, its keys and its right to become root.
func furnishHome(l layer, a machine.Account, home string, uid, gid int) error {
	at, err := l.mkdir(path.Dir(home))
	if err != nil {
		return err
	}
	at = path.Join(at, path.Base(home))
	if _, _, err := l.lstat(at); errors.Is(err, fs.ErrNotExist) {
		if err := copySkel(l, at, uid, gid); err != nil {
			return err
		}
	}
	if len(a.AuthorizedKeys) > 0 {
		if err := writeKeys(l, at, a.AuthorizedKeys, uid, gid); err != nil {
			return err
		}
	}
	if !a.Sudo {
		return nil
	}
	return l.write(machine.File{Path: "/etc/sudoers.d/90-lido-" + strings.ReplaceAll(a.Name, ".", "_"),
		Data: []byte(a.Name + " ALL=(ALL) NOPASSWD:ALL\n"), Mode: 0o440})
}

func writeKeys(l layer, home string, keys []string, uid, gid int) error {
	dir, err := l.mkdir(home + "/.ssh")
	if err != nil {
		return err
	}
	full := filepath.Join(l.upper, dir)
	if err := errors.Join(os.Lchown(full, uid, gid), os.Chmod(full, 0o700)); err != nil {
		return err
	}
	return l.write(machine.File{Path: dir + "/authorized_keys", Mode: 0o600, UID: uid, GID: gid,
		Data: []byte(strings.Join(keys, "\n") + "\n")})
}

func copySkel(l layer, home string, uid, gid int) error {
	skel := filepath.Join(l.lower, "etc/skel")
	if _, err := os.Lstat(skel); err != nil {
		return makeDir(filepath.Join(l.upper, home), 0o750, uid, gid)
	}
	return filepath.WalkDir(skel, func(from string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(skel, from)
		if err != nil {
			return err
		}
		return copyEntry(from, filepath.Join(l.upper, home, rel), d, uid, gid)
	})
}

func copyEntry(from, to string, d fs.DirEntry, uid, gid int) error {
	st, err := d.Info()
	if err != nil {
		return err
	}
	switch {
	case d.IsDir():
		return makeDir(to, st.Mode(), uid, gid)
	case d.Type()&fs.ModeSymlink != 0:
		target, err := os.Readlink(from)
		if err != nil {
			return err
		}
		return errors.Join(os.Symlink(target, to), os.Lchown(to, uid, gid))
	case !d.Type().IsRegular():
		return nil
	}
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(to, data, 0o600), os.Lchown(to, uid, gid), os.Chmod(to, st.Mode().Perm()))
}
