// Package doctor looks whether a host has what lido needs: features of the kernel, limits, programs, room. What can be
// tried is tried for real, in namespaces that end with the trial; nothing on the host is changed.
package doctor

import (
	"context"
	"os"
	"path/filepath"
)

// Check is one thing that lido needs.
type Check struct {
	Name     string
	Required bool   // lido does not work without it; otherwise it works less well
	Why      string // what it is for
	Get      string // how to get it
	// Try says what was found, or an error that says what was not.
	Try func(ctx context.Context, h Host) (found string, err error)
}

// Host is what the checks are told about the host.
type Host struct {
	Data string // lido's data directory; it need not exist yet
}

// dataDir is the data directory, or its closest parent that exists.
func (h Host) dataDir() string {
	dir := h.Data
	for {
		if info, err := os.Stat(dir); err == nil && info.IsDir() {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "/"
		}
		dir = parent
	}
}

// Status is how a check ended.
type Status string

// The statuses: what is missing is required, a warning is not.
const (
	Found   Status = "found"
	Missing Status = "missing"
	Warning Status = "warning"
)

// Finding is the result of a check.
type Finding struct {
	Name     string `json:"name"`
	Status   Status `json:"status"`
	Required bool   `json:"required"`
	Found    string `json:"found"`
	Why      string `json:"why"`
	Get      string `json:"get,omitempty"` // only when it was not found
}

// Run does the checks in order.
func Run(ctx context.Context, h Host, checks []Check) []Finding {
	findings := make([]Finding, 0, len(checks))
	for _, c := range checks {
		f := Finding{Name: c.Name, Status: Found, Required: c.Required, Why: c.Why}
		found, err := c.Try(ctx, h)
		f.Found = found
		if err != nil {
			f.Found, f.Get, f.Status = err.Error(), c.Get, Warning
			if c.Required {
				f.Status = Missing
			}
		}
		findings = append(findings, f)
	}
	return findings
}

// Healthy says whether nothing that is required is missing.
func Healthy(findings []Finding) bool {
	for _, f := range findings {
		if f.Status == Missing {
			return false
		}
	}
	return true
}

// Checks are all that lido asks of a host.
func Checks() []Check {
	var all []Check
	for _, part := range [][]Check{kernelChecks(), cgroupChecks(), networkChecks(), programChecks(), limitChecks()} {
		all = append(all, part...)
	}
	return all
}
