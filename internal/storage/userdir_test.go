package storage

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestEnsureUserDir(t *testing.T) {
	share := t.TempDir()
	uid, gid := os.Getuid(), os.Getgid()
	if uid == 0 {
		uid, gid = 1000, 1000
	}
	for range 2 {
		dir, err := EnsureUserDir(share, "ada", uid, gid)
		if err != nil || dir != filepath.Join(share, "notebooks/ada") {
			t.Fatalf("%q %v", dir, err)
		}
	}
	info, err := os.Stat(filepath.Join(share, "notebooks/ada"))
	if err != nil || info.Mode().Perm() != 0o700 || owner(info) != uid {
		t.Errorf("%v %v", info, err)
	}
	if info, _ := os.Stat(filepath.Join(share, "notebooks")); info.Mode().Perm() != 0o755 {
		t.Errorf("notebooks: %v", info.Mode())
	}
	for _, user := range []string{"", ".", "..", "../x", "a/b", ".hidden"} {
		if _, err := EnsureUserDir(share, user, uid, gid); err == nil {
			t.Errorf("%q is taken as a user", user)
		}
	}
}

func TestEnsureUserDirIsNotLedAstray(t *testing.T) {
	share, outside := t.TempDir(), t.TempDir()
	os.Symlink(outside, filepath.Join(share, "notebooks"))
	if _, err := EnsureUserDir(share, "eve", os.Getuid(), os.Getgid()); err == nil || exists(filepath.Join(outside, "eve")) {
		t.Errorf("led out of the share: %v", err)
	}
	os.Remove(filepath.Join(share, "notebooks"))
	os.MkdirAll(filepath.Join(share, "notebooks", "bob"), 0o700)
	os.Symlink("bob", filepath.Join(share, "notebooks", "eve"))
	if os.Getuid() == 0 {
		os.Chown(filepath.Join(share, "notebooks", "bob"), 2000, 2000)
	}
	before, _ := os.Stat(filepath.Join(share, "notebooks", "bob"))
	if _, err := EnsureUserDir(share, "eve", os.Getuid(), os.Getgid()); err != nil {
		t.Error(err)
	}
	if after, _ := os.Stat(filepath.Join(share, "notebooks", "bob")); owner(after) != owner(before) {
		t.Error("another's directory was given away")
	}
	if os.Getuid() == 0 {
		os.Symlink("bob", filepath.Join(share, "notebooks", ".lido-mallory"))
		if _, err := EnsureUserDir(share, "mallory", 3000, 3000); err == nil {
			t.Error("another's directory was taken for a new one")
		}
	}
}
func owner(info fs.FileInfo) int { return int(info.Sys().(*syscall.Stat_t).Uid) }

// TestUserDirOfMachinesThatStartTogether: each of them gets the directory.
func TestUserDirOfMachinesThatStartTogether(t *testing.T) {
	for range 50 {
		share, errs := t.TempDir(), make(chan error)
		for range 8 {
			go func() {
				_, err := EnsureUserDir(share, "ada", os.Getuid(), os.Getgid())
				errs <- err
			}()
		}
		for range 8 {
			if err := <-errs; err != nil {
				t.Fatal(err)
			}
		}
	}
}
