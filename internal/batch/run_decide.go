package batch

import (
	"fmt"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/node"
)

// jobView is what is known of a job that was given its nodes.
type jobView struct {
	Plan    *plan
	Status  *jobStatus
	Nodes   []jobNode              // as in Status.Nodes
	Reports map[string]node.Report // by task
	Ended   *Problem               // why it is to fail whatever its tasks say: its image could not be had
}

// jobNode is what is known of a job's node.
type jobNode struct {
	Heard bool // its agent, of the instance that the job was given, has said what it knows
	Away  bool // it is not connected at the moment
	Lost  *Problem
}

// jobDecision is what to do with a job now.
type jobDecision struct {
	Run, Stop []step
	// Done: nothing of the job runs any more, and its end is decided.
	Done    bool
	Requeue *Problem // it is to run again; nil means that it ended with State
	Lost    bool     // it is to run again because of a lost node, which counts as a retry
	State   string
	Code    *int
	Errors  []Problem
}

// maxRetries is how often a job whose node was lost is run again.
const maxRetries = 3

// decideJob tells what to do with a job that has its nodes.
func decideJob(v *jobView) (d jobDecision) {
	end := v.ending()
	if end == nil {
		return v.proceed()
	}
	d.Stop = v.unended()
	if len(d.Stop) > 0 || !v.settled() {
		return d
	}
	if run, left := v.clean(); left {
		d.Run = run
		return d
	}
	d.Done = true
	end.conclude(v, &d)
	return d
}

// ending is why a job ends.
type ending struct {
	well   bool
	failed *failedStep
	lost   *Problem
}

// failedStep is a step that failed before all others.
type failedStep struct {
	step
	kind   phaseKind
	report node.Report
}

// ending returns why the job is to end now; nil if it goes on.
func (v *jobView) ending() *ending {
	e := &ending{well: v.mainEnded(), failed: v.firstFailure()}
	for i := range v.Nodes {
		if l := v.Nodes[i].Lost; l != nil && e.lost == nil {
			e.lost = l
		}
	}
	if e.well || e.failed != nil || e.lost != nil || v.Ended != nil || v.Status.PutBack != nil || !v.Status.Terminate.IsZero() {
		return e
	}
	return nil
}

// mainEnded tells whether all main tasks ended well that end by themselves.
func (v *jobView) mainEnded() bool {
	if v.Plan == nil {
		return false
	}
	for _, s := range v.Plan.Phases[len(v.Plan.Phases)-1].Steps {
		if r := v.Reports[s.Task.ID]; !s.Server && !endedWell(r) {
			return false
		}
	}
	return true
}

func endedWell(r node.Report) bool {
	return r.State == node.Ended && r.ExitCode == 0 && r.Failure == "" && r.Stopped == "" && r.Full == ""
}

// firstFailure returns the step that failed by itself, the first one by its end.
func (v *jobView) firstFailure() *failedStep {
	var first *failedStep
	for _, ph := range v.phases() {
		for _, s := range ph.Steps {
			r, ok := v.Reports[s.Task.ID]
			if !ok || r.State != node.Ended || endedWell(r) || r.Stopped == node.StopAsked {
				continue
			}
			if first == nil || r.End.Before(first.report.End) {
				first = &failedStep{s, ph.Kind, r}
			}
		}
	}
	return first
}

func (v *jobView) phases() []phase {
	if v.Plan == nil {
		return nil
	}
	return v.Plan.Phases
}

// proceed runs what has not run of the first phase that has not ended.
func (v *jobView) proceed() (d jobDecision) {
	for _, ph := range v.phases() {
		all := true
		for _, s := range ph.Steps {
			r, known := v.Reports[s.Task.ID]
			if !known && v.Nodes[s.Node].Heard {
				d.Run = append(d.Run, s)
			}
			all = all && known && r.State == node.Ended
		}
		if !all {
			return d
		}
	}
	return d
}

// unended returns the steps that may run, or may yet arrive at their nodes: all of the phases that were reached.
func (v *jobView) unended() (left []step) {
	for _, ph := range v.reached() {
		for _, s := range ph.Steps {
			r, known := v.Reports[s.Task.ID]
			n := v.Nodes[s.Node]
			if n.Lost == nil && (!known || r.State != node.Ended) {
				left = append(left, s)
			}
		}
	}
	return left
}

