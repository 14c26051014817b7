package runc

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"lido.dev/lido/internal/machine"
)

// capabilities are what systemd, sshd and apt use in a user namespace. Left out: what acts on the host's kernel, clock
// or hardware.
var capabilities = []string{
	"CAP_AUDIT_CONTROL", "CAP_AUDIT_WRITE", "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_DAC_READ_SEARCH", "CAP_FOWNER", "CAP_FSETID",
	"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_KILL", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MKNOD", "CAP_NET_ADMIN",
	"CAP_NET_BIND_SERVICE", "CAP_NET_BROADCAST", "CAP_NET_RAW", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
	"CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_CHROOT", "CAP_SYS_NICE", "CAP_SYS_PTRACE", "CAP_SYS_RESOURCE", "CAP_SYS_TTY_CONFIG",
}

const defaultPids = 4096

// writeBundle writes runc's description of one boot of the machine.
func (e *Engine) writeBundle(r *record, h *holder) error {
	data, err := json.Marshal(e.bundleSpec(r, h))
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(e.bundle(r.Spec.ID), "config.json"), data, 0o600)
}

// unitProperties are for the scope that a machine is to the host's systemd. When the host goes down, lido's service is to
// end first, which ends machines in order (GoDown); what that leaves is not worth systemd's minute and a half.
var unitProperties = map[string]string{
	"org.systemd.property.Before":          "['lido.service']",
	"org.systemd.property.TimeoutStopUSec": "uint64 15000000",
}

func (e *Engine) bundleSpec(r *record, h *holder) *specs.Spec {
	mapping := []specs.LinuxIDMapping{{ContainerID: 0, HostID: r.Base, Size: rangeSize}}
	oom := 0
	return &specs.Spec{
		Version:  "1.0.2",
		Hostname: r.Spec.Hostname,
		Root:     &specs.Root{Path: e.mountPoint("root")},
		Process: &specs.Process{
			Args: []string{"/sbin/init", "--crash-reboot"},
			Cwd:  "/",
			Env: []string{"container=oci", "TERM=linux",
				"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
			Capabilities: &specs.LinuxCapabilities{Bounding: capabilities, Effective: capabilities, Permitted: capabilities},
			OOMScoreAdj:  &oom,
		},
		Mounts:      e.bundleMounts(r),
		Annotations: unitProperties,
		Linux: &specs.Linux{
			UIDMappings: mapping,
			GIDMappings: mapping,
			Namespaces: []specs.LinuxNamespace{
				{Type: specs.UserNamespace, Path: h.userns()}, {Type: specs.NetworkNamespace, Path: h.netns()},
				{Type: specs.PIDNamespace}, {Type: specs.MountNamespace}, {Type: specs.UTSNamespace},
				{Type: specs.IPCNamespace}, {Type: specs.CgroupNamespace},
			},
			CgroupsPath: e.cgroupsPath(r.Spec.ID),
			Resources:   resources(&r.Spec, r.CPUSet),
			Seccomp:     seccompProfile(),
			MaskedPaths: []string{"/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
				"/proc/sched_debug", "/proc/scsi", "/sys/firmware"},
			ReadonlyPaths: []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sysrq-trigger"},
		},
	}
}

func (e *Engine) bundleMounts(r *record) []specs.Mount {
	mounts := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts",
			Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/shm", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=1777"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", "ro"}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime"}},
		{Destination: "/run", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "nodev", "mode=755", "size=20%"}},
	}
	if r.Spec.HostDir != "" {
		mounts = append(mounts, specs.Mount{Destination: machine.GuestDir, Type: "bind", Source: r.Spec.HostDir,
			Options: hostDirOptions(r.Spec.HostDir)}) // programs there are the host's: nobody in the machine can write it
	}
	return append(mounts, e.lxcfsMounts()...)
}

// hostDirOptions are the flags of a machine's HostDir. Programs in it may be run if the host may run them there: most
// have /run noexec, and the kernel lets no user namespace take that flag away.
func hostDirOptions(dir string) []string {
	options := []string{"bind", "nosuid", "nodev"}
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil || fs.Flags&unix.ST_NOEXEC != 0 {
		options = append(options, "noexec")
	}
	return options
}

// resources limits the machine to its size. CPUs are bought as whole ones where they can be, so that programs that
// count them see as many; a part of a CPU is a quota.
func resources(s *machine.Spec, cpuset string) *specs.LinuxResources {
	pids := s.Pids
	if pids == 0 {
		pids = defaultPids
	}
	res := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}},
		Pids:    &specs.LinuxPids{Limit: &pids},
	}
	if s.Memory > 0 {
		res.Memory = &specs.LinuxMemory{Limit: &s.Memory}
	}
	if s.CPUs > 0 {
		period, quota, shares := uint64(100000), int64(s.CPUs*100000), uint64(math.Max(2, s.CPUs*1024))
		res.CPU = &specs.LinuxCPU{Shares: &shares, Cpus: cpuset}
		if s.CPUs != math.Trunc(s.CPUs) {
			res.CPU.Period, res.CPU.Quota = &period, &quota
		}
	}
	return res
}

// cgroupsPath names the machine's cgroup in the form that runc's driver wants.
func (e *Engine) cgroupsPath(id string) string {
	if e.systemdDriver() {
		return fmt.Sprintf("lido-%s.slice:lido-%s:%s", e.cfg.Tag, e.cfg.Tag, id)
	}
	return "/lido-" + e.cfg.Tag + "/" + id
}

func (e *Engine) systemdDriver() bool { return e.host.systemd && e.host.cgroup2 }

func join(cpus []int) string {
	var b []byte
	for i, c := range cpus {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, int64(c), 10)
	}
	return string(b)
}
