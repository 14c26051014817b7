package main

import (
	"context"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/azenv"
	"lido.dev/lido/internal/client"
)

// connection says which lido's API a command speaks to, and as whom.
type connection struct {
	opt       azEnvOptions
	data      *string
	group     string
	workspace string
}

// connectFlags adds the flags of commands that are clients of the API.
func connectFlags(cmd *cobra.Command) *connection {
	c := &connection{data: dataFlag(cmd)}
	f := cmd.Flags()
	f.StringVar(&c.opt.server, "server", "", "the server's address, https://HOST:PORT (default: that of this shell's 'lido az env', else --data)")
	f.StringVar(&c.opt.fingerprint, "fingerprint", "", "SHA-256 of the server's certificate authority, with --server")
	f.StringVar(&c.opt.user, "user", os.Getenv("LIDO_USER"), "account to sign in (preset by LIDO_USER; with --data: the admin); its password is in LIDO_PASSWORD, or asked for")
	f.StringVar(&c.group, "resource-group", "lido", "resource group of the workspace")
	f.StringVar(&c.workspace, "workspace", os.Getenv("LIDO_WORKSPACE"), "workspace (preset by LIDO_WORKSPACE; default: your name)")
	return c
}

// open signs in. What is said on the command line comes before the shell's environment.
func (c *connection) open(cmd *cobra.Command) (client.Workspace, error) {
	fromEnv := os.Getenv(azenv.DirVar)
	if c.opt.server != "" || cmd.Flags().Changed("data") || c.opt.user != "" {
		fromEnv = ""
	}
	cl, err := client.New(cmd.Context(), func(ctx context.Context) (azenv.Session, error) {
		if fromEnv != "" {
			return azenv.Open(ctx, fromEnv, time.Now())
		}
		server, login, err := azTarget(ctx, c.opt, *c.data)
		if err != nil {
			return azenv.Session{}, err
		}
		return azenv.SignIn(ctx, server, login)
	})
	if err != nil {
		return client.Workspace{}, err
	}
	name := c.workspace
	if name == "" {
		name = callerName(cl.Person())
	}
	return cl.Workspace(c.group, name), nil
}

// callerName is who works here: under sudo the person who called it, not the admin that root signs in as.
func callerName(signedIn string) string {
	name := signedIn
	if u := os.Getenv("SUDO_USER"); u != "" && u != "root" && os.Geteuid() == 0 && signedIn == "admin" {
		name = u
	}
	return resourceName(name)
}

// resourceName leaves of a name what a resource's name may have.
func resourceName(s string) string {
	return strings.Trim(strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
			return r
		}
		return '-'
	}, s), "-_")
}
