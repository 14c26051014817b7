package compute

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"lido.dev/lido/internal/machine"
)

//go:embed job.sh
var jobScript string

// job is a command that a machine's own init runs, so that neither lido's end loses it nor lido's start repeats it.
type job struct {
	unit    string        // its name, used once in a machine's life
	dir     string        // in the machine; the command runs there, and its output and exit code are kept there
	command string        // a script for /bin/sh; may hold secrets
	limit   time.Duration // it is ended after this
}

// jobResult is what became of a job.
type jobResult struct {
	interrupted    bool // it ended without an exit code: the machine went down, or its time was over
	exitCode       int
	stdout, stderr string // tails
}

// Exit codes of job.sh beside 0, after sysexits.h.
const jobInterrupted = 75

// keepOutput is how many bytes of a job's output are kept in statuses, as in Azure.
const keepOutput = 4096

// jobTries is how often an engine is asked to run a job's script; asking again is harmless.
const jobTries = 3

// run runs a job, or goes on waiting for it, until it ends.
func (r *Room) run(ctx context.Context, machineID string, j job) (jobResult, error) {
	var out, errOut bytes.Buffer
	var code int
	var err error
	for try := range jobTries {
		out.Reset()
		errOut.Reset()
		code, err = r.Engine.Exec(ctx, machineID, machine.Command{
			Args:   []string{"/bin/sh", "-c", jobScript, "sh", j.unit, j.dir, strconv.Itoa(int(j.limit.Seconds())), strconv.Itoa(keepOutput)},
			Stdin:  strings.NewReader(j.command),
			Stdout: &out, Stderr: &errOut,
		})
		if err == nil || errors.Is(err, machine.ErrNotRunning) || errors.Is(err, machine.ErrNotFound) {
			break
		}
		if e := sleep(ctx, time.Duration(try+1)*200*time.Millisecond); e != nil {
			return jobResult{}, e
		}
	}
	return readJob(code, err, out.String(), errOut.String())
}

// readJob reads what job.sh answered.
func readJob(code int, err error, out, errOut string) (jobResult, error) {
	switch {
	case err != nil:
		return jobResult{}, fmt.Errorf("run a command in the machine: %w", err)
	case code == jobInterrupted:
		return jobResult{interrupted: true, exitCode: -1, stdout: out, stderr: errOut}, nil
	case code != 0:
		return jobResult{}, fmt.Errorf("run a command in the machine: its init did not take it (%d): %s", code, tail(strings.TrimSpace(errOut), 300))
	}
	first, rest, _ := strings.Cut(out, "\n")
	exit, err := strconv.Atoi(strings.TrimSpace(first))
	if err != nil {
		return jobResult{}, fmt.Errorf("run a command in the machine: unexpected answer %q", tail(first, 80))
	}
	return jobResult{exitCode: exit, stdout: rest, stderr: errOut}, nil
}

// begun tells whether a job with this directory was started in the machine before.
func (r *Room) begun(ctx context.Context, machineID, dir string) (bool, error) {
	code, err := r.Engine.Exec(ctx, machineID, machine.Command{Args: []string{"/bin/sh", "-c", `[ -e "$1/started" ]`, "sh", dir}})
	return code == 0, err
}

// put writes a file into the machine, for root alone.
func (r *Room) put(ctx context.Context, machineID, dir, name string, data []byte) error {
	var errOut bytes.Buffer
	code, err := r.Engine.Exec(ctx, machineID, machine.Command{
		Args:  []string{"/bin/sh", "-c", `umask 077; mkdir -p "$1" && cat >"$1/.new" && chmod 0500 "$1/.new" && mv "$1/.new" "$1/$2"`, "sh", dir, name},
		Stdin: bytes.NewReader(data), Stderr: &errOut,
	})
	if err == nil && code != 0 {
		err = fmt.Errorf("exit code %d: %s", code, tail(errOut.String(), 300))
	}
	if err != nil {
		return fmt.Errorf("write %s in the machine: %w", name, err)
	}
	return nil
}
