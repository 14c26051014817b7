package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What is packed on one side is there on the other, whatever its length, and belongs to whom the directory belongs.
func TestUnpackLine(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	owner := os.Getuid()
	if owner == 0 {
		owner = 1234
		if err := os.Chown(to, owner, owner); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(from, "lib"), 0o755); err != nil {
		t.Fatal(err)
	}
	for n := range 5 {
		text := strings.Repeat("x", n)
		if err := os.WriteFile(filepath.Join(from, "lib", "f"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		line, err := unpackLine([]string{filepath.Join(from, "lib") + "/"})
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/bin/bash", "-c", line)
		cmd.Env = append(os.Environ(), "AZ_BATCHAI_JOB_WORK_DIR="+to)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if got, err := os.ReadFile(filepath.Join(to, "lib", "f")); err != nil || string(got) != text {
			t.Errorf("%q arrived as %q (%v)", text, got, err)
		}
		if info, err := os.Stat(filepath.Join(to, "lib", "f")); err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != owner {
			t.Errorf("it does not belong to user %d: %+v (%v)", owner, info, err)
		}
	}
}

func TestJobName(t *testing.T) {
	for _, c := range []struct {
		from    string
		command bool
		want    string
	}{
		{"python3 train.py", true, "python3-"}, {"/opt/x/run.sh --fast", true, "run-"}, {"", true, "job-"},
		{"recipes/mpi/job.json", false, "mpi-"}, {"train.json", false, "train-"}, {"  ", true, "job-"},
	} {
		if got := jobName(c.from, c.command); !strings.HasPrefix(got, c.want) || len(got) != len(c.want)+5 {
			t.Errorf("name of %q is %s", c.from, got)
		}
	}
}
