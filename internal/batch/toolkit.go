package batch

import (
	"fmt"
	"slices"
	"strconv"

	"lido.dev/lido/internal/node"
)

// planInput is all that decides what a job's nodes are to do.
type planInput struct {
	ID      string // of the job's resource
	UID     string
	Attempt int
	Job     *job
	User    string // whom the job's processes run as
	Root    string // where nodes keep their files: nodeRoot
	Nodes   []placed
	Shared  bool // other jobs may run on the nodes at the same time
	// Mounts are the job's own volumes, with the targets that volumesUnder gives them.
	Mounts []node.Mount
	// Cluster are the volumes that the cluster's nodes mount for all jobs.
	Cluster []node.Mount
	// Containers are the images' roots in the nodes, in their order; nil for a job that runs in the nodes themselves.
	Containers []*node.Container
}

// plan is what a job's nodes are to do, phase by phase: all tasks of a phase have ended well before the next begins.
type plan struct {
	Phases []phase
	Clean  phase  // when all else has ended, whichever way
	Dir    string // in the nodes, to be removed some time after the end
	// Volumes are all that the job's files may be on, to tell people which one is full.
	Volumes []node.Mount
}

// all are the phases, the last one too.
func (p *plan) all() []phase { return append(slices.Clip(p.Phases), p.Clean) }

// phase is what is done at the same time.
type phase struct {
	Kind  phaseKind
	Steps []step
}

type phaseKind string

const (
	phaseDirs    phaseKind = "dirs"    // the job's directories in the node
	phaseMounts  phaseKind = "mounts"  // its volumes, and its directories there
	phaseBoxes   phaseKind = "boxes"   // its containers
	phasePrepare phaseKind = "prepare" // the person's preparation
	phaseMain    phaseKind = "main"
	phaseClean   phaseKind = "clean"
)

// step is a task on one of the job's nodes.
type step struct {
	Node int // index in planInput.Nodes
	Name string
	// Server: a parameter server, which does not end by itself. The job ends when all others have.
	Server bool
	Task   node.Task
}

// planner builds a plan.
type planner struct {
	planInput
	env   map[string]string // of all processes
	dir   string
	std   string
	dirs  []string // in the node
	outer []string // below what is mounted
}

// makePlan says what a job's nodes are to do. The job is admitted: exactly one toolkit is set.
func makePlan(in planInput) *plan {
	p := &planner{planInput: in}
	p.environment()
	p.directories()
	mounts := p.Mounts
	main := p.main()
	out := &plan{Dir: p.dir, Clean: phase{Kind: phaseClean}, Volumes: append(p.Cluster, mounts...)}
	if len(main) == 1 && len(p.Nodes) == 1 && len(mounts) == 0 && p.Job.Preparation == nil {
		t := &main[0].Task
		t.Dirs = append(p.dirs, p.outer...)
		out.Phases = []phase{{phaseMain, main}}
		return out
	}
	out.Phases = append(out.Phases, p.everywhere(phaseDirs, func(int) node.Task { return node.Task{User: p.User, Dirs: p.dirs} }))
	out.Phases = append(out.Phases, p.everywhere(phaseMounts, func(int) node.Task {
		return node.Task{User: p.User, Mounts: mounts, Dirs: p.outer, Log: p.std + "/execution.log"}
	}))
	switch {
	case p.Job.Preparation != nil:
		out.Phases = append(out.Phases, p.everywhere(phasePrepare, p.preparation))
	case p.Containers != nil && len(main) < len(p.Nodes): // MPI's daemons enter them
		out.Phases = append(out.Phases, p.everywhere(phaseBoxes, func(n int) node.Task { return p.task(n, ":") }))
	}
	out.Phases = append(out.Phases, phase{phaseMain, main})
	if len(mounts) > 0 {
		out.Clean = p.everywhere(phaseClean, func(int) node.Task { return node.Task{Unmount: targets(mounts)} })
	}
	return out
}

// targets are where something is mounted.
func targets(mounts []node.Mount) (paths []string) {
	for _, m := range mounts {
		paths = append(paths, m.Target)
	}
	return paths
}

// everywhere makes a phase of one task on each node.
func (p *planner) everywhere(k phaseKind, task func(n int) node.Task) phase {
	ph := phase{Kind: k}
	for i := range p.Nodes {
		t := task(i)
		t.ID, t.Job = p.taskID(string(k), i), p.UID
		ph.Steps = append(ph.Steps, step{Node: i, Name: string(k), Task: t})
	}
	return ph
}

// taskID is unique for all time, and tells the job (jobOfTask) and its attempt.
func (p *planner) taskID(kind string, n int) string {
	return fmt.Sprintf("%s/%d/%s/%d", p.UID, p.Attempt, kind, n)
}

