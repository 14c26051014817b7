package frontdoor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// timeWaitSeconds is how long a closed connection is remembered. One client that opens thousands of short
// connections comes back to the same ports within a minute; a remembered one makes its new connection stall.
const timeWaitSeconds = 2

const namespaceDir = "/run/netns"

// space is a network namespace that is kept by name.
type space struct {
	name string
	fd   netns.NsHandle
}

// openSpace opens a namespace, making it if it is missing or if its name leads nowhere.
func openSpace(name string) (*space, error) {
	if fd, err := netns.GetFromName(name); err == nil {
		if isNamespace(name) {
			return &space{name: name, fd: fd}, nil
		}
		fd.Close()
		os.Remove(filepath.Join(namespaceDir, name))
	}
	if err := shareNamespaces(); err != nil {
		return nil, fmt.Errorf("make network namespace %q: %w", name, err)
	}
	var fd netns.NsHandle
	err := onOwnThread(func() (err error) {
		fd, err = netns.NewNamed(name)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make network namespace %q: %w", name, err)
	}
	return &space{name: name, fd: fd}, nil
}

// shareNamespaces makes the directory of namespaces a shared mount, as ip-netns(8) does before it makes its first
// namespace. Else that would cover the ones that are there, and they could never be unmounted again.
func shareNamespaces() error {
	if err := os.MkdirAll(namespaceDir, 0o755); err != nil {
		return err
	}
	dir, err := os.Open(namespaceDir)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil { // ip takes turns by this lock, too
		return fmt.Errorf("lock %s: %w", namespaceDir, err)
	}
	share := func() error { return unix.Mount("", namespaceDir, "none", unix.MS_SHARED|unix.MS_REC, "") }
	if share() == nil {
		return nil
	}
	if err := unix.Mount(namespaceDir, namespaceDir, "none", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("mount %s on itself: %w", namespaceDir, err)
	}
	if err := share(); err != nil {
		return fmt.Errorf("share %s: %w", namespaceDir, err)
	}
	return nil
}

// isNamespace tells a mounted namespace from the empty file that a crash between making and mounting leaves.
func isNamespace(name string) bool {
	var st unix.Statfs_t
	err := unix.Statfs(filepath.Join(namespaceDir, name), &st)
	return err == nil && st.Type == unix.NSFS_MAGIC
}

func (s *space) close() { s.fd.Close() }

// removeSpace ends a namespace and with it all links within. A missing one is no error.
func removeSpace(name string) error {
	path := filepath.Join(namespaceDir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount network namespace %q: %w", name, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove network namespace %q: %w", name, err)
	}
	return nil
}

// do runs f on a thread inside the namespace. f must not start goroutines that rely on it.
func (s *space) do(f func() error) error {
	return onOwnThread(func() error {
		if err := netns.Set(s.fd); err != nil {
			return fmt.Errorf("enter network namespace %q: %w", s.name, err)
		}
		return f()
	})
}

// onOwnThread runs f on an OS thread and then puts that thread back into the namespace it came from. If that fails
// the thread is not used again.
func onOwnThread(f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			done <- fmt.Errorf("find own network namespace: %w", err)
			return
		}
		defer home.Close()
		err = f()
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
		done <- err
	}()
	return <-done
}

// sysctls of a namespace. It routes, speaks IPv4 only, answers ARP for everybody on machines' links, and forgets closed
// connections soon (see timeWaitSeconds).
var sysctls = map[string]int{
	"net/ipv6/conf/all/disable_ipv6":                     1,
	"net/ipv6/conf/default/disable_ipv6":                 1,
	"net/ipv4/ip_forward":                                1,
	"net/ipv4/conf/all/rp_filter":                        0,
	"net/ipv4/conf/default/rp_filter":                    1, // machines' links: only what is routed to it may come from one
	"net/ipv4/conf/default/proxy_arp":                    1, // and the gateway answers there for everybody
	"net/ipv4/conf/all/send_redirects":                   0,
	"net/ipv4/conf/default/send_redirects":               0,
	"net/ipv4/conf/all/accept_redirects":                 0,
	"net/ipv4/neigh/default/proxy_delay":                 0,
	"net/ipv4/neigh/default/gc_thresh1":                  1024,
	"net/netfilter/nf_conntrack_tcp_timeout_time_wait":   timeWaitSeconds,
	"net/netfilter/nf_conntrack_tcp_timeout_close":       2,
	"net/netfilter/nf_conntrack_tcp_timeout_fin_wait":    30,
	"net/netfilter/nf_conntrack_tcp_timeout_syn_sent":    30,
	"net/netfilter/nf_conntrack_tcp_timeout_syn_recv":    30,
	"net/netfilter/nf_conntrack_tcp_be_liberal":          1,
	"net/netfilter/nf_conntrack_tcp_loose":               1,
	"net/netfilter/nf_conntrack_tcp_ignore_invalid_rst":  1,
	"net/netfilter/nf_conntrack_tcp_timeout_established": 432000,
}

// setSysctls writes the sysctls above; to be called inside the namespace. One that this kernel does not have is left.
func setSysctls() error {
	var errs []error
	for name, value := range sysctls {
		errs = append(errs, setSysctl(name, strconv.Itoa(value)))
	}
	return errors.Join(errs...)
}

func setSysctl(name, value string) error {
	path := "/proc/sys/" + name
	old, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	if err == nil && string(old) == value+"\n" {
		return nil
	}
	if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}
