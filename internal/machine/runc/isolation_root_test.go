//go:build root

package runc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"lido.dev/lido/internal/machine"
)

// TestIsolation tries, as root in a machine, what must not reach beyond it.
func TestIsolation(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	start(t, e, l.spec("a"), l.spec("b"))
	up(t, e, "a")
	for _, try := range []string{
		"head -c1 /proc/kcore | grep -q .", "dmesg", "mount -t proc -o remount,rw x /sys", "echo 1 > /proc/sys/kernel/sysrq", "echo b > /proc/sysrq-trigger",
		"mknod /tmp/disk b 254 0 && head -c1 /tmp/disk", "date -s 2001-01-01", "swapon /dev/vda", "insmod /nothing.ko",
		"sysctl -w kernel.core_pattern=x", "sysctl -w vm.swappiness=1", "echo 1 > /sys/fs/cgroup/memory/memory.limit_in_bytes",
		"mount /dev/vda /mnt", "mount -t ext4 /dev/vda /mnt", "unshare -m mount -o remount,rw /sys",
	} {
		sh(t, e, "a", "! ( "+try+" ) >/dev/null 2>&1")
	}
	if got := sh(t, e, "a", "ps -e | grep -c ' systemd$'"); got != "1" {
		t.Errorf("the machine sees %s inits", got)
	}
	if a, b := hostUIDs(t, e, "a"), hostUIDs(t, e, "b"); a == b || strings.HasPrefix(a, "0 0") {
		t.Errorf("uid maps of two machines: %q, %q", a, b)
	}
	if got := sh(t, e, "a", "sysctl -n net.ipv4.ip_unprivileged_port_start; sysctl -qw net.ipv4.ip_forward=1; ip link add d0 type bridge && ip link show d0 | wc -l"); !strings.HasSuffix(got, "2") {
		t.Errorf("the machine's own network is not its to configure: %q", got)
	}
}

func hostUIDs(t *testing.T, e *Engine, id string) string {
	t.Helper()
	return strings.Join(strings.Fields(sh(t, e, id, "cat /proc/self/uid_map")), " ")
}

// TestSystemWorks tries what people and lido's own extensions do in a machine.
func TestSystemWorks(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	s := l.spec("a")
	s.Accounts = []machine.Account{{Name: "alice"}}
	start(t, e, s)
	up(t, e, "a")
	for _, script := range []string{
		"systemd-run --wait --quiet --collect -p User=alice id -un",
		"systemd-run --wait --quiet --collect -p PrivateTmp=yes -p ProtectSystem=strict -p PrivateDevices=yes true",
		"systemd-run --wait --quiet --collect -p MemoryMax=64M true",
		"touch /root/f && chown 33:44 /root/f && chmod 6755 /root/f && stat -c '%u %g %a' /root/f | grep -qx '33 44 6755'",
		"mkdir /opt/d && mv /usr/share/doc/sudo /opt/d/ && ls /opt/d/sudo >/dev/null", // across the overlay's layers
		"rm -rf /usr/share/doc/curl && mkdir /usr/share/doc/curl && test -z \"$(ls /usr/share/doc/curl)\"",
		"dpkg --configure -a && dpkg-divert --local --rename --divert /usr/bin/free.real /usr/bin/free && free.real >/dev/null",
		"adduser --disabled-password --gecos '' bob >/dev/null && su bob -c 'test -w ~'",
		"unshare -r true",
		"python3 -V >/dev/null 2>&1 || true; getent hosts $(hostname) | grep -q ^10.77.",
		"grep -q 'search lab.internal' /etc/resolv.conf",
		"su alice -c 'ssh -o BatchMode=yes -o StrictHostKeyChecking=no localhost true 2>&1' | grep -q 'Permission denied'",
	} {
		sh(t, e, "a", script)
	}
}

// TestInitFaultReboots has systemd itself crash, which in a container it would answer by standing still for ever.
func TestInitFaultReboots(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	start(t, e, l.spec("a"))
	up(t, e, "a")
	sh(t, e, "a", "kill -SEGV 1")
	for range 300 {
		if i, _ := e.Get(t.Context(), "a"); i.Boots == 2 && i.State == machine.Running {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	i, _ := e.Get(t.Context(), "a")
	t.Errorf("systemd crashed and the machine did not come back: %+v", i)
}

// TestHostReboot takes away all that a reboot of the host takes away; the network comes back later than the engine.
func TestHostReboot(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	runs, off := l.spec("runs"), l.spec("off")
	start(t, e, runs, off)
	up(t, e, "runs")
	sh(t, e, "runs", "echo kept > /root/note; sync")
	if err := e.Stop(t.Context(), "off", 0); err != nil {
		t.Fatal(err)
	}
	base := e.machines["runs"].rec.Base
	init, conmon := e.machines["runs"].rec.Init, e.machines["runs"].rec.Conmon
	l.close()
	for _, p := range []process{init, conmon} {
		_ = syscall.Kill(p.PID, syscall.SIGKILL)
	}
	for range 100 {
		if !e.host.alive(init) && !e.host.alive(conmon) {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := os.RemoveAll(l.cfg.RunDir); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"runs", "off"} {
		claims, _ := filepath.Glob("/run/lido/ranges/*")
		for _, c := range claims {
			if owner, _ := os.Readlink(c); owner == filepath.Join(l.cfg.Dir, id) {
				os.Remove(c)
			}
		}
	}
	// Another machine of the host has taken the range meanwhile.
	taken := fmt.Sprintf("/run/lido/ranges/%d", base)
	if err := os.Symlink("/elsewhere/machines/x", taken); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(taken)
	netns.DeleteNamed(l.ns)
	e = l.open(t)
	time.Sleep(time.Second)
	makeNamespace(t, l.ns)
	for range 300 {
		if i, _ := e.Get(t.Context(), "runs"); i.State == machine.Running && i.Boots == 2 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if got := sh(t, e, "runs", "cat /root/note"); got != "kept" {
		t.Errorf("after a reboot of the host the machine has %q", got)
	}
	if e.machines["runs"].rec.Base == base {
		t.Error("two machines share a uid range")
	}
	if i, _ := e.Get(t.Context(), "off"); i.State != machine.Stopped {
		t.Errorf("a stopped machine is %s after a reboot of the host", i.State)
	}
}

// TestUnreadableRecord loses one machine's record and keeps the others.
func TestUnreadableRecord(t *testing.T) {
	l := newLab(t)
	e := l.open(t)
	start(t, e, l.spec("lost"), l.spec("fine"))
	l.close()
	if err := os.WriteFile(filepath.Join(l.cfg.Dir, "lost", "machine.json"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e = l.open(t)
	if i, err := e.Get(t.Context(), "fine"); err != nil || i.State != machine.Running || i.Boots != 1 {
		t.Errorf("the other machine: %+v, %v", i, err)
	}
	if _, err := os.Stat(filepath.Join(l.cfg.Dir, ".lost-lost", "root", "upper")); err != nil {
		t.Error(err)
	}
	for _, f := range l.leftovers(t, "lost") {
		t.Errorf("left over: %s", f)
	}
	start(t, e, l.spec("lost"))
}
