package machinetest

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
)

// basePackages make the small system that engine tests boot.
var basePackages = []string{"systemd", "systemd-sysv", "libpam-systemd", "dbus", "openssh-server", "sudo", "iproute2",
	"procps", "curl", "ca-certificates"}

// baseHook leaves out at boot what a container has no use for: it is most of the time that systemd takes.
const baseHook = `cd "$1"
rm -f etc/resolv.conf; : > etc/machine-id
mkdir -p etc/systemd/system-generators etc/systemd/system/ssh.service.d
for g in lib/systemd/system-generators/*; do
	test "$g" = lib/systemd/system-generators/systemd-fstab-generator || ln -s /dev/null "etc/systemd/system-generators/${g##*/}"
done
for u in systemd-sysctl systemd-update-utmp systemd-update-utmp-runlevel systemd-remount-fs systemd-tmpfiles-setup-dev \
	systemd-sysusers systemd-random-seed systemd-machine-id-commit systemd-journal-flush systemd-binfmt systemd-repart \
	systemd-quotacheck quotaon systemd-hwdb-update ldconfig systemd-update-done systemd-journal-catalog-update \
	systemd-udevd systemd-udev-trigger console-getty e2scrub_reap systemd-pstore systemd-firstboot modprobe@ \
	systemd-networkd systemd-resolved systemd-timesyncd systemd-logind; do
	ln -sf /dev/null "etc/systemd/system/$u.service"
done
for u in getty.target apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer \
	dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount sys-kernel-tracing.mount sys-fs-fuse-connections.mount \
	sys-kernel-config.mount proc-sys-fs-binfmt_misc.automount systemd-ask-password-console.path \
	systemd-ask-password-wall.path systemd-initctl.socket systemd-journald-audit.socket; do
	ln -sf /dev/null "etc/systemd/system/$u"
done
cat > etc/systemd/system/ssh.service.d/10-early.conf <<END
[Unit]
DefaultDependencies=no
After=systemd-tmpfiles-setup.service
Conflicts=shutdown.target
Before=shutdown.target
[Service]
ExecStartPre=
END`

// CacheDir is where tests keep what is costly to make, between runs.
func CacheDir() string {
	if d := os.Getenv("LIDO_TEST_CACHE"); d != "" {
		return d
	}
	return "/var/cache/lido-test"
}

// BaseRoot returns the root directory of a small Debian with systemd and sshd. The first call on a host builds it, which
// takes half a minute.
func BaseRoot(t testing.TB) string {
	t.Helper()
	root, err := baseRoot()
	if err != nil {
		t.Fatalf("base root: %v", err)
	}
	return root
}

func baseRoot() (string, error) {
	key := sha256.Sum256([]byte(strings.Join(basePackages, ",") + baseHook))
	dir := filepath.Join(CacheDir(), "root-"+hex.EncodeToString(key[:6]))
	if err := os.MkdirAll(CacheDir(), 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(dir+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	return dir, buildBase(dir)
}

func buildBase(dir string) error {
	part := dir + ".part"
	if err := os.RemoveAll(part); err != nil {
		return err
	}
	args := []string{"--variant=minbase", "--include=" + strings.Join(basePackages, ","), "--customize-hook=" + baseHook, "bookworm", part}
	args = append(args, aptSources()...)
	if out, err := exec.Command("mmdebstrap", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("mmdebstrap: %w\n%s", err, out)
	}
	return os.Rename(part, dir)
}

// aptSources returns the host's own lists of Debian packages.
func aptSources() []string {
	for _, p := range []string{"/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"} {
		if _, err := os.Stat(p); err == nil {
			return []string{p}
		}
	}
	return nil
}
