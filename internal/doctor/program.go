package doctor

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

func programChecks() []Check {
	program := func(name, pkg, why string, required bool, version ...string) Check {
		return Check{Name: name, Required: required, Why: why, Get: "apt-get install " + pkg + " (make setup does it)",
			Try: func(ctx context.Context, _ Host) (string, error) { return tryProgram(ctx, name, version) }}
	}
	return []Check{
		program("runc", "runc", "makes the machines", true, "--version"),
		program("conmon", "conmon", "watches each machine, also while lido is restarted", true, "--version"),
		program("mmdebstrap", "mmdebstrap", "builds images from Debian packages", true, "--version"),
		program("lxcfs", "lxcfs", "machines see their own number of CPUs and memory", false, "--version"),
		program("nft", "nftables", "shows you what lido's load balancers do", false, "--version"),
		program("conntrack", "conntrack", "shows you the sessions through a pool's address", false, "--version"),
		{Name: "Python with venv and pip", Why: "the clients that the tests drive are installed with it", Get: "apt-get install python3-venv python3-pip", Try: tryPython},
	}
}

// tryProgram finds a program, also where only root's PATH leads.
func tryProgram(ctx context.Context, name string, version []string) (string, error) {
	path, err := exec.LookPath(name)
	if err != nil {
		path = "/usr/sbin/" + name
		if _, err := os.Stat(path); err != nil {
			return "", fmt.Errorf("%s is not installed", name)
		}
	}
	out, err := exec.CommandContext(ctx, path, version...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s does not run: %w: %s", path, err, strings.TrimSpace(string(out)))
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSpace(line); line != "" {
			return path + " (" + line + ")", nil
		}
	}
	return path, nil
}

func tryPython(ctx context.Context, _ Host) (string, error) {
	out, err := exec.CommandContext(ctx, "python3", "-c", "import sys, venv, ensurepip, pip; print('Python', sys.version.split()[0])").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("python3 with venv and pip does not run: %w", err)
	}
	return strings.TrimSpace(string(out)), nil
}
