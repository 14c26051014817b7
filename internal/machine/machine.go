// Package machine says what a machine is and what an engine that makes machines must do.
//
// A machine is a small system of its own (init, sshd, users) made from an image. An Engine owns everything a machine
// consists of on its host: its root file system, its processes, its network interface and its mounts; nothing else
// reaches into them. The engine is the truth about which machines exist; the store holds only what is wished for.
//
// The adapters are machine/runc (containers on this host) and machine/sim (simulated); both pass machine/machinetest.
package machine

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"time"
)

// Errors that engines return, wrapped with the machine's id.
var (
	ErrNotFound   = errors.New("no such machine")
	ErrNotRunning = errors.New("machine is not running")
	ErrExists     = errors.New("machine exists with another specification")
	ErrMounted    = errors.New("something else is mounted there; unmount that first")
)

// GuestDir is where a machine finds the directory that Spec.HostDir names.
const GuestDir = "/run/lido"

// Engine makes machines and keeps them. All methods are safe for concurrent use, and each is idempotent: done twice,
// or again after a crash in the middle, it ends in the same state. Ids are chosen by the caller and unique per engine.
type Engine interface {
	// Create makes the machine's root file system and record; it does not start it. Creating a machine that exists
	// with the same Spec does nothing; with another Spec it is ErrExists.
	Create(ctx context.Context, spec Spec) error
	// Start boots the machine, or does nothing if it runs. It returns when init has been started, not when it is up.
	Start(ctx context.Context, id string) error
	// Stop shuts the machine down in order and kills it after grace. It keeps its root file system and address.
	Stop(ctx context.Context, id string, grace time.Duration) error
	// Delete ends the machine at once and removes every trace of it. Deleting an unknown machine does nothing.
	Delete(ctx context.Context, id string) error
	// Get returns one machine, or ErrNotFound. Neither it nor List waits for what is being done to a machine.
	Get(ctx context.Context, id string) (Info, error)
	// List returns all machines of this engine, ordered by id.
	List(ctx context.Context) ([]Info, error)
	// Exec runs a command in a running machine and returns its exit code; err is for failures to run it.
	// It is cut when ctx ends. What must outlive the caller is started through the machine's own init (systemd-run).
	Exec(ctx context.Context, id string, cmd Command) (exitCode int, err error)
	// Mount puts a directory of the host into a machine, now if it runs and again at each start, until Unmount.
	// Mounting the same source at the same target again does nothing; another one is ErrMounted, unless the machine has
	// itself unmounted what was there.
	Mount(ctx context.Context, id string, m Mount) error
	// Unmount takes a mount away by its target.
	Unmount(ctx context.Context, id string, target string) error
	// Watch calls notify with a machine's id whenever its state changed by itself (exit, crash, poweroff, reboot),
	// until ctx ends. It may call more often than needed; notify may call the engine.
	Watch(ctx context.Context, notify func(id string)) error
}

// Spec is all that an engine is told about a machine. It does not change over the machine's life.
type Spec struct {
	ID       string            `json:"id"`       // unique per engine; [a-z0-9-], at most 40 bytes
	Hostname string            `json:"hostname"` // what the machine calls itself
	Labels   map[string]string `json:"labels,omitempty"`

	Root   string  `json:"root"`             // the image's read-only root directory on the host
	CPUs   float64 `json:"cpus,omitempty"`   // 0 means all of the host's
	Memory int64   `json:"memory,omitempty"` // bytes; 0 means no limit
	Pids   int64   `json:"pids,omitempty"`   // 0 means the engine's default

	NIC      *NIC      `json:"nic,omitempty"`
	HostDir  string    `json:"hostDir,omitempty"` // a directory of the host to appear at GuestDir (the guest socket's place)
	Mounts   []Mount   `json:"mounts,omitempty"`
	Accounts []Account `json:"accounts,omitempty"` // added to the image's own before the first boot
	Files    []File    `json:"files,omitempty"`    // written before the first boot
}

// NIC is a machine's network interface, eth0 in the machine.
type NIC struct {
	Namespace string         `json:"namespace"` // network namespace (a name under /run/netns) that the machine is connected to
	Await     string         `json:"await"`     // a link in Namespace that is there once the network is
	HostLink  string         `json:"hostLink"`  // name of the pair's end in Namespace, at most 15 bytes
	MAC       string         `json:"mac"`
	Addresses []netip.Prefix `json:"addresses"` // address and prefix length of the subnet
	Gateway   netip.Addr     `json:"gateway"`
	DNS       []netip.Addr   `json:"dns,omitempty"`
	Search    []string       `json:"search,omitempty"`
	MTU       int            `json:"mtu,omitempty"`
}

// Mount is a directory of the host inside a machine. Owners are mapped: uid 1000 in the machine is 1000 on disk.
type Mount struct {
	Source   string `json:"source"`
	Target   string `json:"target"` // absolute path in the machine, made if missing
	ReadOnly bool   `json:"readOnly,omitempty"`
}

// Account is a person or service that can log in to the machine. Home is /home/NAME, copied from /etc/skel.
type Account struct {
	Name           string   `json:"name"`
	UID            int      `json:"uid,omitempty"`          // 0 means the next free one from 1000
	PasswordHash   string   `json:"passwordHash,omitempty"` // crypt(5) form; empty locks password login
	AuthorizedKeys []string `json:"authorizedKeys,omitempty"`
	Groups         []string `json:"groups,omitempty"` // supplementary groups that exist in the image; others are ignored
	Sudo           bool     `json:"sudo,omitempty"`   // may become root without a password, as Azure's admin user may
}

// File is written into a machine's root before its first boot.
type File struct {
	Path string `json:"path"`
	Data []byte `json:"data"`
	Mode uint32 `json:"mode"` // permission bits; 0 means 0644
	UID  int    `json:"uid,omitempty"`
	GID  int    `json:"gid,omitempty"`
}

// Command is what Exec runs.
type Command struct {
	Args   []string
	Env    []string // KEY=value, added to a small default environment
	Dir    string
	User   string // name in the machine; empty means root
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
}

// State is where a machine is in its life.
type State string

// The states. A machine that reboots stays Running; one that crashed is restarted on the same root by the engine and
// is Failed only when that did not help three times in a row.
const (
	Created State = "created" // made, never started
	Running State = "running"
	Stopped State = "stopped" // powered off, by itself or by Stop
	Failed  State = "failed"  // its start failed repeatedly; Reason says why
)

// Info is what an engine knows of a machine.
type Info struct {
	ID        string    `json:"id"`
	Spec      Spec      `json:"spec"`
	State     State     `json:"state"`
	Reason    string    `json:"reason,omitempty"` // a sentence, when State alone does not explain
	StartedAt time.Time `json:"startedAt,omitzero"`
	StoppedAt time.Time `json:"stoppedAt,omitzero"`
	Boots     int       `json:"boots"`            // how often it was booted
	Restarts  int       `json:"restarts"`         // of these, how many after a crash
	Init      int       `json:"init,omitempty"`   // pid of the machine's init on this host, if the engine has one
	Mounts    []Mount   `json:"mounts,omitempty"` // Spec.Mounts and those added later
}
