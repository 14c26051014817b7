package doctor

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	gib        = 1 << 30
	diskNeed   = 4 * gib // an image and a few machines
	diskWant   = 20 * gib
	memoryNeed = 1 * gib
	memoryWant = 4 * gib
)

func limitChecks() []Check {
	limit := func(key string, want int, why string) Check {
		return Check{Name: key, Why: why, Get: fmt.Sprintf("sysctl -w %s=%d; packaging/sysctl.d/60-lido.conf keeps it (make setup installs it)", key, want),
			Try: func(context.Context, Host) (string, error) { return trySysctl(key, want) }}
	}
	return []Check{
		limit("fs.inotify.max_user_instances", 512, "programs of the host that watch files share it with what lido runs as root"),
		limit("fs.inotify.max_user_watches", 65536, "editors and notebooks watch many files"),
		limit("kernel.keys.maxkeys", 2000, "keyrings of what runs as the host's root are counted together, over all machines being started"),
		limit("kernel.keys.maxbytes", 200000, "as kernel.keys.maxkeys"),
		limit("kernel.pid_max", 131072, "all machines' processes share it"),
		{Name: "disk space", Required: true, Try: tryDisk(diskNeed),
			Why: "images and machines' files live in the data directory", Get: "another --data, or room on that file system"},
		{Name: "disk space for a team", Try: tryDisk(diskWant),
			Why: "people's files add up", Get: "a data directory on a larger file system"},
		{Name: "memory", Required: true, Try: tryMemory(memoryNeed),
			Why: "lido and two small machines need about 1 GiB", Get: "a larger host"},
		{Name: "memory for a team", Try: tryMemory(memoryWant),
			Why: "notebooks need memory", Get: "a larger host"},
	}
}

func trySysctl(key string, want int) (string, error) {
	data, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
	if err != nil {
		return "", err
	}
	have, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return "", err
	}
	if have < want {
		return "", fmt.Errorf("%d, lower than %d", have, want)
	}
	return strconv.Itoa(have), nil
}

func tryDisk(need uint64) func(context.Context, Host) (string, error) {
	return func(_ context.Context, h Host) (string, error) {
		var st unix.Statfs_t
		if err := unix.Statfs(h.dataDir(), &st); err != nil {
			return "", err
		}
		return enough(st.Bavail*uint64(st.Bsize), need, "free on "+h.dataDir())
	}
}

func tryMemory(need uint64) func(context.Context, Host) (string, error) {
	return func(context.Context, Host) (string, error) {
		var info unix.Sysinfo_t
		if err := unix.Sysinfo(&info); err != nil {
			return "", err
		}
		return enough(uint64(info.Totalram)*uint64(info.Unit), need, "in all")
	}
}

func enough(have, need uint64, what string) (string, error) {
	text := fmt.Sprintf("%.1f GiB %s", float64(have)/gib, what)
	if have < need {
		return "", fmt.Errorf("%s, less than %d GiB", text, need/gib)
	}
	return text, nil
}
