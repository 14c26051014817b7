// Package config is the file of `lido up --config FILE`: what an operator may choose about one lido. Everything has a
// default, so the file may be missing; a key that lido does not know is an error, never ignored.
package config

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"
)

// Config is the whole file.
type Config struct {
	// Listen is the host:port that the API is served at. Default: 127.0.0.1:8443, which other computers cannot reach.
	Listen string `json:"listen,omitempty"`

	// PublicAddresses are the ranges that public IP addresses are taken from. The office's router must send them to
	// this box, unless Publish is used. Default: 10.254.0.0/24.
	PublicAddresses []netip.Prefix `json:"publicAddresses,omitempty"`

	// Publish opens ports of this box's own address for a box that has only one. Default: none.
	Publish []Publish `json:"publish,omitempty"`

	// ProxyARP names links of this box (eth0) on which it answers ARP for public addresses, for PublicAddresses that
	// are part of the office's own range. Default: none.
	ProxyARP []string `json:"proxyARP,omitempty"`

	// Images adds to the image catalogue or replaces parts of it, in the form that package image gives it.
	Images Section `json:"images,omitempty"`

	// Sizes are machine sizes beside Azure's, or others in place of Azure's of the same name. Default: none.
	Sizes []Size `json:"sizes,omitempty"`

	// Overcommit says how much more than the box has may be promised to machines.
	Overcommit Overcommit `json:"overcommit,omitzero"`

	// Drain is how long a busy machine is waited for when a set shrinks; it goes then, busy or not. Default: 15m.
	Drain Duration `json:"drain,omitzero"`

	// BatchIdle is how long a node of a batch cluster that scales by itself stays without a job. Default: 1m.
	BatchIdle Duration `json:"batchIdle,omitzero"`

	// BatchSetupLimit is how long a batch cluster's setup task may take on a node; it is ended then, and the node is
	// unusable. Default: 1h.
	BatchSetupLimit Duration `json:"batchSetupLimit,omitzero"`

	// Mirrors sends downloads that templates name elsewhere: URL prefix → another URL, or an absolute directory.
	// The longest prefix wins. Default: none, everything is fetched from where it says.
	Mirrors map[string]string `json:"mirrors,omitempty"`

	// Location is the name of the one location that lido has. Default: local.
	Location string `json:"location,omitempty"`

	// ShareRoot is the directory that holds the data of file shares. It must be on a file system with POSIX owners
	// and, for the runc engine, one that can be idmapped (ext4, xfs, btrfs; not NFS). Default: shares below --data.
	ShareRoot string `json:"shareRoot,omitempty"`
}

// Publish forwards a TCP port of this box to a port of a pool.
type Publish struct {
	Listen string `json:"listen"` // host:port on this box; an empty host means all its addresses
	To     string `json:"to"`     // ADDRESS:PORT of a public IP address, or NAME:PORT or GROUP/NAME:PORT of such a resource
}

// Size is a machine size.
type Size struct {
	Name      string  `json:"name"`
	VCPUs     int     `json:"vCPUs"`
	MemoryGiB float64 `json:"memoryGiB"`
}

// Overcommit are factors over what the box has. CPU time is not counted: it is shared fairly.
type Overcommit struct {
	// Memory limits the sum of all machines' memory: 4 means four times the box's. Machines rarely use what their
	// size promises; when they do, the kernel ends the greediest process. Default: 4. 1 promises nothing twice.
	Memory float64 `json:"memory,omitempty"`
}

// Duration is a time span written as 90s, 15m, or 1h30m.
type Duration time.Duration

// UnmarshalText reads a span.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a time span such as 90s, 15m or 1h30m", b)
	}
	*d = Duration(v)
	return nil
}

// MarshalText writes the span as UnmarshalText reads it.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// Section is a part of the file that another package gives meaning to.
type Section json.RawMessage

// UnmarshalJSON keeps the section for Decode.
func (s *Section) UnmarshalJSON(b []byte) error {
	*s = append((*s)[:0], b...)
	return nil
}

// MarshalJSON returns the section as it was read.
func (s Section) MarshalJSON() ([]byte, error) {
	if len(s) == 0 {
		return []byte("null"), nil
	}
	return s, nil
}

// Decode reads the section into v as strictly as the file itself is read; name says in errors which section it is.
func (s Section) Decode(name string, v any) error {
	if len(s) == 0 {
		return nil
	}
	return decode(s, name, v) // JSON is YAML
}

// Default returns the configuration of a lido without a file.
func Default() Config {
	return Config{
		Listen:          "127.0.0.1:8443",
		PublicAddresses: []netip.Prefix{netip.MustParsePrefix("10.254.0.0/24")},
		Overcommit:      Overcommit{Memory: 4},
		Drain:           Duration(15 * time.Minute),
		Location:        "local",
	}
}

// Load reads a file over the defaults and validates the result. Its error names every fault by file and line. No path
// means no file.
func Load(path string) (Config, error) {
	c := Default()
	if path == "" {
		return c, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return c, fmt.Errorf("config: there is no file %s; leave --config out to use the defaults", path)
	}
	if err != nil {
		return c, fmt.Errorf("config: %w", err)
	}
	if err := decode(data, "", &c); err != nil {
		return c, inFile(path, err)
	}
	if err := c.Validate(); err != nil {
		return c, inFile(path, locate(data, err))
	}
	return c, nil
}
