package batch

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// How patient a cluster is with its nodes.
const (
	agentGrace   = 20 * time.Second // a running machine's agent may be away so long
	agentLost    = 2 * time.Minute  // then its node is replaced
	agentFirst   = 3 * time.Minute  // a machine may take so long until its agent is heard of
	setupRetries = 3                // fresh nodes that a cluster takes after set-ups that failed, in a row
	setupBackoff = 10 * time.Second // before the first of them; doubled for each
	leaveLimit   = 30 * time.Second // jobs of a node that must leave at once may take so long to end
)

// codePreempted says that a node of low priority was taken for others.
const codePreempted = "NodePreempted"

const (
	priorityLow    = "lowpriority"
	codeAllocation = "AllocationFailed" // of a machine that there is no memory for
)

// The options of what becomes of jobs on nodes that leave.
const (
	leaveRequeue   = "requeue"
	leaveTerminate = "terminate"
	leaveWait      = "waitforjobcompletion"
)

// clusterView is all that a cluster's decision depends on.
type clusterView struct {
	Now       time.Time
	Since     time.Time // when this process began to look: agents need a moment to find it
	Wish      *cluster
	New       bool // its wish has not been looked at since it was written
	Status    *clusterStatus
	Machines  []Machine
	Agents    map[string]agentView // by machine id
	Setups    map[string]setupView // by nodeInfo.boot
	Offered   map[string]string    // nodes that the scheduler has, with the agent's instance
	Told      map[string]bool      // nodes that the scheduler was told are leaving
	Load      clusterLoad
	IdleAfter time.Duration
	Evict     map[string]Problem // nodes of low priority that others take
	Short     bool               // the cluster is of low priority and another lacks memory
}

// agentView is what is known of a machine's agent.
type agentView struct {
	Instance  string // "" if it is not connected
	Connected bool
	Since     time.Time // of the last change
}

// setupView is how far the set-up of a node is.
type setupView struct {
	Running bool
	Done    bool
	Failure *Problem
}

// clusterPlan is what is to be done. The status holds what follows if all of it is.
type clusterPlan struct {
	Status clusterStatus
	Count  int // machines to have, for Fleet.Apply
	Setup  []nodeInfo
	Up     []nodeInfo
	Down   []nodeLoss
	Leave  []string // nodes that the scheduler is to free
	Option string   // with what becomes of their jobs
	Drop   []string
	Again  time.Time // when time alone may change the decision; zero means never
}

// nodeLoss is a node that is taken away, and why.
type nodeLoss struct {
	Name string
	Why  Problem
}

// clusterDecision is a clusterPlan in the making.
type clusterDecision struct {
	clusterPlan
	v    *clusterView
	prev map[string]nodeInfo
}

// decideCluster says what is to be done next for a cluster.
func decideCluster(v *clusterView) clusterPlan {
	d := &clusterDecision{v: v, prev: map[string]nodeInfo{}}
	d.Status = *v.Status
	d.Status.Nodes, d.Status.Errors, d.Option = nil, nil, leaveOption(v.Wish)
	for _, n := range v.Status.Nodes {
		d.prev[n.Name] = n
	}
	if v.New {
		d.Status.SetupFailures, d.Status.RetryAt, d.Status.LastFailure = 0, time.Time{}, nil
		d.Status.Crashes = nil
	}
	d.calmDown()
	for _, m := range v.Machines {
		if m.State != "deleting" {
			d.look(m)
		}
	}
	d.forgetGone()
	d.Status.Target = d.target()
	d.shrink()
	d.finish()
	return d.clusterPlan
}

func leaveOption(w *cluster) string {
	if m := w.Scale.Manual; m != nil {
		return cmp.Or(strings.ToLower(m.Deallocation), leaveRequeue)
	}
	return leaveWait // only idle nodes are chosen; one that got a job meanwhile ends it
}

