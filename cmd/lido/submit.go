package main

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"lido.dev/lido/internal/client"
)

// jobShare is the share of a workspace's own account that jobs' output goes to; jobs see it at jobShareDir.
const (
	jobShare    = "jobs"
	jobShareDir = "$AZ_BATCHAI_JOB_MOUNT_ROOT/" + jobShare
)

type submitOptions struct {
	nodes, processes           int
	cluster, experiment, name  string
	image, imageUser, priority string
	env, secrets, files        []string
	mpi, follow, wait          bool
	output                     *string
}

func newJobSubmitCommand() *cobra.Command {
	var opt submitOptions
	cmd := &cobra.Command{
		Use:   "submit [flags] (JOBFILE | -- COMMAND [ARGS...])",
		Short: "Submit a job: a command, or a job file as az takes it",
		Long: `Submit a job and print its name. JOBFILE is the job.json of 'az batchai job create -f'; the words
<AZURE_BATCHAI_STORAGE_ACCOUNT> and <AZURE_BATCHAI_STORAGE_KEY> in it stand for the workspace's own account.

Without more flags a job runs on one node of the workspace's cluster "default", which is made on first use: it has no
nodes while there is no work, and up to four. Output goes to the share "jobs" of the workspace's storage account, which
jobs see in $AZ_BATCHAI_JOB_MOUNT_ROOT/jobs. A command starts in a directory of the job's own in the node;
files given by --file are put there first.

COMMAND with one word is a line for bash; with several, they are taken as they are.`,
		Example: `  lido job submit -f -- 'nproc; free -g'
  lido job submit --nodes 2 --mpi --file pi.py --wait -- python3 pi.py
  lido job submit --image python:3.12-slim -- python3 -c 'print("in a container")'
  lido job submit --cluster big --priority high --env EPOCHS=10 train.json`,
	}
	conn := connectFlags(cmd)
	opt.flags(cmd)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || (cmd.ArgsLenAtDash() < 0 && len(args) != 1) || cmd.ArgsLenAtDash() > 0 {
			return errors.New("want one job file, or a command after --: 'lido job submit job.json' or 'lido job submit -- python3 train.py'")
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		w, err := conn.open(cmd)
		if err != nil {
			return err
		}
		s := &submission{submitOptions: opt, cmd: cmd, w: w, group: conn.group}
		j, err := s.run(args, cmd.ArgsLenAtDash() == 0)
		if err != nil {
			return err
		}
		return s.afterwards(j)
	}
	return cmd
}

func (o *submitOptions) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.IntVar(&o.nodes, "nodes", 0, "how many nodes at once (default 1, or as the file says)")
	f.BoolVar(&o.mpi, "mpi", false, "run the command by mpirun on all nodes (without it, on the first)")
	f.IntVar(&o.processes, "processes", 0, "with --mpi: how many processes in all (default: one a node)")
	f.StringVar(&o.cluster, "cluster", "", "cluster, by name or id (default \"default\", made on first use)")
	f.StringVar(&o.experiment, "experiment", defaultExperiment, "experiment to put the job in, made if it is not there")
	f.StringVar(&o.name, "name", "", "the job's name (default: made from the command's)")
	f.StringArrayVar(&o.env, "env", nil, "environment variable NAME=VALUE (NAME alone takes it from here); repeatable")
	f.StringArrayVar(&o.secrets, "secret", nil, "the same, never shown again; repeatable")
	f.StringArrayVar(&o.files, "file", nil, "small file or directory to put into the job's directory; repeatable")
	f.StringVar(&o.image, "image", "", "container image to run in (default: in the node itself)")
	f.StringVar(&o.imageUser, "image-user", "", "account at the image's registry; its password is in LIDO_IMAGE_PASSWORD")
	f.StringVar(&o.priority, "priority", "", "low, normal or high")
	f.BoolVarP(&o.follow, "follow", "f", false, "stream the output until it ends, and exit with its exit code")
	f.BoolVar(&o.wait, "wait", false, "wait until it ends, and exit with its exit code")
	o.output = f.StringP("output", "o", "name", "what is printed of the job: name, json or yaml")
}

