package runc

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
)

// Mount puts a directory of the host into a machine.
func (e *Engine) Mount(_ context.Context, id string, m machine.Mount) error {
	b, err := e.box(id)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	if !path.IsAbs(m.Target) || path.Clean(m.Target) == "/" {
		return fmt.Errorf("machine %q: mount target %q is not an absolute path below /", id, m.Target)
	}
	m.Target = path.Clean(m.Target)
	at := slices.IndexFunc(b.rec.Mounts, func(o machine.Mount) bool { return o.Target == m.Target })
	if at >= 0 && b.rec.Mounts[at] != m {
		if err := b.stillMounted(b.rec.Mounts[at]); err != nil {
			return fmt.Errorf("machine %q: %w", id, err)
		}
		b.rec.Mounts = slices.Delete(b.rec.Mounts, at, at+1)
		at = -1
	}
	if at < 0 {
		b.rec.Mounts = append(b.rec.Mounts, m)
		e.step("mount.record")
		if err := e.save(&b.rec); err != nil {
			return err
		}
	}
	if b.run == nil {
		return nil
	}
	e.step("mount.do")
	if err := mountInto(b.rec.Init, []machine.Mount{m}); err != nil {
		b.rec.Mounts = slices.DeleteFunc(b.rec.Mounts, func(o machine.Mount) bool { return o.Target == m.Target })
		return errors.Join(fmt.Errorf("machine %q: %w", id, err), e.save(&b.rec))
	}
	return nil
}

// stillMounted is ErrMounted unless the machine runs and has unmounted m by itself, of which the record knows nothing.
func (b *box) stillMounted(m machine.Mount) error {
	taken := fmt.Errorf("%s at %s: %w", m.Source, m.Target, machine.ErrMounted)
	if b.run == nil {
		return taken
	}
	return onThread(func() error {
		source, err := unix.Open(m.Source, unix.O_PATH|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) { // of what was removed nothing is left to lose
			return nil
		}
		if err != nil {
			return fmt.Errorf("look at %s: %w", m.Source, err)
		}
		defer unix.Close(source)
		return enter(b.rec.Init, func() error {
			there, err := mounted(source, m.Target)
			if errors.Is(err, unix.ENOENT) {
				return nil
			}
			if there {
				err = taken
			}
			return err
		})
	})
}

// Unmount takes a mount away.
func (e *Engine) Unmount(_ context.Context, id string, target string) error {
	b, err := e.box(id)
	if err != nil {
		return err
	}
	defer b.mu.Unlock()
	target = path.Clean(target)
	if b.run != nil {
		if err := unmountFrom(b.rec.Init, target); err != nil {
			return fmt.Errorf("machine %q: unmount %s: %w", id, target, err)
		}
	}
	b.rec.Mounts = slices.DeleteFunc(b.rec.Mounts, func(o machine.Mount) bool { return o.Target == target })
	return e.save(&b.rec)
}

// mountAll puts the machine's mounts in place before its init begins, so that no service starts without them.
func (e *Engine) mountAll(r *record) error {
	if len(r.Mounts) == 0 {
		return nil
	}
	return mountInto(r.Init, r.Mounts)
}

// mountInto attaches host directories in the mount namespace of init. What is mounted there already is left alone.
func mountInto(init process, mounts []machine.Mount) error {
	return insideOf(init, func(userns int) error {
		trees := make([]int, 0, len(mounts))
		defer func() {
			for _, fd := range trees {
				unix.Close(fd)
			}
		}()
		for _, m := range mounts {
			attrs := uint64(unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV)
			if m.ReadOnly {
				attrs |= unix.MOUNT_ATTR_RDONLY
			}
			fd, err := idmapped(m.Source, userns, attrs)
			if err != nil {
				return err
			}
			trees = append(trees, fd)
		}
		return enter(init, func() error {
			for i, m := range mounts {
				if err := attach(trees[i], m.Target); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// insideOf calls f with the machine's user namespace, on a thread that may be spoiled.
func insideOf(init process, f func(userns int) error) error {
	return onThread(func() error {
		ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/user", init.PID))
		if err != nil {
			return fmt.Errorf("%w (%v)", machine.ErrNotRunning, err)
		}
		defer ns.Close()
		return f(int(ns.Fd()))
	})
}

// enter moves the calling thread into the machine's mount namespace and root, where links lead no further out than the
// machine sees itself, and does f there with the machine's root as the owner of what it makes.
func enter(init process, f func() error) error {
	uid, err := rootOf(init)
	if err != nil {
		return err
	}
	ns, err := os.Open(fmt.Sprintf("/proc/%d/ns/mnt", init.PID))
	if err != nil {
		return fmt.Errorf("%w (%v)", machine.ErrNotRunning, err)
	}
	defer ns.Close()
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return err
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("enter the machine: %w", err)
	}
	if err := ownAs(uid); err != nil {
		return err
	}
	return f()
}

// rootOf returns the host uid of the machine's root.
func rootOf(init process) (int, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/uid_map", init.PID))
	if err != nil {
		return 0, fmt.Errorf("%w (%v)", machine.ErrNotRunning, err)
	}
	var inside, outside, size int
	if _, err := fmt.Sscan(string(data), &inside, &outside, &size); err != nil || inside != 0 {
		return 0, fmt.Errorf("uid map of the machine: %q", strings.TrimSpace(string(data)))
	}
	return outside, nil
}

// ownAs makes files of the calling thread belong to id, and keeps its right to make them anywhere.
func ownAs(id int) error {
	unix.RawSyscall(unix.SYS_SETFSGID, uintptr(id), 0, 0)
	unix.RawSyscall(unix.SYS_SETFSUID, uintptr(id), 0, 0)
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	data[0].Effective, data[1].Effective = data[0].Permitted, data[1].Permitted
	return unix.Capset(&hdr, &data[0])
}

// attach mounts a detached tree at target in the calling thread's root, making the directory if there is none.
func attach(tree int, target string) error {
	if err := os.MkdirAll(target, 0o755); err != nil {
		return fmt.Errorf("mount point: %w", err)
	}
	there, err := mounted(tree, target)
	if err != nil || there {
		return err
	}
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_SYMLINKS); err != nil {
		return fmt.Errorf("mount at %s: %w", target, err)
	}
	return nil
}

// mounted tells whether target already shows the very directory.
func mounted(tree int, target string) (bool, error) {
	var a, b unix.Stat_t
	if err := unix.Fstat(tree, &a); err != nil {
		return false, err
	}
	if err := unix.Stat(target, &b); err != nil {
		return false, err
	}
	return a.Dev == b.Dev && a.Ino == b.Ino, nil
}

func unmountFrom(init process, target string) error {
	return onThread(func() error {
		return enter(init, func() error {
			err := unix.Unmount(target, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
			if err == unix.EINVAL || err == unix.ENOENT { // no mount
				return nil
			}
			return err
		})
	})
}
