package batch

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"lido.dev/lido/internal/node"
)

// hear takes what an agent says of jobs' tasks. It waits until the store's jobs are known.
func (r *runner) hear(e node.Event) {
	<-r.loaded
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.agent(e.Machine)
	switch {
	case e.Hello != nil:
		r.hello(e.Machine, a, e.Hello)
	case e.Report != nil:
		r.report(e.Machine, *e.Report)
	case e.Gone:
		a.connected = false
		r.touch(a)
	}
	r.wakeUp()
}

func (r *runner) touch(a *agent) {
	for j := range a.runs {
		r.dirty[j] = true
	}
}

// hello takes in all that an agent knows. What it does not know of never reached it, or died with the one before it.
func (r *runner) hello(machine string, a *agent, h *node.Hello) {
	a.instance, a.connected = h.Instance, true
	clear(a.sweeping)
	for j := range a.runs {
		for i, at := range j.status.Nodes {
			if at.Machine != machine {
				continue
			}
			if at.Instance != h.Instance && j.lost[i] == nil {
				j.lost[i] = &Problem{Code: "NodeRestarted", Message: "Node " + at.Node + " was started anew, and the job's processes there were lost."}
			}
			r.unsend(j, i)
		}
	}
	for _, rep := range h.Tasks {
		r.report(machine, rep)
	}
	r.touch(a)
}

// unsend has what was ordered of a node, and is not known to have arrived, ordered again.
func (r *runner) unsend(j *run, n int) {
	if j.plan == nil {
		return
	}
	for _, ph := range j.plan.all() {
		for _, s := range ph.Steps {
			if s.Node == n {
				delete(j.sent, s.Task.ID)
				delete(j.sent, "-"+s.Task.ID)
			}
		}
	}
}

// report takes in what an agent knows of a task. What nobody waits for is forgotten.
func (r *runner) report(machine string, rep node.Report) {
	owner, _, _ := strings.Cut(rep.ID, "/")
	if isSetup(rep.Job) || isSetup(rep.ID) {
		return
	}
	j := r.jobs[owner]
	switch {
	case owner == sweepOwner:
		if rep.State == node.Ended {
			r.swept(machine, rep.ID)
		}
	case j == nil || j.status == nil || !strings.HasPrefix(rep.ID, owner+"/"+strconv.Itoa(j.status.Attempt)+"/"):
		r.room.Agents.Send(machine, node.Order{Forget: []string{rep.ID}})
	case j.attempt != nil:
		j.reports[rep.ID] = rep
		r.dirty[j] = true
	}
}

const sweepOwner = "sweep"

// sweep removes ended jobs' directories from a node.
func (r *runner) sweep(machine string, a *agent) {
	if len(a.sweep) == 0 || !a.connected {
		return
	}
	id := sweepOwner + "/" + uuid.NewString()
	now := a.sweep[:min(len(a.sweep), sweepAtOnce)]
	var dirs strings.Builder
	for _, dir := range now {
		dirs.WriteString(" " + quoteLiteral(dir))
		a.sweeping[dir] = id
	}
	if r.room.Agents.Send(machine, node.Order{Run: &node.Task{ID: id, Job: sweepOwner, Command: sweepCommand(dirs.String())}}) == nil {
		a.sweep = slices.Clone(a.sweep[len(now):])
	}
}

// sweepAfter is how long an ended job's directory waits for others to be swept with it: each time costs the node a few
// processes, which short jobs would feel.
const sweepAfter = 10 * time.Second

// sweepAtOnce is how many directories a command line takes with room to spare.
const sweepAtOnce = 300

// sweepCommand removes directories with a few processes, however many they are. What is mounted there yet is left alone:
// of mounts only directories go, and only empty ones.
func sweepCommand(dirs string) string {
	return "{ find" + dirs + " -mindepth 1 -maxdepth 1 ! -name mounts -exec rm -rf {} + ; find" + dirs + " -xdev -depth -type d -empty -delete; } 2>/dev/null; true"
}

func (r *runner) swept(machine, id string) {
	a := r.agent(machine)
	for dir, by := range a.sweeping {
		if by == id {
			delete(a.sweeping, dir)
		}
	}
	r.touch(a)
	r.room.Agents.Send(machine, node.Order{Forget: []string{id}})
}

// dirBusy tells whether a job of the same name is still being swept from one of the job's nodes, and hurries that.
func (r *runner) dirBusy(j *run) bool {
	busy := false
	if j.plan == nil || len(j.sent) > 0 || len(j.reports) > 0 {
		return false
	}
	for _, at := range j.status.Nodes {
		a := r.agent(at.Machine)
		for _, dir := range a.sweep {
			if dir == j.plan.Dir {
				r.sweep(at.Machine, a)
				break
			}
		}
		busy = busy || a.sweeping[j.plan.Dir] != "" || slices.Contains(a.sweep, j.plan.Dir)
	}
	return busy
}
