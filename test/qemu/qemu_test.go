//go:build qemu

package qemu

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestDebian boots one virtual machine and runs all that is to be proved in it, one after the other.
func TestDebian(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("making disk images needs root")
	}
	host := hostDisk(t)
	v := boot(t, disks{
		kernel: filepath.Join(host, "vmlinuz"), initrd: filepath.Join(host, "initrd"), host: filepath.Join(host, "host.img"),
		cache: cacheDisk(t), bins: binDisk(t),
	}, 3*time.Minute)
	v.run(t, time.Minute, `uname -r; stat -fc %T /sys/fs/cgroup; systemctl is-system-running; systemctl --failed --no-legend; findmnt -no SIZE,TARGET /srv/cache`)
	t.Run("engine", func(t *testing.T) { v.runTests(t, "runc.test", 12*time.Minute) })
	// How many short connections a second is not for an emulated CPU to say.
	t.Run("frontdoor", func(t *testing.T) { v.runTests(t, "frontdoor.test -test.skip ShortConnections", 4*time.Minute) })
	t.Run("setup", func(t *testing.T) {
		v.run(t, time.Minute, "/srv/bin/packaging/setup.sh && /srv/bin/packaging/setup.sh | grep 'nothing to change'")
	})
	t.Run("pool", func(t *testing.T) {
		v.run(t, 12*time.Minute, "mkdir -m 700 /srv/cache/lido && cp -al /srv/cache/images /srv/cache/lido/ && PATH=/srv/bin:$PATH /srv/bin/pool.sh /srv/cache/lido")
	})
	// Of the node's agent, what is another matter with cgroups of version 2. The images of jobs.sh are the cache's.
	t.Run("node", func(t *testing.T) {
		v.runTests(t, "node.test -test.run '^TestReal$/^(tree|usage|memory|agent_killed)$'", 4*time.Minute)
	})
	t.Run("jobs", func(t *testing.T) {
		v.run(t, 8*time.Minute, "mkdir -m 700 /srv/cache/lido && cp -al /srv/cache/images /srv/cache/lido/ && PATH=/srv/bin:$PATH /srv/bin/jobs.sh /srv/cache/lido")
	})
	t.Run("unit", func(t *testing.T) {
		v.run(t, 6*time.Minute, `install /srv/bin/lido /usr/local/bin/ && install -m 644 /srv/bin/packaging/lido.service /etc/systemd/system/ && systemctl daemon-reload
			mkdir -m 700 /var/lib/lido && cp -a /srv/cache/images /var/lib/lido/ && /srv/bin/unit.sh before`)
		v.reboot(t, 2*time.Minute)
		v.run(t, 6*time.Minute, "/srv/bin/unit.sh after")
	})
}

// runTests runs a test binary inside; a command is its name and flags.
func (v *vm) runTests(t *testing.T, command string, patience time.Duration) {
	v.run(t, patience+10*time.Second, "cd /tmp && LIDO_TEST_CACHE=/srv/cache LIDO_TEST_PROGRAM=/srv/bin/lido /srv/bin/"+command+" -test.short -test.v -test.timeout "+patience.String())
}

// binDisk makes the disk with what is to be proved: lido and the test binaries of its packages that need root.
func binDisk(t *testing.T) string {
	dir := t.TempDir()
	tree := filepath.Join(dir, "bin")
	for out, args := range map[string][]string{
		"lido":           {"build", "-trimpath", "lido.dev/lido/cmd/lido"},
		"runc.test":      {"test", "-c", "-tags", "root", "lido.dev/lido/internal/machine/runc"},
		"frontdoor.test": {"test", "-c", "-tags", "root", "lido.dev/lido/internal/frontdoor"},
		"node.test":      {"test", "-c", "-tags", "root", "lido.dev/lido/internal/node"},
	} {
		args = append([]string{args[0], "-o", filepath.Join(tree, out)}, args[1:]...)
		cmd := exec.Command("go", args...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if err := runQuiet(cmd); err != nil {
			t.Fatal(err)
		}
	}
	if err := runQuiet(exec.Command("cp", "-a", "../../packaging", "arm.sh", "pool.sh", "jobs.sh", "unit.sh", tree)); err != nil {
		t.Fatal(err)
	}
	img := filepath.Join(dir, "bin.img")
	if err := makeExt4(img, "bin", tree, "400M"); err != nil {
		t.Fatal(err)
	}
	return img
}
