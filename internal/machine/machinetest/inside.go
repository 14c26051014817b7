package machinetest

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"lido.dev/lido/internal/machine"
)

func testMounts(b *bed) {
	b.boot("m1")
	dir := b.Dir(b.t)
	m := machine.Mount{Source: dir, Target: "/mnt/share"}
	for range 2 { // the second does nothing
		b.must(b.Mount(b.ctx, "m1", m))
	}
	if got := b.info("m1").Mounts; len(got) != 1 || got[0] != m {
		b.t.Errorf("mounts: %s", describe(got))
	}
	if b.Real {
		b.sh("m1", "grep -c ' /mnt/share ' /proc/self/mountinfo | grep -qx 1")
		b.sh("m1", "echo hello > /mnt/share/from; chown 1000:1000 /mnt/share/from; ln -s from /mnt/share/link; cat /mnt/share/link")
		b.owner(filepath.Join(dir, "from"), 1000)
	}
	b.must(b.Stop(b.ctx, "m1", grace))
	b.must(b.Start(b.ctx, "m1"))
	if b.Real {
		b.sh("m1", "cat /mnt/share/from")
	}
	for range 2 {
		b.must(b.Unmount(b.ctx, "m1", "/mnt/share"))
	}
	if got := b.info("m1").Mounts; len(got) != 0 {
		b.t.Errorf("mounts after unmount: %s", describe(got))
	}
	if b.Real {
		b.sh("m1", "! grep ' /mnt/share ' /proc/self/mountinfo")
	}
}

func (b *bed) owner(path string, want uint32) {
	b.t.Helper()
	uid, err := ownerOf(path)
	b.must(err)
	if uid != want {
		b.t.Errorf("%s belongs to %d on the host, want %d", path, uid, want)
	}
}

func testMountRefused(b *bed) {
	b.boot("m1")
	for _, target := range []string{"/", "relative", ""} {
		if err := b.Mount(b.ctx, "m1", machine.Mount{Source: b.Dir(b.t), Target: target}); err == nil {
			b.t.Errorf("mounted at %q", target)
		}
	}
	b.must(b.Mount(b.ctx, "m1", machine.Mount{Source: b.Dir(b.t), Target: "/mnt/a"}))
	other := machine.Mount{Source: b.Dir(b.t), Target: "/mnt/a"}
	if err := b.Mount(b.ctx, "m1", other); !errors.Is(err, machine.ErrMounted) {
		b.t.Errorf("another directory over a mount: %v, want ErrMounted", err)
	}
	if b.Real {
		if err := b.Mount(b.ctx, "m1", machine.Mount{Source: "/nowhere/at/all", Target: "/mnt/b"}); err == nil {
			b.t.Error("mounted what does not exist")
		}
	}
	if got := b.info("m1").Mounts; len(got) != 1 {
		b.t.Errorf("mounts after refusals: %s", describe(got))
	}
	if b.Real { // what the machine has unmounted is in nobody's way
		b.sh("m1", "umount /mnt/a")
		b.must(b.Mount(b.ctx, "m1", other))
		b.sh("m1", "touch /mnt/a/other")
		if got := b.info("m1").Mounts; len(got) != 1 || got[0] != other {
			b.t.Errorf("mounts after the machine's own unmounting: %s", describe(got))
		}
	}
}

func testMountOptions(b *bed) {
	b.needsReal()
	dir := b.Dir(b.t)
	b.must(os.WriteFile(filepath.Join(dir, "f"), []byte("x"), 0o644))
	spec := b.Spec("m1")
	spec.Mounts = []machine.Mount{{Source: dir, Target: "/data/deep/ro", ReadOnly: true}, {Source: b.Dir(b.t), Target: "/data/rw"}}
	b.must(b.Create(b.ctx, spec))
	b.must(b.Start(b.ctx, "m1"))
	b.sh("m1", "cat /data/deep/ro/f; ! touch /data/deep/ro/g 2>/dev/null; touch /data/rw/g")
	// A link in the machine must not lead a mount out of it.
	b.sh("m1", "ln -s /../../../../etc /data/rw/out")
	b.must(b.Mount(b.ctx, "m1", machine.Mount{Source: dir, Target: "/data/rw/out/from-machine"}))
	b.sh("m1", "cat /etc/from-machine/f")
	if _, err := os.Stat("/etc/from-machine"); err == nil {
		b.t.Error("a mount left the machine through a link")
	}
}