// look decides about one machine.
func (d *clusterDecision) look(m Machine) {
	n, known := d.prev[m.Name]
	if why, ok := d.v.Evict[m.Name]; ok {
		d.lose(m.Name, why.Code, "%s", why.Message)
		return
	}
	if d.v.Short && m.State != "running" { // others need the memory that it waits for
		d.Drop = append(d.Drop, m.Name)
		return
	}
	if known && n.Lost {
		d.replaceLost(n)
		return
	}
	if known && n.Prepared != "" && (n.Machine != m.ID || restarted(n, m)) {
		d.crashed(n, m, "NodeRestarted", "The machine of node '%s' stopped and was started anew.", n.Name)
		return
	}
	if known && n.Machine == m.ID && restarted(n, m) {
		d.unfit(n, &Problem{Code: "NodeLost", Message: fmt.Sprintf("The machine of node '%s' stopped before it was set up, and was started anew.", n.Name)})
		return
	}
	n.Name, n.Machine, n.Address, n.Login, n.Port = m.Name, m.ID, m.Address, m.Login, m.Port
	switch m.State {
	case "running":
		n.Started = m.Started
		d.lookInside(n)
	case "creating":
		d.keep(n, nodePreparing, nil)
	default:
		d.stopped(n, m)
	}
}

// restarted tells whether a machine was started again since the node was looked at.
func restarted(n nodeInfo, m Machine) bool {
	return !n.Started.IsZero() && !m.Started.IsZero() && m.Started.Sub(n.Started).Abs() > time.Millisecond
}

// stopped decides about a machine that does not run: one that did is lost, one that never did is tried further by its
// scale set.
func (d *clusterDecision) stopped(n nodeInfo, m Machine) {
	why := cmp.Or(m.Reason, "its machine is "+m.State)
	if n.Prepared != "" {
		d.crashed(n, m, "NodeLost", "The node '%s' was lost: %s", n.Name, sentence(why))
		return
	}
	if !n.Started.IsZero() || m.State == "stopped" {
		d.unfit(n, &Problem{Code: "NodeLost", Message: fmt.Sprintf("The machine of node '%s' stopped before it was set up: %s", n.Name, sentence(why))})
		return
	}
	code, text, ok := strings.Cut(why, ": ")
	if !ok || strings.Contains(code, " ") {
		code, text = "NodeStartFailed", why
	}
	d.keep(n, nodeUnusable, &Problem{Code: code, Message: fmt.Sprintf("The machine of node '%s' does not start: %s It is tried again.", n.Name, sentence(text))})
}

// sentence ends a text with a full stop.
func sentence(s string) string {
	if s = strings.TrimSpace(s); s == "" || strings.HasSuffix(s, ".") {
		return s
	}
	return s + "."
}

// lookInside decides about a machine that runs, by its agent and its set-up.
func (d *clusterDecision) lookInside(n nodeInfo) {
	a, heard := d.v.Agents[n.Machine]
	if !a.Connected {
		d.awaitAgent(n, a, heard)
		return
	}
	n.Instance = a.Instance
	if n.Prepared == n.boot() {
		d.offer(n)
		return
	}
	switch s := d.v.Setups[n.boot()]; {
	case s.Done:
		n.Prepared = n.boot()
		d.Status.SetupFailures, d.Status.LastFailure = 0, nil
		d.offer(n)
	case s.Failure != nil:
		d.unfit(n, s.Failure)
	default:
		if !s.Running {
			d.Setup = append(d.Setup, n)
		}
		d.keep(n, nodePreparing, nil)
	}
}

// awaitAgent decides about a running machine whose agent is not connected.
func (d *clusterDecision) awaitAgent(n nodeInfo, a agentView, heard bool) {
	since, grace, lost := n.Started, agentFirst, agentFirst+agentLost
	if since.Before(d.v.Since) {
		since = d.v.Since
	}
	if heard {
		since, grace, lost = a.Since, agentGrace, agentLost
	}
	away := d.v.Now.Sub(since)
	why := Problem{Code: "NodeAgentUnreachable", Message: fmt.Sprintf("The agent of node '%s' has not been heard of for %s; the node is replaced if that goes on.", n.Name, away.Round(time.Second))}
	switch {
	case away >= lost && n.Prepared == "":
		d.unfit(n, &why)
	case away >= lost:
		d.lose(n.Name, why.Code, "The agent of node '%s' was not heard of for %s; the node is replaced.", n.Name, away.Round(time.Second))
	case away >= grace:
		n.Instance = ""
		if d.v.Offered[n.Name] != "" {
			d.Down = append(d.Down, nodeLoss{n.Name, why})
		}
		d.again(since.Add(lost))
		d.keep(n, nodeUnusable, &why)
	case n.Prepared == n.boot() && n.State != "": // it comes back in a moment
		d.again(since.Add(grace))
		d.keep(n, d.workState(n), nil)
	default:
		d.again(since.Add(grace))
		d.keep(n, nodePreparing, nil)
	}
}

