package batch

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/node"
	"lido.dev/lido/internal/store"
)

// clusterKeys is the key pair by which a cluster's nodes reach each other over ssh.
type clusterKeys struct {
	Private string // OpenSSH's PEM form
	Public  string // a line of authorized_keys
}

const bucketClusterKeys = "batch cluster key" // uid of the cluster → sealed private key

// clusterKeys returns a cluster's key pair, making it at the first call.
func (r *Room) clusterKeys(ctx context.Context, id, uid string) (k clusterKeys, err error) {
	err = r.Store.View(ctx, func(tx *store.Tx) (err error) {
		k, err = r.readKeys(tx, uid)
		return err
	})
	if !errors.Is(err, store.ErrNotFound) {
		return k, err
	}
	err = r.Store.Update(ctx, func(tx *store.Tx) error {
		if d, err := tx.Get(id); err != nil || d.UID != uid {
			return errors.Join(err, store.ErrNotFound)
		}
		_, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return err
		}
		block, err := ssh.MarshalPrivateKey(private, "lido batch cluster")
		if err != nil {
			return err
		}
		return tx.SetKV(bucketClusterKeys, uid, r.Server.Box.SealBytes(pem.EncodeToMemory(block), bucketClusterKeys+uid))
	})
	if err != nil {
		return k, err
	}
	err = r.Store.View(ctx, func(tx *store.Tx) (err error) {
		k, err = r.readKeys(tx, uid)
		return err
	})
	return k, err
}

func (r *Room) readKeys(tx *store.Tx, uid string) (k clusterKeys, err error) {
	sealed, err := tx.GetKV(bucketClusterKeys, uid)
	if err != nil {
		return k, err
	}
	private, err := r.Server.Box.OpenBytes(sealed, bucketClusterKeys+uid)
	if err != nil {
		return k, fmt.Errorf("key pair of cluster: %w", err)
	}
	signer, err := ssh.ParsePrivateKey(private)
	if err != nil {
		return k, fmt.Errorf("key pair of cluster: %w", err)
	}
	return clusterKeys{Private: string(private), Public: strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey()))) + " lido-batch-cluster"}, nil
}

// The set-up of a node is one task; a second one fetches the end of what it wrote, if it failed.
func setupTaskID(uid, boot string) string { return setupJob + uid + ":" + boot }

const whySuffix = ":why"

// setupOf tells how far a node's set-up is, by its tasks' reports. The caller holds all.mu.
func (ctl *clusterControl) setupOf(d *clusterDoc, m Machine, boot string) setupView {
	c := ctl.all
	id := setupTaskID(d.UID, boot)
	instance := c.agents[m.ID].Instance
	r, known := c.reports[id]
	switch {
	case !known:
		return setupView{Running: ctl.begun[id] != "" && ctl.begun[id] == instance}
	case r.State != node.Ended:
		if ctl.begun[id] != "" && ctl.begun[id] != instance { // its agent died with it
			delete(c.reports, id)
			return setupView{}
		}
		ctl.begun[id] = instance
		return setupView{Running: true}
	case r.ExitCode == 0 && r.Failure == "" && r.Stopped == "":
		return setupView{Done: true}
	}
	if r.Failure == "" && setupStderr(d, m.Name) != "" {
		why, told := c.reports[id+whySuffix]
		if !told || why.State != node.Ended {
			ctl.askWhy(d, m, id, instance)
			return setupView{Running: true}
		}
		r.Output = why.Output
	}
	return setupView{Failure: setupProblem(d, m.Name, r, c.room.SetupLimit)}
}

// askWhy fetches the end of what a set-up task wrote to a share.
func (ctl *clusterControl) askWhy(d *clusterDoc, m Machine, id, instance string) {
	if ctl.begun[id+whySuffix] == instance {
		return
	}
	t := node.Task{ID: id + whySuffix, Job: setupJob + ctl.key, Command: "tail -c 2000 -- " + quoteLiteral(setupStderr(d, m.Name))}
	if ctl.all.room.Agents.Send(m.ID, node.Order{Run: &t}) == nil {
		ctl.begun[id+whySuffix] = instance
	}
}

// setupProblem explains a set-up that failed.
func setupProblem(d *clusterDoc, name string, r node.Report, limit time.Duration) *Problem {
	end := strings.TrimSpace(r.Output)
	if r.Failure != "" {
		p := &Problem{Code: r.Code, Message: fmt.Sprintf("Node '%s' could not be set up: %s", name, sentence(r.Failure))}
		if p.Code == "" {
			p.Code = "NodeSetupFailed"
		}
		return p
	}
	p := &Problem{Code: "NodeSetupTaskFailed", Message: fmt.Sprintf("The setup task failed on node '%s' with exit code %d.", name, r.ExitCode)}
	switch r.Stopped {
	case "":
	case node.StopLimit:
		p.Code = "NodeSetupTaskTimeout"
		p.Message = fmt.Sprintf("The setup task on node '%s' ran longer than %s, the limit that lido's configuration sets (batchSetupLimit), and was ended. %s", name, limit, whereOutput(d, name))
	default:
		p.Message = fmt.Sprintf("The setup task on node '%s' was stopped (%s).", name, r.Stopped)
	}
	if r.Full != "" {
		p.Message += " No space is left where its output goes, " + path.Dir(r.Full) + "."
	}
	if lines := strings.Split(end, "\n"); end != "" {
		p.Message += " It said: " + lines[len(lines)-1]
		p.Details = []variable{{Name: "stderr", Value: arm.String(end)}}
	}
	if at := setupStderr(d, name); at != "" {
		p.Details = append(p.Details, variable{Name: "stdOutErrPath", Value: arm.String(path.Dir(at))})
	}
	return p
}

