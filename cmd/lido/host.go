package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/moby/sys/mountinfo"

	"lido.dev/lido/internal/config"
	"lido.dev/lido/internal/frontdoor"
	"lido.dev/lido/internal/machine/runc"
)

func nowUTC() time.Time { return time.Now().UTC() }

// dryRun lists what 'lido up' would change on this host.
func dryRun(ctx context.Context, out io.Writer, p paths, opt upOptions) error {
	c, err := loadConfig(p, opt)
	if err == nil {
		err = p.check()
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "lido up --data %s would:\n", p.Data)
	for _, change := range hostChanges(ctx, p, c, opt.engine) {
		fmt.Fprintln(out, " -", change)
	}
	return nil
}

// hostChanges lists what 'lido up' changes on this host at once, and what it changes later as resources ask for it.
func hostChanges(ctx context.Context, p paths, c config.Config, engine string) []string {
	var changes []string
	for _, dir := range []string{p.Data, p.Run, c.ShareRoot} {
		if dir == "" {
			continue
		}
		if _, err := os.Stat(dir); err != nil {
			changes = append(changes, "make the directory "+dir+" (mode 0700)")
		}
	}
	if !p.exists() {
		changes = append(changes, "make the database, a certificate authority, an admin account (admin.json) and keys in "+p.Data)
	}
	if engine == engineSim {
		return append(changes, "listen on "+c.Listen, "make nothing else: machines and networks are simulated")
	}
	changes = append(changes, kernelChanges(ctx, p)...)
	for _, f := range c.Publish {
		changes = append(changes, fmt.Sprintf("lead %s of this host to %s", f.Listen, f.To))
	}
	return append(changes, "listen on "+c.Listen, later(p, c))
}

// kernelChanges are those to the kernel and the firewall that are made at once.
func kernelChanges(ctx context.Context, p paths) []string {
	var changes []string
	if v, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward"); err == nil && strings.TrimSpace(string(v)) == "0" {
		changes = append(changes, "set net.ipv4.ip_forward to 1, until the next boot or somebody sets it back")
	}
	if _, err := os.Stat("/var/lib/lxcfs/proc/meminfo"); err != nil {
		changes = append(changes, "start lxcfs for all lidos of this host, mounted at /run/lido/lxcfs, when the first machine starts")
	}
	changes = append(changes, "make the nftables table ip lido_"+p.Tag+": machines reach the world by masquerade, and of this host only the API")
	if frontdoor.HasDocker(ctx) {
		changes = append(changes, "let the links ld"+p.Tag+"* through Docker's firewall: two rules in iptables' chain DOCKER-USER")
	}
	return changes
}

func later(p paths, c config.Config) string {
	var ranges []string
	for _, r := range c.PublicAddresses {
		ranges = append(ranges, r.String())
	}
	arp := ""
	if len(c.ProxyARP) > 0 {
		arp = ", for which it answers ARP on " + strings.Join(c.ProxyARP, ", ")
	}
	return fmt.Sprintf(`as resources ask for it: per virtual network a namespace lido-%[1]s-vN, a link ld%[1]stN with an address of
   100.64.0.0/10, an nftables table ip lido_%[1]stN, and a route for each public address (out of %[3]s)%[5]s,
   with /run/netns a shared mount as ip-netns(8) makes it, which stays; per machine a cgroup below
   lido-%[1]s and a range of 65,536 user ids from %[4]d up; mounts are inside the machines' own namespaces
 - take all of it back with 'lido down --data %[2]s --purge'`, p.Tag, p.Data, strings.Join(ranges, ", "), runc.UIDBase, arp)
}

// purgeAll removes what lido made on this host, and its state. Each step can be done again, so a purge that was cut is
// repeated.
func purgeAll(ctx context.Context, p paths, out io.Writer) error {
	switch state, other, err := p.state(); {
	case err != nil:
		return err
	case state == dirMissing || state == dirFree:
		fmt.Fprintf(out, "there is no lido in %s\n", p.Data)
		return nil
	case state == dirForeign:
		return fmt.Errorf("%s is not lido's (it has no lido.db, but %s): nothing was removed. Name lido's directory with --data", p.Data, other)
	}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"machines, their mounts and cgroups", func() error { return purgeMachines(p, log) }},
		{"networks, routes and packet rules", func() error { return purgeNetworks(ctx, p, log) }},
		{p.Run, func() error { return os.RemoveAll(p.Run) }},
		{p.Data, func() error { return removeData(p) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("remove %s: %w; mend that and run 'lido down --data %s --purge' again", step.what, err, p.Data)
		}
		fmt.Fprintln(out, "removed", step.what)
	}
	return nil
}

func purgeMachines(p paths, log *slog.Logger) error {
	engine, err := openRunc(p, log)
	if err != nil {
		return err
	}
	return engine.Purge()
}

func purgeNetworks(ctx context.Context, p paths, log *slog.Logger) error {
	door := frontdoor.New(p.Tag, frontdoor.Options{Log: log})
	defer door.Close()
	return door.Purge(ctx)
}

// removeData removes the data directory, unless something is still mounted below it: then it would reach into that. The
// database goes last, for it tells that the rest is lido's.
func removeData(p paths) error {
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(p.Data))
	if err != nil {
		return err
	}
	for _, m := range mounts {
		if m.Mountpoint != p.Data {
			return fmt.Errorf("%s is still mounted", m.Mountpoint)
		}
	}
	entries, err := os.ReadDir(p.Data)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == "lido.db" {
			continue
		}
		if err := os.RemoveAll(p.in(e.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(p.Data)
}
