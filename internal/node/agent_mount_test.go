package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// A command that hangs is ended with what it started, and its mount fails with a reason.
func TestMountCommandHangs(t *testing.T) {
	dir := t.TempDir()
	pids := filepath.Join(dir, "pids")
	m := Mount{Kind: "command", Target: filepath.Join(dir, "target"), Source: fmt.Sprintf("echo no answer; sleep 4321 & echo $$ $! >%s; wait", pids)}
	err := mountByCommand(t.Context(), m, 2*time.Second)
	if err == nil || !strings.Contains(err.Error(), "did not end within 2s: no answer") {
		t.Fatal(err)
	}
	b, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for _, pid := range strings.Fields(string(b)) {
		for i := 0; processRuns(pid); i++ {
			if i == 500 {
				t.Fatalf("process %s is left", pid)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
}

// processRuns tells whether a process runs: a zombie that nobody waits for does not.
func processRuns(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	_, state, _ := strings.Cut(string(stat), ") ")
	return err == nil && !strings.HasPrefix(state, "Z")
}
