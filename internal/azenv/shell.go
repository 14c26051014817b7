package azenv

import (
	"fmt"
	"io"
	"os"
	"sort"
	"strings"
)

// DirVar names the directory in the shell's environment; its presence says that a lido environment is on.
const DirVar = "LIDO_AZ_DIR"

// savedPrefix begins the variables that keep what a variable was before.
const savedPrefix = "LIDO_AZ_OLD_"

// Vars are the environment variables that make az, and programs with the Azure SDKs, use the directory.
func Vars(dir, url string) map[string]string {
	return map[string]string{
		"AZURE_CONFIG_DIR":   dir,
		"REQUESTS_CA_BUNDLE": bundlePath(dir), // az's calls
		"SSL_CERT_FILE":      bundlePath(dir), // what az fetches with urllib; curl, Go
		"LIDO_URL":           url,
		"LIDO_CA":            caPath(dir),
		DirVar:               dir,
	}
}

// Shell is a family of shells: how it sets and unsets a variable.
type Shell string

// The shells that are known.
const (
	Sh   Shell = "sh"
	Fish Shell = "fish"
)

// ParseShell takes a shell's name or path; an unknown one is an error.
func ParseShell(s string) (Shell, error) {
	switch s[strings.LastIndexByte(s, '/')+1:] {
	case "sh", "bash", "zsh", "dash", "ksh", "ash":
		return Sh, nil
	case "fish":
		return Fish, nil
	}
	return "", fmt.Errorf("shell %q is not known; give sh (also for bash, zsh, ksh) or fish", s)
}

// WriteExports writes the lines that set vars, for the shell to evaluate. What they replace is kept in variables, for
// WriteUnsets; lookup reads the present environment (os.LookupEnv). A lido environment that is on already is replaced.
func (s Shell) WriteExports(w io.Writer, vars map[string]string, lookup func(string) (string, bool)) {
	_, on := lookup(DirVar)
	for _, name := range sorted(vars) {
		if old, was := lookup(name); was && !on && !strings.HasPrefix(name, "LIDO_") {
			s.set(w, savedPrefix+name, old)
		}
		s.set(w, name, vars[name])
	}
}

// WriteUnsets writes the lines that bring the environment back to what it was.
func (s Shell) WriteUnsets(w io.Writer, lookup func(string) (string, bool)) {
	for _, name := range sorted(Vars("", "")) {
		if old, was := lookup(savedPrefix + name); was {
			s.set(w, name, old)
			s.unset(w, savedPrefix+name)
			continue
		}
		s.unset(w, name)
	}
}

func (s Shell) set(w io.Writer, name, value string) {
	if s == Fish {
		fmt.Fprintf(w, "set -gx %s '%s';\n", name, strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(value))
		return
	}
	fmt.Fprintf(w, "export %s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
}

func (s Shell) unset(w io.Writer, name string) {
	if s == Fish {
		fmt.Fprintf(w, "set -e %s;\n", name)
		return
	}
	fmt.Fprintf(w, "unset %s\n", name)
}

func sorted(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// SystemCAs finds the file of certificates that this computer trusts: the one that the environment names, unless that
// is a lido's, else the system's. It is empty when there is none.
func SystemCAs(lookup func(string) (string, bool)) string {
	var candidates []string
	_, on := lookup(DirVar)
	for _, name := range []string{"REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"} {
		if on {
			name = savedPrefix + name
		}
		if v, ok := lookup(name); ok {
			candidates = append(candidates, v)
		}
	}
	candidates = append(candidates, "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem")
	for _, c := range candidates {
		if info, err := os.Stat(c); err == nil && info.Mode().IsRegular() {
			return c
		}
	}
	return ""
}
