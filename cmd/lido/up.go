package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// The engines.
const (
	engineRunc = "runc"
	engineSim  = "sim"
)

type upOptions struct {
	data, listen, config string
	engine               string
	detach, dryRun       bool
}

func newUpCommand() *cobra.Command {
	var opt upOptions
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start lido",
		Long: `Start lido and serve until it is told to stop (lido down, or SIGTERM). When it says that it is ready, it is:
the API answers and machines that ran before are taken over. The first start makes the certificate
authority, the admin account (admin.json in the data directory) and the image catalogue.`,
		Example: `  sudo lido up --data /var/lib/lido
  sudo lido up --data /var/lib/lido --detach --listen 0.0.0.0:8443 --config lido.yaml
  sudo lido up --dry-run                    # what it would change on this host`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := needRoot("lido up"); err != nil {
				return err
			}
			return runUp(cmd.Context(), opt, cmd.OutOrStdout())
		},
	}
	data := dataFlag(cmd)
	cmd.PreRun = func(*cobra.Command, []string) { opt.data = *data }
	cmd.Flags().StringVar(&opt.listen, "listen", "", "address of the API, HOST:PORT (default 127.0.0.1:8443, or as the config file says)")
	cmd.Flags().StringVar(&opt.config, "config", "", "YAML configuration file (default lido.yaml in the data directory, if it is there)")
	cmd.Flags().BoolVar(&opt.detach, "detach", false, "go to the background when ready")
	cmd.Flags().BoolVar(&opt.dryRun, "dry-run", false, "list the changes to the host and make none")
	cmd.Flags().StringVar(&opt.engine, "engine", engineRunc, "what makes machines: runc, or sim (simulated, for trying out templates)")
	return cmd
}

func runUp(ctx context.Context, opt upOptions, out io.Writer) error {
	if opt.engine != engineRunc && opt.engine != engineSim {
		return fmt.Errorf("unknown engine %q: it is %s or %s", opt.engine, engineRunc, engineSim)
	}
	p, err := newPaths(opt.data)
	if err != nil {
		return err
	}
	if opt.dryRun {
		return dryRun(ctx, out, p, opt)
	}
	ownModes()
	if opt.detach {
		return detach(ctx, p, out)
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	slog.SetDefault(log)
	s, err := startServer(ctx, p, opt, log)
	if err != nil {
		return err
	}
	st := s.state()
	fmt.Fprintf(out, "lido is ready at %s (data %s)\nCA fingerprint %s\nTo use it: eval \"$(lido az env --data %s)\"\n", st.URL, p.Data, st.Fingerprint, p.Data)
	notifySystemd("READY=1")
	s.Wait()
	notifySystemd("STOPPING=1")
	log.Info("stopping; machines run on")
	return s.Close()
}

// ownModes keeps the caller's umask away from what is made for others, such as images and machines' files: their modes are
// all said. With a careful administrator's 077 no machine would start.
func ownModes() { syscall.Umask(0o022) }

// detach starts this program again in the background without --detach and waits until it is ready.
func detach(ctx context.Context, p paths, out io.Writer) error {
	if st, err := newControlClient(p).state(ctx); err == nil {
		fmt.Fprintf(out, "lido runs already at %s (process %d)\n", st.URL, st.PID)
		return nil
	}
	if err := p.make(); err != nil {
		return err
	}
	logFile, err := os.OpenFile(p.log(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	defer logFile.Close()
	var args []string
	for _, a := range os.Args[1:] {
		if a != "--detach" && a != "--detach=true" {
			args = append(args, a)
		}
	}
	child := exec.Command("/proc/self/exe", args...)
	child.Stdout, child.Stderr = logFile, logFile
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return fmt.Errorf("start in the background: %w", err)
	}
	return awaitReady(ctx, p, child, out)
}

func awaitReady(ctx context.Context, p paths, child *exec.Cmd, out io.Writer) error {
	exited := make(chan error, 1)
	go func() { exited <- child.Wait() }()
	for {
		if st, err := newControlClient(p).state(ctx); err == nil && st.PID == child.Process.Pid {
			fmt.Fprintf(out, "lido is ready at %s (process %d, log %s)\nTo use it: eval \"$(lido az env --data %s)\"\n", st.URL, st.PID, p.log(), p.Data)
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("lido did not start; the end of its log %s:\n%s", p.log(), tail(p.log(), 2000))
		case <-ctx.Done():
			child.Process.Signal(syscall.SIGTERM)
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func tail(file string, n int) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-n):])
}
