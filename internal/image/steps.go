package image

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

// bootstrap makes the root of a recipe that is not built on another.
func (b *build) bootstrap(ctx context.Context) error {
	r := b.recipe
	args := []string{"mmdebstrap", "--mode=root", "--variant=minbase", "--verbose", "--include=" + strings.Join(r.Packages, ",")}
	args = append(args, "--aptopt=APT::Install-Recommends \"false\"")
	for _, o := range b.aptProxy(ctx) {
		args = append(args, "--aptopt="+o)
	}
	for _, p := range r.Exclude {
		args = append(args, "--dpkgopt=path-exclude="+p)
	}
	for _, p := range r.Include {
		args = append(args, "--dpkgopt=path-include="+p)
	}
	args = append(args, r.Suite, b.root)
	sources := AptSources(b.store.apt, r.Suite, r.Mirror)
	if sources != "" {
		args = append(args, "-")
	}
	return b.box.run(ctx, command{args: args, stdin: sources, line: b.aptLines(), dir: "/"})
}

// aptProxy returns the host's apt settings about proxies and certificates.
func (b *build) aptProxy(ctx context.Context) []string {
	var out []string
	for _, scope := range []string{"Acquire::http", "Acquire::https"} {
		data, err := exec.CommandContext(ctx, "apt-config", "dump", "--no-empty", scope).Output()
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(data), "\n") {
			if strings.Contains(strings.ToLower(line), "::proxy") || strings.Contains(line, "::CaInfo") || strings.Contains(line, "::Verify") {
				out = append(out, strings.TrimSuffix(line, ";"))
			}
		}
	}
	return out
}

var newlyInstalled = regexp.MustCompile(`(\d+) newly installed`)

// aptLines turns apt's and dpkg's output into progress: each package is got, unpacked and set up. A second run of apt
// in the same step adds its packages to the total; the share that is done is never told smaller than before.
func (b *build) aptLines() func(string) {
	done, total, told := 0, 0, 0
	return func(line string) {
		if m := newlyInstalled.FindStringSubmatch(line); m != nil {
			n, _ := strconv.Atoi(m[1])
			total += 3 * n
		}
		for _, p := range []string{"Get:", "Unpacking ", "Setting up "} {
			if strings.HasPrefix(line, p) {
				done++
			}
		}
		if total > 0 && 100*done/total > told {
			told = 100 * done / total
			b.tell(told, 100)
		}
	}
}

func (b *build) copyParent(ctx context.Context) error {
	return b.box.run(ctx, command{args: []string{"cp", "-a", "--reflink=auto", b.parent, b.root}, dir: "/"})
}

// packages installs the recipe's packages with the root's own apt. What it downloads is kept for the next build.
func (b *build) packages(ctx context.Context) error {
	cache, err := b.cache("apt/partial")
	if err != nil {
		return err
	}
	binds := map[string]string{filepath.Dir(cache): "/var/cache/apt/archives"}
	policy := filepath.Join(b.root, "usr/sbin/policy-rc.d")
	if err := writeFile(policy, "#!/bin/sh\nexit 101\n"); err != nil {
		return err
	}
	if err := writeFile(filepath.Join(b.root, "etc/resolv.conf"), ""); err != nil {
		return err
	}
	err = b.box.run(ctx, inRoot(b.root, nil, command{args: []string{"apt-get", "-q", "update"}}))
	if err != nil {
		return err
	}
	args := append([]string{"apt-get", "-q", "-y", "--no-install-recommends", "-o", "APT::Sandbox::User=root",
		"-o", "APT::Keep-Downloaded-Packages=true", "install"}, b.recipe.Packages...)
	if err := b.box.run(ctx, inRoot(b.root, binds, command{args: args, line: b.aptLines()})); err != nil {
		return err
	}
	return os.Remove(policy)
}

// setup puts the recipe's files in place and runs its script in the root.
func (b *build) setup(ctx context.Context) error {
	for name, content := range b.recipe.Files {
		if err := writeFile(filepath.Join(b.root, name), content); err != nil {
			return err
		}
	}
	if b.recipe.Setup == "" {
		return nil
	}
	return b.box.run(ctx, inRoot(b.root, nil, command{args: []string{"sh", "-euc", b.recipe.Setup}}))
}

// clean removes what no machine should find: apt's lists and caches, logs of the build, this host's name servers.
// The two stamps tell systemd that /etc and /var are as new as /usr: no machine does that work at its first boot.
func (b *build) clean(ctx context.Context) error {
	return b.box.run(ctx, inRoot(b.root, nil, command{args: []string{"sh", "-euc", `
rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/cache/debconf/*-old /var/lib/dpkg/*-old /var/lib/systemd/random-seed
find /var/log -type f -delete
: >/etc/machine-id
umount /etc/resolv.conf 2>/dev/null || true
rm -f /etc/resolv.conf
: >/etc/resolv.conf
touch /etc/.updated /var/.updated
`}}))
}

