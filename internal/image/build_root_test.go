//go:build root

package image_test

import (
	"os"
	"path/filepath"
	"testing"

	"lido.dev/lido/internal/image/imagetest"
)

func TestBaseImage(t *testing.T) {
	r := imagetest.Ensure(t, "base")
	t.Logf("%s: %s, %d MB, built in %v", r.Hash, r.Distribution, r.Size>>20, r.Took)
	for _, want := range []string{"usr/sbin/mount.cifs", "usr/sbin/sshd", "lib/systemd/systemd", "etc/machine-id"} {
		if _, err := os.Stat(filepath.Join(r.Dir, want)); err != nil {
			t.Error(err)
		}
	}
	if keys, _ := filepath.Glob(filepath.Join(r.Dir, "etc/ssh/ssh_host_*")); len(keys) > 0 {
		t.Errorf("the image has ssh host keys: %v", keys)
	}
}

func TestDSVMImage(t *testing.T) {
	r := imagetest.Ensure(t, "dsvm")
	t.Logf("%s: %s, %d MB, built in %v", r.Hash, r.Distribution, r.Size>>20, r.Took)
}
