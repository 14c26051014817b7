package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/usage"
)

func newUsageCommand() *cobra.Command {
	var by, since, person, cluster string
	cmd := &cobra.Command{
		Use:   "usage",
		Short: "What batch clusters and jobs used: node seconds and job seconds",
		Long: `Add up the ledger of the batch pool. NODE HOURS are those in which nodes were there, with work or without;
JOB HOURS those in which jobs ran, times the nodes that they ran on. What lasts yet counts until now.`,
		Example: `  sudo lido usage                            # by person, the last 30 days
  sudo lido usage --since 168h --by cluster
  sudo lido usage --since 2026-11-01 --by job --person alice -o json`,
		Args: cobra.NoArgs,
	}
	data, output := dataFlag(cmd), outputFlag(cmd)
	cmd.Flags().StringVar(&since, "since", "720h", "from when: a duration until now (24h), a day (2026-11-01) or a time (RFC 3339)")
	cmd.Flags().StringVar(&by, "by", string(usage.ByPerson), "add up by person, cluster or job")
	cmd.Flags().StringVar(&person, "person", "", "only what this person used")
	cmd.Flags().StringVar(&cluster, "cluster", "", "only this cluster, by its resource id")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		from, err := parseSince(since, nowUTC())
		if err != nil {
			return err
		}
		if _, err := usage.ParseBy(by); err != nil {
			return err
		}
		p, err := newPaths(*data)
		if err != nil {
			return err
		}
		q := url.Values{"by": {by}, "from": {from.Format(time.RFC3339)}, "person": {person}, "cluster": {cluster}}
		sums := []usage.Sum{}
		if err := newControlClient(p).do(cmd.Context(), http.MethodGet, usage.Path+"?"+q.Encode(), nil, &sums); err != nil {
			return err
		}
		return printUsage(cmd, *output, by, sums)
	}
	return cmd
}

func printUsage(cmd *cobra.Command, output, by string, sums []usage.Sum) error {
	var rows []string
	for _, s := range sums {
		rows = append(rows, row(s.Of, s.Nodes, hours(s.NodeSeconds), s.Jobs, hours(s.JobNodeSeconds), hours(s.CPUSeconds), s.Open))
	}
	first := map[string]string{"person": "PERSON", "cluster": "CLUSTER", "job": "JOB"}[by]
	return printAs(cmd.OutOrStdout(), output, sums, row(first, "NODES", "NODE HOURS", "JOBS", "JOB HOURS", "CPU HOURS", "GOING ON"), rows)
}

func hours(seconds float64) string { return fmt.Sprintf("%.2f", seconds/3600) }

// parseSince reads a moment: so long ago, or a day or time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	for _, form := range []string{time.DateOnly, time.RFC3339} {
		if t, err := time.Parse(form, s); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("--since %q: want a duration like 24h, a day like 2026-11-01 or a time like 2026-11-01T08:00:00Z", s)
}
