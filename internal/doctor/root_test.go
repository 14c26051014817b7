//go:build root

package doctor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// leftovers are names that a trial may have left on the host.
func leftovers(t *testing.T, data string) []string {
	t.Helper()
	var left []string
	for _, pattern := range []string{filepath.Join(data, ".lido-doctor-*"), cgroupRoot + "/lido-doctor-*", cgroupRoot + "/*/lido-doctor-*"} {
		found, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, found...)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, "lido-doctor") {
			left = append(left, line)
		}
	}
	return left
}

func TestTrialsLeaveNothing(t *testing.T) {
	data := t.TempDir()
	for _, f := range Run(t.Context(), Host{Data: filepath.Join(data, "not", "there")}, Checks()) {
		t.Logf("%-32s %-8s %s", f.Name, f.Status, f.Found)
		if f.Status == Missing {
			t.Errorf("%s: %s", f.Name, f.Found)
		}
	}
	if left := leftovers(t, data); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func TestOverlayIsNotFoundWhereItCannotBe(t *testing.T) {
	if got, err := tryOverlay(t.Context(), Host{Data: "/proc"}); err == nil {
		t.Errorf("found on /proc: %s", got)
	}
}
