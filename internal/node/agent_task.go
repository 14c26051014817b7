package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// job is a job's part in this node.
type job struct {
	name  string
	user  string // whom its tasks run as; root if all do
	tasks int
	group *group // nil without cgroups
	used  Usage  // by tasks that have ended, as far as was seen of their processes

	boxMu sync.Mutex
	boxes map[string]*box // by the image's root
}

// use adds a task's use and returns the whole job's up to now. Agent.mu is held.
//
// What processes wrote is known of them at once, but counted by a cgroup only when it goes to the disk, which may be
// after the job; and file systems without a disk are not counted. So the larger of both is right.
func (j *job) use(u Usage) Usage {
	j.used.CPU += u.CPU
	j.used.Read += u.Read
	j.used.Written += u.Written
	j.used.PeakMemory = max(j.used.PeakMemory, u.PeakMemory)
	if j.group == nil {
		return j.used
	}
	known := j.group.usage()
	known.Read, known.Written = max(known.Read, j.used.Read), max(known.Written, j.used.Written)
	if !j.group.counts.peak {
		known.PeakMemory = j.used.PeakMemory
	}
	return known
}

// running is a task that the agent knows: one that runs, or the report of one that has ended.
type running struct {
	task   *Task
	job    *job
	who    *account        // its user, once prepare has found it
	ctx    context.Context // ends when the task is to be stopped
	cancel context.CancelFunc
	over   chan struct{} // closed when it has ended

	// Guarded by Agent.mu.
	report    Report
	forgotten bool
	stopped   string // why it is to stop
	killed    bool   // it is to stop at once
	tree      *tree  // nil until there are processes
	kills     *time.Timer
}

// failure is why a task's command could not be run.
type failure struct {
	code string
	err  error
	path string // what could not be made or opened; may be empty
}

func (f *failure) Error() string { return f.err.Error() }

func fail(code, format string, args ...any) error {
	return &failure{code: code, err: fmt.Errorf(format, args...)}
}

// failAt is fail for what goes wrong with a file or directory.
func failAt(path, code, format string, args ...any) error {
	return &failure{code, fmt.Errorf(format, args...), path}
}

func (a *Agent) newRunningLocked(t *Task) *running {
	j := a.jobs[t.Job]
	if j == nil {
		j = &job{name: t.Job}
		a.jobs[t.Job] = j
	}
	j.tasks++
	if t.User != "" {
		j.user = t.User
	}
	r := &running{task: t, job: j, over: make(chan struct{}), report: Report{ID: t.ID, Job: t.Job, State: Starting}}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	a.tasks[t.ID] = r
	a.changeLocked(t.ID)
	return r
}

// stop asks the task's processes to end and kills them after its grace. Agent.mu is held.
func (r *running) stop(why string) {
	if r.stopped != "" || r.report.State == Ended {
		return
	}
	r.stopped = why
	if r.tree == nil {
		r.cancel()
		return
	}
	r.terminate()
}

// terminate begins the end of the processes. Agent.mu is held.
func (r *running) terminate() {
	tree := r.tree
	go tree.signal(syscall.SIGTERM)
	grace := r.task.Grace
	if grace <= 0 {
		grace = 10 * time.Second
	}
	r.kills = time.AfterFunc(grace, tree.kill)
}

// kill ends the task at once. Agent.mu is held.
func (r *running) kill() {
	if r.stopped == "" {
		r.stopped = StopAsked
	}
	r.killed = true
	if r.cancel != nil {
		r.cancel()
	}
	if r.tree != nil {
		go r.tree.kill()
	}
}

// run is a task's life.
func (a *Agent) run(r *running) {
	defer close(r.over)
	out, err := a.prepare(r)
	var end outcome
	if err == nil && r.task.Command != "" {
		end, err = a.command(r, out)
	}
	if out != nil {
		out.close()
	}
	if err := a.unmount(r.task); err != nil {
		a.note(r, "ERROR", "%v", err)
	}
	a.end(r, end, err)
}

