//go:build qemu

package qemu

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/image"
	"lido.dev/lido/internal/image/imagetest"
	"lido.dev/lido/internal/machine/machinetest"
)

// hostPackages make a Debian that boots on virtio disks; what lido needs comes on top, see needs.
var hostPackages = []string{"linux-image-cloud-amd64", "initramfs-tools", "systemd", "systemd-sysv", "libpam-systemd",
	"dbus", "udev", "kmod", "procps", "openssh-server", "sudo", "iputils-ping", "jq"}

// agent runs the scripts that arrive on a virtio port, one line of base64 each, and answers with their output, every
// line behind "| ", and their exit code behind "= ".
const agent = `#!/bin/bash
exec 3<>/dev/virtio-ports/lido.test
echo "= ready" >&3
while read -r line <&3; do
	base64 -d <<<"$line" >/run/script
	bash /run/script 2>&1 </dev/null | sed -u 's/^/| /' >&3
	echo "= ${PIPESTATUS[0]}" >&3
done
`

const agentUnit = `[Unit]
Description=Runs test scripts
After=local-fs.target multi-user.target
[Service]
ExecStart=/usr/local/sbin/test-agent
KillMode=process
Environment=HOME=/root
[Install]
WantedBy=multi-user.target
`

const fstab = `LABEL=host / ext4 defaults,noatime 0 1
LABEL=cache /srv/cache ext4 defaults,noatime 0 2
LABEL=bin /srv/bin ext4 ro 0 2
`

// customize makes the bootstrapped root boot on virtio disks, with the agent and without what only takes time.
const customize = `set -eu
printf 'virtio_pci\nvirtio_blk\next4\n' >"$1/etc/initramfs-tools/modules"
sed -i 's/^MODULES=.*/MODULES=list/' "$1/etc/initramfs-tools/initramfs.conf"
chroot "$1" update-initramfs -u
chroot "$1" systemctl enable test-agent.service
chroot "$1" systemctl mask apt-daily.timer apt-daily-upgrade.timer man-db.timer e2scrub_all.timer dpkg-db-backup.timer fstrim.timer getty.target
mkdir -p "$1/srv/cache" "$1/srv/bin"
echo debian >"$1/etc/hostname"
chroot "$1" passwd -d root
`

// disks are what a virtual machine boots from.
type disks struct {
	kernel, initrd    string
	host, cache, bins string
}

// cached returns the file or directory of that name in the test cache, calling build with a temporary name first if it
// does not exist. Several processes may ask at the same time.
func cached(t testing.TB, name string, build func(tmp string) error) string {
	t.Helper()
	path := filepath.Join(machinetest.CacheDir(), name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		return path
	}
	tmp := path + ".part"
	if err := os.RemoveAll(tmp); err != nil {
		t.Fatal(err)
	}
	if err := build(tmp); err != nil {
		os.RemoveAll(tmp)
		t.Fatalf("make %s: %v", name, err)
	}
	if err := os.Rename(tmp, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// needs returns the packages that lido's setup installs.
func needs(t testing.TB) []string {
	data, err := os.ReadFile("../../packaging/setup.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(data), "\npackages=(\n")
	list, _, found := strings.Cut(list, "\n)")
	if !found {
		t.Fatal("packaging/setup.sh has no list of packages any more")
	}
	var out []string
	for line := range strings.Lines(list) {
		line, _, _ = strings.Cut(line, "#")
		out = append(out, strings.Fields(line)...)
	}
	return out
}

// hostDisk makes the disk of a Debian 12 with lido's packages, and its kernel and initrd beside it.
func hostDisk(t testing.TB) string {
	packages := append(needs(t), hostPackages...)
	key := sha256.Sum256([]byte(fmt.Sprint(packages, agent, agentUnit, fstab, customize)))
	return cached(t, "qemu/host-"+hex.EncodeToString(key[:6]), func(tmp string) error {
		t.Log("making the disk of the Debian host, about a minute")
		root := filepath.Join(tmp, "root")
		if err := os.MkdirAll(tmp, 0o700); err != nil {
			return err
		}
		if err := bootstrap(tmp, root, packages); err != nil {
			return err
		}
		for name, glob := range map[string]string{"vmlinuz": "boot/vmlinuz-*", "initrd": "boot/initrd.img-*"} {
			if err := copyOne(filepath.Join(root, glob), filepath.Join(tmp, name)); err != nil {
				return err
			}
		}
		if err := makeExt4(filepath.Join(tmp, "host.img"), "host", root, "8G"); err != nil {
			return err
		}
		return os.RemoveAll(root)
	})
}

func bootstrap(tmp, root string, packages []string) error {
	files := map[string]string{"agent": agent, "agent.service": agentUnit, "fstab": fstab, "customize": "#!/bin/sh\n" + customize}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(tmp, name), []byte(content), 0o755); err != nil {
			return err
		}
	}
	in := func(name string) string { return filepath.Join(tmp, name) }
	args := []string{"--mode=root", "--variant=minbase", "--include=" + strings.Join(packages, ","),
		"--aptopt=APT::Install-Recommends \"false\"",
		"--customize-hook=upload " + in("agent") + " /usr/local/sbin/test-agent",
		"--customize-hook=chmod 755 \"$1/usr/local/sbin/test-agent\"",
		"--customize-hook=upload " + in("agent.service") + " /etc/systemd/system/test-agent.service",
		"--customize-hook=upload " + in("fstab") + " /etc/fstab",
		"--customize-hook=" + in("customize") + " \"$1\"", "bookworm", root}
	sources := image.AptSources("/", "bookworm", "")
	if sources != "" {
		args = append(args, "-")
	}
	cmd := exec.Command("mmdebstrap", args...)
	cmd.Stdin = strings.NewReader(sources)
	return runQuiet(cmd)
}

// cacheDisk makes the disk that is the test cache inside: the images that lido's tests and machines start from.
func cacheDisk(t testing.TB) string {
	base := imagetest.Ensure(t, "base")
	small := machinetest.BaseRoot(t)
	key := sha256.Sum256([]byte(base.Hash + filepath.Base(small)))
	return cached(t, "qemu/cache-"+hex.EncodeToString(key[:6])+".img", func(tmp string) error {
		tree := tmp + ".d"
		defer os.RemoveAll(tree)
		if err := os.MkdirAll(filepath.Join(tree, "images"), 0o755); err != nil {
			return err
		}
		for from, to := range map[string]string{filepath.Dir(base.Dir): "images", small: ""} {
			if err := runQuiet(exec.Command("cp", "-a", from, filepath.Join(tree, to))); err != nil {
				return err
			}
		}
		return makeExt4(tmp, "cache", tree, "6G")
	})
}

// makeExt4 makes a sparse file with an ext4 file system that holds a copy of a directory, owners and all.
func makeExt4(path, label, tree, size string) error {
	return runQuiet(exec.Command("mke2fs", "-q", "-t", "ext4", "-L", label, "-d", tree, path, size))
}

func copyOne(glob, to string) error {
	found, err := filepath.Glob(glob)
	if err != nil || len(found) != 1 {
		return fmt.Errorf("%s: found %d files, %v", glob, len(found), err)
	}
	data, err := os.ReadFile(found[0])
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o644)
}

// runQuiet runs a command whose output matters only if it fails.
func runQuiet(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out[max(0, len(out)-4000):])
	}
	return nil
}
