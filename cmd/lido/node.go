package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"lido.dev/lido/internal/compute"
	"lido.dev/lido/internal/node"
)

// runNode is `lido node`, the agent in a batch cluster's node, and what goes with it there: `lido node rsh`, a remote
// shell for MPI, and `lido node enter`. People do not call it.
func runNode(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		return node.NewAgent(node.AgentConfig{Enter: node.EnterSocket, Log: log}).Run(ctx)
	case args[0] == "enter" && len(args) == 2:
		return node.Enter(args[1])
	case args[0] == "rsh":
		ssh, err := node.RemoteShell(os.Getenv(node.JobVariable), args[1:])
		if err != nil {
			return err
		}
		path, err := exec.LookPath("ssh")
		if err != nil {
			return err
		}
		return syscall.Exec(path, ssh, os.Environ())
	}
	return errors.New("usage: lido node [enter JOB | rsh HOST COMMAND...]")
}

// guestProgram is this program as machines find it: a copy in the run directory, where they can have links to it.
func (m *rooms) guestProgram(opt upOptions) (string, error) {
	if opt.engine == "sim" {
		return "", nil
	}
	const self = "/proc/self/exe"
	path := filepath.Join(m.paths.Run, "bin", "lido")
	have, err := os.Stat(path)
	want, err2 := os.Stat(self)
	if err == nil && err2 == nil && have.Size() == want.Size() && have.ModTime().Equal(want.ModTime()) {
		return path, nil
	}
	return path, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), compute.CopyProgram(self, path))
}
