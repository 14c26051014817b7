package node

import (
	"fmt"
	"os"
	"os/user"
	"runtime"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// account is a user of the node.
type account struct {
	name, home string
	uid, gid   uint32
	groups     []uint32
	self       bool // the agent's own
}

// lookUser finds a user in the node's passwd and group files. The empty name is root, or the agent's own user if that
// is not root.
func lookUser(name string) (*account, error) {
	me := os.Getuid()
	if name == "" || me == 0 && name == "root" {
		home, _ := os.UserHomeDir()
		if me == 0 {
			return &account{name: "root", home: "/root", self: true}, nil
		}
		return &account{name: strconv.Itoa(me), home: home, uid: uint32(me), self: true}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("uid %s, gid %s: not numbers", u.Uid, u.Gid)
	}
	a := &account{name: name, home: u.HomeDir, uid: uint32(uid), gid: uint32(gid), self: int(uid) == me}
	ids, err := u.GroupIds()
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			a.groups = append(a.groups, uint32(n))
		}
	}
	return a, nil
}

// credential is what a process of the user runs by; nil means the agent's own.
func (a *account) credential() *syscall.Credential {
	if a.self {
		return nil
	}
	return &syscall.Credential{Uid: a.uid, Gid: a.gid, Groups: a.groups}
}

// do calls f with the rights that the user has on files. A path that the user has prepared leads f nowhere else than
// the user could go.
func (a *account) do(f func() error) error {
	if a.self {
		return f()
	}
	errc := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		own, err := threadRights()
		if err == nil {
			err = a.rights().assume()
		}
		if err != nil {
			err = fmt.Errorf("act as %s: %w", a.name, err)
		} else {
			err = f()
		}
		errc <- err
		if own != nil && own.assume() == nil {
			runtime.UnlockOSThread() // else the thread ends with the goroutine
		}
	}()
	return <-errc
}

// rights are what the kernel judges a thread's use of files by.
type rights struct {
	uid, gid int
	groups   []uint32
}

func (a *account) rights() *rights {
	return &rights{int(a.uid), int(a.gid), append([]uint32{a.gid}, a.groups...)}
}

// threadRights are this thread's. They are the process's own, for no other thread is handed to a goroutine.
func threadRights() (*rights, error) {
	groups, err := unix.Getgroups()
	if err != nil {
		return nil, err
	}
	r := &rights{uid: os.Geteuid(), gid: os.Getegid()}
	for _, g := range groups {
		r.groups = append(r.groups, uint32(g))
	}
	return r, nil
}

// assume gives this thread the rights. A file system uid other than 0 takes the capabilities away by which root passes
// permissions, and 0 gives them back.
func (r *rights) assume() error {
	if err := setGroups(r.groups); err != nil {
		return err
	}
	unix.SetfsgidRetGid(r.gid)
	unix.SetfsuidRetUid(r.uid)
	gid, _ := unix.SetfsgidRetGid(-1) // they answer with what was, not whether it worked
	uid, _ := unix.SetfsuidRetUid(-1)
	if uid != r.uid || gid != r.gid {
		return unix.EPERM
	}
	return nil
}

// setGroups sets the groups of this thread alone.
func setGroups(groups []uint32) error {
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(unsafe.SliceData(groups))), 0)
	if errno != 0 {
		return errno
	}
	return nil
}
