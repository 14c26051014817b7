package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func kernelChecks() []Check {
	return []Check{
		{Name: "root", Required: true, Try: tryRoot,
			Why: "lido makes namespaces, mounts and firewall rules", Get: "run with sudo"},
		{Name: "user namespaces", Required: true, Try: tryUserNamespace,
			Why: "each machine has a range of 65,536 user ids of its own", Get: "a kernel with CONFIG_USER_NS; raise sysctl user.max_user_namespaces if it is low"},
		{Name: "overlayfs", Required: true, Try: tryOverlay,
			Why: "machines share their image's files and keep only what they change", Get: "modprobe overlay; the data directory must be on ext4, xfs or btrfs, not on NFS or another overlay"},
		{Name: "idmapped mounts", Required: true, Try: tryIdmap,
			Why: "an image and a share show the same owners in each machine", Get: "Linux 5.19 or later (Debian 12 has 6.1), and the data directory on ext4, xfs or btrfs"},
		{Name: "seccomp", Required: true, Try: trySeccomp,
			Why: "system calls that machines must not make are refused", Get: "a kernel with CONFIG_SECCOMP_FILTER"},
		{Name: "fuse", Try: tryFuse,
			Why: "through lxcfs a machine sees its own number of CPUs and memory", Get: "modprobe fuse"},
	}
}

func tryRoot(context.Context, Host) (string, error) {
	if os.Geteuid() != 0 {
		return "", fmt.Errorf("running as user %d", os.Geteuid())
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", err
	}
	return "yes; Linux " + unix.ByteSliceToString(u.Release[:]), nil
}

func tryUserNamespace(context.Context, Host) (string, error) {
	ns, err := userNamespace()
	if err != nil {
		return "", err
	}
	ns.Close()
	return "tried: 65,536 ids mapped", nil
}

// overlayDirs are directories for a trial on the data directory's file system.
type overlayDirs struct{ root, lower, upper, work, merged string }

// inOverlayDirs runs fn in a mount namespace with such directories and removes them.
func inOverlayDirs(h Host, fn func(overlayDirs) error) error {
	root, err := os.MkdirTemp(h.dataDir(), ".lido-doctor-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(root)
	d := overlayDirs{root, filepath.Join(root, "lower"), filepath.Join(root, "upper"), filepath.Join(root, "work"), filepath.Join(root, "merged")}
	for _, dir := range []string{d.lower, d.upper, d.work, d.merged} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(d.lower, "file"), []byte("x"), 0o644); err != nil {
		return err
	}
	return isolated(unix.CLONE_NEWNS, func() error { return fn(d) })
}

func (d overlayDirs) mount() error {
	options := "lowerdir=" + d.lower + ",upperdir=" + d.upper + ",workdir=" + d.work
	if err := unix.Mount("overlay", d.merged, "overlay", 0, options); err != nil {
		return fmt.Errorf("mount an overlay below %s: %w", filepath.Dir(d.root), err)
	}
	return nil
}

func tryOverlay(_ context.Context, h Host) (string, error) {
	err := inOverlayDirs(h, func(d overlayDirs) error {
		if err := d.mount(); err != nil {
			return needsRoot(err)
		}
		return os.WriteFile(filepath.Join(d.merged, "file"), []byte("y"), 0o644)
	})
	return "tried on " + h.dataDir() + fsName(h.dataDir()), err
}

// tryIdmap does what the start of a machine does: an image's directory, shown with a machine's owners, below an overlay.
func tryIdmap(_ context.Context, h Host) (string, error) {
	ns, err := userNamespace()
	if err != nil {
		return "", err
	}
	defer ns.Close()
	err = inOverlayDirs(h, func(d overlayDirs) error {
		if err := idmap(d.lower, int(ns.Fd())); err != nil {
			return needsRoot(err)
		}
		if err := d.mount(); err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(d.merged, "file"), &st); err != nil {
			return err
		}
		if st.Uid != firstUID {
			return fmt.Errorf("a file of root's shows as user %d instead of %d", st.Uid, firstUID)
		}
		return nil
	})
	return "tried on " + h.dataDir() + fsName(h.dataDir()) + ", below an overlay", err
}

func idmap(dir string, userns int) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("open_tree: %w", err)
	}
	defer unix.Close(tree)
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(userns)}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr); err != nil {
		return fmt.Errorf("mount_setattr: %w", err)
	}
	return unix.MoveMount(tree, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

var fsNames = map[int64]string{
	unix.EXT4_SUPER_MAGIC: "ext4", unix.XFS_SUPER_MAGIC: "xfs", unix.BTRFS_SUPER_MAGIC: "btrfs", unix.TMPFS_MAGIC: "tmpfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlay", unix.NFS_SUPER_MAGIC: "nfs", 0x2fc12fc1: "zfs",
}

func fsName(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return ""
	}
	if name := fsNames[int64(st.Type)]; name != "" {
		return " (" + name + ")"
	}
	return ""
}

func trySeccomp(context.Context, Host) (string, error) {
	actions, err := os.ReadFile("/proc/sys/kernel/seccomp/actions_avail")
	if err != nil || !strings.Contains(string(actions), "errno") {
		return "", errors.New("this kernel has no seccomp filters")
	}
	return "yes", nil
}

func tryFuse(context.Context, Host) (string, error) {
	f, err := os.OpenFile("/dev/fuse", os.O_RDWR, 0)
	if err != nil {
		return "", err
	}
	f.Close()
	return "/dev/fuse", nil
}
