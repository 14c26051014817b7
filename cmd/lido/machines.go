package main

import (
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/compute"
)

func newMachinesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "machines",
		Short: "List the machines: state and why, address, age, open sessions",
		Example: `  lido machines --data /var/lib/lido
  lido machines -o json | jq '.[] | select(.sessions > 0)'`,
		Args: cobra.NoArgs,
	}
	data, output := dataFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPaths(*data)
		if err != nil {
			return err
		}
		views := []compute.MachineState{}
		if err := newControlClient(p).do(cmd.Context(), http.MethodGet, "/v1/machines", nil, &views); err != nil {
			return err
		}
		var rows []string
		for _, v := range views {
			rows = append(rows, row(v.Name, v.Group+"/"+v.Set, v.State, v.Address, age(v.Since), v.Sessions, v.Reason))
		}
		return printAs(cmd.OutOrStdout(), *output, views, row("NAME", "SCALE SET", "STATE", "ADDRESS", "AGE", "SESSIONS", "REASON"), rows)
	}
	return cmd
}

func age(since time.Time) string {
	if since.IsZero() {
		return ""
	}
	switch d := time.Since(since); {
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	case d < 2*time.Hour:
		return d.Round(time.Minute).String()
	default:
		return d.Round(time.Hour).String()
	}
}
