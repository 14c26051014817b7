package node

import (
	"fmt"
	"os"
	"sort"
	"syscall"

	"golang.org/x/sys/unix"
)

// start starts the command in the job's cgroup.
func (a *Agent) start(r *running, out *output) (*os.Process, error) {
	t := r.task
	who, err := lookUser(t.User)
	if err != nil {
		return nil, err
	}
	dir := t.Dir
	if dir == "" {
		dir = who.home
	}
	if err := who.do(func() error { return enterable(dir) }); err != nil {
		if t.Dir != "" {
			return nil, fmt.Errorf("working directory %s: %w", dir, reason(err))
		}
		dir = "/"
	}
	tree := &tree{}
	attr := &os.ProcAttr{Dir: dir, Env: environment(t, who), Files: []*os.File{out.null, out.stdout, out.stderr},
		Sys: &syscall.SysProcAttr{Setsid: true, Credential: who.credential()}}
	args := []string{"/bin/bash", "-c", t.Command}

	a.mu.Lock()
	if a.groups != nil && r.job.group == nil {
		r.job.group = a.groups.open(r.job.name)
	}
	g := r.job.group
	a.mu.Unlock()
	if g != nil {
		if tree.group, err = g.task(t.ID); err != nil {
			return nil, err
		}
		defer tree.group.join(attr.Sys)()
	}
	p, err := os.StartProcess(args[0], args, attr)
	if err != nil {
		tree.end()
		return nil, reason(err)
	}
	tree.session = p.Pid
	if g == nil || !g.controlled {
		tree.sampler = sample(tree)
	}
	a.own(r, tree)
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

// environment is a login's small default with the task's own added.
func environment(t *Task, who *account) []string {
	env := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": who.home, "USER": who.name,
		"LOGNAME": who.name, "SHELL": "/bin/bash", "LANG": "C.UTF-8"}
	for k, v := range t.Env {
		env[k] = v
	}
	list := make([]string, 0, len(env))
	for k, v := range env {
		list = append(list, k+"="+v)
	}
	sort.Strings(list)
	return list
}
