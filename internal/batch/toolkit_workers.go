package batch

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// ranks runs one process for each rank, dealt evenly over the nodes.
func (p *planner) ranks(command string, count int, env func(rank, local int) map[string]string) []step {
	var steps []step
	for r := range count {
		n, local := placeOf(r, count, len(p.Nodes))
		s := p.process(n, strconv.Itoa(r), command)
		s.Task.Env["AZ_BATCHAI_TASK_INDEX"] = strconv.Itoa(r)
		if env != nil {
			for k, v := range env(r, local) {
				s.Task.Env[k] = v
			}
		}
		steps = append(steps, s)
	}
	return steps
}

const torchPort = 23456

// pyTorch runs a process for each rank. They meet in a file that all nodes see, or for tcp at the first node.
func (p *planner) pyTorch() []step {
	k := p.Job.PyTorch
	count := int(k.Processes)
	if count <= 0 {
		count = len(p.Nodes)
	}
	command := p.python(k.Interpreter, k.Script, k.Args)
	port := p.ports(torchPort)
	init := fmt.Sprintf("file://%s/pytorch-%d", p.env["AZ_BATCHAI_SHARED_JOB_TEMP"], p.Attempt)
	backend := strings.ToLower(k.Backend)
	if backend == "tcp" {
		init = fmt.Sprintf("tcp://%s:%d", p.Nodes[0].Address, port)
	}
	common := map[string]string{"AZ_BATCHAI_PYTORCH_INIT_METHOD": init, "MASTER_ADDR": p.Nodes[0].Address,
		"MASTER_PORT": strconv.Itoa(port), "WORLD_SIZE": strconv.Itoa(count)}
	if backend != "" {
		common["AZ_BATCHAI_PYTORCH_BACKEND"] = backend
	}
	if backend == "mpi" {
		for name, v := range common {
			if _, own := p.env[name]; !own {
				p.env[name] = v
			}
		}
		return p.mpi(`export RANK=$OMPI_COMM_WORLD_RANK LOCAL_RANK=$OMPI_COMM_WORLD_LOCAL_RANK AZ_BATCHAI_TASK_INDEX=$OMPI_COMM_WORLD_RANK; exec `+command, count)
	}
	return p.ranks(command, count, func(rank, local int) map[string]string {
		env := map[string]string{"RANK": strconv.Itoa(rank), "LOCAL_RANK": strconv.Itoa(local)}
		for name, v := range common {
			env[name] = v
		}
		return env
	})
}

const tensorFlowPort = 2222

// tfCluster is who takes part in a TensorFlow job. The master is the first worker.
type tfCluster struct {
	Servers []string `json:"ps,omitempty"`
	Workers []string `json:"worker"`
}

// tfTask is TF_CONFIG's word for a process, in the form that Batch AI had.
type tfTask struct {
	Type  string `json:"type"`
	Index int    `json:"index"`
}

// tensorFlow runs a master, and of a distributed job parameter servers and further workers.
func (p *planner) tensorFlow() []step {
	k := p.Job.TensorFlow
	workers, servers := int(k.Workers), int(k.Servers)
	distributed := len(p.Nodes) > 1 || workers > 1 || servers > 0
	if workers <= 0 {
		workers = len(p.Nodes)
	}
	if servers <= 0 && distributed {
		servers = 1
	}
	cluster, serverOn, workerOn := p.tfHosts(servers, workers)
	process := func(n int, name, args string, task tfTask) step {
		s := p.process(n, name, p.python(k.Interpreter, k.Script, args))
		config, _ := json.Marshal(map[string]any{"cluster": cluster, "task": task, "environment": "cloud"})
		s.Task.Env["TF_CONFIG"] = string(config)
		s.Task.Env["AZ_BATCHAI_TASK_INDEX"] = strconv.Itoa(task.Index)
		s.Task.Env["AZ_BATCHAI_PS_HOSTS"] = strings.Join(cluster.Servers, ",")
		s.Task.Env["AZ_BATCHAI_WORKER_HOSTS"] = strings.Join(cluster.Workers, ",")
		return s
	}
	var steps []step
	for i, n := range serverOn {
		s := process(n, fmt.Sprintf("ps-%d", i), k.ServerArgs, tfTask{"ps", i})
		s.Server = true
		steps = append(steps, s)
	}
	for i, n := range workerOn {
		args, task := k.WorkerArgs, tfTask{"worker", i}
		if i == 0 {
			args, task = k.MasterArgs, tfTask{"master", 0}
		}
		steps = append(steps, process(n, fmt.Sprintf("wk-%d", i), args, task))
	}
	return steps
}

// tfHosts deals parameter servers and workers to nodes, and gives each a port.
func (p *planner) tfHosts(servers, workers int) (c tfCluster, serverOn, workerOn []int) {
	next := make([]int, len(p.Nodes))
	host := func(n int) string {
		next[n]++
		return fmt.Sprintf("%s:%d", p.Nodes[n].Address, p.ports(tensorFlowPort)+next[n]-1)
	}
	for i := range servers {
		n := i % len(p.Nodes)
		c.Servers, serverOn = append(c.Servers, host(n)), append(serverOn, n)
	}
	for i := range workers {
		n, _ := placeOf(i, workers, len(p.Nodes))
		c.Workers, workerOn = append(c.Workers, host(n)), append(workerOn, n)
	}
	return c, serverOn, workerOn
}
