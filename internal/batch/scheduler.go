package batch

import "time"

// scheduling is a cluster's jobs as its controller sees them: which nodes they may use, and how many they want. The
// controller (cluster*.go) calls it, the runner (run*.go) carries it out.
type scheduling interface {
	// nodeUp offers a node that is set up, with its agent connected. Called again with another Instance it means that
	// what ran there is lost.
	nodeUp(cluster string, n nodeInfo, slots int)
	// nodeDown takes a node away: its jobs are put back in the queue, with the reason.
	nodeDown(cluster, name string, why Problem)
	// nodeLeaving takes a node from new work; jobs there run on, are requeued or ended as the option says.
	nodeLeaving(cluster, name, option string)
	// load tells what a cluster's jobs want.
	load(cluster string) clusterLoad
}

// clusterLoad is what autoscaling and scale-in decide by.
type clusterLoad struct {
	Wanted int                  // nodes that would let all queued and running jobs run at once, if the cluster may be as large
	Idle   map[string]time.Time // nodes without a job, since when
	Busy   map[string][]string  // jobs by node, also by nodes that were not offered since the start
}
