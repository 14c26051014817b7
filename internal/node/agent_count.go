package node

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// counts says what the kernel counts for jobs' cgroups, besides CPU time: all of it with version 2 and Linux 5.19,
// nothing where version 1 has the controllers.
type counts struct {
	memory bool // events, among which processes killed for want of memory
	peak   bool // the most memory at a time; since 5.19
	io     bool
}

// countsOf finds out by the cgroup that jobs' are in, whose own controllers theirs are.
func countsOf(dir string) counts {
	on, _ := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
	controllers := strings.Fields(string(on))
	_, err := os.Stat(filepath.Join(dir, "memory.peak"))
	memory := slices.Contains(controllers, "memory")
	return counts{memory: memory, peak: memory && err == nil, io: slices.Contains(controllers, "io")}
}

// usage is what the job took up to now, as far as the kernel counts it.
func (g *group) usage() Usage {
	var u Usage
	cpu, _ := os.ReadFile(filepath.Join(g.dir, "cpu.stat"))
	u.CPU = time.Duration(field(cpu, "usage_usec")) * time.Microsecond
	if g.counts.peak {
		peak, _ := os.ReadFile(filepath.Join(g.dir, "memory.peak"))
		u.PeakMemory, _ = strconv.ParseInt(string(bytes.TrimSpace(peak)), 10, 64)
	}
	if g.counts.io {
		stat, _ := os.ReadFile(filepath.Join(g.dir, "io.stat"))
		u.Read, u.Written = transferred(string(stat), stacked)
	}
	return u
}

// transferred adds up io.stat, which has a line for each device. Those that stand on others (LVM, RAID, encryption) are
// passed over: what goes through them is counted again below.
func transferred(stat string, stacked func(device string) bool) (read, written int64) {
	skip := false
	for f := range strings.FieldsSeq(stat) {
		k, v, isNumber := strings.Cut(f, "=")
		if !isNumber {
			skip = stacked(f)
			continue
		}
		n, _ := strconv.ParseInt(v, 10, 64)
		switch {
		case skip:
		case k == "rbytes":
			read += n
		case k == "wbytes":
			written += n
		}
	}
	return read, written
}

// stacked tells whether a device, by its numbers, stands on others.
func stacked(device string) bool {
	below, _ := os.ReadDir("/sys/dev/block/" + device + "/slaves")
	return len(below) > 0
}

// oomKills is how often the kernel has killed a process for want of memory, in the job or else in the node.
func oomKills(g *group) int64 {
	path := "/sys/fs/cgroup/memory/memory.oom_control"
	if g != nil && g.counts.memory {
		path = filepath.Join(g.dir, "memory.events")
	}
	events, _ := os.ReadFile(path)
	return field(events, "oom_kill")
}

// field is the number after a name in a text that has one of each in a line.
func field(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
			return n
		}
	}
	return 0
}
