package runc

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// cgroupParent is the directory below each hierarchy that holds this engine's machines.
func (e *Engine) cgroupParent() string {
	if e.systemdDriver() {
		return "lido.slice/lido-" + e.cfg.Tag + ".slice"
	}
	return "lido-" + e.cfg.Tag
}

func (e *Engine) cgroupName(id string) string {
	if e.systemdDriver() {
		return "lido-" + e.cfg.Tag + "-" + id + ".scope"
	}
	return id
}

// cgroupDirs returns the machine's directories in all hierarchies, whether they exist or not.
func (e *Engine) cgroupDirs(id string) []string {
	leaf := filepath.Join(e.cgroupParent(), e.cgroupName(id))
	if e.host.cgroup2 {
		return []string{filepath.Join(cgroupRoot, leaf)}
	}
	hierarchies, _ := os.ReadDir(cgroupRoot)
	var dirs []string
	for _, h := range hierarchies {
		if h.IsDir() { // names like "cpu,cpuacct" are directories, "cpu" then a link
			dirs = append(dirs, filepath.Join(cgroupRoot, h.Name(), leaf))
		}
	}
	return dirs
}

// delegate gives the machine's init the cgroups that systemd in it must be able to write. Done between runc's create
// and start: earlier they don't exist, later systemd has given up.
func (e *Engine) delegate(id string, base uint32) error {
	for _, dir := range e.cgroupDirs(id) {
		switch filepath.Base(strings.TrimSuffix(dir, "/"+filepath.Join(e.cgroupParent(), e.cgroupName(id)))) {
		case "systemd", "unified":
			if err := chownFiles(dir, base, []string{"", "cgroup.procs", "tasks", "cgroup.clone_children",
				"cgroup.threads", "cgroup.subtree_control"}); err != nil {
				return err
			}
		default:
			if !e.host.cgroup2 {
				continue
			}
			names, _ := os.ReadFile("/sys/kernel/cgroup/delegate")
			if err := chownFiles(dir, base, append([]string{""}, strings.Fields(string(names))...)); err != nil {
				return err
			}
		}
	}
	return nil
}

func chownFiles(dir string, id uint32, names []string) error {
	for _, n := range names {
		err := os.Chown(filepath.Join(dir, n), int(id), int(id))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("delegate cgroup: %w", err)
		}
	}
	return nil
}

// cgroupPatience is how long killed processes may take to be gone; on a host short of memory that is long.
const cgroupPatience = 30 * time.Second

// removeCgroups removes the machine's cgroups, whose processes have been killed but may not be gone yet.
func (e *Engine) removeCgroups(id string) error {
	var err error
	wait := time.Millisecond
	for waited := time.Duration(0); waited < cgroupPatience; waited += wait {
		err = nil
		for _, dir := range e.cgroupDirs(id) {
			err = errors.Join(err, removeCgroup(dir))
		}
		if err == nil {
			return nil
		}
		e.killCgroup(id)
		time.Sleep(wait)
		wait = min(2*wait, 200*time.Millisecond)
	}
	return err
}

// forgetUnit has the host's systemd drop the scope of a boot that has ended: runc would take a scope that still exists
// for its own and leave the machine outside of it.
func (e *Engine) forgetUnit(id string) {
	if !e.systemdDriver() {
		return
	}
	if _, err := os.Stat("/run/systemd/transient/" + e.cgroupName(id)); err != nil {
		return
	}
	_ = exec.Command("systemctl", "stop", "--quiet", e.cgroupName(id)).Run()
	_ = exec.Command("systemctl", "reset-failed", "--quiet", e.cgroupName(id)).Run()
}

// removeParents removes the cgroups that held this engine's machines, now empty.
func (e *Engine) removeParents() error {
	if e.systemdDriver() {
		_ = exec.Command("systemctl", "stop", "--quiet", "lido-"+e.cfg.Tag+".slice").Run()
	}
	for _, d := range e.cgroupDirsOfAll() {
		if err := removeCgroup(d); err != nil {
			return err
		}
	}
	return nil
}

// cgroupDirsOfAll returns the directories that hold the cgroups of this engine's machines.
func (e *Engine) cgroupDirsOfAll() []string {
	var dirs []string
	for _, d := range e.cgroupDirs("x") {
		dirs = append(dirs, filepath.Dir(d))
	}
	return dirs
}

// removeCgroup removes a cgroup with those below it, the deepest first.
func removeCgroup(dir string) error {
	err := unix.Rmdir(dir)
	if err == nil || err == unix.ENOENT {
		return nil
	}
	var below []string
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			below = append(below, path)
		}
		return nil
	})
	for _, d := range slices.Backward(below) {
		if err := unix.Rmdir(d); err != nil && err != unix.ENOENT {
			return fmt.Errorf("remove cgroup %s: %w", d, err)
		}
	}
	return nil
}

// killCgroup kills what is in the machine's cgroups.
func (e *Engine) killCgroup(id string) {
	if e.host.cgroup2 {
		err := os.WriteFile(filepath.Join(e.cgroupDirs(id)[0], "cgroup.kill"), []byte("1"), 0)
		if err == nil {
			return
		}
	}
	for _, pid := range e.cgroupProcs(id) {
		_ = unix.Kill(pid, unix.SIGKILL)
	}
}

// cgroupProcs returns the pids of all processes in the machine's cgroups.
func (e *Engine) cgroupProcs(id string) []int {
	var pids []int
	for _, dir := range e.cgroupDirs(id) {
		_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || d.Name() != "cgroup.procs" {
				return nil
			}
			data, _ := os.ReadFile(path)
			for f := range strings.FieldsSeq(string(data)) {
				var pid int
				if _, err := fmt.Sscan(f, &pid); err == nil && !slices.Contains(pids, pid) {
					pids = append(pids, pid)
				}
			}
			return nil
		})
	}
	return pids
}
