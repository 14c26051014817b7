package runc

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"lido.dev/lido/internal/machine"
)

// furnish makes the machine's own layer and writes into it what must be there before the first boot. It begins anew if
// an earlier call was cut.
func (e *Engine) furnish(spec *machine.Spec) error {
	if st, err := os.Stat(spec.Root); err != nil || !st.IsDir() {
		return fmt.Errorf("image root %s is not a directory (%v)", spec.Root, err)
	}
	if err := os.RemoveAll(e.layers(spec.ID)); err != nil {
		return err
	}
	for _, d := range []string{e.upper(spec.ID), filepath.Join(e.layers(spec.ID), "work")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	l := layer{lower: spec.Root, upper: e.upper(spec.ID)}
	if err := identity(l, spec); err != nil {
		return err
	}
	if err := addAccounts(l, spec.Accounts); err != nil {
		return fmt.Errorf("accounts: %w", err)
	}
	for _, f := range spec.Files {
		if err := l.write(f); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	for _, m := range spec.Mounts {
		if _, err := l.mkdir(m.Target); err != nil {
			return fmt.Errorf("mount point %s: %w", m.Target, err)
		}
	}
	return nil
}

// identity writes who the machine is: its names, its id, and whom it asks for others' names.
func identity(l layer, spec *machine.Spec) error {
	var id [16]byte
	rand.Read(id[:])
	files := []machine.File{
		{Path: "/etc/hostname", Data: []byte(spec.Hostname + "\n")},
		{Path: "/etc/hosts", Data: []byte(hosts(spec))},
		{Path: "/etc/machine-id", Data: []byte(hex.EncodeToString(id[:]) + "\n"), Mode: 0o444},
	}
	if nic := spec.NIC; nic != nil && len(nic.DNS) > 0 {
		files = append(files, machine.File{Path: "/etc/resolv.conf", Data: []byte(resolvConf(nic))})
	}
	for _, f := range files {
		if err := l.write(f); err != nil {
			return fmt.Errorf("file %s: %w", f.Path, err)
		}
	}
	return nil
}

func hosts(spec *machine.Spec) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
	names := spec.Hostname
	own := netip.MustParseAddr("127.0.1.1")
	if spec.NIC != nil && len(spec.NIC.Addresses) > 0 {
		own = spec.NIC.Addresses[0].Addr()
		if len(spec.NIC.Search) > 0 {
			names = spec.Hostname + "." + spec.NIC.Search[0] + " " + spec.Hostname
		}
	}
	fmt.Fprintf(&b, "%s %s\n", own, names)
	return b.String()
}

func resolvConf(nic *machine.NIC) string {
	var b strings.Builder
	if len(nic.Search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(nic.Search, " "))
	}
	for _, a := range nic.DNS {
		fmt.Fprintf(&b, "nameserver %s\n", a)
	}
	return b.String()
}
