//go:build root

package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/machinetest"
	"lido.dev/lido/internal/machine/runc"
)

// realPair is a pair whose agent is a service of a real machine, where it was installed as a cluster's setup does.
type realPair struct {
	*pair
	engine *runc.Engine
}

const admin = "azureuser"

func newRealPair(t *testing.T) *realPair {
	t.Helper()
	var b [3]byte
	rand.Read(b[:])
	tag := hex.EncodeToString(b[:])
	run := filepath.Join("/run/lido", tag)
	cfg := runc.Config{Dir: filepath.Join("/var/tmp", "lido-"+tag), RunDir: filepath.Join(run, "machines"), Tag: tag}
	e, err := runc.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	hostDir := filepath.Join(run, "m", machine1)
	r := &realPair{engine: e, pair: &pair{t: t, socket: filepath.Join(hostDir, "host.sock"), dir: cfg.Dir, events: make(chan Event, 10000)}}
	t.Cleanup(func() {
		if err := e.Purge(); err != nil {
			t.Errorf("purge: %v", err)
		}
		e.Close()
		os.RemoveAll(run)
		os.RemoveAll(cfg.Dir)
	})
	if err := os.MkdirAll(hostDir, 0o755); err != nil {
		t.Fatal(err)
	}
	r.build(filepath.Join(hostDir, "lido"))
	r.up()
	t.Cleanup(r.down)
	r.boot(hostDir)
	return r
}

// build makes lido's program, or copies the one that LIDO_TEST_PROGRAM names where there is no compiler.
func (r *realPair) build(path string) {
	r.t.Helper()
	if made := os.Getenv("LIDO_TEST_PROGRAM"); made != "" {
		if out, err := exec.Command("cp", made, path).CombinedOutput(); err != nil {
			r.t.Fatalf("copy: %v\n%s", err, out)
		}
		return
	}
	cmd := exec.Command("go", "build", "-o", path, "lido.dev/lido/cmd/lido")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		r.t.Fatalf("build: %v\n%s", err, out)
	}
}

func (r *realPair) boot(hostDir string) {
	r.t.Helper()
	spec := machine.Spec{ID: machine1, Hostname: machine1, Root: machinetest.BaseRoot(r.t), HostDir: hostDir, Memory: 1 << 30,
		Accounts: []machine.Account{{Name: admin, UID: 1000, Sudo: true}},
		Files: []machine.File{{Path: "/etc/systemd/system/lido-node.service", Data: []byte(Unit)},
			{Path: "/etc/systemd/system/multi-user.target.d/node.conf", Data: []byte("[Unit]\nWants=lido-node.service\n")}}}
	ctx := context.Background()
	if err := r.engine.Create(ctx, spec); err != nil {
		r.t.Fatal(err)
	}
	if err := r.engine.Start(ctx, machine1); err != nil {
		r.t.Fatal(err)
	}
}

// sh runs a command in the machine as root.
func (r *realPair) sh(script string) string {
	r.t.Helper()
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	_, err := r.engine.Exec(ctx, machine1, machine.Command{Args: []string{"/bin/bash", "-c", script}, Stdout: &out, Stderr: &out})
	if err != nil {
		r.t.Error(err)
	}
	return strings.TrimSpace(out.String())
}

func TestReal(t *testing.T) {
	p := newRealPair(t)
	first := p.hello()
	t.Run("user", p.testUser)
	t.Run("tree", p.testTree)
	t.Run("enter", p.testEnter)
	t.Run("usage", p.testUsage)
	t.Run("host restarts", p.testHostRestart)
	t.Run("container", p.testContainer)
	t.Run("memory", p.testMemory)
	t.Run("quick", p.testQuick)
	t.Run("many", p.testMany)
	t.Run("agent killed", func(t *testing.T) { p.testAgentKilled(t, first.Instance) })
}

func (p *realPair) testUser(t *testing.T) {
	p.sh("groupadd -f crew; usermod -aG crew " + admin + "; mkdir -p /srv/private; chmod 700 /srv/private; echo s >/srv/private/s")
	dir := "/mnt/batch/tasks/shared/LS_root/jobs/w/e/j"
	r := p.run(Task{ID: "user", Job: "user", User: admin, Dirs: []string{dir, dir + "/wd"}, Dir: dir + "/wd", Stdout: dir + "/out", Stderr: dir + "/err",
		Command: "id -un; id -gn; id -G; pwd; umask; echo $HOME; cat /srv/private/s; [ $(ps -o sid= -p $$) = $$ ] && echo leader"})
	if got := p.sh("cat " + dir + "/out; stat -c %U " + dir + "/out"); r.ExitCode != 0 || got != admin+"\n"+admin+"\n1000 1001\n"+dir+"/wd\n0022\n/home/"+admin+"\nleader\n"+admin {
		t.Errorf("%+v: %q", r, got)
	}
	for _, c := range []Task{
		{Stdout: "/srv/private/out"}, {Stdout: dir + "/trick/out"}, {Dirs: []string{"/srv/private/d"}}, {Dirs: []string{dir + "/trick/d"}},
		{Files: []File{{Path: dir + "/trick/f", User: admin}}},
	} {
		p.sh("ln -sfn /srv/private " + dir + "/trick")
		c.ID, c.User, c.Command = "trick"+fmt.Sprint(c), admin, "true"
		if r := p.run(c); r.Code != OutputFailed && r.Code != DirectoryFailed {
			t.Errorf("%+v: %+v", c, r)
		}
	}
	if got := p.sh("ls /srv/private"); got != "s" {
		t.Errorf("root was led astray: %s", got)
	}
}

