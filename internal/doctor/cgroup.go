package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// controllers are those that machines' limits need.
var controllers = []string{"cpu", "cpuset", "memory", "pids"}

func cgroupChecks() []Check {
	return []Check{
		{Name: "cgroup controllers", Required: true, Try: tryControllers,
			Why: "a machine's size is a limit on CPUs, memory and processes", Get: "boot with systemd.unified_cgroup_hierarchy=1 (Debian 12's default) and without cgroup_disable="},
		{Name: "cgroup of one's own", Required: true, Try: tryOwnCgroup,
			Why: "each machine lives in a cgroup that lido makes, with its own systemd in it", Get: "mount cgroups writable; when lido runs in a container, give it a delegated cgroup"},
	}
}

func unified() bool {
	var st unix.Statfs_t
	return unix.Statfs(cgroupRoot, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC
}

func tryControllers(context.Context, Host) (string, error) {
	version, have := "v1 (hybrid)", func(c string) bool {
		_, err := os.Stat(filepath.Join(cgroupRoot, c))
		return err == nil
	}
	if unified() {
		data, err := os.ReadFile(filepath.Join(cgroupRoot, "cgroup.controllers"))
		if err != nil {
			return "", err
		}
		list := " " + strings.TrimSpace(string(data)) + " "
		version, have = "v2", func(c string) bool { return strings.Contains(list, " "+c+" ") }
	}
	var missing []string
	for _, c := range controllers {
		if !have(c) {
			missing = append(missing, c)
		}
	}
	if missing != nil {
		return "", fmt.Errorf("cgroup %s without %s", version, strings.Join(missing, ", "))
	}
	return version + ": " + strings.Join(controllers, ", "), nil
}

// tryOwnCgroup makes a cgroup and removes it.
func tryOwnCgroup(context.Context, Host) (string, error) {
	parents := []string{cgroupRoot}
	if !unified() {
		parents = []string{cgroupRoot + "/memory", cgroupRoot + "/pids", cgroupRoot + "/systemd"}
	}
	for _, parent := range parents {
		dir, err := os.MkdirTemp(parent, "lido-doctor-")
		if errors.Is(err, unix.EACCES) && os.Geteuid() != 0 {
			return "", needsRoot(unix.EPERM)
		}
		if err != nil {
			return "", err
		}
		if err := os.Remove(dir); err != nil {
			return "", err
		}
	}
	return "tried", nil
}
