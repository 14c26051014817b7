package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"lido.dev/lido/internal/node"
)

// spent is CPU time in milliseconds, by who spent it.
type spent map[string]float64

// meter is a peer that knows what it has spent up to now.
type meter interface{ spent() (spent, error) }

// spent is lido's own, that of its nodes' agents, and that of the processes that these ran and saw the end of.
func (p *lido) spent() (spent, error) {
	own, _, err := cpuTime(p.PID)
	if err != nil {
		return nil, err
	}
	s := spent{"lido": own}
	for _, pid := range p.agents {
		own, children, err := cpuTime(pid)
		if err != nil {
			return nil, err
		}
		s["agents"] += own
		s["processes"] += children
	}
	return s, nil
}

// cpuTime returns what a process has used, and what its children had that it waited for, in milliseconds.
func cpuTime(pid int) (own, children float64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	if len(f) < 15 {
		return 0, 0, fmt.Errorf("/proc/%d/stat is cut off", pid)
	}
	var ticks [4]float64 // user and system, of the process and then of its children, in hundredths of a second
	for i := range ticks {
		if ticks[i], err = strconv.ParseFloat(f[11+i], 64); err != nil {
			return 0, 0, err
		}
	}
	return 10 * (ticks[0] + ticks[1]), 10 * (ticks[2] + ticks[3]), nil
}

// agents are the agents of all nodes on this computer but those that were there before.
func agents(before []int) (pids []int) {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, name := range lines {
		line, _ := os.ReadFile(name) // it may have ended
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
		if err == nil && string(line) == node.Program+"\x00node\x00" && !slices.Contains(before, pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}
