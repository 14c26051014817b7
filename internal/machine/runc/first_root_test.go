//go:build root

package runc

import (
	"bytes"
	"context"
	"testing"
	"time"

	"lido.dev/lido/internal/machine"
)

func TestFirst(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	ctx := context.Background()
	s := l.spec("one")
	s.Accounts = []machine.Account{{Name: "alice", Sudo: true, Groups: []string{"adm"}}}
	t0 := time.Now()
	if err := e.Create(ctx, s); err != nil {
		t.Fatal(err)
	}
	t1 := time.Now()
	if err := e.Start(ctx, "one"); err != nil {
		t.Fatal(err)
	}
	t2 := time.Now()
	b, err := l.banner(s.NIC.Addresses[0].Addr(), 10*time.Second)
	t.Logf("create %v start %v banner %v %q %v", t1.Sub(t0), t2.Sub(t1), time.Since(t2), b, err)
	for _, sh := range []string{"systemctl is-system-running --wait; systemctl --failed --no-legend", "id; ip a; nproc; free -m; ls -ln / /home; cat /proc/1/cgroup; systemd-analyze; systemd-analyze blame | head -20; systemd-analyze critical-chain", "sudo -u alice sudo id"} {
		var out bytes.Buffer
		code, err := e.Exec(ctx, "one", machine.Command{Args: []string{"sh", "-c", sh}, Stdout: &out, Stderr: &out})
		t.Logf("%d %v\n%s", code, err, out.String())
	}
	t0 = time.Now()
	err = e.Stop(ctx, "one", 10*time.Second)
	t.Logf("stop %v %v", time.Since(t0), err)
	t0 = time.Now()
	err = e.Delete(ctx, "one")
	t.Logf("delete %v %v", time.Since(t0), err)
}
