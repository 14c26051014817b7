package doctor

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"
)

// isolated runs fn on a thread with new namespaces (CLONE_NEW...), which end with it. Mounts that it makes are not
// seen outside.
func isolated(namespaces int, fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine, and its namespaces with it
		done <- enter(namespaces, fn)
	}()
	return <-done
}

func enter(namespaces int, fn func() error) error {
	if err := unix.Unshare(namespaces | unix.CLONE_FS); err != nil {
		return needsRoot(fmt.Errorf("make namespaces: %w", err))
	}
	if namespaces&unix.CLONE_NEWNS != 0 {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("make mounts private: %w", err)
		}
	}
	return fn()
}

func needsRoot(err error) error {
	if errors.Is(err, unix.EPERM) && os.Geteuid() != 0 {
		return errors.New("not tried: run lido doctor as root")
	}
	return err
}

// firstUID is the first host uid of the range that trials map; nothing is owned by it afterwards.
const firstUID = 1 << 30

// userNamespace opens a user namespace with 65,536 ids mapped from firstUID on. Close the file when done.
func userNamespace() (*os.File, error) {
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: firstUID, Size: 65536}}
	holder := exec.Command("/proc/self/exe", "--version") // never gets to run: it is stopped at its first instruction
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, UidMappings: ids, GidMappings: ids, Ptrace: true, Pdeathsig: unix.SIGKILL}
	runtime.LockOSThread() // ptrace and Pdeathsig are the thread's
	defer runtime.UnlockOSThread()
	if err := holder.Start(); err != nil {
		return nil, needsRoot(err)
	}
	defer func() {
		holder.Process.Kill()
		holder.Wait()
	}()
	return os.Open(fmt.Sprintf("/proc/%d/ns/user", holder.Process.Pid))
}
