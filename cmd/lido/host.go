package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"

	"github.com/moby/sys/mountinfo"

	"lido.dev/lido/internal/frontdoor"
)

func nowUTC() time.Time { return time.Now().UTC() }

// dryRun lists what 'lido up' would change on this host.
func dryRun(out io.Writer, p paths, opt upOptions) error {
	c, err := loadConfig(p, opt)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "lido up --data %s would:\n", p.Data)
	for _, change := range hostChanges(p, c.Listen) {
		fmt.Fprintln(out, " -", change)
	}
	return nil
}

func hostChanges(p paths, listen string) []string {
	var changes []string
	for _, dir := range []string{p.Data, p.Run} {
		if _, err := os.Stat(dir); err != nil {
			changes = append(changes, "make the directory "+dir+" (mode 0700)")
		}
	}
	if !p.exists() {
		changes = append(changes, "make the database, a certificate authority, an admin account (admin.json) and keys in "+p.Data)
	}
	return append(changes, "listen on "+listen)
}

// purgeAll removes what lido made on this host, and its state. Each step can be done again, so a purge that was cut is
// repeated.
func purgeAll(ctx context.Context, p paths, out io.Writer) error {
	if !p.dataExists() {
		fmt.Fprintf(out, "there is no lido in %s\n", p.Data)
		return nil
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

func (p paths) dataExists() bool {
	_, err := os.Stat(p.Data)
	return err == nil
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

// removeData removes the data directory, unless something is still mounted below it: then it would reach into that.
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
	return os.RemoveAll(p.Data)
}
