package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"text/template"
	"time"
)

// slurm is a Slurm of its own on this computer: a controller, eight node daemons and an authentication daemon, in a
// directory that goes with it.
type slurm struct {
	dir     string
	daemons []*exec.Cmd
}

// slurmConf is tuned as Slurm's guide to high throughput says: no accounting, no gathering, no delays between rounds of
// scheduling, the queue looked through to its end, terse logs. Nodes differ in their port; more CPUs than there are give the
// slots. Slurm's own cgroups are off, which makes it faster.
var slurmConf = template.Must(template.New("").Parse(`ClusterName=bench
SlurmctldHost={{.Host}}(127.0.0.1)
SlurmctldPort=16817
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={{.Dir}}/munge.socket
CredType=cred/munge
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,default_queue_depth=10000,bf_interval=1,max_rpc_cnt=0
PriorityType=priority/basic
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
JobCompType=jobcomp/none
MinJobAge=10
MaxJobCount=100000
MaxArraySize=100001
CompleteWait=0
KillWait=1
ReturnToService=2
SlurmdParameters=config_overrides
SlurmctldDebug=error
SlurmdDebug=error
SlurmctldPidFile={{.Dir}}/slurmctld.pid
SlurmdPidFile={{.Dir}}/%n.pid
SlurmctldLogFile={{.Dir}}/slurmctld.log
SlurmdLogFile={{.Dir}}/%n.log
StateSaveLocation={{.Dir}}/state
SlurmdSpoolDir={{.Dir}}/spool/%n
NodeName=n[1-{{.Nodes}}] NodeHostname={{.Host}} NodeAddr=127.0.0.1 Port=[17001-{{.LastPort}}] CPUs={{.Slots}} RealMemory=1000 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
`))

func startSlurm(ctx context.Context, slots int, show bool) (peer, error) {
	dir, err := os.MkdirTemp("/var/tmp", "lido-bench-slurm-")
	if err != nil {
		return nil, err
	}
	s := &slurm{dir: dir}
	if err := s.start(ctx, slots, show); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *slurm) path(name string) string { return filepath.Join(s.dir, name) }

func (s *slurm) start(ctx context.Context, slots int, show bool) error {
	if err := s.writeFiles(slots, show); err != nil {
		return err
	}
	if err := s.daemon("munged", "--foreground", "--force", "--socket="+s.path("munge.socket"), "--key-file="+s.path("munge.key"),
		"--pid-file="+s.path("munged.pid"), "--seed-file="+s.path("munged.seed"), "--log-file="+s.path("munged.log"), "--num-threads=4"); err != nil {
		return err
	}
	if err := s.until(ctx, func() bool { _, err := os.Stat(s.path("munge.socket")); return err == nil }); err != nil {
		return fmt.Errorf("munged: %w", err)
	}
	if err := s.daemon("slurmctld", "-D", "-f", s.path("slurm.conf")); err != nil {
		return err
	}
	for i := range nodes {
		if err := s.daemon("slurmd", "-D", "-f", s.path("slurm.conf"), "-N", fmt.Sprintf("n%d", i+1)); err != nil {
			return err
		}
	}
	err := s.until(ctx, func() bool {
		out, err := s.command(ctx, "sinfo", "--noheader", "--states=idle", "--format=%D")
		return err == nil && strings.TrimSpace(out) == strconv.Itoa(nodes)
	})
	if err != nil {
		log, _ := os.ReadFile(s.path("slurmctld.log"))
		return fmt.Errorf("wait for nodes: %w\n%s", err, log)
	}
	return nil
}

func (s *slurm) writeFiles(slots int, show bool) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	host, _, _ = strings.Cut(host, ".")
	var conf bytes.Buffer
	if err := slurmConf.Execute(&conf, map[string]any{"Host": host, "Dir": s.dir, "Nodes": nodes, "LastPort": 17000 + nodes, "Slots": slots}); err != nil {
		return err
	}
	if show {
		fmt.Printf("Slurm's configuration:\n%s\n", conf.Bytes())
	}
	key := make([]byte, 1024)
	rand.Read(key)
	for _, d := range []string{"state", "out", "spool"} {
		if err := os.Mkdir(s.path(d), 0o755); err != nil {
			return err
		}
	}
	for i := range nodes {
		if err := os.Mkdir(s.path(fmt.Sprintf("spool/n%d", i+1)), 0o755); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(s.path("slurm.conf"), conf.Bytes(), 0o644),
		os.WriteFile(s.path("munge.key"), key, 0o600),
		os.WriteFile(s.path("job.sh"), []byte("#!/bin/sh\ntrue\n"), 0o755),
		os.Chmod(s.dir, 0o755))
}

// daemon starts a program that stays in the foreground.
func (s *slurm) daemon(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "SLURM_CONF="+s.path("slurm.conf"))
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("%w; 'make setup-bench' installs Slurm", err)
	}
	s.daemons = append(s.daemons, cmd)
	return nil
}

func (s *slurm) command(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "SLURM_CONF="+s.path("slurm.conf"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, out)
	}
	return string(out), nil
}

func (s *slurm) until(ctx context.Context, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for !ok() {
		if err := rest(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// burst submits an array of jobs, Slurm's cheapest way to submit many.
func (s *slurm) burst(ctx context.Context, n int) error {
	if _, err := s.command(ctx, "sbatch", fmt.Sprintf("--array=1-%d", n), "--output="+s.path("out/%A_%a"), s.path("job.sh")); err != nil {
		return err
	}
	for {
		out, err := s.command(ctx, "squeue", "--noheader", "--format=%T")
		if err != nil || strings.TrimSpace(out) == "" {
			return err
		}
		if err := rest(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}

func (s *slurm) one(ctx context.Context) error {
	_, err := s.command(ctx, "srun", "true")
	return err
}

// close ends the daemons, the first last: the others need its authentication.
func (s *slurm) close() error {
	for i := len(s.daemons) - 1; i >= 0; i-- {
		cmd := s.daemons[i]
		cmd.Process.Signal(syscall.SIGTERM)
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	}
	return os.RemoveAll(s.dir)
}
