package runc

import (
	"slices"
	"strconv"
	"strings"
)

// leastLoaded returns the n CPUs that the fewest machines were given, as a cgroup's list.
func (e *Engine) leastLoaded(n int, except string) string {
	load := map[int]int{}
	e.cpuMu.Lock()
	defer e.cpuMu.Unlock()
	for id, set := range e.cpuSets {
		if id == except {
			continue
		}
		for s := range strings.SplitSeq(set, ",") {
			if c, err := strconv.Atoi(s); err == nil {
				load[c]++
			}
		}
	}
	cpus := slices.Clone(e.host.cpus)
	slices.SortStableFunc(cpus, func(a, b int) int { return load[a] - load[b] })
	cpus = cpus[:n]
	slices.Sort(cpus)
	e.cpuSets[except] = join(cpus)
	return join(cpus)
}
