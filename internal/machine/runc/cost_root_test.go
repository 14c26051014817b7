//go:build root

package runc

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestLaunchCost says what a launch costs in CPU time, which noise on the host changes little: what this process with
// the conmon and runc that it starts uses, and what the machine itself uses until its SSH banner.
func TestLaunchCost(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	if e.host.cgroup2 {
		t.Skip("reads cgroup v1 accounts")
	}
	own := "/sys/fs/cgroup/cpuacct/lido-" + l.cfg.Tag + "-cost"
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Skip(err)
	}
	home, _ := os.ReadFile("/proc/self/cgroup")
	if err := os.WriteFile(own+"/cgroup.procs", []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for line := range strings.Lines(string(home)) {
			if f := strings.SplitN(strings.TrimSpace(line), ":", 3); f[1] == "cpuacct" {
				os.WriteFile(filepath.Join("/sys/fs/cgroup/cpuacct", f[2], "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
			}
		}
		os.Remove(own)
	})
	var engine, inside, wall time.Duration
	const n = 10
	for i := range n {
		s := l.spec(fmt.Sprintf("m%d", i))
		before, began := usage(own), time.Now()
		if err := e.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
		engine += usage(own) - before
		if _, err := l.banner(s.NIC.Addresses[0].Addr(), time.Minute); err != nil {
			t.Fatal(err)
		}
		wall += time.Since(began)
		inside += usage("/sys/fs/cgroup/cpuacct/" + e.cgroupParent() + "/" + s.ID)
		if err := e.Delete(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("per launch: %v of CPU to make the machine, %v in it until its SSH banner; %v by the clock", engine/n, inside/n, wall/n)
}

func usage(dir string) time.Duration {
	data, _ := os.ReadFile(dir + "/cpuacct.usage")
	n, _ := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return time.Duration(n)
}