// preparation is the job preparation on a node, as root: it is there to install what the job needs.
func (p *planner) preparation(n int) node.Task {
	name := p.Nodes[n].Node
	t := p.task(n, p.Job.Preparation.CommandLine)
	t.User = ""
	t.Stdout, t.Stderr = p.std+"/stdout-job_prep-"+name+".txt", p.std+"/stderr-job_prep-"+name+".txt"
	return t
}

// task is a command of the job on a node, as its user.
func (p *planner) task(n int, command string) node.Task {
	t := node.Task{Command: command, User: p.User, Env: p.environmentOn(n), Dir: p.dir + "/wd", Log: p.std + "/execution.log",
		Limit: p.Job.Constraints.limit(), Files: []node.File{{Path: p.dir + "/hostfile", Data: p.hostfile(0), User: p.User}}}
	if p.Containers != nil {
		c := *p.Containers[n]
		c.Binds = append(append([]string{}, c.Binds...), p.Root)
		t.Container = &c
	}
	return t
}

// main are the toolkit's processes.
func (p *planner) main() []step {
	j := p.Job
	switch {
	case j.Custom != nil:
		s := p.process(0, "", j.Custom.CommandLine)
		if len(p.Nodes) > 1 { // it may call mpirun itself, with the host file that it is given
			s = withMPI(s)
		}
		return []step{s}
	case j.CustomMPI != nil:
		return p.mpi(j.CustomMPI.CommandLine, int(j.CustomMPI.Processes))
	case j.Horovod != nil:
		return p.mpi(p.python(j.Horovod.Interpreter, j.Horovod.Script, j.Horovod.Args), int(j.Horovod.Processes))
	case j.Chainer != nil:
		return p.mpi(p.python(j.Chainer.Interpreter, j.Chainer.Script, j.Chainer.Args), int(j.Chainer.Processes))
	case j.CNTK != nil:
		return p.mpiOrPlain(p.cntk(), int(j.CNTK.Processes))
	case j.Caffe != nil:
		return p.mpiOrPlain(p.caffe(), int(j.Caffe.Processes))
	case j.Caffe2 != nil:
		return p.ranks(p.python(j.Caffe2.Interpreter, j.Caffe2.Script, j.Caffe2.Args), len(p.Nodes), nil)
	case j.PyTorch != nil:
		return p.pyTorch()
	case j.TensorFlow != nil:
		return p.tensorFlow()
	}
	return nil
}

// process is one process of the job. Name tells it from others in the names of its output; empty if it is alone.
func (p *planner) process(n int, name, command string) step {
	t := p.task(n, command)
	suffix, kind := ".txt", "main"
	if name != "" {
		suffix, kind = "-"+name+".txt", "main-"+name
	}
	t.ID, t.Job = p.taskID(kind, n), p.UID
	t.Stdout, t.Stderr = p.std+"/stdout"+suffix, p.std+"/stderr"+suffix
	return step{Node: n, Name: name, Task: t}
}

// python is the command that runs a script. What the image has decides which interpreter is the default.
func (p *planner) python(interpreter, script, args string) string {
	if interpreter == "" {
		interpreter = "$(command -v python || echo python3)"
	} else {
		interpreter = p.word(interpreter)
	}
	return joined(interpreter, p.word(script), args)
}

func (p *planner) cntk() string {
	k := p.Job.CNTK
	if k.ConfigFile != "" {
		return joined("cntk", "configFile="+p.word(k.ConfigFile), k.Args)
	}
	return p.python(k.Interpreter, k.Script, k.Args)
}

func (p *planner) caffe() string {
	k := p.Job.Caffe
	if k.ConfigFile != "" {
		return joined("caffe train", "--solver="+p.word(k.ConfigFile), k.Args)
	}
	return p.python(k.Interpreter, k.Script, k.Args)
}

// placeOf returns the node of a rank and its number there: ranks are dealt evenly, in blocks.
func placeOf(rank, ranks, nodes int) (n, local int) {
	for n = 0; n < nodes; n++ {
		if have := shareOf(n, ranks, nodes); rank < have {
			return n, rank
		} else {
			rank -= have
		}
	}
	return nodes - 1, rank
}

// shareOf returns how many ranks a node has.
func shareOf(n, ranks, nodes int) int {
	have := ranks / nodes
	if n < ranks%nodes {
		have++
	}
	return have
}

// ports returns the first port that the job's processes may listen on. Jobs that may meet on a node differ.
func (p *planner) ports(base int) int {
	if !p.Shared {
		return base
	}
	sum := 0
	for _, c := range p.UID + strconv.Itoa(p.Attempt) {
		sum = (sum*31 + int(c)) % 1500
	}
	return 10000 + sum*10
}
