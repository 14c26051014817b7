package node

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// start starts the command in the job's cgroup, and in its container if it has one.
func (a *Agent) start(r *running, g *group, out *output) (p *os.Process, err error) {
	tree := &tree{}
	if g != nil {
		if tree.group, err = g.task(r.task.ID); err != nil {
			return nil, err
		}
	}
	attr := &os.ProcAttr{Files: []*os.File{out.null, out.stdout, out.stderr}, Sys: &syscall.SysProcAttr{Setsid: true}}
	if tree.group != nil {
		defer tree.group.join(attr.Sys)()
	}
	if r.task.Container != nil {
		err = a.within(r.job, r.task.Container, func() (err error) { p, err = startWithin(r.task, attr); return err })
	} else {
		p, err = startPlain(r.task, r.who, attr)
	}
	if err != nil {
		tree.end()
		return nil, err
	}
	tree.session = p.Pid
	write(fmt.Sprintf("/proc/%d/oom_score_adj", p.Pid), "300") // when memory ends, jobs end before what keeps the node
	tree.sampler = sample(tree)
	a.own(r, tree)
	return p, nil
}

// groupOf is a job's cgroup, which is made if it is not there; nil if there is none.
func (a *Agent) groupOf(j *job) *group {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.groups != nil && j.group == nil {
		j.group = a.groups.open(j.name)
	}
	return j.group
}

// startPlain starts a task's command in the node itself.
func startPlain(t *Task, who *account, attr *os.ProcAttr) (*os.Process, error) {
	attr.Dir, attr.Sys.Credential = t.Dir, who.credential()
	if t.Dir == "" {
		attr.Dir = who.home
	}
	if err := who.do(func() error { return enterable(attr.Dir) }); err != nil {
		if t.Dir != "" {
			return nil, fmt.Errorf("working directory %s: %w", t.Dir, reason(err))
		}
		attr.Dir = "/"
	}
	attr.Env = environment(defaults(who, "/bin/bash"), t.Env, map[string]string{JobVariable: t.Job})
	return startProcess("/bin/bash", t.Command, attr)
}

// startWithin starts a task's command in the container that this thread is in, as the image says.
func startWithin(t *Task, attr *os.ProcAttr) (*os.Process, error) {
	c := t.Container
	who, err := userWithin(c.User)
	if err != nil {
		return nil, err
	}
	attr.Sys.Credential = who.credential()
	for _, d := range []string{t.Dir, c.Dir, "/"} {
		if attr.Dir = d; d != "" {
			break
		}
	}
	if t.Dir == "" && c.Dir != "" {
		os.MkdirAll(c.Dir, 0o755)
	}
	if err := enterable(attr.Dir); err != nil {
		return nil, fmt.Errorf("working directory %s in the container: %w", attr.Dir, reason(err))
	}
	attr.Env = environment(defaults(who, "/bin/sh"), c.Env, t.Env, map[string]string{JobVariable: t.Job, InsideVariable: "1"})
	return startProcess("/bin/sh", t.Command, attr)
}

func startProcess(shell, command string, attr *os.ProcAttr) (*os.Process, error) {
	p, err := os.StartProcess(shell, []string{shell, "-c", command}, attr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shell, reason(err))
	}
	return p, nil
}

// own makes a tree the task's, and stops it if that was asked for meanwhile.
func (a *Agent) own(r *running, t *tree) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.tree = t
	switch {
	case r.killed:
		go t.kill()
	case r.stopped != "" || r.ctx.Err() != nil:
		r.terminate()
	}
}

func enterable(dir string) error {
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC|unix.O_PATH, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// defaults are a login's few variables.
func defaults(who *account, shell string) map[string]string {
	return map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": who.home, "USER": who.name,
		"LOGNAME": who.name, "SHELL": shell, "LANG": "C.UTF-8"}
}

// environment joins variables; the later win.
func environment(parts ...map[string]string) []string {
	env := map[string]string{}
	for _, p := range parts {
		maps.Copy(env, p)
	}
	list := make([]string, 0, len(env))
	for _, k := range slices.Sorted(maps.Keys(env)) {
		list = append(list, k+"="+env[k])
	}
	return list
}
