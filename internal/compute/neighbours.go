package compute

import (
	"context"
	"errors"
	"net/http"
	"net/netip"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// Errors that a Shares returns.
var (
	ErrWrongKey = errors.New("wrong account or key")
	ErrNoShare  = errors.New("no such share")
)

// InterfaceConfig is one of a profile's networkInterfaceConfigurations, as sent.
type InterfaceConfig map[string]any

// Owner is an instance to the network.
type Owner struct {
	SetID        string
	InstanceID   string
	InstanceUID  string
	ComputerName string
}

// Network is what instances need of their networks. Methods with a transaction write in it, so an address is born and
// dies together with the instance's document.
type Network interface {
	// Check refuses configurations that mention what does not exist; at is the path of the configurations.
	Check(tx *store.Tx, configs []InterfaceConfig, at string) error
	// Attach gives an instance its addresses, or does nothing if it has them.
	Attach(tx *store.Tx, owner Owner, configs []InterfaceConfig) error
	// Detach takes them back.
	Detach(tx *store.Tx, instanceID string) error
	// NIC returns the handle of an instance's primary interface, in a network that is up.
	NIC(ctx context.Context, instanceID string) (machine.NIC, error)
	// Drain lets no new connections to the instance, or takes that back.
	Drain(ctx context.Context, instanceID string, draining bool) error
	// Busy tells how many sessions were counted in the instance.
	Busy(instanceID string, sessions int)
	// PoolAddresses are the front-end addresses by which the pools of the configurations are reached, public ones first.
	PoolAddresses(tx *store.Tx, configs []InterfaceConfig) ([]netip.Addr, error)
	// Interfaces are the documents of the network interfaces of an instance, or of a whole set ("" as instance).
	Interfaces(tx *store.Tx, setID, instanceID string) ([]map[string]any, error)
	// PublicAddresses are the documents of a set's instances' own public addresses.
	PublicAddresses(tx *store.Tx, setID string) ([]map[string]any, error)
}

// ImageRef is an image as a client names it.
type ImageRef struct{ Publisher, Offer, SKU, Version, ID string }

// ImageInfo is what an instance was made from, as far as its users care.
type ImageInfo struct {
	Name         string `json:"name"`
	Version      string `json:"version,omitempty"` // exact, where the reference says "latest"
	Hash         string `json:"hash,omitempty"`
	Distribution string `json:"distribution,omitempty"`
	Substitution string `json:"substitution,omitempty"` // a sentence if it is not what the reference names
}

// ImageAlias is a short name of an image.
type ImageAlias struct{ Name, Publisher, Offer, SKU, Version, Architecture string }

// Images is the image catalogue and its builder.
type Images interface {
	// Resolve checks a reference. Its error says what exists instead.
	Resolve(ref ImageRef) (ImageInfo, error)
	// Ensure returns the root directory of an image, building it first if needed. progress takes sentences.
	Ensure(ctx context.Context, ref ImageRef, progress func(string)) (root string, info ImageInfo, err error)
	Publishers() []string
	Offers(publisher string) []string
	SKUs(publisher, offer string) []string
	Versions(publisher, offer, sku string) []string
}

// Shares opens storage accounts' shares to machines.
type Shares interface {
	// Authorize returns the host directory of a share, or ErrWrongKey or ErrNoShare.
	Authorize(ctx context.Context, account, key, share string) (dir string, err error)
	// EnsureUserDir makes notebooks/USER in a share's directory, the user's own, if it is not there.
	EnsureUserDir(dir, user string, uid, gid int) error
}

// Drives opens what only the agents in machines mount. Errors are as those of Shares.
type Drives interface {
	// Container returns the host directory of a blob container.
	Container(ctx context.Context, account, key, container string) (dir string, err error)
	// Server returns the host directory of a file server.
	Server(ctx context.Context, uid, key string) (dir string, err error)
}

// Fetcher downloads what templates name, through the configured mirrors.
type Fetcher interface {
	Fetch(ctx context.Context, url string) ([]byte, error)
}

// Keys makes what machines prove themselves with.
type Keys interface {
	// HostKey is the SSH host key (OpenSSH private form, public line) of a pool address; the same for the same address.
	HostKey(address string) (private, public []byte, err error)
	// ServerCert is a TLS certificate chain and key in PEM form for the names.
	ServerCert(names ...string) (cert, key []byte, err error)
}

// Agents is the host's end of the agents in machines: a *node.Hub.
type Agents interface {
	// Serve takes a connection of the machine's root, until it ends.
	Serve(w http.ResponseWriter, r *http.Request, machine string)
}