// testTree ends a tree whose processes have left the session and their parents, and multiply.
func (p *realPair) testTree(t *testing.T) {
	spread := `for i in 1 2 3; do setsid nohup bash -c 'trap "" TERM; exec -a stray-of-job sleep 1000' >/dev/null 2>&1 & done; (while :; do (exec -a stray-of-job sleep 0.05 &) ; sleep 0.01; done) & `
	r := p.run(Task{ID: "left", Job: "tree", User: admin, Command: spread + "sleep 0.3; exit 0"})
	if got := p.sh("pgrep -fc stray-of-jo[b]"); r.ExitCode != 0 || got != "0" {
		t.Errorf("%+v: %s processes survive", r, got)
	}
	p.send(Order{Run: &Task{ID: "stop", Job: "tree", User: admin, Grace: 100 * time.Millisecond, Command: spread + "sleep 100"}})
	p.state("stop", Running)
	time.Sleep(300 * time.Millisecond)
	p.send(Order{Stop: "stop"})
	start := time.Now()
	r = p.state("stop", Ended)
	if got := p.sh("pgrep -fc stray-of-jo[b]"); r.Stopped != StopAsked || got != "0" {
		t.Errorf("%+v: %s processes survive", r, got)
	}
	t.Logf("stopped in %v", time.Since(start))
	p.send(Order{Forget: []string{"left", "stop"}})
}

// testEnter has a process come into a job by itself, as MPI's daemons do, and ends it with the job.
func (p *realPair) testEnter(t *testing.T) {
	p.run(Task{ID: "enter", Job: "en'ter", User: admin})
	p.sh(`su ` + admin + ` -c "setsid bash -c '/usr/local/bin/lido-node node enter \"en'\\''ter\" || exit 1; exec -a stray-of-job sleep 1000' >/tmp/entered 2>&1 & sleep 0.3"`)
	if got := p.sh("cat /tmp/entered; pgrep -fc stray-of-jo[b]; cat /proc/$(pgrep -f stray-of-jo[b])/cgroup | grep -c entered"); got != "1\n1" {
		t.Errorf("entered: %s", got)
	}
	p.send(Order{Forget: []string{"enter"}})
	p.run(Task{ID: "after", Job: "after", Command: "sleep 0.2"})
	if got := p.sh("pgrep -fc stray-of-jo[b]; su " + admin + " -c '/usr/local/bin/lido-node node enter none; echo $?'"); got != "0\nlido node: enter job \"none\": job \"none\" has no part in this node now\n1" {
		t.Errorf("left: %s", got)
	}
}

func (p *realPair) testUsage(t *testing.T) {
	r := p.run(Task{ID: "usage", Job: "usage", User: admin, Command: `(dd if=/dev/zero of=$HOME/f bs=1M count=8 oflag=direct || dd if=/dev/zero of=$HOME/f bs=1M count=8 conv=fsync) 2>/dev/null
		perl -e '$x="a"x(200<<20); while((times)[0]<1){$n++}' & perl -e '$x="a"x(100<<20); sleep 1'; wait`})
	u, most := r.Usage, time.Duration(runtime.NumCPU())*r.End.Sub(r.Start)+time.Second // all CPUs, all the time
	if r.ExitCode != 0 || u.CPU < time.Second || u.CPU > most || u.PeakMemory < 200<<20 || u.PeakMemory > 1<<30 || u.Written < 8<<20 {
		t.Errorf("%+v", r)
	}
	t.Logf("%+v", u)
}

func (p *realPair) testHostRestart(t *testing.T) {
	p.send(Order{Run: &Task{ID: "over", Job: "over", User: admin, Command: "echo x >>$HOME/over; sleep 0.3; exit 5"}})
	p.state("over", Running)
	p.down()
	time.Sleep(500 * time.Millisecond)
	start := time.Now()
	p.up()
	h := p.hello()
	t.Logf("the agent was back after %v", time.Since(start))
	p.send(Order{Run: &Task{ID: "over", Job: "over", User: admin, Command: "echo x >>$HOME/over"}})
	for _, r := range h.Tasks {
		if r.ID == "over" && (r.State != Ended || r.ExitCode != 5) {
			t.Errorf("%+v", r)
		}
	}
	if got := p.sh("cat /home/" + admin + "/over"); got != "x" {
		t.Errorf("ran: %q", got)
	}
}

