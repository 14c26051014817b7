package compute

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// bucketRuns: operation id -> the sealed command that it runs, until it ended.
const bucketRuns = "compute run"

// runLimit is how long a run-command may take, as in Azure.
const runLimit = 90 * time.Minute

// pendingRun is a run-command whose operation is open.
type pendingRun struct {
	Instance string `json:"instance"` // id
	UID      string `json:"uid"`
	Machine  string `json:"machine"` // id
	Command  string `json:"command"`
}

type runParameter struct {
	Name  string     `json:"name"`
	Value arm.String `json:"value"`
}

// runCommand serves {V}/virtualMachines/I/runCommand.
func (r *Room) runCommand(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var body struct {
		ID         string         `json:"commandId"`
		Script     []string       `json:"script"`
		Parameters []runParameter `json:"parameters"`
	}
	if err := req.Decode(&body); err != nil {
		return nil, err
	}
	command, err := shellCommand(body.ID, body.Script, body.Parameters)
	if err != nil {
		return nil, err
	}
	resp := &arm.Response{Status: http.StatusAccepted, Location: true}
	var run pendingRun
	err = r.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(req.ID.String())
		if err != nil {
			return instanceNotFound(err, req.ID)
		}
		var w wish
		if err := json.Unmarshal(d.Desired, &w); err != nil {
			return err
		}
		run = pendingRun{Instance: d.ID, UID: d.UID, Machine: machineID(d.UID, w.Serial), Command: command}
		if info, err := r.Engine.Get(ctx, run.Machine); err != nil || info.State != machine.Running {
			return arm.Conflict("OperationNotAllowed", "Cannot run a command on the instance '%s': its machine does not run. Start it first ('az vmss start').", req.ID.FullName())
		}
		if resp.Operation, err = r.Server.StartOperation(tx, d, "runCommand", 0); err != nil {
			return err
		}
		return r.keepRun(tx, resp.Operation.ID, run)
	})
	if err != nil {
		return nil, err
	}
	id := resp.Operation.ID
	r.goRun(func() { r.awaitRun(id, run) })
	return resp, nil
}

var parameterName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// shellCommand makes one script of a run-command's lines; parameters are environment variables, and arguments as well.
func shellCommand(id string, lines []string, params []runParameter) (string, error) {
	switch {
	case strings.EqualFold(id, "ifconfig"):
		lines = []string{"ip addr"}
	case !strings.EqualFold(id, "RunShellScript"):
		return "", invalid("commandId", "The command '%s' is not available. lido runs RunShellScript and ifconfig.", id)
	}
	var b strings.Builder
	var args []string
	for _, p := range params {
		quoted := quote(string(p.Value))
		if parameterName.MatchString(p.Name) {
			b.WriteString("export " + p.Name + "=" + quoted + "\n")
		}
		args = append(args, quoted)
	}
	if len(args) > 0 {
		b.WriteString("set -- " + strings.Join(args, " ") + "\n")
	}
	script := strings.Join(lines, "\n") + "\n"
	if strings.HasPrefix(script, "#!") {
		return b.String() + scriptCommand(unixLines([]byte(script))), nil
	}
	return b.String() + string(unixLines([]byte(script))), nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

func (r *Room) keepRun(tx *store.Tx, op string, run pendingRun) error {
	b, err := json.Marshal(run)
	if err != nil {
		return err
	}
	return tx.SetKV(bucketRuns, op, r.Server.Box.SealBytes(b, bucketRuns+op))
}

// awaitRun runs a command, or goes on waiting for it, and ends its operation.
func (r *Room) awaitRun(op string, run pendingRun) {
	result, failure := r.runOnce(op, run)
	if r.ctx.Err() != nil {
		return // the next start of lido goes on
	}
	err := r.writer.do(func(tx *store.Tx) error {
		open, err := r.Server.OpenOperations(tx, run.Instance)
		if err != nil {
			return err
		}
		for _, o := range open {
			if o.ID != op {
				continue
			}
			if err := r.Server.FinishOperation(tx, o, result, failure); err != nil {
				return err
			}
		}
		return tx.DeleteKV(bucketRuns, op)
	})
	if err != nil {
		r.Log.Error("run-command", "instance", run.Instance, "err", err)
	}
}

func (r *Room) runOnce(op string, run pendingRun) (any, *arm.Error) {
	j := job{unit: "lido-run-" + op, dir: "/var/lib/waagent/run-command/download/" + op, command: run.Command, limit: runLimit}
	res, err := r.run(r.ctx, run.Machine, j)
	if err != nil {
		return nil, arm.Conflict(codeExtension, "The command could not be run: %v. Look at the state of the instance.", err)
	}
	what := "Enable succeeded: "
	if res.interrupted {
		what = "Enable failed: the machine was restarted while the command was running, or the command took longer than 90 minutes"
	}
	// As in Azure, a command that ends with a code other than 0 was run all the same.
	return map[string]any{"value": []viewStatus{newStatus("ProvisioningState/succeeded", "Info", "Provisioning succeeded", what+output(&res), time.Time{})}}, nil
}

// resumeRuns goes on with the run-commands that were open when lido ended.
func (r *Room) resumeRuns() {
	err := r.Store.View(r.ctx, func(tx *store.Tx) error {
		entries, err := tx.ListKV(bucketRuns)
		if err != nil {
			return err
		}
		for _, e := range entries {
			var run pendingRun
			b, err := r.Server.Box.OpenBytes(e.Value, bucketRuns+e.Key)
			if err == nil {
				err = json.Unmarshal(b, &run)
			}
			if err != nil {
				r.Log.Error("resume a run-command", "operation", e.Key, "err", err)
				continue
			}
			r.goRun(func() { r.awaitRun(e.Key, run) })
		}
		return nil
	})
	if err != nil {
		r.Log.Error("resume run-commands", "err", err)
	}
}
