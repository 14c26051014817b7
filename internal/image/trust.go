package image

import (
	"bytes"
	"os"
	"path/filepath"
	"sort"
)

// AuthoritiesPath is where programs in a machine look for the authorities they trust.
const AuthoritiesPath = "/etc/ssl/certs/ca-certificates.crt"

// HostAuthorities returns the certificates, in PEM form, that this host's administrator has made it trust besides
// those of the distribution, such as the one of a proxy that package registries are reached through.
func HostAuthorities() [][]byte { return authorities("/") }

func authorities(root string) [][]byte {
	files, _ := filepath.Glob(filepath.Join(root, "usr/local/share/ca-certificates/*.crt"))
	more, _ := filepath.Glob(filepath.Join(root, "usr/local/share/ca-certificates/*/*.crt"))
	files = append(files, more...)
	sort.Strings(files)
	var out [][]byte
	for _, f := range files {
		if data, err := os.ReadFile(f); err == nil && bytes.Contains(data, []byte("-----BEGIN CERTIFICATE-----")) {
			out = append(out, data)
		}
	}
	return out
}

// Authorities returns the content of AuthoritiesPath for a machine that is to trust extra certificates besides the
// image's own. A machine gets it as a file of its own, because an image is the same on all hosts.
func (r Rootfs) Authorities(extra ...[]byte) ([]byte, error) {
	bundle, err := os.ReadFile(filepath.Join(r.Dir, AuthoritiesPath))
	if err != nil {
		return nil, err
	}
	for _, pem := range extra {
		bundle = append(bytes.TrimRight(bundle, "\n"), '\n')
		bundle = append(bundle, pem...)
	}
	return bundle, nil
}
