//go:build root

package runc

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"lido.dev/lido/internal/machine"
)

// sh runs a script in a machine and returns what it prints.
func sh(t testing.TB, e *Engine, id, script string) string {
	t.Helper()
	var out bytes.Buffer
	code, err := e.Exec(t.Context(), id, machine.Command{Args: []string{"sh", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil || code != 0 {
		t.Fatalf("%s: %s: exit code %d, %v\n%s", id, script, code, err, out.String())
	}
	return strings.TrimSpace(out.String())
}

// up waits until the machine's systemd says that all is well.
func up(t testing.TB, e *Engine, id string) {
	t.Helper()
	sh(t, e, id, `for i in $(seq 1200); do s=$(systemctl is-system-running --wait 2>/dev/null); test "$s" = running && exit 0; sleep 0.1; done; echo "$s"; systemctl --failed --no-legend; exit 1`)
}

func start(t testing.TB, e *Engine, specs ...machine.Spec) {
	t.Helper()
	for _, s := range specs {
		if err := e.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		if err := e.Start(t.Context(), s.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMachineSeesItsOwnSize(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	s := l.spec("small")
	s.CPUs, s.Memory, s.Pids = 1, 256<<20, 100
	start(t, e, s)
	up(t, e, "small")
	for script, want := range map[string]string{
		"nproc":                              "1",
		"grep -c ^processor /proc/cpuinfo":   "1",
		"cat /sys/devices/system/cpu/online": "0",
		"free -m | awk '/^Mem:/{print $2}'":  "256",
	} {
		if got := sh(t, e, "small", script); got != want {
			t.Errorf("%s: %q, want %q", script, got, want)
		}
	}
	age, _ := strconv.ParseFloat(sh(t, e, "small", "cut -d' ' -f1 /proc/uptime"), 64)
	if age > 60 {
		t.Errorf("the machine has been up for %v s", age)
	}
	// Beyond its memory a program is killed and the machine lives; beyond its processes fork fails.
	sh(t, e, "small", `! head -c 400M /dev/zero | tail >/dev/null 2>&1; test "$(cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max)" = 268435456`)
	sh(t, e, "small", `sh -c 'for i in $(seq 200); do sleep 3 & done' 2>&1 | grep -qi 'fork'`)
}

func TestPartOfACPU(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	s := l.spec("half")
	s.CPUs = 0.5
	start(t, e, s)
	up(t, e, "half")
	got := sh(t, e, "half", `cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null | cut -d' ' -f1`)
	if got != "50000" {
		t.Errorf("half a CPU is a quota of %s µs in 100 ms", got)
	}
}

func TestCPUsAreSpread(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	if len(e.host.cpus) < 2 {
		t.Skip("needs two CPUs")
	}
	seen := map[string]int{}
	for i := range 4 {
		s := l.spec(fmt.Sprintf("m%d", i))
		s.CPUs = 1
		if err := e.Create(t.Context(), s); err != nil {
			t.Fatal(err)
		}
		b, err := e.box(s.ID)
		if err != nil {
			t.Fatal(err)
		}
		seen[b.rec.CPUSet]++
		b.mu.Unlock()
	}
	for set, n := range seen {
		if n > (4+len(e.host.cpus)-1)/len(e.host.cpus) {
			t.Errorf("%d of 4 machines got CPU %s: %v", n, set, seen)
		}
	}
}
