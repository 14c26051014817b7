package batch

import (
	"time"

	"lido.dev/lido/internal/store"
)

// nodeUp offers a node that is set up, with its agent connected. Called again with another Instance it means that what
// ran there is lost.
func (r *runner) nodeUp(cluster string, n nodeInfo, slots int) {
	<-r.loaded
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pool(store.Key(cluster))
	delete(p.leave, n.Name)
	p.nodes[n.Name] = n
	r.lose(p, n.Name, Problem{Code: "NodeRestarted", Message: "Node " + n.Name + " was started anew, and the job's processes there were lost."})
	p.queue.SetNode(n.Name, slots, r.room.Now())
	p.dirty = true
	r.wakeUp()
}

// nodeDown takes a node away: its jobs are put back in the queue, with the reason.
func (r *runner) nodeDown(cluster, name string, why Problem) {
	<-r.loaded
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pool(store.Key(cluster))
	p.queue.RemoveNode(name)
	delete(p.nodes, name)
	delete(p.leave, name)
	r.lose(p, name, why)
	p.dirty = true
	r.wakeUp()
}

// lose marks as lost what runs on a node that is gone, or that has another agent by now.
func (r *runner) lose(p *pool, name string, why Problem) {
	now := p.nodes[name].Instance
	r.onNode(p, name, func(j *run, i int) {
		if j.lost[i] == nil && j.status.Nodes[i].Instance != now {
			j.lost[i] = &why
			r.dirty[j] = true
		}
	})
}

// onNode calls f for the jobs that have a node, with its index.
func (r *runner) onNode(p *pool, name string, f func(j *run, i int)) {
	for j := range p.runs {
		for i, at := range j.status.Nodes {
			if at.Node == name {
				f(j, i)
			}
		}
	}
}

// nodeLeaving takes a node from new work; jobs there run on, are requeued or ended as the option says.
func (r *runner) nodeLeaving(cluster, name, option string) {
	<-r.loaded
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pool(store.Key(cluster))
	p.queue.DrainNode(name)
	p.leave[name] = option
	r.onNode(p, name, func(j *run, _ int) { r.leave(j, name, option) })
	r.wakeUp()
}

// leave takes a job from a node that is to go.
func (r *runner) leave(j *run, name, option string) {
	switch option {
	case "requeue":
		j.putBack = &Problem{Code: "NodeLeaving", Message: "Node " + name + " left the cluster, and the job was put back in the queue."}
	case "terminate":
		if j.terminate.IsZero() {
			j.terminate = r.room.Now()
			j.endWhy = &Problem{Code: "JobTerminated", Message: "The job was terminated because its node " + name + " left the cluster, which was told to end the jobs of nodes that leave."}
		}
	}
	r.dirty[j] = true
}

// clusterLoad is what autoscaling and scale-in decide by.
type clusterLoad struct {
	Wanted int                  // nodes that would let all queued and running jobs run at once, if the cluster may be as large
	Idle   map[string]time.Time // nodes without a job, since when
	Busy   map[string][]string  // jobs by node, also by nodes that were not offered since the start
}

// load tells what a cluster's jobs want.
func (r *runner) load(cluster string) clusterLoad {
	<-r.loaded
	r.mu.Lock()
	defer r.mu.Unlock()
	p := r.pool(store.Key(cluster))
	l := clusterLoad{Wanted: p.queue.Demand(p.max).Nodes, Idle: map[string]time.Time{}, Busy: map[string][]string{}}
	for _, n := range p.queue.Nodes() {
		if len(n.Jobs) == 0 {
			l.Idle[n.Name] = n.Since
		}
	}
	for j := range p.runs {
		for _, at := range j.status.Nodes {
			l.Busy[at.Node] = append(l.Busy[at.Node], j.id)
		}
	}
	return l
}

// busy tells which nodes of a cluster have jobs.
func (r *runner) busy(cluster string) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	busy := map[string]bool{}
	if p := r.pools[store.Key(cluster)]; p != nil {
		for _, n := range p.queue.Nodes() {
			busy[n.Name] = len(n.Jobs) > 0
		}
	}
	return busy
}

// waiting tells what a queued job waits for; empty if it is not queued.
func (r *runner) waiting(key string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	j := r.byKey[key]
	if j == nil {
		return ""
	}
	w, ok := j.pool.queue.Explain(j.uid(), r.room.Now())
	if !ok {
		return ""
	}
	return w.String()
}