// unfit keeps a node that could not be set up, with the reason, until a fresh one may be tried in its place.
func (d *clusterDecision) unfit(n nodeInfo, why *Problem) {
	if n.State != nodeUnusable || n.Reason == nil || n.Reason.Code != why.Code { // counted once
		d.Status.SetupFailures++
		d.Status.LastFailure = why
		d.Status.RetryAt = d.v.Now.Add(setupBackoff << min(d.Status.SetupFailures-1, 10))
	}
	if d.Status.SetupFailures <= setupRetries {
		if !d.v.Now.Before(d.Status.RetryAt) {
			d.lose(n.Name, why.Code, "%s", why.Message)
			return
		}
		d.again(d.Status.RetryAt)
	}
	d.keep(n, nodeUnusable, why)
}

// offer keeps a node that is set up and makes sure that the scheduler has it.
func (d *clusterDecision) offer(n nodeInfo) {
	if d.v.Offered[n.Name] != n.Instance {
		d.Up = append(d.Up, n)
		delete(d.v.Told, n.Name)
	}
	d.keep(n, d.workState(n), nil)
}

func (d *clusterDecision) workState(n nodeInfo) nodeState {
	if len(d.v.Load.Busy[n.Name]) > 0 {
		return nodeRunning
	}
	return nodeIdle
}

// keep adds a node to those that stay. One that was leaving is leaving still.
func (d *clusterDecision) keep(n nodeInfo, s nodeState, why *Problem) {
	if d.prev[n.Name].State == nodeLeaving {
		s = nodeLeaving
	}
	n.State, n.Reason = s, why
	d.Status.Nodes = append(d.Status.Nodes, n)
}

// lose gives a machine up.
func (d *clusterDecision) lose(name, code, format string, args ...any) {
	d.Down = append(d.Down, nodeLoss{name, Problem{Code: code, Message: fmt.Sprintf(format, args...)}})
	d.Drop = append(d.Drop, name)
}

// forgetGone tells the scheduler of nodes whose machines are no more, if it had them or has jobs there.
func (d *clusterDecision) forgetGone() {
	here := map[string]bool{}
	for _, n := range d.Status.Nodes {
		here[n.Name] = true
	}
	for _, l := range d.Down {
		here[l.Name] = true
	}
	known := maps.Clone(d.v.Offered)
	if known == nil {
		known = map[string]string{}
	}
	for name := range d.v.Load.Busy { // also of before lido was started
		known[name] = ""
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !here[name] {
			d.Down = append(d.Down, nodeLoss{name, Problem{Code: "NodeLost", Message: fmt.Sprintf("The machine of node '%s' was deleted.", name)}})
		}
	}
}

// target says how many nodes are wanted now.
func (d *clusterDecision) target() int {
	if m := d.v.Wish.Scale.Manual; m != nil {
		return int(m.Target)
	}
	a := d.v.Wish.Scale.Auto
	if a == nil {
		return 0
	}
	least, most := int(a.Minimum), int(a.Maximum)
	if d.v.Status.AllocationSince.IsZero() {
		return clamp(max(int(a.Initial), d.v.Load.Wanted), least, most)
	}
	now := d.v.Status.Target
	if d.v.Load.Wanted >= now {
		return clamp(d.v.Load.Wanted, least, most)
	}
	return clamp(max(now-d.longIdle(), d.v.Load.Wanted), least, most)
}

func clamp(n, least, most int) int { return max(min(n, most), least) }

// longIdle counts the nodes that no job needed for IdleAfter. Nodes that cannot work count as well.
func (d *clusterDecision) longIdle() (n int) {
	for _, i := range d.Status.Nodes {
		since, idle := d.v.Load.Idle[i.Name]
		switch {
		case i.State == nodeUnusable:
			n++
		case i.State != nodeIdle || !idle:
		case !d.v.Now.Before(since.Add(d.v.IdleAfter)):
			n++
		default:
			d.again(since.Add(d.v.IdleAfter))
		}
	}
	return n
}

