//go:build root

package frontdoor

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A namespace can be removed though others were made by ip meanwhile, on a host where there was none before.
func TestSpaceBesideThoseOfIP(t *testing.T) {
	if err := unix.Mount("tmpfs", filepath.Dir(namespaceDir), "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(filepath.Dir(namespaceDir), unix.MNT_DETACH)
	s, err := openSpace("lido-first")
	if err != nil {
		t.Fatal(err)
	}
	s.close()
	output(t, "ip", "netns", "add", "second")
	if err := removeSpace("lido-first"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(namespaceDir, "lido-first")); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	output(t, "ip", "netns", "exec", "second", "true")
}