// testMemory has a job want more than the machine has.
func (p *realPair) testMemory(t *testing.T) {
	r := p.run(Task{ID: "oom", Job: "oom", User: admin, Stdout: "/tmp/oom", Stderr: "/tmp/oom", Command: `echo greedy >&2; perl -e '$x="a"x(1<<20); push @y,$x.$_ for 1..3000; print 1'; exit $?`})
	if r.ExitCode != 137 || !strings.Contains(r.Output, "greedy") || !strings.Contains(r.Output, outOfMemory) {
		t.Errorf("%+v", r)
	}
}

// testQuick says how long a trivial task takes.
func (p *realPair) testQuick(t *testing.T) {
	const n = 100
	var all []time.Duration
	for i := range n {
		id := fmt.Sprint("quick", i)
		start := time.Now()
		if r := p.run(Task{ID: id, Job: id, User: admin, Command: "true", Stdout: "/tmp/quick", Stderr: "/tmp/quick"}); r.ExitCode != 0 {
			t.Errorf("%+v", r)
		}
		all = append(all, time.Since(start))
		p.send(Order{Forget: []string{id}})
	}
	slices.Sort(all)
	t.Logf("order to end: median %v, slowest %v; the agent: %s", all[n/2], all[n-1], p.sh("grep -E 'VmRSS|VmHWM|Threads' /proc/$(systemctl show -P MainPID lido-node)/status; find /sys/fs/cgroup -path '*jobs/*' -type d | wc -l"))
}

// testMany runs many tasks at a time, of jobs of their own.
func (p *realPair) testMany(t *testing.T) {
	const n = 500
	before := p.jobGroups()
	side := "/tmp/many"
	p.sh("install -o " + admin + " /dev/null " + side)
	start := time.Now()
	for i := range n {
		id := fmt.Sprint("many", i)
		p.send(Order{Run: &Task{ID: id, Job: id, User: admin, Command: "echo x >>" + side, Stdout: "/tmp/many.out", Stderr: "/tmp/many.err"}})
	}
	for ended := 0; ended < n; {
		if e := p.next(); e.Report != nil && e.Report.State == Ended {
			if ended++; e.Report.ExitCode != 0 || e.Report.Failure != "" {
				t.Errorf("%+v", e.Report)
			}
			p.send(Order{Forget: []string{e.Report.ID}})
		}
	}
	t.Logf("%d tasks in %v", n, time.Since(start))
	if got := p.sh("wc -l <" + side); got != fmt.Sprint(n) {
		t.Errorf("ran %s times", got)
	}
	// What is forgotten is tidied away after the order was sent.
	left := p.jobGroups()
	for deadline := time.Now().Add(10 * time.Second); left > before && time.Now().Before(deadline); left = p.jobGroups() {
		time.Sleep(50 * time.Millisecond)
	}
	if left > before {
		t.Errorf("%d cgroups left, %d before", left, before)
	}
	t.Log(p.sh("grep -E 'VmHWM|Threads' /proc/$(systemctl show -P MainPID lido-node)/status | xargs"))
}

// jobGroups counts the cgroups of jobs in the machine.
func (p *realPair) jobGroups() int {
	n, _ := strconv.Atoi(p.sh("find /sys/fs/cgroup/unified /sys/fs/cgroup/system.slice -path '*lido-node.service/jobs/*' -type d 2>/dev/null | wc -l"))
	return n
}

// testAgentKilled kills the agent: what ran is lost, and is killed.
func (p *realPair) testAgentKilled(t *testing.T, instance string) {
	p.send(Order{Run: &Task{ID: "lost", Job: "lost", User: admin, Command: "setsid bash -c 'exec -a stray-of-job sleep 1000' & sleep 1000"}})
	p.state("lost", Running)
	p.sh("kill -9 $(systemctl show -P MainPID lido-node)")
	h := p.hello()
	if h.Instance == instance || len(h.Tasks) != 0 {
		t.Errorf("%+v", h)
	}
	if got := p.sh("pgrep -fc 'stray-of-jo[b]|sleep 100[0]'"); got != "0" {
		t.Errorf("%s processes survive", got)
	}
	if r := p.run(Task{ID: "next", Job: "next", User: admin, Command: "true"}); r.ExitCode != 0 || r.Failure != "" {
		t.Errorf("%+v", r)
	}
}

