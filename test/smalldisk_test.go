//go:build root

package test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// cmdSmallDisk mounts a small ext4 at a directory: what is written there soon finds no room. Everybody may write.
func cmdSmallDisk(ts *testscript.TestScript, neg bool, args []string) {
	refuse(ts, neg, "small-disk")
	if len(args) != 2 {
		ts.Fatalf("usage: small-disk MIB DIR")
	}
	mib, err := strconv.ParseInt(args[0], 10, 32)
	ts.Check(err)
	info, err := os.Stat(args[1])
	ts.Check(err)
	disk := filepath.Join(ts.Getenv("WORK"), "small-disk")
	ts.Check(os.WriteFile(disk, nil, 0o600))
	ts.Check(os.Truncate(disk, mib<<20))
	for _, c := range [][]string{{"mkfs.ext4", "-q", "-m", "0", disk}, {"mount", "-o", "loop", disk, args[1]}} {
		out, err := exec.Command(c[0], c[1:]...).CombinedOutput()
		ts.Logf("%v: %s", c, out)
		ts.Check(err)
	}
	ts.Defer(func() { unix.Unmount(args[1], unix.MNT_DETACH) })
	ts.Check(os.Chmod(args[1], info.Mode()|os.ModePerm))
}
