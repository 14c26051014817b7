package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/client"
)

func newJobLogsCommand() *cobra.Command {
	var follow bool
	var file string
	cmd := jobCommand("logs", "Print what a job wrote", `  lido job logs JOB
  lido job logs -f JOB                       # until it ends; exits with its exit code
  lido job logs --name execution.log JOB     # what lido did for it`,
		func(cmd *cobra.Command, w client.Workspace, id string) error {
			if follow {
				return followJob(cmd, w.Client, id, file)
			}
			return printLogs(cmd, w.Client, id, file)
		})
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on until the job has ended, and exit with its exit code")
	cmd.Flags().StringVar(&file, "name", "", "one file of the job's output directory (default: all of standard output, and of standard error to standard error)")
	return cmd
}

// outputs says where a job's files are written to: the one of a name as it is, or those of its standard output and error. A
// job with several processes has files for each, whose lines are marked.
func outputs(cmd *cobra.Command, name string, bar *progress) client.Choice {
	return func(file string) io.Writer {
		if name != "" {
			if file == name {
				return clearing{cmd.OutOrStdout(), bar}
			}
			return nil
		}
		kind, process, several := strings.Cut(strings.TrimSuffix(file, ".txt"), "-")
		var w io.Writer
		switch {
		case strings.HasPrefix(process, "job_prep"):
			return nil
		case kind == "stdout":
			w = clearing{cmd.OutOrStdout(), bar}
		case kind == "stderr":
			w = clearing{cmd.ErrOrStderr(), bar}
		default:
			return nil
		}
		if several {
			w = &marking{w: w, mark: process + ": "}
		}
		return w
	}
}

// marking puts a mark before each line.
type marking struct {
	w      io.Writer
	mark   string
	inside bool // a line has begun
}

func (m *marking) Write(b []byte) (int, error) {
	var out bytes.Buffer
	for line := range bytes.Lines(b) {
		if !m.inside {
			out.WriteString(m.mark)
		}
		out.Write(line)
		m.inside = !bytes.HasSuffix(line, []byte("\n"))
	}
	_, err := m.w.Write(out.Bytes())
	return len(b), err
}

// clearing takes the progress line away before something is written.
type clearing struct {
	io.Writer
	bar *progress
}

func (c clearing) Write(b []byte) (int, error) {
	c.bar.clear()
	return c.Writer.Write(b)
}

func printLogs(cmd *cobra.Command, c *client.Client, id, file string) error {
	found, err := c.Print(cmd.Context(), id, outputs(cmd, file, newProgress(cmd.ErrOrStderr())))
	if err != nil || len(found) > 0 {
		return err
	}
	j, err := c.Job(cmd.Context(), id)
	if err != nil {
		return err
	}
	if file != "" && j.Properties.State != "queued" {
		return fmt.Errorf("%s has no output file %s", j.Name, file)
	}
	return fmt.Errorf("%s has no output: it is %s", j.Name, j.Properties.State)
}

// followJob streams a job's output until it ends, and ends as it did.
func followJob(cmd *cobra.Command, c *client.Client, id, file string) error {
	bar := newProgress(cmd.ErrOrStderr())
	j, err := c.Follow(cmd.Context(), id, outputs(cmd, file, bar), func(j *client.Job) {
		if j.Properties.State == "queued" {
			bar.say("%s", situation(j))
		}
	})
	bar.clear()
	if errors.Is(err, context.Canceled) {
		fmt.Fprintf(cmd.ErrOrStderr(), "%s goes on; 'lido job kill %s' ends it\n", path.Base(id), path.Base(id))
		return exitCode(130)
	}
	if err != nil {
		return err
	}
	return result(cmd, j)
}
