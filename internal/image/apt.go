package image

import (
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"
)

// AptSources returns the package sources of a suite in one of apt's two forms, or "" if nothing is known.
// A mirror is either a URL, or sources in apt's form themselves; without one the host's own sources of that suite
// (with its updates and security fixes) are taken from root's etc/apt.
func AptSources(root, suite, mirror string) string {
	if mirror == "" {
		return hostSources(root, suite)
	}
	if strings.HasPrefix(mirror, "deb ") || strings.Contains(mirror, "Types:") {
		return strings.TrimSpace(mirror) + "\n"
	}
	return "deb " + mirror + " " + suite + " main\n"
}

func hostSources(root, suite string) string {
	files, _ := filepath.Glob(filepath.Join(root, "etc/apt/sources.list.d/*"))
	sort.Strings(files)
	files = append([]string{filepath.Join(root, "etc/apt/sources.list")}, files...)
	var out []string
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		switch filepath.Ext(f) {
		case ".list":
			out = append(out, oneLineSources(string(data), suite)...)
		case ".sources":
			out = append(out, deb822Sources(string(data), suite)...)
		}
	}
	// mmdebstrap wants one form at a time, so both are written in the older.
	if len(out) == 0 {
		return ""
	}
	return strings.Join(out, "\n") + "\n"
}

// ofSuite tells whether a source's suite is the one, its updates or its security fixes.
func ofSuite(s, suite string) bool {
	return s == suite || s == suite+"-updates" || s == suite+"-security" || s == suite+"/updates"
}

var oneLine = regexp.MustCompile(`^deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s+(\S+)\s+\S`)

func oneLineSources(text, suite string) []string {
	var out []string
	for _, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		m := oneLine.FindStringSubmatch(line)
		if m != nil && !strings.HasPrefix(m[1], "cdrom:") && ofSuite(m[2], suite) {
			out = append(out, line)
		}
	}
	return out
}

// deb822Sources turns the stanzas of a suite into one-line sources.
func deb822Sources(text, suite string) []string {
	var out []string
	for _, stanza := range regexp.MustCompile(`\n\s*\n`).Split(text, -1) {
		f := deb822Fields(stanza)
		if strings.EqualFold(f["enabled"], "no") || !strings.Contains(" "+f["types"]+" ", " deb ") {
			continue
		}
		options := ""
		if k := f["signed-by"]; strings.HasPrefix(k, "/") {
			options = "[signed-by=" + strings.Join(strings.Fields(k), ",") + "] "
		}
		for _, uri := range strings.Fields(f["uris"]) {
			for _, s := range strings.Fields(f["suites"]) {
				if ofSuite(s, suite) {
					out = append(out, "deb "+options+uri+" "+s+" "+f["components"])
				}
			}
		}
	}
	return out
}

func deb822Fields(stanza string) map[string]string {
	fields := map[string]string{}
	last := ""
	for _, line := range strings.Split(stanza, "\n") {
		switch {
		case strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t"):
			fields[last] += " " + strings.TrimSpace(line)
		default:
			k, v, _ := strings.Cut(line, ":")
			last = strings.ToLower(strings.TrimSpace(k))
			fields[last] = strings.TrimSpace(v)
		}
	}
	return fields
}
