// Command lido is a self-hosted shared pool of data science machines behind Azure's own API: the server and its
// command line in one binary. This package only wires the rooms under internal/ together.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set at build time (-ldflags "-X main.version=...").
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) > 1 && os.Args[1] == "node" { // in machines, where it is to be light
		exit("lido node:", runNode(ctx, os.Args[2:]))
		return
	}
	exit("lido:", newRoot().ExecuteContext(ctx))
}

// exit ends the program if there is an error, which is said.
func exit(who string, err error) {
	if err == nil {
		return
	}
	var code exitCode
	if errors.As(err, &code) {
		os.Exit(int(code))
	}
	fmt.Fprintln(os.Stderr, who, err)
	os.Exit(1)
}

// exitCode ends the program with a status of its own; what there was to say has been said.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit status %d", int(c)) }

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "lido",
		Short: "A shared pool of data science machines on your own servers, behind Azure's API",
		Long: `lido turns a Linux box into a shared pool of data science machines. It speaks the Azure Resource Manager
protocol, so the az CLI, the Azure SDKs and existing ARM templates work against it unmodified; behind it
stand real machines that people log in to.`,
		Example: `  sudo lido doctor                          # is this box ready?
  sudo lido up --data /var/lib/lido --detach
  eval "$(sudo lido az env --data /var/lib/lido)"
  az group create --name team --location local
  sudo lido machines --data /var/lib/lido`,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newUpCommand(), newDownCommand(), newMachinesCommand(), newImageCommand(), newAzCommand(), newUserCommand(), newDoctorCommand(), newUsageCommand(), newJobCommand(), newClusterCommand())
	for _, c := range root.Commands() {
		if c.HasSubCommands() { // cobra would take a misspelt command for a wish for help, and end with 0
			c.Args = cobra.NoArgs
			c.RunE = func(c *cobra.Command, _ []string) error { return c.Help() }
		}
	}
	return root
}
