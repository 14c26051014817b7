package batch

import (
	"fmt"
	"maps"
	"slices"
	"time"
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
	} else {
		ctl.taken = 0
	}
	c.wakeLow()
}

// wakeLow wakes the controllers of low priority. The caller holds c.mu.
func (c *clusters) wakeLow() {
	for _, ctl := range c.controls {
		if ctl.low {
			ctl.wakeUp()
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

// evictPatience is how long the memory of nodes that were taken may need to get to where it is wanted.
const evictPatience = 5 * time.Second

// takeLow chooses as many nodes of low priority as a dedicated cluster lacks, less those that it took a moment ago. The
// caller holds c.mu.
func (c *clusters) takeLow(by *clusterControl) {
	now := c.room.Now()
	if now.Sub(by.tookAt) >= evictPatience {
		by.taken = 0
	}
	for _, key := range slices.Sorted(maps.Keys(c.controls)) {
		ctl := c.controls[key]
		if !ctl.low {
			continue
		}
		for _, name := range chooseVictims(ctl.nodes, ctl.evict, by.short-by.taken) {
			ctl.evict[name] = Problem{Code: codePreempted, Message: fmt.Sprintf("The node '%s' of low priority was taken for the dedicated cluster '%s'.", name, namesOf(by.id).Parent)}
			by.taken, by.tookAt = by.taken+1, now
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
