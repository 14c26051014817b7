//go:build root

package node

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestOutputFull: a task whose output finds no room says so, however it ends; one whose file system does not tell how
// much room there is, does not.
func TestOutputFull(t *testing.T) {
	p := newPair(t)
	p.agent()
	p.hello()
	disk := func(kind, options string) string {
		dir := filepath.Join(t.TempDir(), kind)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount("none", dir, kind, 0, options); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
		return dir
	}
	small, unbounded := disk("tmpfs", "size=256k"), disk("ramfs", "")
	for _, c := range []struct {
		name, dir, command string
		full, fails        bool
	}{
		{"room", small, "echo well", false, false},
		{"fails", small, "yes", true, true},
		{"ignores", small, "yes; true", true, false},
		{"cannot begin", small + "/deeper", "echo never", true, true},
		{"unbounded", unbounded, "echo well", false, false},
	} {
		if c.name == "cannot begin" { // not even a directory fits
			if err := unix.Mount("none", small, "tmpfs", unix.MS_REMOUNT, "nr_inodes=4"); err != nil {
				t.Fatal(err)
			}
		}
		task := Task{ID: c.name, Job: "j", Command: c.command, Dir: "/", Stdout: c.dir + "/out", Stderr: c.dir + "/err"}
		r := p.run(task)
		if (r.Full != "") != c.full || (r.ExitCode != 0) != c.fails {
			t.Errorf("%s: %+v", c.name, r)
		}
	}
}
