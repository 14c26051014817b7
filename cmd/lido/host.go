package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
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

// purgeAll removes what lido made on this host, and its state.
func purgeAll(_ context.Context, p paths, out io.Writer) error {
	for _, dir := range []string{p.Run, p.Data} {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
		fmt.Fprintln(out, "removed", dir)
	}
	return nil
}
