//go:build root

package runc

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/machinetest"
)

// TestMain is also the process that dies half-way for machinetest's Crash.
func TestMain(m *testing.M) {
	if job := os.Getenv("LIDO_TEST_CRASH"); job != "" {
		dieAt(job)
	}
	slog.SetLogLoggerLevel(slog.LevelError)
	os.Exit(m.Run())
}

// crashJob is what a process does until it dies.
type crashJob struct {
	Dir, RunDir, Tag string
	Op               machinetest.Op
	Spec             machine.Spec
	Step             string
	Specs            []machine.Spec // of opChurn
}

func dieAt(data string) {
	var job crashJob
	if err := json.Unmarshal([]byte(data), &job); err != nil {
		panic(err)
	}
	armed := false
	e, err := Open(Config{Dir: job.Dir, RunDir: job.RunDir, Tag: job.Tag, OnStep: func(step string) {
		if armed && step == job.Step {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(3)
	}
	armed = true
	if job.Op == opChurn {
		churn(e, job.Specs)
	}
	err = machinetest.Do(context.Background(), e, job.Op, job.Spec)
	fmt.Fprintf(os.Stderr, "came to the end without the step %q: %v\n", job.Step, err)
	os.Exit(4)
}

func TestContract(t *testing.T) {
	machinetest.Run(t, func(t *testing.T) (machine.Engine, machinetest.Fixture) {
		l := newLab(t)
		return l.open(t), l.fixture()
	})
}

func (l *lab) fixture() machinetest.Fixture {
	return machinetest.Fixture{
		Real: true, Spec: l.spec, Does: l.does, Leftovers: l.leftovers, Leave: l.close, Reopen: func(t *testing.T) machine.Engine { return l.open(t) },
		Broken: func(id string) machine.Spec {
			s := l.spec(id)
			s.Files = append(s.Files, machine.File{Path: "/sbin/init", Data: []byte("#!/bin/sh\necho no way to boot\nexit 7\n"), Mode: 0o755})
			return s
		},
		Dir: func(t *testing.T) string {
			dir := t.TempDir()
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			return dir
		},
		Crash: l.crash,
		Steps: map[machinetest.Op][]string{
			machinetest.OpCreate: {"create.record", "create.range", "create.root", "create.ready"},
			machinetest.OpStart: {"start.clean", "start.record", "start.namespaces", "start.network", "start.create", "start.delegate",
				"start.mounts", "start.begin", "start.began"},
			machinetest.OpMount:  {"mount.record", "mount.do"},
			machinetest.OpStop:   {"stop.record", "stop.signal"},
			machinetest.OpDelete: {"delete.record", "delete.processes", "delete.range", "delete.root", "delete.dir"},
		},
	}
}

// does has a machine do something by itself, whether an engine watches or not.
func (l *lab) does(t *testing.T, id string, ev machinetest.Event) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(l.cfg.RunDir, "runc", id, "state.json"))
	if err != nil {
		t.Fatal(err)
	}
	var state struct {
		PID int `json:"init_process_pid"`
	}
	if err := json.Unmarshal(data, &state); err != nil || state.PID <= 1 {
		t.Fatalf("state of %s: %v", id, err)
	}
	if ev == machinetest.Crashes {
		if err := syscall.Kill(state.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return
	}
	inside := func(args ...string) ([]byte, error) {
		return exec.Command("runc", append([]string{"--root", filepath.Join(l.cfg.RunDir, "runc"), "exec", id, "systemctl"}, args...)...).CombinedOutput()
	}
	for range 200 {
		if out, _ := inside("is-system-running", "--wait"); strings.TrimSpace(string(out)) == "running" {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	// The machine may go down before the command that tells it to has returned.
	out, err := inside(string(ev))
	t.Logf("%s in %s: %v %s", ev, id, err, out)
}

func (l *lab) crash(t *testing.T, op machinetest.Op, spec machine.Spec, step string) {
	t.Helper()
	l.close()
	job, err := json.Marshal(crashJob{Dir: l.cfg.Dir, RunDir: l.cfg.RunDir, Tag: l.cfg.Tag, Op: op, Spec: spec, Step: step})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LIDO_TEST_CRASH="+string(job))
	out, err := cmd.CombinedOutput()
	if st, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || st.Signal() != syscall.SIGKILL {
		t.Fatalf("the process to be killed ended otherwise: %v\n%s", err, out)
	}
}

// leftovers looks for traces of a machine wherever the engine leaves any while it lives.
func (l *lab) leftovers(t *testing.T, id string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{filepath.Join(l.cfg.Dir, id), filepath.Join(l.cfg.RunDir, "*", id),
		"/sys/fs/cgroup/*/lido-" + l.cfg.Tag + "/" + id, "/sys/fs/cgroup/lido-" + l.cfg.Tag + "/" + id,
		"/sys/fs/cgroup/lido.slice/lido-" + l.cfg.Tag + ".slice/*-" + id + ".scope"} {
		matches, _ := filepath.Glob(pattern)
		found = append(found, matches...)
	}
	claims, _ := filepath.Glob("/run/lido/ranges/*")
	for _, c := range claims {
		if owner, _ := os.Readlink(c); owner == filepath.Join(l.cfg.Dir, id) {
			found = append(found, c)
		}
	}
	_ = inNamespace(l.ns, func(h *netlink.Handle) error {
		if _, err := h.LinkByName(l.spec(id).NIC.HostLink); err == nil {
			found = append(found, "link "+l.spec(id).NIC.HostLink)
		}
		return nil
	})
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if strings.Contains(line, l.cfg.Tag) && !strings.Contains(line, "/run/netns/") {
			found = append(found, "mount "+line)
		}
	}
	return append(found, l.processes(id)...)
}

// processes finds those that name the machine's bundle or are in its cgroup.
func (l *lab) processes(id string) []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if filepath.Base(d) == strconv.Itoa(os.Getpid()) {
			continue
		}
		group, _ := os.ReadFile(d + "/cgroup")
		args, _ := os.ReadFile(d + "/cmdline")
		words := strings.Split(string(args), "\x00")
		if strings.Contains(string(group), "lido-"+l.cfg.Tag+"/"+id+"\n") || slices.Contains(words, filepath.Join(l.cfg.RunDir, "m", id)) {
			found = append(found, "process "+filepath.Base(d)+" "+strings.Join(words, " "))
		}
	}
	return found
}