// testContainer runs tasks in an image's root: its own files, the node's shares and network.
func (p *realPair) testContainer(t *testing.T) {
	image := filepath.Join(p.dir, "image", "rootfs")
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		t.Skip("no busybox: apt-get install busybox-static")
	}
	prepare := fmt.Sprintf(`set -e; mkdir -p %[1]s/bin %[1]s/etc %[1]s/home/app; cp %[2]s %[1]s/bin/busybox; for c in sh id cat echo df pwd mkdir touch ls stat mount sleep wc ip hostname env readlink; do ln -s busybox %[1]s/bin/$c; done
		echo app:x:1234:1235::/home/app:/bin/sh >%[1]s/etc/passwd; ln -s /elsewhere %[1]s/etc/resolv.conf; ln -s /etc %[1]s/data; chmod 755 %[1]s`, image, busybox)
	if out, err := exec.Command("/bin/bash", "-c", prepare).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	ctx := context.Background()
	if err := p.engine.Mount(ctx, machine1, machine.Mount{Source: image, Target: "/var/lib/lido/images/x", ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	p.sh("mkdir -p /data/in; echo from the node >/data/in/f; chown -R " + admin + " /data; echo nameserver 9.9.9.9 >/etc/resolv.conf")
	c := &Container{Image: "team/tool:1", Root: "/var/lib/lido/images/x", Env: map[string]string{"FROM": "image", "BOTH": "image"}, Dir: "/work", Binds: []string{"/data/in"}, ShmSize: 5 << 20}
	r := p.run(Task{ID: "c1", Job: "c", User: admin, Container: c, Env: map[string]string{"BOTH": "task"}, Stdout: "/data/in/out", Stderr: "/data/in/out",
		Command: `id -u; pwd; cat /data/in/f; echo $FROM $BOTH; df -k /dev/shm | wc -l; cat /proc/mounts | while read a b c d e; do test $b = /dev/shm && echo $d; done; touch /made; mkdir /newdir; cat /etc/resolv.conf; hostname; ls /srv; exit 4`})
	out := p.sh("cat /data/in/out")
	if r.ExitCode != 4 || !strings.HasPrefix(out, "0\n/work\nfrom the node\nimage task\n") || !strings.Contains(out, "size=5120k") || !strings.Contains(out, "nameserver 9.9.9.9\nm1\n") || !strings.Contains(out, "/srv: No such") {
		t.Errorf("%+v\n%s", r, out)
	}
	c.User = "app"
	r = p.run(Task{ID: "c2", Job: "c", Container: c, User: admin, Command: "id -u; id -g; echo $HOME; ls -d /made /newdir; touch /bin/x"})
	if r.ExitCode != 1 || !strings.HasPrefix(r.Output, "1234\n1235\n/home/app\n/made\n/newdir\n") {
		t.Errorf("%+v", r)
	}
	enter := `su -s /bin/sh %s -c "/usr/local/bin/lido-node node enter c 'read x; echo \$x and \$FROM; ls /made; exit 3'" <<<hello; echo $?`
	if got := p.sh(fmt.Sprintf(enter, admin)); got != "hello and image\n/made\n3" {
		t.Errorf("entered: %s", got)
	}
	if got := p.sh(fmt.Sprintf(enter, "nobody")); got != "lido node: enter job \"c\": only the job's user may run commands in its container\n1" {
		t.Errorf("entered by another user: %s", got)
	}
	p.send(Order{Forget: []string{"c1", "c2"}})
	c.User = ""
	r = p.run(Task{ID: "c3", Job: "c3", Container: c, User: admin, Command: "ls /made; exec /bin/busybox sleep 0"})
	if r.ExitCode != 0 || !strings.Contains(r.Output, "No such file") {
		t.Errorf("what another job made: %+v", r)
	}
	p.send(Order{Run: &Task{ID: "c4", Job: "c3", Container: c, User: admin, Grace: 50 * time.Millisecond, Command: "trap '' TERM; sleep 1000 & sleep 1000"}})
	p.state("c4", Running)
	p.send(Order{Stop: "c4"})
	if r := p.state("c4", Ended); r.Stopped != StopAsked {
		t.Errorf("%+v", r)
	}
	p.send(Order{Forget: []string{"c3", "c4"}})
	c.Root = "/nowhere"
	if r := p.run(Task{ID: "c5", Job: "c5", Container: c, User: admin, Command: "true"}); r.Code != StartFailed || !strings.Contains(r.Failure, "image team/tool:1") {
		t.Errorf("%+v", r)
	}
	time.Sleep(300 * time.Millisecond)
	if got := p.sh("ls /var/lib/lido/boxes; mount | grep -c box; ls " + "/var/lib/lido/images/x"); !strings.HasPrefix(got, "0\nbin\n") {
		t.Errorf("left: %s", got)
	}
}
