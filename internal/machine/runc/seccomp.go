package runc

import specs "github.com/opencontainers/runtime-spec/specs-go"

// A machine is a system of its own, whose root may do to it what root does: the profile names what no machine needs and
// what has opened kernels before, and lets the rest pass. A list of what is allowed would have to name nearly
// everything, costs ten times as much to load, and breaks with each new libc.

// kernelOwn are calls that act on the host's kernel as a whole.
var kernelOwn = []string{
	"kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "create_module", "query_module",
	"get_kernel_syms", "swapon", "swapoff", "acct", "settimeofday", "clock_settime", "clock_adjtime", "adjtimex",
	"stime", "iopl", "ioperm", "syslog", "quotactl", "quotactl_fd", "lookup_dcookie", "nfsservctl", "vhangup",
	"pciconfig_read", "pciconfig_write", "pciconfig_iobase",
}

// wayOut are calls through which containers were left, or that show more than the machine's own.
var wayOut = []string{
	"open_by_handle_at", "bpf", "perf_event_open", "userfaultfd", "kcmp", "fanotify_init",
	"io_uring_setup", "io_uring_enter", "io_uring_register", "vm86", "vm86old", "modify_ldt", "_sysctl", "sysfs",
	"uselib", "ustat", "move_pages", "process_madvise", "map_shadow_stack",
}

func seccompProfile() *specs.LinuxSeccomp {
	eperm, enosys := uint(1), uint(38)
	return &specs.LinuxSeccomp{
		DefaultAction: specs.ActAllow,
		Architectures: architectures(),
		Syscalls: []specs.LinuxSyscall{
			{Names: kernelOwn, Action: specs.ActErrno, ErrnoRet: &eperm},
			{Names: wayOut, Action: specs.ActErrno, ErrnoRet: &enosys},
		},
	}
}