// end writes down how a task ended, and reports it.
func (a *Agent) end(r *running, end outcome, err error) {
	now := a.Now()
	a.mu.Lock()
	stopped := r.stopped
	end.usage = r.job.use(end.usage)
	a.mu.Unlock()
	var f *failure
	switch {
	case errors.As(err, &f) && stopped == "":
		a.note(r, "ERROR", "%s: %s", f.code, f.err)
	case stopped != "":
		a.note(r, "INFO", "ended with exit code %d (stopped: %s)", end.code, stopped)
	default:
		a.note(r, "INFO", "ended with exit code %d", end.code)
	}
	a.set(r, func(p *Report) {
		p.State, p.End, p.Stopped, p.Usage, p.Output, p.ExitCode = Ended, now, r.stopped, end.usage, end.output, end.code
		p.Full = end.full
		switch {
		case err == nil:
		case r.stopped != "":
			p.ExitCode = 128 + int(syscall.SIGTERM)
		case f != nil:
			p.Code, p.Failure, p.ExitCode = f.code, f.Error(), 1
			p.Full = f.full()
		default:
			p.Code, p.Failure, p.ExitCode = StartFailed, err.Error(), 1
		}
		if r.kills != nil {
			r.kills.Stop()
		}
	})
}

// prepare makes all that the command needs, and opens its output.
func (a *Agent) prepare(r *running) (*output, error) {
	t := r.task
	who, err := lookUser(t.User)
	if err != nil {
		return nil, fail(StartFailed, "user %q: %w", t.User, err)
	}
	r.who = who
	for _, m := range t.Mounts {
		if !who.self {
			makeDir(m.Target, who) // what cannot be made says so when it is mounted
		}
		if err := a.mount(r.ctx, m); err != nil {
			return nil, fail(MountFailed, "mount %s at %s: %w", m.shown(), m.Target, err)
		}
		a.note(r, "INFO", "mounted %s at %s", m.shown(), m.Target)
	}
	if at, err := makeDirs(t.Dirs, who); err != nil {
		return nil, failAt(at, DirectoryFailed, "make directory %s as %s: %w", at, who.name, reason(err))
	}
	for _, f := range t.Files {
		owner := who
		if f.User != t.User {
			owner, err = lookUser(f.User)
		}
		if err == nil {
			err = writeFile(f, owner)
		}
		if err != nil {
			return nil, failAt(f.Path, DirectoryFailed, "write %s: %w", f.Path, reason(err))
		}
	}
	if err := r.ctx.Err(); err != nil || t.Command == "" {
		return nil, err
	}
	out, err := openOutput(t, who)
	if err != nil {
		return nil, failAt(t.Stdout, OutputFailed, "%w", err)
	}
	return out, nil
}

// reason is an error without the operation and path that its sentence names anyway.
func reason(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// outcome is how a command ended.
type outcome struct {
	code   int
	full   string // as in Report
	output string
	usage  Usage
}

// command runs the task's command to its end, and that of all processes that it left.
func (a *Agent) command(r *running, out *output) (outcome, error) {
	t := r.task
	group := a.groupOf(r.job)
	kills := oomKills(group)
	p, err := a.start(r, group, out)
	if err != nil {
		return outcome{}, fail(StartFailed, "start the command: %w", err)
	}
	out.started()
	began := a.Now()
	a.set(r, func(p *Report) { p.State, p.Start = Running, began })
	a.note(r, "INFO", "started, process %d", p.Pid)
	var limit *time.Timer
	if t.Limit > 0 {
		limit = time.AfterFunc(t.Limit, func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			r.stop(StopLimit)
		})
	}
	state, err := p.Wait()
	if limit != nil {
		limit.Stop()
	}
	a.mu.Lock()
	tree := r.tree
	a.mu.Unlock()
	tree.end()
	if err != nil {
		return outcome{}, fail(StartFailed, "wait for the command: %w", err)
	}
	end := outcome{code: exitCode(state), usage: tree.usage(state)}
	end.output = out.tail(end.code != 0)
	if out.full() {
		end.full = t.Stderr
		a.note(r, "ERROR", "the file system of %s is full", t.Stderr)
	}
	if end.code != 0 && oomKills(group) > kills {
		end.output = strings.TrimLeft(end.output+"\n"+outOfMemory, "\n")
		a.note(r, "ERROR", "%s", outOfMemory)
	}
	return end, nil
}

const outOfMemory = "The node ran out of memory, and the kernel killed a process: the cluster wants a larger vmSize, or the job less."

func exitCode(s *os.ProcessState) int {
	ws := s.Sys().(syscall.WaitStatus)
	if ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return ws.ExitStatus()
}
