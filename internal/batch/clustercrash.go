package batch

import (
	"fmt"
	"slices"
	"time"
)

// How patient a cluster is with nodes whose machines stop by themselves. The first is replaced at once. If fresh ones
// stop as well, they are replaced ever later, but not never: what stops them may be a job that fails in the end.
const (
	crashYoung       = 10 * time.Minute // a machine that ran shorter counts
	crashBackoff     = 10 * time.Second // before the second node in a row is replaced; doubled for each
	crashBackoffMost = 5 * time.Minute  // less than crashYoung, or a loop would pass for over while it waits
)

// crashWait is how long a node that was the nth in a row to be lost is kept before it is replaced.
func crashWait(n int) time.Duration {
	if n <= 1 {
		return 0
	}
	return min(crashBackoff<<min(n-2, 10), crashBackoffMost)
}

// calmDown forgets losses that were long ago.
func (d *clusterDecision) calmDown() {
	c := d.Status.Crashes
	if c == nil {
		return
	}
	if over := c.At.Add(crashYoung); d.v.Now.Before(over) {
		d.again(over)
		return
	}
	d.Status.Crashes = nil
}

// crashed decides about a node whose machine stopped after it was set up. Its jobs lose it at once; it is kept for
// people to see why, if others were lost shortly before it.
func (d *clusterDecision) crashed(n nodeInfo, m Machine, code, format string, args ...any) {
	why := Problem{Code: code, Message: fmt.Sprintf(format, args...)}
	if n.State == nodeLeaving || ranFor(n, m, d.v.Now) >= crashYoung {
		d.lose(n.Name, code, "%s The node is replaced.", why.Message)
		return
	}
	c := d.countCrash()
	if c.Last = why; c.Count > 1 {
		c.Last.Message += fmt.Sprintf(" This happened %d times in a row within %s of a node's start: look for a job, or a setup task, that stops its machine.", c.Count, spanOf(crashYoung))
	}
	if !d.v.Now.Before(c.RetryAt) {
		d.lose(n.Name, code, "%s The node is replaced.", c.Last.Message)
		return
	}
	why.Message = fmt.Sprintf("%s A fresh node is tried in its place at %s.", c.Last.Message, c.RetryAt.UTC().Format("15:04:05 MST"))
	n.Lost, n.Reason = true, &why
	d.replaceLost(n)
}

// countCrash counts a loss. Nodes that are lost together count once, and wait together.
func (d *clusterDecision) countCrash() *crashes {
	c := crashes{}
	if d.Status.Crashes != nil {
		c = *d.Status.Crashes // not in place: it is the stored status's
	}
	if now := d.v.Now; !c.At.Equal(now) && !now.Before(c.RetryAt) {
		c.Count++
		c.At, c.RetryAt = now, now.Add(crashWait(c.Count))
		d.again(now.Add(crashYoung))
	}
	d.Status.Crashes = &c
	return &c
}

// ranFor is how long the run of a machine lasted that a node was set up in.
func ranFor(n nodeInfo, m Machine, now time.Time) time.Duration {
	switch {
	case n.Machine == m.ID && m.Stopped.After(n.Started):
		return m.Stopped.Sub(n.Started)
	case n.Machine == m.ID && m.Started.After(n.Started):
		return m.Started.Sub(n.Started)
	}
	return now.Sub(n.Started)
}

// replaceLost keeps a node that was lost until a fresh one may be tried in its place.
func (d *clusterDecision) replaceLost(n nodeInfo) {
	c := d.Status.Crashes
	if c == nil || !d.v.Now.Before(c.RetryAt) {
		d.lose(n.Name, n.Reason.Code, "%s", n.Reason.Message)
		return
	}
	if d.v.Offered[n.Name] != "" || len(d.v.Load.Busy[n.Name]) > 0 {
		d.Down = append(d.Down, nodeLoss{n.Name, *n.Reason})
	}
	d.again(c.RetryAt)
	d.keep(n, nodeUnusable, n.Reason)
}

// showCrashes tells of a loop also while fresh nodes are up.
func (d *clusterDecision) showCrashes() {
	c := d.Status.Crashes
	if c == nil || c.Count < 2 || d.Status.Target == 0 || slices.ContainsFunc(d.Status.Nodes, func(n nodeInfo) bool { return n.Lost }) {
		return
	}
	d.Status.Errors = append(d.Status.Errors, c.Last)
}

// spanOf is a time span in words: whole minutes.
func spanOf(t time.Duration) string { return fmt.Sprintf("%d minutes", int(t.Minutes())) }
