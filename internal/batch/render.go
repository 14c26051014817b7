package batch

import (
	"context"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// stamp is a time as the service writes it.
func stamp(t time.Time) string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// orTime returns t, or other if t is zero.
func orTime(t, other time.Time) time.Time {
	if t.IsZero() {
		return other
	}
	return t
}

func properties(body map[string]any) map[string]any {
	props, ok := body["properties"].(map[string]any)
	if !ok {
		props = map[string]any{}
		body["properties"] = props
	}
	return props
}

// renderPlain adds what all resources show: Batch AI writes its states in lower case.
func renderPlain(_ context.Context, _ *store.Tx, d *store.Doc, body map[string]any) error {
	props := properties(body)
	state, _ := props["provisioningState"].(string)
	props["provisioningState"] = strings.ToLower(state)
	props["creationTime"] = stamp(d.CreatedAt)
	props["provisioningStateTransitionTime"] = stamp(d.CreatedAt)
	if d.Deleting {
		props["provisioningStateTransitionTime"] = stamp(d.ChangedAt)
	}
	delete(body, submittedBy)
	return nil
}

func (r *Room) renderCluster(ctx context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error {
	var st clusterStatus
	if err := arm.Decode(d.Status, &st); err != nil {
		return err
	}
	props := properties(body)
	props["allocationState"] = "resizing" // until its controller has seen it
	if st.Allocation != "" {
		props["allocationState"] = st.Allocation
	}
	props["allocationStateTransitionTime"] = stamp(orTime(st.AllocationSince, d.CreatedAt))
	props["currentNodeCount"] = len(st.Nodes)
	counts := map[nodeState]int{}
	busy := r.jobs.busy(d.ID)
	for _, n := range st.Nodes {
		if n.State == nodeIdle && busy[n.Name] {
			n.State = nodeRunning
		}
		counts[n.State]++
	}
	shown := map[string]any{}
	for _, s := range []nodeState{nodeIdle, nodeRunning, nodePreparing, nodeUnusable, nodeLeaving} {
		shown[string(s)+"NodeCount"] = counts[s]
	}
	props["nodeStateCounts"] = shown
	if problems := clusterProblems(&st); len(problems) > 0 {
		props["errors"] = problems
	}
	if setup, ok := props["nodeSetup"].(map[string]any); ok {
		if task, ok := setup["setupTask"].(map[string]any); ok {
			task["stdOutErrPathSuffix"] = setupSuffix(d)
		}
	}
	return renderPlain(ctx, tx, d, body)
}

// clusterProblems are a cluster's errors and why nodes are unusable, each reason once.
func clusterProblems(st *clusterStatus) []Problem {
	problems := append([]Problem{}, st.Errors...)
	seen := map[string]bool{}
	for _, p := range problems {
		seen[p.Code+p.Message] = true
	}
	for _, n := range st.Nodes {
		if n.State == nodeUnusable && n.Reason != nil && !seen[n.Reason.Code+n.Reason.Message] {
			seen[n.Reason.Code+n.Reason.Message] = true
			p := *n.Reason
			p.Details = append([]variable{{Name: "node", Value: arm.String(n.Name)}}, p.Details...)
			problems = append(problems, p)
		}
	}
	return problems
}

func (r *Room) renderJob(ctx context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error {
	var st jobStatus
	if err := arm.Decode(d.Status, &st); err != nil {
		return err
	}
	if st.State == "" {
		st.State = stateQueued
	}
	props := properties(body)
	if t, err := terminationOf(tx, d); err != nil {
		return err
	} else if t != nil && !st.ended() {
		st.State, st.StateSince = stateTerminating, t.At
	}
	var wish struct{ Properties job }
	if err := arm.Decode(d.Desired, &wish); err != nil {
		return err
	}
	if used := wish.Properties.used(); len(used) > 0 {
		props["toolType"] = used[0].tool
	}
	props["executionState"] = st.State
	props["executionStateTransitionTime"] = stamp(orTime(st.StateSince, d.CreatedAt))
	info := executionInfo(&st)
	if st.State == stateQueued {
		if why := r.jobs.waiting(store.Key(d.ID)); why != "" {
			info["waiting"] = why
		}
	}
	if len(info) > 0 {
		props["executionInfo"] = info
	}
	return renderPlain(ctx, tx, d, body)
}

// executionInfo is what a job shows of its run. One that ended without a run shows its end as start, too: clients
// take the difference.
func executionInfo(st *jobStatus) map[string]any {
	info := map[string]any{}
	start := st.Start
	if st.ended() {
		end := orTime(st.End, st.StateSince)
		info["endTime"] = stamp(end)
		start = orTime(start, end)
		if st.ExitCode != nil {
			info["exitCode"] = *st.ExitCode
		}
	}
	if !start.IsZero() && st.State != stateQueued {
		info["startTime"] = stamp(start)
	}
	if len(st.Errors) > 0 {
		info["errors"] = st.Errors
	}
	return info
}

func renderFileServer(ctx context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error {
	props := properties(body)
	props["mountSettings"] = map[string]any{"mountPoint": "/mnt/data"}
	return renderPlain(ctx, tx, d, body)
}
