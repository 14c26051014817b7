package main

import (
	"cmp"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/client"
)

const defaultExperiment = "default"

func newJobCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "job",
		Short: "Run jobs on batch clusters, look at them, end them",
		Long: `Run commands and training jobs on the batch pool. A job is queued, gets its nodes when they are free, runs on all
of them at once, and leaves its output in a share. They are the same jobs that 'az batchai job' shows.

JOB is a job's name in the experiment "default", or EXPERIMENT/NAME, or a resource id.`,
		Example: `  lido job submit -f -- nproc
  lido job submit --nodes 2 --file train.py --wait -- python3 train.py
  lido job ls
  lido job logs -f JOB`,
	}
	cmd.AddCommand(newJobSubmitCommand(), newJobListCommand(), newJobShowCommand(), newJobLogsCommand(), newJobWaitCommand(), newJobKillCommand(), newJobRemoveCommand())
	return cmd
}

// jobCommand is a command on one job.
func jobCommand(use, short, example string, run func(cmd *cobra.Command, w client.Workspace, id string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use + " JOB", Short: short, Example: example, Args: cobra.ExactArgs(1)}
	conn := connectFlags(cmd)
	experiment := cmd.Flags().String("experiment", defaultExperiment, "experiment that the job is in")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w, err := conn.open(cmd)
		if err != nil {
			return err
		}
		err = run(cmd, w, w.JobID(*experiment, args[0]))
		if client.NotFound(err) {
			return fmt.Errorf("%w ('lido job ls' shows the jobs of workspace %s)", err, path.Base(w.ID))
		}
		return err
	}
	return cmd
}

func newJobListCommand() *cobra.Command {
	var experiment string
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List the jobs of a workspace",
		Example: `  lido job ls
  lido job ls -o json | jq -r '.[] | select(.properties.executionState == "failed").name'`,
		Args: cobra.NoArgs,
	}
	conn, output := connectFlags(cmd), outputFlag(cmd)
	cmd.Flags().StringVar(&experiment, "experiment", "", "only those of this experiment")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := conn.open(cmd)
		if err != nil {
			return err
		}
		jobs, err := w.Jobs(cmd.Context(), experiment)
		if err != nil {
			return err
		}
		slices.SortStableFunc(jobs, func(a, b client.Job) int { return a.Properties.Created.Compare(b.Properties.Created) })
		return printJobs(cmd.OutOrStdout(), *output, jobs)
	}
	return cmd
}

func printJobs(w io.Writer, output string, jobs []client.Job) error {
	st := styleOf(w)
	var rows []string
	for i := range jobs {
		j := &jobs[i]
		name := j.Name
		if e := j.Experiment(); e != defaultExperiment {
			name = e + "/" + name
		}
		p := &j.Properties
		rows = append(rows, row(name, st.state(p.State), p.NodeCount, path.Base(p.Cluster.ID), exitWord(j), age(p.Created), took(j), reason(j)))
	}
	return printAs(w, output, jobs, row("NAME", st.state("STATE"), "NODES", "CLUSTER", "EXIT", "AGE", "TOOK", "REASON"), rows)
}

func exitWord(j *client.Job) string {
	if c := j.Properties.Info.ExitCode; c != nil {
		return fmt.Sprint(*c)
	}
	return ""
}

// took is how long a job has run.
func took(j *client.Job) string {
	info := j.Properties.Info
	if info.Start.IsZero() {
		return ""
	}
	end := info.End
	if end.IsZero() {
		end = time.Now()
	}
	return max(end.Sub(info.Start), 0).Round(10 * time.Millisecond).String()
}

// reason is why a job failed or waits, in short.
func reason(j *client.Job) string {
	if errs := j.Properties.Info.Errors; len(errs) > 0 {
		return errs[0].Code
	}
	return ""
}

func newJobShowCommand() *cobra.Command {
	var output *string
	cmd := jobCommand("show", "Show a job: its state and why, nodes, output", "  lido job show JOB\n  lido job show JOB -o json",
		func(cmd *cobra.Command, w client.Workspace, id string) error {
			j, err := w.Client.Job(cmd.Context(), id)
			if err != nil {
				return err
			}
			if *output != "table" {
				return printAs(cmd.OutOrStdout(), *output, j, "", nil)
			}
			return showJob(cmd.OutOrStdout(), j)
		})
	output = outputFlag(cmd)
	return cmd
}

