package batch

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"lido.dev/lido/internal/node"
)

// mpi runs a command in several processes by mpirun, started on the first node. Without a count there is one on each.
func (p *planner) mpi(command string, processes int) []step {
	if processes <= 0 {
		processes = len(p.Nodes)
	}
	args := []string{"mpirun", "-n", fmt.Sprint(processes), "--hostfile", quoteWord(p.dir + "/hostfile"), "--bind-to none", "--wdir", quoteWord(p.dir + "/wd")}
	for _, name := range slices.Sorted(maps.Keys(p.environmentOn(0))) { // by name alone: values do not appear in the list of processes
		if name != "AZ_BATCHAI_NODE_NAME" {
			args = append(args, "-x", name)
		}
	}
	s := p.process(0, "", strings.Join(append(args, "/bin/bash", "-c", quoteLiteral(command)), " "))
	s.Task.Files = []node.File{{Path: p.dir + "/hostfile", Data: p.hostfile(processes), User: p.User}}
	return []step{withMPI(s)}
}

// withMPI has Open MPI work in a process, unless the job sets it up otherwise.
func withMPI(s step) step {
	for k, v := range mpiSettings {
		if _, own := s.Task.Env[k]; !own {
			s.Task.Env[k] = v
		}
	}
	return s
}

// mpiSettings are Open MPI's, by environment variables. Nodes' ssh keys were made with the cluster; machines on one
// host cannot copy from each other's memory.
var mpiSettings = map[string]string{
	"OMPI_MCA_plm_rsh_agent":                   node.Program + " node rsh", // ssh, and the daemons there are of the job, and in its container
	"OMPI_MCA_btl_vader_single_copy_mechanism": "none",
	"OMPI_MCA_rmaps_base_oversubscribe":        "1",
	"OMPI_MCA_mpi_yield_when_idle":             "1",
	"OMPI_MCA_btl":                             "self,vader,tcp",
	"OMPI_MCA_pml":                             "ob1",
	"OMPI_MCA_btl_tcp_if_exclude":              "lo",
	"OMPI_MCA_oob_tcp_if_exclude":              "lo",
	"OMPI_ALLOW_RUN_AS_ROOT":                   "1",
	"OMPI_ALLOW_RUN_AS_ROOT_CONFIRM":           "1",
}

// mpiOrPlain runs a single process without mpirun: images for one machine often have none.
func (p *planner) mpiOrPlain(command string, processes int) []step {
	if processes <= 1 && len(p.Nodes) == 1 {
		return []step{p.process(0, "", command)}
	}
	return p.mpi(command, processes)
}

// hostfile is Open MPI's list of the nodes, with as many slots as make the processes fit. For 0 it is one slot each.
func (p *planner) hostfile(processes int) string {
	if processes == 0 {
		processes = len(p.Nodes)
	}
	var b strings.Builder
	for i, n := range p.Nodes {
		if slots := shareOf(i, processes, len(p.Nodes)); slots > 0 {
			fmt.Fprintf(&b, "%s slots=%d\n", n.Address, slots)
		}
	}
	return b.String()
}
