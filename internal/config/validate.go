package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Validate checks what each value means. Its error is of type Faults.
func (c *Config) Validate() error {
	var f Faults
	if err := checkHostPort(c.Listen, true); err != nil {
		f.add("listen", "%v; write HOST:PORT, for example 0.0.0.0:8443", err)
	}
	c.validateAddresses(&f)
	for i, p := range c.Publish {
		p.validate(&f, fmt.Sprintf("publish[%d]", i))
	}
	c.validateSizes(&f)
	if c.Overcommit.Memory < 0.1 {
		f.add("overcommit.memory", "%v leaves no room for machines; 1 means what the box has, 4 is the default", c.Overcommit.Memory)
	}
	if c.Drain < 0 {
		f.add("drain", "a negative wait makes no sense; 0s takes machines away at once")
	}
	if c.BatchIdle < 0 {
		f.add("batchIdle", "a negative wait makes no sense; 1s takes idle nodes away almost at once")
	}
	if c.BatchSetupLimit < 0 {
		f.add("batchSetupLimit", "a negative limit makes no sense; 1h is the default")
	}
	c.validateMirrors(&f)
	if !locationRule.MatchString(c.Location) {
		f.add("location", "%q is not a location's name; use lower-case letters and digits, for example local", c.Location)
	}
	if c.ShareRoot != "" && !filepath.IsAbs(c.ShareRoot) {
		f.add("shareRoot", "%q is not an absolute path; write it from /", c.ShareRoot)
	}
	return f.orNil()
}

var locationRule = regexp.MustCompile(`^[a-z][a-z0-9]{0,49}$`)

// checkHostPort checks an address to listen at (host may be empty) or to connect to.
func checkHostPort(s string, listen bool) error {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 || n == 0 && !listen {
		return fmt.Errorf("%q has no port from 1 to 65535", s)
	}
	if host == "" && !listen {
		return fmt.Errorf("%q names no host", s)
	}
	return nil
}

func (c *Config) validateAddresses(f *Faults) {
	if len(c.PublicAddresses) == 0 {
		f.add("publicAddresses", "a pool needs at least one range of addresses; the default is 10.254.0.0/24")
	}
	for i, p := range c.PublicAddresses {
		at := fmt.Sprintf("publicAddresses[%d]", i)
		switch {
		case !p.Addr().Is4():
			f.add(at, "%s is not an IPv4 range; lido's networks are IPv4", p)
		case p != p.Masked():
			f.add(at, "%s has bits set behind its prefix; the range is %s", p, p.Masked())
		case p.Overlaps(netip.MustParsePrefix("100.64.0.0/10")):
			f.add(at, "%s overlaps 100.64.0.0/10, which lido uses between its networks and the host; choose another range", p)
		case p.Addr().IsLoopback() || p.Addr().IsMulticast() || p.Addr().IsLinkLocalUnicast() || p.Addr().IsUnspecified():
			f.add(at, "%s cannot be routed; choose a range that your network leaves free, for example 10.254.0.0/24", p)
		}
		for j := range i {
			if p.Overlaps(c.PublicAddresses[j]) {
				f.add(at, "%s overlaps publicAddresses[%d], %s; leave one out", p, j, c.PublicAddresses[j])
			}
		}
	}
}

func (p Publish) validate(f *Faults, at string) {
	if err := checkHostPort(p.Listen, true); err != nil {
		f.add(at+".listen", "%v; write HOST:PORT or :PORT, for example :2222", err)
	}
	if err := checkHostPort(p.To, false); err != nil {
		f.add(at+".to", "%v; write the pool's address or the name of its public IP address, and a port, for example team/poolpip:22", err)
	}
}

func (c *Config) validateSizes(f *Faults) {
	seen := map[string]bool{}
	for i, s := range c.Sizes {
		at := fmt.Sprintf("sizes[%d]", i)
		if !sizeRule.MatchString(s.Name) {
			f.add(at+".name", "%q is not a size's name; use letters, digits and '_', for example Lab_small", s.Name)
		}
		if seen[strings.ToLower(s.Name)] {
			f.add(at+".name", "%q is there twice; names count in any case", s.Name)
		}
		seen[strings.ToLower(s.Name)] = true
		if s.VCPUs < 1 {
			f.add(at+".vCPUs", "%d is too few; a machine has at least 1", s.VCPUs)
		}
		if s.MemoryGiB < 0.0625 {
			f.add(at+".memoryGiB", "%v is too little; a machine has at least 0.0625 (64 MiB)", s.MemoryGiB)
		}
	}
}

var sizeRule = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

func (c *Config) validateMirrors(f *Faults) {
	prefixes := make([]string, 0, len(c.Mirrors))
	for p := range c.Mirrors {
		prefixes = append(prefixes, p)
	}
	slices.Sort(prefixes)
	for _, p := range prefixes {
		at := "mirrors[" + p + "]"
		if !isWebURL(p) {
			f.add(at, "%q is not the beginning of a URL; write for example https://raw.githubusercontent.com/", p)
		}
		if to := c.Mirrors[p]; !isWebURL(to) && !filepath.IsAbs(to) {
			f.add(at, "%q is neither a URL nor an absolute directory", to)
		}
	}
}

func isWebURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
}
