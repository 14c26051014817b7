package image

import (
	"bytes"
	"os"
	"path/filepath"
	"sort"
	"strconv"

	"lido.dev/lido/internal/machine"
)

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

// Trust returns the files by which a machine from one of lido's images trusts certificates besides the image's own.
// Machines get them before the first boot, because an image is the same on all hosts. They are not below /usr: systemd
// would take that for an update of the system and do its first-boot work.
func Trust(pems ...[]byte) []machine.File {
	var files []machine.File
	for i, pem := range pems {
		path := "/etc/lido/trust/" + strconv.Itoa(i) + ".crt"
		files = append(files, machine.File{Path: path, Data: append(bytes.TrimSpace(pem), '\n')})
	}
	return files
}