// whereOutput says where people find what a setup task wrote.
func whereOutput(d *clusterDoc, name string) string {
	if at := setupStderr(d, name); at != "" {
		return "Its output is in the node's " + path.Dir(at) + "."
	}
	return "Only the end of its output was kept; stdOutErrPathPrefix keeps all of it on a share."
}

// beginSetup sends a node its set-up task. If its agent is away, the next pass tries again.
func (ctl *clusterControl) beginSetup(ctx context.Context, d *clusterDoc, n nodeInfo) {
	r := ctl.all.room
	t, err := r.setupTask(ctx, d, n)
	if err != nil {
		r.Log.Error("batch: set up a node", "cluster", d.ID, "node", n.Name, "err", err)
		return
	}
	if err := r.Agents.Send(n.Machine, node.Order{Run: t}); err != nil {
		return
	}
	r.Log.Info("batch: set up a node", "cluster", d.ID, "node", n.Name, "machine", n.Machine)
	ctl.begun[t.ID] = n.Instance
}

// endSetup lets the agent forget a set-up that was recorded.
func (ctl *clusterControl) endSetup(d *clusterDoc, n nodeInfo) {
	id := setupTaskID(d.UID, n.boot())
	c := ctl.all
	c.mu.Lock()
	_, known := c.reports[id]
	delete(c.reports, id)
	c.mu.Unlock()
	delete(ctl.begun, id)
	if known {
		c.room.Agents.Send(n.Machine, node.Order{Forget: []string{id}})
	}
}

// setupTask is what makes a machine a node: keys, mounts, and the cluster's setup task as root.
func (r *Room) setupTask(ctx context.Context, d *clusterDoc, n nodeInfo) (*node.Task, error) {
	mounts, err := r.nodeMounts(ctx, &d.wish.Setup.Mounts)
	if err != nil {
		return nil, err
	}
	user := d.wish.User.Name
	home := "/home/" + user + "/.ssh/"
	t := &node.Task{ID: setupTaskID(d.UID, n.boot()), Job: setupJob + store.Key(d.ID), Mounts: mounts, Dirs: []string{mountRoot, jobsRoot}, Dir: "/",
		Files: []node.File{
			{Path: home + "id_ed25519", Data: d.keys.Private, Mode: 0o600, User: user},
			{Path: home + "id_ed25519.pub", Data: d.keys.Public + "\n", User: user},
			{Path: "/etc/ssh/ssh_config.d/20-lido-cluster.conf", Data: sshConfig(user)},
		},
		Command: sshCommand(user, d.keys.Public)}
	if s := d.wish.Setup.Task; s != nil && s.CommandLine != "" {
		t.Env = setupEnv(d, n)
		t.Command += s.CommandLine + "\n"
		t.Limit = r.SetupLimit
		if t.Stdout, t.Stderr = setupStdout(d, n.Name), setupStderr(d, n.Name); t.Stdout != "" {
			t.Dirs = append(t.Dirs, path.Dir(t.Stdout))
		}
	}
	return t, nil
}

// sshConfig spares the admin user the question about hosts that come and go, in the private networks that nodes are in.
func sshConfig(user string) string {
	return "Match localuser " + user + " host 10.*,192.168.*,172.*,*-??????\n  IdentityFile ~/.ssh/id_ed25519\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n"
}

// sshCommand lets the nodes' admin users in by the cluster's key. The account's own keys stay.
func sshCommand(user, public string) string {
	return fmt.Sprintf(`chown %[1]s: /home/%[1]s/.ssh && chmod 700 /home/%[1]s/.ssh && cd /home/%[1]s/.ssh || exit 1
grep -qxF %[2]s authorized_keys 2>/dev/null || echo %[2]s >> authorized_keys
chown %[1]s: authorized_keys && chmod 600 authorized_keys && chmod 1777 %[3]s && cd / || exit 1
`, user, quoteLiteral(public), quoteLiteral(jobsRoot))
}

func setupEnv(d *clusterDoc, n nodeInfo) map[string]string {
	s := d.wish.Setup.Task
	id := namesOf(d.ID)
	env := map[string]string{"AZ_BATCHAI_MOUNT_ROOT": mountRoot, "AZ_BATCHAI_CLUSTER_NAME": id.Parent, "AZ_BATCHAI_WORKSPACE_NAME": id.Workspace,
		"AZ_BATCHAI_NODE_ID": n.Name}
	if at := setupStdout(d, n.Name); at != "" {
		env["AZ_BATCHAI_STDOUTERR_DIR"] = path.Dir(at)
	}
	for _, list := range [][]variable{s.Env, s.Secrets} {
		for _, v := range list {
			env[v.Name] = string(v.Value)
		}
	}
	return env
}

func setupStdout(d *clusterDoc, node string) string { return setupOutput(d, "stdout-"+node+".txt") }
func setupStderr(d *clusterDoc, node string) string { return setupOutput(d, "stderr-"+node+".txt") }

// setupOutput is where in a node a file of the setup task's output goes; empty means that only its end is kept.
func setupOutput(d *clusterDoc, file string) string {
	s := d.wish.Setup.Task
	if s == nil || s.OutPrefix == "" {
		return ""
	}
	prefix := strings.NewReplacer("${AZ_BATCHAI_MOUNT_ROOT}", mountRoot, "$AZ_BATCHAI_MOUNT_ROOT", mountRoot).Replace(s.OutPrefix)
	return path.Join("/", prefix, setupSuffix(d.Doc), file)
}

// setupSuffix tells the outputs of clusters' set-up tasks apart: it is stdOutErrPathSuffix to clients.
func setupSuffix(d *store.Doc) string {
	n := namesOf(d.ID)
	return path.Join(n.Subscription, n.Group, "workspaces", n.Workspace, "clusters", n.Parent, d.UID)
}