// shrink lets nodes go: those that left their jobs, and those that are too many.
func (d *clusterDecision) shrink() {
	var stay []nodeInfo
	for _, n := range d.Status.Nodes {
		if n.State == nodeLeaving && d.free(n) {
			d.lose(n.Name, "NodeRemoved", "The node '%s' was removed: the cluster was made smaller.", n.Name)
			continue
		}
		stay = append(stay, n)
	}
	d.Status.Nodes = stay
	for _, i := range d.surplus() {
		n := &d.Status.Nodes[i]
		n.State, n.Reason = nodeLeaving, nil
	}
	stay = nil
	for _, n := range d.Status.Nodes {
		if n.State == nodeLeaving && !d.v.Told[n.Name] {
			if n.Lost || d.v.Offered[n.Name] == "" && !d.comesUp(n.Name) { // no job can be there
				d.Drop = append(d.Drop, n.Name)
				continue
			}
			d.Leave = append(d.Leave, n.Name)
		}
		stay = append(stay, n)
	}
	d.Status.Nodes = stay
}

func (d *clusterDecision) comesUp(name string) bool {
	return slices.ContainsFunc(d.Up, func(n nodeInfo) bool { return n.Name == name })
}

// free tells whether a leaving node has no job left.
func (d *clusterDecision) free(n nodeInfo) bool {
	return d.v.Told[n.Name] && len(d.v.Load.Busy[n.Name]) == 0
}

// surplus chooses the nodes that are too many: the least useful first.
func (d *clusterDecision) surplus() []int {
	var order []int
	for i, n := range d.Status.Nodes {
		if n.State != nodeLeaving {
			order = append(order, i)
		}
	}
	extra := len(order) - d.Status.Target
	if extra <= 0 {
		return nil
	}
	slices.SortStableFunc(order, func(a, b int) int {
		x, y := d.Status.Nodes[a], d.Status.Nodes[b]
		return cmp.Or(cmp.Compare(d.use(x), d.use(y)), d.idleSince(x).Compare(d.idleSince(y)), -strings.Compare(x.Name, y.Name))
	})
	return order[:extra]
}

// use ranks nodes by what is lost with them.
func (d *clusterDecision) use(n nodeInfo) int {
	switch n.State {
	case nodeUnusable:
		return 0
	case nodePreparing:
		return 1
	case nodeIdle:
		return 2
	}
	return 3 + len(d.v.Load.Busy[n.Name])
}

func (d *clusterDecision) idleSince(n nodeInfo) time.Time { return d.v.Load.Idle[n.Name] }

// finish sums up.
func (d *clusterDecision) finish() {
	leaving, coming := 0, 0
	seen := map[string]bool{}
	for _, n := range d.Status.Nodes {
		if n.State == nodeLeaving {
			leaving++
		}
		if n.State == nodePreparing && n.Started.IsZero() {
			coming++
		}
		if n.Reason != nil && !seen[n.Reason.Message] && len(d.Status.Errors) < maxErrors {
			seen[n.Reason.Message] = true
			d.Status.Errors = append(d.Status.Errors, *n.Reason)
		}
	}
	if f := d.Status.LastFailure; f != nil && d.Status.Target > 0 && !seen[f.Message] {
		d.Status.Errors = append(d.Status.Errors, *f)
	}
	d.showCrashes()
	d.Count = d.Status.Target + leaving
	if d.v.Short {
		d.Count = min(d.Count, len(d.Status.Nodes))
		d.Status.Errors = append(d.Status.Errors, Problem{Code: codePreempted, Message: "Nodes of this cluster of low priority were taken for dedicated clusters; they come back when there is memory for them."})
	}
	allocation := "steady"
	if leaving > 0 || coming > 0 || len(d.Drop) > 0 || len(d.Status.Nodes) != d.Count {
		allocation = "resizing"
	}
	if d.Status.Allocation != allocation {
		d.Status.Allocation, d.Status.AllocationSince = allocation, d.v.Now
	}
}

// maxErrors is how many different problems a cluster shows.
const maxErrors = 20

func (d *clusterDecision) again(at time.Time) {
	if d.Again.IsZero() || at.Before(d.Again) {
		d.Again = at
	}
}