func showJob(w io.Writer, j *client.Job) error {
	p, st := &j.Properties, styleOf(w)
	fmt.Fprintf(w, "%s  %s", j.Name, st.state(p.State))
	if code := exitWord(j); code != "" {
		fmt.Fprintf(w, "  exit code %s", code)
	}
	if t := took(j); t != "" {
		fmt.Fprintf(w, "  ran %s", t)
	}
	fmt.Fprintf(w, "\nexperiment  %s\ncluster     %s, %s, priority %s\noutput      %s/%s/stdouterr\nsubmitted   %s ago\n",
		j.Experiment(), path.Base(p.Cluster.ID), counted(p.NodeCount), cmp.Or(p.Priority, "normal"), p.OutPrefix, p.OutSegment, age(p.Created))
	explain(w, j)
	return nil
}

// explain writes why a job failed, or waits.
func explain(w io.Writer, j *client.Job) {
	for _, e := range j.Properties.Info.Errors {
		fmt.Fprintf(w, "%s: %s\n", e.Code, e.Message)
		for _, d := range e.Details {
			fmt.Fprintf(w, "  %s: %s\n", d.Name, d.Value)
		}
	}
}

func newJobWaitCommand() *cobra.Command {
	return jobCommand("wait", "Wait until a job has ended; exit with its exit code", "  lido job wait JOB && echo done",
		func(cmd *cobra.Command, w client.Workspace, id string) error {
			j, err := awaitJob(cmd, w.Client, id)
			if err != nil {
				return err
			}
			return result(cmd, j)
		})
}

func awaitJob(cmd *cobra.Command, c *client.Client, id string) (j *client.Job, err error) {
	bar := newProgress(cmd.ErrOrStderr())
	defer bar.clear()
	for {
		if j, err = c.AwaitJob(cmd.Context(), id, j); err != nil || j.Ended() {
			return j, err
		}
		bar.say("%s", situation(j))
	}
}

func counted(nodes int) string {
	if nodes == 1 {
		return "1 node"
	}
	return fmt.Sprintf("%d nodes", nodes)
}

// situation is a line on what a job is at.
func situation(j *client.Job) string {
	p := &j.Properties
	switch {
	case p.State == "queued" && len(p.Info.Errors) > 0:
		return fmt.Sprintf("%s is queued: %s", j.Name, p.Info.Errors[0].Message)
	case p.State == "queued":
		return fmt.Sprintf("%s waits for %s of %s", j.Name, counted(p.NodeCount), path.Base(p.Cluster.ID))
	}
	return fmt.Sprintf("%s is %s", j.Name, p.State)
}

// result ends the command as the job ended.
func result(cmd *cobra.Command, j *client.Job) error {
	w := cmd.ErrOrStderr()
	st := styleOf(w)
	fmt.Fprintf(w, "%s %s", j.Name, st.state(j.Properties.State))
	if t := took(j); t != "" {
		fmt.Fprintf(w, " after %s", t)
	}
	fmt.Fprintln(w)
	explain(w, j)
	if j.Properties.State == "succeeded" {
		return nil
	}
	if c := j.Properties.Info.ExitCode; c != nil && *c != 0 {
		return exitCode(*c & 0xff)
	}
	return exitCode(1)
}

func newJobKillCommand() *cobra.Command {
	var wait bool
	cmd := jobCommand("kill", "End a job: its processes get TERM, then KILL, on all its nodes", "  lido job kill JOB",
		func(cmd *cobra.Command, w client.Workspace, id string) error {
			if err := w.Client.Terminate(cmd.Context(), id); err != nil || !wait {
				return err
			}
			_, err := awaitJob(cmd, w.Client, id)
			return err
		})
	cmd.Flags().BoolVar(&wait, "wait", false, "wait until it has ended")
	return cmd
}

func newJobRemoveCommand() *cobra.Command {
	return jobCommand("rm", "Remove a job; one that runs is ended first. Its output files stay", "  lido job rm JOB",
		func(cmd *cobra.Command, w client.Workspace, id string) error {
			if _, err := w.Client.Job(cmd.Context(), id); err != nil {
				return err
			}
			return w.Client.Delete(cmd.Context(), id)
		})
}

// quote writes a command's words as one line for a shell.
func quote(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = w
		if w == "" || strings.ContainsAny(w, " \t\n\"'`$\\|&;<>()*?[]#~!{}") {
			quoted[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}