func testExec(b *bed) {
	b.needsReal()
	spec := b.Spec("m1")
	spec.Accounts = []machine.Account{{Name: "alice", Groups: []string{"adm", "no-such-group"}}}
	b.must(b.Create(b.ctx, spec))
	b.must(b.Start(b.ctx, "m1"))
	var out, errs bytes.Buffer
	code, err := b.Exec(b.ctx, "m1", machine.Command{Args: []string{"sh", "-c", `cat; echo "$K $PWD $(id -un) $(id -Gn)"; echo oops >&2; exit 42`},
		Env: []string{"K=v"}, Dir: "/tmp", User: "alice", Stdin: strings.NewReader("in\n"), Stdout: &out, Stderr: &errs})
	b.must(err)
	if code != 42 || out.String() != "in\nv /tmp alice alice adm\n" || errs.String() != "oops\n" {
		b.t.Errorf("exit code %d, out %q, err %q", code, out.String(), errs.String())
	}
	if _, err := b.Exec(b.ctx, "m1", machine.Command{Args: []string{"/no/such/program"}}); err == nil {
		b.t.Error("a program that does not exist was run")
	}
	if _, err := b.Exec(b.ctx, "m1", machine.Command{Args: []string{"true"}, User: "nobody-here"}); err == nil {
		b.t.Error("ran as an account that does not exist")
	}
	ctx, cancel := context.WithTimeout(b.ctx, 300*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := b.Exec(ctx, "m1", machine.Command{Args: []string{"sleep", "77"}}); err == nil || time.Since(began) > 5*time.Second {
		b.t.Errorf("a cut command: %v after %v", err, time.Since(began))
	}
	b.sh("m1", "! pgrep -x sleep")
}

func testFurnished(b *bed) {
	b.needsReal()
	spec := b.Spec("m1")
	spec.Hostname = "pool-000007"
	spec.HostDir = b.Dir(b.t)
	b.must(os.WriteFile(filepath.Join(spec.HostDir, "hello"), []byte("from the host"), 0o644))
	spec.Accounts = []machine.Account{
		{Name: "dsvmuser", PasswordHash: "$6$x$y", AuthorizedKeys: []string{"ssh-ed25519 AAAA a"}, Sudo: true},
		{Name: "bob", UID: 1234, Groups: []string{"sudo"}},
	}
	spec.Files = []machine.File{{Path: "/opt/app/deep/config", Data: []byte("hi"), Mode: 0o640, UID: 1234, GID: 1234},
		{Path: "/lib/lido-marker", Data: []byte("through a link")}}
	b.must(b.Create(b.ctx, spec))
	b.must(b.Start(b.ctx, "m1"))
	b.up("m1")
	for script, want := range map[string]string{
		"hostname": "pool-000007",
		"stat -c '%a %u:%g' /opt/app/deep/config; cat /opt/app/deep/config":                              "640 1234:1234\nhi",
		"cat /usr/lib/lido-marker; test -L /lib && ls /lib/systemd/systemd":                              "through a link/lib/systemd/systemd",
		"stat -c '%a %U' /home/dsvmuser/.ssh /home/dsvmuser/.ssh/authorized_keys /home/dsvmuser/.bashrc": "700 dsvmuser\n600 dsvmuser\n644 dsvmuser",
		"id -u dsvmuser bob; id -Gn bob":                                                                 "1000\n1234\nbob sudo",
		"getent shadow dsvmuser bob | cut -d: -f1,2":                                                     "dsvmuser:$6$x$y\nbob:!*",
		"su dsvmuser -c 'sudo -n id -u'":                                                                 "0",
		"cat " + machine.GuestDir + "/hello":                                                             "from the host",
		"stat -c %a /etc/shadow /usr /tmp":                                                               "640\n755\n1777",
	} {
		if got := strings.TrimSpace(b.sh("m1", script)); got != want {
			b.t.Errorf("%s\n got %q\nwant %q", script, got, want)
		}
	}
}
