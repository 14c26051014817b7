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

// baseHook trims what a container does not need at boot.
const baseHook = `chroot "$1" systemctl mask systemd-udevd.service systemd-udev-trigger.service getty.target console-getty.service systemd-logind.service systemd-networkd.service systemd-resolved.service systemd-timesyncd.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer e2scrub_reap.service systemd-pstore.service systemd-firstboot.service modprobe@.service
rm -f "$1/etc/resolv.conf"; : > "$1/etc/machine-id"`

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