// reached returns the phases up to the first one that has not ended well.
func (v *jobView) reached() []phase {
	for i, ph := range v.phases() {
		for _, s := range ph.Steps {
			if !endedWell(v.Reports[s.Task.ID]) {
				return v.Plan.Phases[:i+1]
			}
		}
	}
	return v.phases()
}

// settled tells whether it is known of all nodes what runs there.
func (v *jobView) settled() bool {
	for _, n := range v.Nodes {
		if n.Lost == nil && !n.Heard && v.Plan != nil || n.Lost == nil && n.Away {
			return false
		}
	}
	return true
}

// clean returns the steps of the cleaning that have not been ordered, and whether some have not ended.
func (v *jobView) clean() (run []step, left bool) {
	if v.Plan == nil {
		return nil, false
	}
	for _, s := range v.Plan.Clean.Steps {
		r, known := v.Reports[s.Task.ID]
		if v.Nodes[s.Node].Lost != nil {
			continue
		}
		if !known {
			run = append(run, s)
		}
		left = left || !known || r.State != node.Ended
	}
	return run, left
}

// conclude decides the end of a job of which nothing runs any more.
func (e *ending) conclude(v *jobView, d *jobDecision) {
	fail := func(code int, p Problem) {
		d.State, d.Code, d.Errors = stateFailed, &code, []Problem{p}
	}
	switch zero := 0; {
	case e.well:
		d.State, d.Code = stateSucceeded, &zero
	case v.Status.EndWhy != nil:
		fail(v.exitCode(), *v.Status.EndWhy)
	case !v.Status.Terminate.IsZero():
		fail(v.exitCode(), Problem{Code: "JobTerminated", Message: "The job was terminated before its end."})
	case v.Ended != nil:
		fail(-1, *v.Ended)
	case v.Status.PutBack != nil:
		d.Requeue = v.Status.PutBack
	case e.lost != nil && v.Status.Retries < maxRetries:
		d.Requeue, d.Lost = e.lost, true
	case e.lost != nil:
		p := *e.lost
		p.Message = fmt.Sprintf("The job lost a node %d times and is not run again. The last time: %s", maxRetries+1, p.Message)
		fail(-1, p)
	case e.failed != nil:
		code, p := e.failed.problem(v)
		fail(code, p)
	}
}

// exitCode is that of the first process that ended, of a job that was stopped; -1 if there is none.
func (v *jobView) exitCode() int {
	code, at := -1, time.Time{}
	for _, ph := range v.phases() {
		for _, s := range ph.Steps {
			r, ok := v.Reports[s.Task.ID]
			if ok && ph.Kind == phaseMain && !r.Start.IsZero() && r.ExitCode != 0 && (at.IsZero() || r.End.Before(at)) {
				code, at = r.ExitCode, r.End
			}
		}
	}
	return code
}

// problem explains a step that failed.
func (f *failedStep) problem(v *jobView) (int, Problem) {
	on := v.Status.Nodes[f.Node]
	details := []variable{{"node", arm.String(on.Node)}}
	if f.kind == phaseMain && f.Name != "" {
		details = append(details, variable{"process", arm.String(f.Name)})
	}
	if out := strings.TrimSpace(f.report.Output); out != "" {
		details = append(details, variable{"stderr", arm.String(out)})
	}
	switch r := f.report; {
	case r.Full != "" && r.Stopped == "":
		return fullCode(r), v.Plan.fullProblem(r, on.Node, details)
	case r.Code == "MountFailed":
		return -1, Problem{"AZFMountError", "Unable to mount a volume on node " + on.Node + ": " + r.Failure, details}
	case r.Failure != "":
		return -1, Problem{r.Code, "The job could not be started on node " + on.Node + ": " + r.Failure, details}
	case r.Stopped == node.StopLimit:
		return r.ExitCode, Problem{"JobTimeout", "The job ran longer than its maxWallClockTime and was ended. Raise constraints.maxWallClockTime, or have it do less.", details}
	case f.kind == phasePrepare:
		return r.ExitCode, Problem{"JobPreparationFailed", fmt.Sprintf("The job preparation ended on node %s with exit code %d. Its output is in stderr-job_prep-%s.txt.", on.Node, r.ExitCode, on.Node), details}
	default:
		return r.ExitCode, Problem{"JobFailed", fmt.Sprintf("Job failed with non-zero exit code: a process on node %s ended with %d.", on.Node, r.ExitCode), details}
	}
}