// submission is one job on its way.
type submission struct {
	submitOptions
	cmd   *cobra.Command
	w     client.Workspace
	group string
	own   *client.Account
}

func (s *submission) run(args []string, command bool) (*client.Job, error) {
	ctx := s.cmd.Context()
	spec, err := s.spec(args, command)
	if err != nil {
		return nil, err
	}
	if err := s.fill(spec); err != nil {
		return nil, err
	}
	if err := s.w.Ensure(ctx, s.experiment); err != nil {
		return nil, err
	}
	if err := s.place(spec); err != nil {
		return nil, err
	}
	if err := s.outputs(spec); err != nil {
		return nil, err
	}
	if err := spec.FillKeys(ctx, s.w.Client, s.account); err != nil {
		return nil, err
	}
	name := s.name
	if name == "" {
		name = jobName(args[0], command)
	}
	return s.w.Submit(ctx, s.w.JobID(s.experiment, name), spec)
}

// account is the workspace's own storage account, made when it is first needed.
func (s *submission) account() (client.Account, error) {
	if s.own == nil {
		ctx := s.cmd.Context()
		if err := s.w.Ensure(ctx, ""); err != nil {
			return client.Account{}, err
		}
		a, err := s.w.Client.EnsureAccount(ctx, s.group, accountName(s.w.ID))
		if err != nil {
			return a, err
		}
		s.own = &a
	}
	return *s.own, nil
}

// accountName is the same for a workspace for ever.
func accountName(workspace string) string {
	sum := sha256.Sum256([]byte(strings.ToLower(workspace)))
	return "lidojobs" + hex.EncodeToString(sum[:6])
}

// spec is the job as the file or command says.
func (s *submission) spec(args []string, command bool) (*client.Spec, error) {
	if command {
		line := args[0]
		if len(args) > 1 {
			line = quote(args)
		}
		spec := &client.Spec{Properties: map[string]any{}}
		kind := "customToolkitSettings"
		settings := map[string]any{"commandLine": line}
		if s.mpi {
			kind = "customMpiSettings"
			if s.processes > 0 {
				settings["processCount"] = s.processes
			}
		}
		spec.Properties[kind] = settings
		return spec, nil
	}
	data, err := os.ReadFile(args[0])
	if err != nil {
		return nil, fmt.Errorf("job file: %w (a command comes after --: 'lido job submit -- %s')", err, args[0])
	}
	spec, err := client.ParseSpec(data, s.account)
	if err != nil {
		return nil, fmt.Errorf("job file %s: %w", args[0], err)
	}
	return spec, nil
}

// fill writes what flags say into the job.
func (s *submission) fill(spec *client.Spec) error {
	p := spec.Properties
	if s.nodes > 0 {
		p["nodeCount"] = s.nodes
	}
	if p["nodeCount"] == nil {
		p["nodeCount"] = 1
	}
	if s.priority != "" {
		p["schedulingPriority"] = s.priority
	}
	if s.image != "" {
		source := map[string]any{"image": s.image}
		if s.imageUser != "" {
			source["credentials"] = map[string]any{"username": s.imageUser, "password": os.Getenv("LIDO_IMAGE_PASSWORD")}
		}
		p["containerSettings"] = map[string]any{"imageSourceRegistry": source}
	}
	for list, given := range map[string][]string{"environmentVariables": s.env, "secrets": s.secrets} {
		for _, g := range given {
			name, value, err := variable(g)
			if err != nil {
				return err
			}
			spec.SetVariable(list, name, value)
		}
	}
	if len(s.files) == 0 {
		return nil
	}
	line, err := unpackLine(s.files)
	if err != nil {
		return err
	}
	if before, ok := p["jobPreparation"].(map[string]any); ok {
		line += " && " + fmt.Sprint(before["commandLine"])
	}
	p["jobPreparation"] = map[string]any{"commandLine": line}
	return nil
}

