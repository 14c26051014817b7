package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/doctor"
)

func newDoctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look whether this host has what lido needs",
		Long: `Look for each feature of the kernel, limit and program that lido needs; try what can be tried, changing
nothing. The exit code is 1 when something is missing that lido does not work without.`,
		Example: `  sudo lido doctor
  sudo lido doctor -o json | jq '.[] | select(.status != "found")'`,
		Args: cobra.NoArgs,
	}
	data, output := dataFlag(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		p, err := newPaths(*data)
		if err != nil {
			return err
		}
		findings := doctor.Run(cmd.Context(), doctor.Host{Data: p.Data}, doctor.Checks())
		var rows []string
		for _, f := range findings {
			rows = append(rows, row(f.Name, f.Status, f.Found))
		}
		out := cmd.OutOrStdout()
		if err := printAs(out, *output, findings, row("CHECK", "STATUS", "FOUND"), rows); err != nil {
			return err
		}
		if *output == "table" {
			for _, f := range findings {
				if f.Status != doctor.Found {
					fmt.Fprintf(out, "\n%s (%s): %s.\n  why: %s\n  get: %s\n", f.Name, f.Status, f.Found, f.Why, f.Get)
				}
			}
		}
		if !doctor.Healthy(findings) {
			return exitCode(1)
		}
		return nil
	}
	return cmd
}
