package batch

import (
	"fmt"
	"slices"
)

// shortOf notes how many of a cluster's nodes get no memory. A dedicated cluster that lacks some takes nodes of low
// priority.
func (ctl *clusterControl) shortOf(nodes []nodeInfo) {
	c := ctl.all
	short := 0
	for _, n := range nodes {
		if n.Reason != nil && n.Reason.Code == codeAllocation {
			short++
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	before := ctl.short
	ctl.nodes = nodes
	if ctl.short = short; ctl.low {
		ctl.short = 0
	}
	if before == 0 && ctl.short == 0 {
		return
	}
	if ctl.short > 0 {
		c.takeLow(ctl)
	}
	for _, other := range c.controls {
		if other.low {
			other.wakeUp()
		}
	}
}

// anyShort tells whether a cluster lacks memory. The caller holds c.mu.
func (c *clusters) anyShort() bool {
	for _, ctl := range c.controls {
		if ctl.short > 0 {
			return true
		}
	}
	return false
}

// takeLow chooses as many nodes of low priority as a dedicated cluster lacks, less those that are on their way. The
// caller holds c.mu.
func (c *clusters) takeLow(by *clusterControl) {
	pending := 0
	var low []*clusterControl
	for _, key := range sortedKeys(c.controls) {
		if ctl := c.controls[key]; ctl.low {
			low = append(low, ctl)
			pending += len(ctl.evict)
		}
	}
	for _, ctl := range low {
		for _, name := range chooseVictims(ctl.nodes, ctl.evict, by.short-pending) {
			ctl.evict[name] = Problem{Code: codePreempted, Message: fmt.Sprintf("The node '%s' of low priority was taken for the dedicated cluster '%s'.", name, namesOf(by.id).Parent)}
			pending++
		}
	}
}

// chooseVictims picks up to n nodes to take: idle ones first.
func chooseVictims(nodes []nodeInfo, taken map[string]Problem, n int) (names []string) {
	nodes = slices.Clone(nodes)
	slices.SortStableFunc(nodes, func(a, b nodeInfo) int { return victimRank(a) - victimRank(b) })
	for _, i := range nodes {
		if _, gone := taken[i.Name]; !gone && len(names) < n && !i.Started.IsZero() {
			names = append(names, i.Name)
		}
	}
	return names
}

func victimRank(n nodeInfo) int {
	return slices.Index([]nodeState{nodeUnusable, nodePreparing, nodeIdle, nodeLeaving, nodeRunning}, n.State)
}

// evicted forgets nodes that are gone.
func (ctl *clusterControl) evicted(names []string) {
	ctl.all.mu.Lock()
	defer ctl.all.mu.Unlock()
	for _, name := range names {
		delete(ctl.evict, name)
	}
}