// cache makes a directory that outlives builds.
func (b *build) cache(name string) (string, error) {
	dir := filepath.Join(b.store.dir, "cache", name)
	return dir, os.MkdirAll(dir, 0o755)
}

// pythonVersion asks the root for its Python's version, such as 3.11.
func (b *build) pythonVersion(ctx context.Context) (string, error) {
	var version string
	c := command{
		args: []string{"python3", "-c", "import sys, json; print('version', json.dumps('%d.%d' % sys.version_info[:2]))"},
		line: func(l string) {
			if v, ok := strings.CutPrefix(l, "version "); ok {
				_ = json.Unmarshal([]byte(v), &version)
			}
		},
	}
	if err := b.box.run(ctx, inRoot(b.root, nil, c)); err != nil {
		return "", err
	}
	if version == "" {
		return "", fmt.Errorf("%w: the root's python3 did not tell its version", ErrBuild)
	}
	return version, nil
}

func (b *build) writeLock() (string, error) {
	lock := filepath.Join(b.tmp, "python.lock")
	return lock, os.WriteFile(lock, []byte(b.recipe.PythonLock), 0o644)
}

// hostPython is Debian's own Python, with the pip of its package; the one on the PATH may be a virtual environment's.
const hostPython = "/usr/bin/python3"

// downloadPython fetches the locked wheels on the host, with the host's pip settings (index, proxy, certificates),
// into a cache: so the root needs no settings for the network.
func (b *build) downloadPython(ctx context.Context) error {
	version, err := b.pythonVersion(ctx)
	if err != nil {
		return err
	}
	wheels, err := b.cache("wheels")
	if err != nil {
		return err
	}
	lock, err := b.writeLock()
	if err != nil {
		return err
	}
	args := []string{hostPython, "-m", "pip", "download", "--no-input", "--disable-pip-version-check", "--progress-bar=off",
		"--no-deps", "--require-hashes", "--only-binary=:all:", "--python-version", version, "--implementation", "cp",
		"--abi", "cp" + strings.ReplaceAll(version, ".", ""), "--abi", "abi3", "--abi", "none"}
	for _, p := range platforms() {
		args = append(args, "--platform", p)
	}
	args = append(args, "--dest", wheels, "--requirement", lock)
	return b.box.run(ctx, command{args: args, dir: "/", line: b.count("Collecting ", b.recipe.lockedPackages())})
}

// platforms lists the wheel platforms that the root's C library (at least 2.35) can run.
func platforms() []string {
	arch := map[string]string{"amd64": "x86_64", "arm64": "aarch64"}[runtime.GOARCH]
	out := []string{"linux_" + arch, "manylinux2014_" + arch, "manylinux2010_" + arch, "manylinux1_" + arch}
	for minor := 35; minor >= 5; minor-- {
		out = append(out, fmt.Sprintf("manylinux_2_%d_%s", minor, arch))
	}
	return out
}

// count tells progress by the lines that start with prefix.
func (b *build) count(prefix string, total int) func(string) {
	done := 0
	return func(line string) {
		if strings.HasPrefix(line, prefix) {
			done++
			b.tell(done, total)
		}
	}
}

// installPython installs the locked wheels under the root's /usr/local, checking their hashes again.
func (b *build) installPython(ctx context.Context) error {
	wheels, err := b.cache("wheels")
	if err != nil {
		return err
	}
	args := []string{"python3", "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--no-index", "--find-links", "/mnt/wheels",
		"--no-deps", "--require-hashes", "--ignore-installed", "--break-system-packages", "--root-user-action=ignore", "--no-warn-script-location",
		"--no-cache-dir", "--progress-bar=off", "--requirement", "/mnt/lock/python.lock"}
	if _, err := b.writeLock(); err != nil {
		return err
	}
	lockDir := filepath.Join(b.tmp, "lock")
	if err := os.MkdirAll(lockDir, 0o755); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(b.tmp, "python.lock"), filepath.Join(lockDir, "python.lock")); err != nil {
		return err
	}
	defer os.RemoveAll(lockDir)
	defer os.Remove(filepath.Join(b.root, "mnt/lock"))
	defer os.Remove(filepath.Join(b.root, "mnt/wheels"))
	binds := map[string]string{wheels: "/mnt/wheels", lockDir: "/mnt/lock"}
	return b.box.run(ctx, inRoot(b.root, binds, command{args: args, line: b.count("Processing ", b.recipe.lockedPackages())}))
}
