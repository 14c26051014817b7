package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/azenv"
	"lido.dev/lido/internal/client"
)

const defaultCluster = "default"

func newClusterCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cluster",
		Short: "Make, scale and look at batch clusters",
		Long:  "Make, scale and look at the clusters that jobs run on. They are the same clusters that 'az batchai cluster' shows.",
		Example: `  lido cluster create big --nodes 0..8 --size Standard_D4s_v3
  lido cluster ls
  lido cluster scale big 4
  lido cluster ssh big`,
	}
	cmd.AddCommand(newClusterListCommand(), newClusterCreateCommand(), newClusterScaleCommand(), newClusterRemoveCommand(), newClusterNodesCommand(), newClusterSSHCommand())
	return cmd
}

// clusterCommand is a command on one cluster.
func clusterCommand(use, short, example string, args cobra.PositionalArgs, run func(cmd *cobra.Command, w client.Workspace, id string, rest []string) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Example: example, Args: args}
	conn := connectFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w, err := conn.open(cmd)
		if err != nil {
			return err
		}
		err = run(cmd, w, w.ClusterID(args[0]), args[1:])
		if client.NotFound(err) {
			return fmt.Errorf("%w ('lido cluster ls' shows the clusters of workspace %s)", err, path.Base(w.ID))
		}
		return err
	}
	return cmd
}

func newClusterListCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "ls", Short: "List the clusters of a workspace", Example: "  lido cluster ls\n  lido cluster ls -o yaml", Args: cobra.NoArgs}
	conn, output := connectFlags(cmd), outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := conn.open(cmd)
		if err != nil {
			return err
		}
		clusters, err := w.Clusters(cmd.Context())
		if err != nil {
			return err
		}
		st := styleOf(cmd.OutOrStdout())
		var rows []string
		for i := range clusters {
			c := &clusters[i]
			p, n := &c.Properties, &c.Properties.Counts
			problem := ""
			if len(p.Errors) > 0 {
				problem = p.Errors[0].Message
			}
			rows = append(rows, row(c.Name, st.state(p.Allocation), scaleWord(c), n.Idle, n.Running, n.Preparing, n.Leaving, n.Unusable, p.Size, problem))
		}
		return printAs(cmd.OutOrStdout(), *output, clusters,
			row("NAME", st.state("STATE"), "NODES", "IDLE", "RUNNING", "PREPARING", "LEAVING", "UNUSABLE", "SIZE", "PROBLEM"), rows)
	}
	return cmd
}

// scaleWord is how many nodes there are, and how many there may be.
func scaleWord(c *client.Cluster) string {
	s := c.Properties.Scale
	switch {
	case s.Auto != nil:
		return fmt.Sprintf("%d (%d..%d)", c.Properties.Nodes, s.Auto.Minimum, s.Auto.Maximum)
	case s.Manual != nil && s.Manual.Target != c.Properties.Nodes:
		return fmt.Sprintf("%d (of %d)", c.Properties.Nodes, s.Manual.Target)
	}
	return strconv.Itoa(c.Properties.Nodes)
}

func newClusterCreateCommand() *cobra.Command {
	var low bool
	var nodes, keyFile string
	o := firstCluster()
	cmd := clusterCommand("create NAME", "Make a cluster", `  lido cluster create team                            # 0 to 4 nodes, as many as the jobs want
  lido cluster create big --nodes 0..8 --size Standard_D4s_v3
  lido cluster create fixed --nodes 2 --image base`, cobra.ExactArgs(1),
		func(cmd *cobra.Command, w client.Workspace, id string, _ []string) (err error) {
			if err := o.setNodes(nodes); err != nil {
				return err
			}
			if low {
				o.priority = "lowpriority"
			}
			if keyFile != "" {
				if o.key, err = readKey(keyFile); err != nil {
					return err
				}
			}
			if _, err := w.Client.Cluster(cmd.Context(), id); err == nil {
				return fmt.Errorf("there is a cluster %s already; 'lido cluster scale' changes its size", path.Base(id))
			}
			if err := w.Ensure(cmd.Context(), ""); err != nil {
				return err
			}
			body, err := o.body()
			if err != nil {
				return err
			}
			return w.Client.Put(cmd.Context(), id, body)
		})
	f := cmd.Flags()
	f.StringVar(&nodes, "nodes", fmt.Sprintf("%d..%d", o.minimum, o.maximum), "how many nodes: a number, or MIN..MAX to follow the jobs")
	f.StringVar(&o.size, "size", o.size, "machine size of the nodes")
	f.StringVar(&o.image, "image", o.image, "the nodes' image: one of lido's by name, or publisher:offer:sku:version")
	f.IntVar(&o.slots, "slots", 0, "how many jobs a node may run at a time (default 1)")
	f.BoolVar(&low, "low-priority", false, "nodes may be taken for others when memory is short; their jobs go back to the queue")
	f.StringVar(&o.user, "admin-user", o.user, "account of jobs and of ssh in the nodes")
	f.StringVar(&keyFile, "ssh-key", "", "public key file for ssh to the nodes (default: your own in ~/.ssh, or one made for lido)")
	return cmd
}

