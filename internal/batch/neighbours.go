package batch

import (
	"context"
	"errors"
	"time"

	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// Fleet makes the machines of clusters. cmd/lido carries it out by a scale set behind a load balancer, in a resource
// group of the cluster's own that people can look at, as AKS does. All methods are idempotent and may be called again
// after a crash.
type Fleet interface {
	// Apply makes a cluster's network, address and machines as wished for; it returns when the wish was accepted.
	Apply(ctx context.Context, f FleetSpec) error
	// Drop removes machines by name, at once, and lowers the count by them, so that no others come in their place.
	Drop(ctx context.Context, cluster string, names []string) error
	// Remove removes everything that Apply made. done tells that it is all gone; until then it is called again.
	Remove(ctx context.Context, cluster string) (done bool, err error)
	// Machines lists a cluster's machines, also those that are coming or failed.
	Machines(ctx context.Context, cluster string) ([]Machine, error)
	// Watch calls notify with a cluster's id when its machines may have changed, until ctx ends.
	Watch(ctx context.Context, notify func(cluster string)) error
}

// FleetSpec is what a cluster wants of its machines.
type FleetSpec struct {
	Cluster string // resource id
	Count   int
	Size    string
	Image   imageReference
	User    userAccount
	Subnet  string // resource id; empty means a network of the cluster's own
	// LowPriority machines may be taken for others' when memory is short.
	LowPriority bool
}

// Machine is a machine of a cluster.
type Machine struct {
	Name    string // host name, unique in the cluster and never used again
	ID      string // the engine's; empty while there is none
	Address string // in the cluster's network
	Login   string // address for ssh from outside
	Port    int
	State   string // creating, running, stopped, failed, deleting
	Reason  string // a sentence, where the state does not explain
	Started time.Time
	Stopped time.Time
}

// Agents is the way to the agents in the nodes, by the engine's machine id: a *node.Hub.
type Agents interface {
	// Send gives an order to a machine's agent; an error means that it is not connected now.
	Send(machine string, o node.Order) error
}

// Errors of Drives, wrapped with the names in question. Any other error is not the client's.
var (
	ErrNoAccount = errors.New("no such storage account")
	ErrWrongKey  = errors.New("the key is not one of the storage account's")
	ErrNoShare   = errors.New("no such file share")
)

// Drives opens storage to jobs' files.
type Drives interface {
	// ShareDir returns the host directory of an account's file share.
	ShareDir(ctx context.Context, account, key, share string) (dir string, err error)
	// ContainerDir returns the host directory that stands for a blob container, making it if it is not there.
	ContainerDir(ctx context.Context, account, key, container string) (dir string, err error)
	// ServerDir returns the host directory of a file server, by the uid of its document, making it if it is not there.
	ServerDir(ctx context.Context, uid string) (dir string, err error)
	// ServerKey returns the password by which nodes mount a file server. It is derived from the uid, so it stays.
	ServerKey(uid string) string
	// DropServer removes a file server's data.
	DropServer(ctx context.Context, uid string) error
}

// Containers brings images of OCI registries to nodes.
type Containers interface {
	// Ensure pulls an image, if its digest is not here yet, and returns what a task needs of it. Root is a directory
	// of the host; Attach makes it appear in a node.
	Ensure(ctx context.Context, server, image, user, password string, progress func(string)) (*node.Container, error)
	// Attach puts an image's root directory into a machine, read-only, and returns the path there.
	Attach(ctx context.Context, machine, root string) (path string, err error)
}

// Ledger takes what was used; later turned into cost. Writing the same entry again (same Key) replaces it, so that
// nothing is counted twice.
type Ledger interface {
	// Write writes an entry in the transaction that writes what it follows from, so that neither is there alone.
	Write(tx *store.Tx, e Entry) error
}

// Entry is a span of use. While it lasts End is zero.
type Entry struct {
	Key     string     `json:"key"`  // node: machine id; job: uid and attempt
	Kind    string     `json:"kind"` // node, job
	Cluster string     `json:"cluster"`
	Job     string     `json:"job,omitempty"` // resource id
	Person  string     `json:"person,omitempty"`
	Size    string     `json:"size"`
	Nodes   int        `json:"nodes"` // 1 for a node
	Start   time.Time  `json:"start"`
	End     time.Time  `json:"end,omitzero"`
	Usage   node.Usage `json:"usage,omitzero"`
}
