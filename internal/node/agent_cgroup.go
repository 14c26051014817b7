package node

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// groups are the cgroups below which jobs get theirs, in the unified hierarchy: jobs/JOB/TASK. That hierarchy is there
// beside those of version 1, too, where it has no controllers; but it says which processes are whose, kills them all at
// once, and counts CPU time.
//
// Version 1's own hierarchies are of no use to an agent that is not the host's root: it may not move processes of other
// users there, and each move holds up all forks of the host.
type groups struct {
	dir    string // of all jobs
	counts counts
	log    *slog.Logger
}

// group is a job's.
type group struct {
	dir    string
	counts counts
	log    *slog.Logger
}

// taskGroup is a task's, within its job's.
type taskGroup struct {
	job *group
	dir string
	fd  int
}

// openGroups makes the place for jobs' cgroups and kills what another agent has left there. It returns nil if there
// are no cgroups that this process may write.
func openGroups(where string, log *slog.Logger) *groups {
	if where == "none" {
		return nil
	}
	own := where
	if own == "" {
		var err error
		if own, err = ownCgroup(); err != nil {
			log.Warn("no cgroups: processes are found by their session", "err", err)
			return nil
		}
	}
	g := &groups{dir: filepath.Join(own, "jobs"), log: log}
	removeTree(g.dir, log)
	if err := os.MkdirAll(g.dir, 0o755); err != nil {
		log.Warn("no cgroups: processes are found by their session", "err", err)
		return nil
	}
	if err := control(own, g.dir); err != nil {
		log.Warn("not all controllers are for jobs: what cgroups don't count is sampled", "err", err)
	}
	g.counts = countsOf(g.dir)
	return g
}

// ownCgroup is this process's directory in the unified hierarchy.
func ownCgroup() (string, error) {
	root := ""
	for _, d := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var st unix.Statfs_t
		if unix.Statfs(d, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			root = d
		}
	}
	if root == "" {
		return "", errors.New("the unified hierarchy is not mounted")
	}
	b, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(b)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			return filepath.Join(root, strings.TrimSuffix(path, "/agent")), nil
		}
	}
	return "", errors.New("this process is not in the unified hierarchy")
}

// control has the kernel count for each job what the hierarchy can. The agent moves out of the way first.
func control(own, jobs string) error {
	have, err := os.ReadFile(filepath.Join(own, "cgroup.controllers"))
	controllers := strings.Fields(string(have))
	if err != nil || len(controllers) == 0 {
		return err
	}
	agent := filepath.Join(own, "agent")
	if err := os.MkdirAll(agent, 0o755); err != nil {
		return err
	}
	err = write(filepath.Join(agent, "cgroup.procs"), strconv.Itoa(os.Getpid()))
	for _, c := range controllers {
		for _, d := range []string{own, jobs} {
			err = errors.Join(err, write(filepath.Join(d, "cgroup.subtree_control"), "+"+c))
		}
	}
	return err
}

// cgroupName makes a directory's name of an id, which may hold anything.
func cgroupName(id string) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:10])
}

func (g *groups) open(job string) *group {
	j := &group{dir: filepath.Join(g.dir, cgroupName(job)), counts: g.counts, log: g.log}
	if err := os.Mkdir(j.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		g.log.Warn("cgroup of a job", "err", err)
		return nil
	}
	return j
}

// remove kills all that is in the job's cgroup and removes it.
func (g *group) remove() {
	if g == nil || unix.Rmdir(g.dir) == nil {
		return
	}
	go removeTree(g.dir, g.log)
}

// task makes a task's cgroup.
func (g *group) task(id string) (*taskGroup, error) {
	t := &taskGroup{job: g, dir: filepath.Join(g.dir, cgroupName(id))}
	if err := os.Mkdir(t.dir, 0o755); err != nil {
		return nil, fmt.Errorf("cgroup of the task: %w", err)
	}
	if err := t.open(); err != nil {
		unix.Rmdir(t.dir)
		return nil, fmt.Errorf("cgroup of the task: %w", err)
	}
	return t, nil
}

// entered is the cgroup of what comes into the job from outside of its tasks.
func (g *group) entered() (*taskGroup, error) {
	t := &taskGroup{job: g, dir: filepath.Join(g.dir, "entered")}
	if err := os.Mkdir(t.dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cgroup of the job: %w", err)
	}
	if err := t.open(); err != nil {
		return nil, fmt.Errorf("cgroup of the job: %w", err)
	}
	return t, nil
}

func (t *taskGroup) open() (err error) {
	t.fd, err = unix.Open(t.dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	return err
}

// join has a process start in the cgroup; done is called when it has.
func (t *taskGroup) join(sys *syscall.SysProcAttr) (done func()) {
	sys.UseCgroupFD, sys.CgroupFD = true, t.fd
	return func() { unix.Close(t.fd) }
}

func (t *taskGroup) pids() []int { return pidsBelow(t.dir) }

func (t *taskGroup) kill() { killTree(t.dir) }

// end kills what is left, and returns when nothing is.
func (t *taskGroup) end() {
	if unix.Rmdir(t.dir) != nil { // it is empty most of the time
		removeTree(t.dir, t.job.log)
	}
}

func write(path, text string) error { return os.WriteFile(path, []byte(text), 0) }

// killTree kills all processes in a cgroup and those below it.
func killTree(dir string) {
	if write(filepath.Join(dir, "cgroup.kill"), "1") == nil {
		return
	}
	for _, pid := range pidsBelow(dir) { // kernels before 5.14
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// killPatience is how long killed processes may take to be gone, if they hang in the kernel.
const killPatience = 30 * time.Second

// removeTree kills all processes in a cgroup, waits until they are gone and removes it.
func removeTree(dir string, log *slog.Logger) {
	wait := 200 * time.Microsecond
	for waited := time.Duration(0); waited < killPatience; waited += wait {
		if _, err := os.Stat(dir); err != nil {
			return
		}
		killTree(dir)
		for _, d := range below(dir) {
			unix.Rmdir(d)
		}
		if err := unix.Rmdir(dir); err == nil || err == unix.ENOENT {
			return
		}
		time.Sleep(wait)
		wait = min(2*wait, 100*time.Millisecond)
	}
	log.Error("processes do not end", "cgroup", dir, "pids", pidsBelow(dir))
}

// below are the cgroups below one, the deepest first.
func below(dir string) []string {
	var out []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		if e.IsDir() {
			d := filepath.Join(dir, e.Name())
			out = append(append(out, below(d)...), d)
		}
	}
	return out
}

func pidsBelow(dir string) []int {
	var pids []int
	for _, d := range append(below(dir), dir) {
		b, _ := os.ReadFile(filepath.Join(d, "cgroup.procs"))
		for f := range strings.FieldsSeq(string(b)) {
			if pid, err := strconv.Atoi(f); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}
