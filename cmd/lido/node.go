package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"

	"lido.dev/lido/internal/compute"
	"lido.dev/lido/internal/node"
)

// runNode is `lido node`, the agent in a batch cluster's node. People do not call it.
func runNode(ctx context.Context) {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	node.NewAgent(node.AgentConfig{Log: log}).Run(ctx)
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