// variable reads NAME=VALUE, or NAME for one of this process's own.
func variable(s string) (name, value string, err error) {
	name, value, given := strings.Cut(s, "=")
	if !given {
		if value, given = os.LookupEnv(name); !given {
			return "", "", fmt.Errorf("variable %s is not set here: write %s=VALUE", name, name)
		}
	}
	if name == "" {
		return "", "", fmt.Errorf("variable %q has no name: write NAME=VALUE", s)
	}
	return name, value, nil
}

// place says on which cluster the job runs.
func (s *submission) place(spec *client.Spec) error {
	at, _ := spec.Properties["cluster"].(map[string]any)
	if at["id"] != nil && s.cluster == "" {
		return nil
	}
	name := s.cluster
	if name == "" {
		name = defaultCluster
	}
	id := s.w.ClusterID(name)
	_, err := s.w.Client.Cluster(s.cmd.Context(), id)
	switch {
	case client.NotFound(err) && s.cluster == "":
		err = s.firstCluster(id)
	case client.NotFound(err):
		return fmt.Errorf("%w: 'lido cluster ls' shows those of workspace %s, 'lido cluster create %s' makes it", err, path.Base(s.w.ID), name)
	}
	spec.Properties["cluster"] = map[string]any{"id": id}
	return err
}

func (s *submission) firstCluster(id string) error {
	c := firstCluster()
	fmt.Fprintf(s.cmd.ErrOrStderr(), "making cluster %s: %d to %d nodes of %s, image %s\n", path.Base(id), c.minimum, c.maximum, c.size, c.image)
	body, err := c.body()
	if err != nil {
		return err
	}
	return s.w.Client.Put(s.cmd.Context(), id, body)
}

// outputs gives a job that says nothing of it a place for its output: the workspace's own share.
func (s *submission) outputs(spec *client.Spec) error {
	p := spec.Properties
	if p["stdOutErrPathPrefix"] != nil {
		return nil
	}
	a, err := s.account()
	if err != nil {
		return err
	}
	spec.Add(map[string]any{"azureFileUrl": a.File + jobShare, "relativeMountPath": jobShare, "accountName": a.Name}, "mountVolumes", "azureFileShares")
	p["stdOutErrPathPrefix"] = jobShareDir
	if p["outputDirectories"] == nil {
		spec.Add(map[string]any{"id": "FILES", "pathPrefix": jobShareDir, "pathSuffix": "files"}, "outputDirectories")
	}
	return nil
}

// jobName makes a name from a command or a job file, with an end that no other has.
func jobName(from string, command bool) string {
	if !command && filepath.Base(from) == "job.json" {
		if abs, err := filepath.Abs(from); err == nil {
			from = filepath.Dir(abs)
		}
	}
	base := "job"
	if words := strings.Fields(from); len(words) > 0 {
		name := filepath.Base(words[0])
		base = cmp.Or(resourceName(strings.TrimSuffix(name, filepath.Ext(name))), base)
	}
	return fmt.Sprintf("%.40s-%s", base, strings.ToLower(rand.Text()[:5]))
}

// afterwards is what the command does when the job is queued.
func (s *submission) afterwards(j *client.Job) error {
	switch {
	case s.follow:
		fmt.Fprintln(s.cmd.ErrOrStderr(), "submitted", j.Name)
		return followJob(s.cmd, s.w.Client, j.ID, "")
	case *s.output == "name":
		fmt.Fprintln(s.cmd.OutOrStdout(), j.Name)
	default:
		if err := printAs(s.cmd.OutOrStdout(), *s.output, j, "", nil); err != nil {
			return err
		}
	}
	if !s.wait {
		return nil
	}
	j, err := awaitJob(s.cmd, s.w.Client, j.ID)
	if err != nil {
		return err
	}
	return result(s.cmd, j)
}
