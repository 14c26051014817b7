package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

func newDownCommand() *cobra.Command {
	var purge, yes bool
	cmd := &cobra.Command{
		Use:   "down",
		Short: "Stop lido; its machines run on, unless purged",
		Long: `Stop serving. Machines, their networks and open sessions stay as they are until lido is up again.

With --purge everything goes: machines, namespaces, mounts, cgroups, routes, images, and the data directory
with all shares in it. This cannot be undone.`,
		Example: `  sudo lido down --data /var/lib/lido
  sudo lido down --data /tmp/try --purge --yes`,
		Args: cobra.NoArgs,
	}
	data := dataFlag(cmd)
	cmd.Flags().BoolVar(&purge, "purge", false, "remove the machines and all state, shares included")
	cmd.Flags().BoolVar(&yes, "yes", false, "don't ask")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := needRoot("lido down"); err != nil {
			return err
		}
		p, err := newPaths(*data)
		if err != nil {
			return err
		}
		if purge && !yes && !confirm(cmd.InOrStdin(), cmd.OutOrStdout(), fmt.Sprintf("Remove all machines and everything in %s, shares included?", p.Data)) {
			return errors.New("nothing was changed")
		}
		if err := stopServer(cmd.Context(), p, cmd.OutOrStdout()); err != nil {
			return err
		}
		if !purge {
			return nil
		}
		return purgeAll(cmd.Context(), p, cmd.OutOrStdout())
	}
	return cmd
}

func confirm(in io.Reader, out io.Writer, question string) bool {
	fmt.Fprintf(out, "%s [y/N] ", question)
	var answer string
	fmt.Fscanln(in, &answer)
	return answer == "y" || answer == "Y" || answer == "yes"
}

// stopServer asks the running server to stop and waits until its process is gone.
func stopServer(ctx context.Context, p paths, out io.Writer) error {
	client := newControlClient(p)
	st, err := client.state(ctx)
	if errors.Is(err, errNotRunning) {
		fmt.Fprintf(out, "lido is not running with data directory %s\n", p.Data)
		return nil
	}
	if err != nil {
		return err
	}
	if err := client.do(ctx, http.MethodPost, "/v1/stop", nil, nil); err != nil {
		return err
	}
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if errors.Is(syscall.Kill(st.PID, 0), syscall.ESRCH) || !p.locked() {
			fmt.Fprintf(out, "lido (process %d) has stopped; machines run on\n", st.PID)
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("lido (process %d) was asked to stop but still runs after a minute; its log: %s", st.PID, p.log())
		}
	}
}

// locked tells whether a server holds the data directory.
func (p paths) locked() bool {
	f, err := os.OpenFile(p.in("lock"), os.O_RDWR, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB) != nil
}
