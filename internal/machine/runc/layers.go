package runc

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// mountPoint names a directory that each boot mounts over in a mount namespace of its own, so that all can share it.
// It lies where users of a machine's range may pass.
func (e *Engine) mountPoint(name string) string { return filepath.Join(e.cfg.SharedDir, "mnt", name) }

func (e *Engine) makeMountPoints() error {
	for _, name := range []string{"image", "own", "root"} {
		if err := os.MkdirAll(e.mountPoint(name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// assemble puts the machine's root together: the image below, what the machine wrote on top, both seen
// through the machine's uid range, so that on disk files keep the plain owners 0 to 65535.
//
// It is called on a thread of its own and makes that thread's mount namespace private first. Only conmon, started from
// the same thread, lives on in there: the mounts go away with it, whatever happens to this process.
func (e *Engine) assemble(id, image, userns string, base uint32) error {
	if err := privateMounts(); err != nil {
		return err
	}
	ns, err := os.Open(userns)
	if err != nil {
		return err
	}
	defer ns.Close()
	lower, top := e.mountPoint("image"), e.mountPoint("own")
	for _, m := range []struct{ from, to string }{{image, lower}, {e.layers(id), top}} {
		fd, err := idmapped(m.from, int(ns.Fd()), 0)
		if err != nil {
			return err
		}
		err = unix.MoveMount(fd, "", unix.AT_FDCWD, m.to, unix.MOVE_MOUNT_F_EMPTY_PATH)
		unix.Close(fd)
		if err != nil {
			return fmt.Errorf("mount %s at %s: %w", m.from, m.to, err)
		}
	}
	// Overlayfs works on its layers as whoever mounted it. Host root has no number in them, and could make nothing.
	if err := ownAs(int(base)); err != nil {
		return err
	}
	defer ownAs(0)
	options := "lowerdir=" + lower + ",upperdir=" + top + "/upper,workdir=" + top + "/work"
	if err := unix.Mount("overlay", e.mountPoint("root"), "overlay", 0, options); err != nil {
		return fmt.Errorf("mount overlay (%s): %w", options, err)
	}
	return nil
}

func privateMounts() error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("private mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("private mount namespace: %w", err)
	}
	return nil
}

// idmapped returns a detached mount of a directory, in which the owners are mapped by the user namespace.
func idmapped(dir string, userns int, attrs uint64) (int, error) {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return -1, fmt.Errorf("open %s: %w", dir, err)
	}
	attr := unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP | attrs, Userns_fd: uint64(userns)}
	if err := unix.MountSetattr(fd, "", unix.AT_EMPTY_PATH, &attr); err != nil {
		unix.Close(fd)
		if err == unix.EINVAL {
			return -1, fmt.Errorf("the file system of %s cannot map owners (ext4, xfs and btrfs can; tmpfs from Linux 6.3; NFS cannot): %w", dir, err)
		}
		return -1, fmt.Errorf("map owners of %s: %w", dir, err)
	}
	return fd, nil
}

func (e *Engine) bundleDirs(id string) error {
	if err := e.makeMountPoints(); err != nil {
		return err
	}
	if err := os.MkdirAll(e.bundle(id), 0o700); err != nil {
		return err
	}
	return os.MkdirAll(e.exitDir(id), 0o700)
}