func newClusterScaleCommand() *cobra.Command {
	var option string
	cmd := clusterCommand("scale NAME COUNT|MIN..MAX", "Change how many nodes a cluster has", `  lido cluster scale big 4
  lido cluster scale big 0..8               # follow the jobs
  lido cluster scale big 1 --running waitforjobcompletion`, cobra.ExactArgs(2),
		func(cmd *cobra.Command, w client.Workspace, id string, rest []string) error {
			var o clusterOptions
			if err := o.setNodes(rest[0]); err != nil {
				return err
			}
			o.deallocation = option
			return w.Client.Patch(cmd.Context(), id, map[string]any{"properties": map[string]any{"scaleSettings": o.scale()}})
		})
	cmd.Flags().StringVar(&option, "running", "requeue", "what becomes of jobs on nodes that go: requeue, terminate or waitforjobcompletion")
	return cmd
}

func newClusterRemoveCommand() *cobra.Command {
	return clusterCommand("rm NAME", "Remove a cluster with its nodes", "  lido cluster rm big", cobra.ExactArgs(1),
		func(cmd *cobra.Command, w client.Workspace, id string, _ []string) error {
			if _, err := w.Client.Cluster(cmd.Context(), id); err != nil {
				return err
			}
			return w.Client.Delete(cmd.Context(), id)
		})
}

func newClusterNodesCommand() *cobra.Command {
	var output *string
	cmd := clusterCommand("nodes NAME", "List a cluster's nodes and where ssh reaches them", "  lido cluster nodes big", cobra.ExactArgs(1),
		func(cmd *cobra.Command, w client.Workspace, id string, _ []string) error {
			logins, err := w.Client.Logins(cmd.Context(), id)
			if err != nil {
				return err
			}
			var rows []string
			for _, l := range logins {
				rows = append(rows, row(l.Node, l.Address, int(l.Port)))
			}
			return printAs(cmd.OutOrStdout(), *output, logins, row("NODE", "ADDRESS", "PORT"), rows)
		})
	output = outputFlag(cmd)
	return cmd
}

func newClusterSSHCommand() *cobra.Command {
	var node string
	cmd := clusterCommand("ssh NAME [-- COMMAND...]", "Log in to a node, or run a command there", `  lido cluster ssh big
  lido cluster ssh big --node big000003 -- top -bn1`, cobra.MinimumNArgs(1),
		func(cmd *cobra.Command, w client.Workspace, id string, rest []string) error {
			c, err := w.Client.Cluster(cmd.Context(), id)
			if err != nil {
				return err
			}
			l, err := chooseNode(cmd, w, id, node)
			if err != nil {
				return err
			}
			return runSSH(cmd, w.Client.Server(), c.Properties.User.Name, l, rest)
		})
	cmd.Flags().StringVar(&node, "node", "", "the node (default: the first)")
	return cmd
}

func chooseNode(cmd *cobra.Command, w client.Workspace, id, node string) (client.Login, error) {
	logins, err := w.Client.Logins(cmd.Context(), id)
	if err != nil {
		return client.Login{}, err
	}
	for _, l := range logins {
		if node == "" || strings.EqualFold(node, l.Node) {
			return l, nil
		}
	}
	if node == "" {
		return client.Login{}, fmt.Errorf("cluster %s has no node now: 'lido cluster scale %s 1' gives it one", path.Base(id), path.Base(id))
	}
	return client.Login{}, fmt.Errorf("cluster %s has no node %s: 'lido cluster nodes %s' lists them", path.Base(id), node, path.Base(id))
}

// runSSH runs ssh at the terminal and ends with its exit code. Nodes' host keys are kept by server: addresses of several
// lidos may be the same.
func runSSH(cmd *cobra.Command, server, user string, l client.Login, command []string) error {
	key, err := ownKeyPath()
	if err != nil {
		return err
	}
	if err := makeOwnDir(filepath.Dir(key)); err != nil {
		return err
	}
	known := filepath.Join(filepath.Dir(key), "known_hosts-"+azDirName(azenv.Server{URL: server}))
	args := []string{"-p", strconv.Itoa(int(l.Port)), "-o", "StrictHostKeyChecking=accept-new", "-o", "UserKnownHostsFile=" + known}
	if _, err := os.Stat(key); err == nil {
		args = append(args, "-i", key)
	}
	ssh := exec.CommandContext(cmd.Context(), "ssh", append(append(args, user+"@"+l.Address), command...)...)
	ssh.Stdin, ssh.Stdout, ssh.Stderr = cmd.InOrStdin(), cmd.OutOrStdout(), cmd.ErrOrStderr()
	ssh.Cancel = func() error { return ssh.Process.Signal(syscall.SIGTERM) }
	err = ssh.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exitCode(exit.ExitCode())
	}
	return err
}
