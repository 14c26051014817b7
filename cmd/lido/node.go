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
// shell for MPI, and `lido node enter`, into a job or its container. People do not call it.
func runNode(ctx context.Context, args []string) error {
	switch {
	case len(args) == 0:
		log := slog.New(slog.NewTextHandler(os.Stderr, nil))
		return node.NewAgent(node.AgentConfig{Enter: node.EnterSocket, Log: log}).Run(ctx)
	case args[0] == "enter" && len(args) == 2:
		return node.Enter(args[1])
	case args[0] == "enter" && len(args) == 3:
		return ended(node.AskCommand(args[1], args[2]))
	case args[0] == "rsh" && os.Getenv(node.InsideVariable) != "":
		return ended(node.AskShell(os.Getenv(node.JobVariable), args[1:]))
	case args[0] == "rsh":
		ssh, err := node.RemoteShell(os.Getenv(node.JobVariable), false, args[1:])
		if err != nil {
			return err
		}
		path, err := exec.LookPath("ssh")
		if err != nil {
			return err
		}
		return syscall.Exec(path, ssh, os.Environ())
	}
	return errors.New("usage: lido node [enter JOB [COMMAND] | rsh HOST COMMAND...]")
}

// ended ends the program as what it had run ended.
func ended(code int, err error) error {
	if err == nil && code != 0 {
		err = exitCode(code)
	}
	return err
}

// guestProgram is this program as machines find it: a copy in the run directory, where they can have links to it.
func (m *rooms) guestProgram(opt upOptions) (string, error) {
	if opt.engine == engineSim {
		return "", nil
	}
	path := filepath.Join(m.paths.Run, "bin", "lido")
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	return path, compute.PlaceProgram("/proc/self/exe", path) // copied: a link would be to /proc's own link, on another file system
}
