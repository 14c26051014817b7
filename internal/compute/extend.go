package compute

import (
	"context"
	"fmt"
	"strings"
	"time"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// Where and how long custom scripts run, as in Azure.
const (
	extensionDir   = "/var/lib/waagent/custom-script/download/"
	extensionLimit = 90 * time.Minute
)

// extend runs the next extension of a machine, or goes on watching it, to its end.
func (w *worker) extend(ctx context.Context, v *instanceView) error {
	r := w.c.room
	e := pendingExtension(v)
	if !isCustomScript(&e.Properties) {
		return w.recordExtension(v, extensionStatus{Name: e.Name, Hash: e.hash, State: extNotRun,
			Message: fmt.Sprintf("Extensions of type %s.%s are accepted, but lido does not run them. It runs Microsoft.Azure.Extensions.CustomScript.", e.Properties.Publisher, e.Properties.Type)})
	}
	st := extensionStatus{Name: e.Name, Hash: e.hash, State: extRunning, Seq: nextSeq(&v.Status), Time: r.Now(), Message: "The command is running."}
	if old := v.Status.extension(e.Name); old != nil && old.Hash == e.hash && old.State == extRunning {
		st = *old
	} else if err := w.recordExtension(v, st); err != nil {
		return err
	}
	open, secrets, err := w.openExtension(ctx, v, e.Name)
	if err != nil {
		return err
	}
	res, err := w.runExtension(ctx, v, open, &st)
	if err != nil {
		return err
	}
	if res != nil {
		finishExtension(&st, res, r.Now())
	}
	st.Message, st.Time = redact(st.Message, secrets), r.Now()
	if st.State == extSucceeded {
		w.linkRemote(ctx, v)
	}
	return w.recordExtension(v, st)
}

func nextSeq(s *status) int {
	n := 0
	for _, e := range s.Extensions {
		n = max(n, e.Seq)
	}
	return n + 1
}

// recordExtension writes what became of an extension.
func (w *worker) recordExtension(v *instanceView, st extensionStatus) error {
	if st.Time.IsZero() {
		st.Time = w.c.room.Now()
	}
	return w.record(v, func(s *status) {
		if s.SetGeneration < v.SetGeneration && st.State == extFailed {
			s.SetGeneration = v.SetGeneration
		}
		if old := s.extension(st.Name); old != nil {
			*old = st
		} else {
			s.Extensions = append(s.Extensions, st)
		}
	})
}

// openExtension returns an extension with its secrets in clear, and those secrets.
func (w *worker) openExtension(ctx context.Context, v *instanceView, name string) (e *extension, secrets []string, err error) {
	err = w.c.room.Store.View(ctx, func(tx *store.Tx) error {
		m, s, err := w.c.room.openModel(tx, w.setID, v.Wish.Model)
		if err != nil {
			return err
		}
		secrets = s
		for i := range m.Profile.Extensions.List {
			if m.Profile.Extensions.List[i].Name == name {
				e = &m.Profile.Extensions.List[i]
			}
		}
		return nil
	})
	if err == nil && e == nil {
		err = errStale
	}
	return e, secrets, err
}

// runExtension downloads, runs and awaits. A nil result means that st says why it could not be run.
func (w *worker) runExtension(ctx context.Context, v *instanceView, e *extension, st *extensionStatus) (*jobResult, error) {
	r, id := w.c.room, v.Machine.ID
	refuse := func(err error) (*jobResult, error) {
		st.State, st.ExitCode = extFailed, -1
		st.Message = "Enable failed: " + strings.ReplaceAll(err.Error(), "\n", "; ")
		return nil, nil
	}
	cs, err := readCustomScript(&e.Properties)
	if err != nil {
		return refuse(err)
	}
	command, err := cs.command()
	if err != nil {
		return refuse(err)
	}
	j := job{unit: fmt.Sprintf("lido-extension-%d", st.Seq), dir: fmt.Sprintf("%s%d", extensionDir, st.Seq), command: command, limit: extensionLimit}
	begun, err := r.begun(ctx, id, j.dir)
	if err != nil {
		return nil, err
	}
	if !begun {
		if err := r.makeHome(ctx, v); err != nil {
			return nil, err
		}
		if failed, err := r.download(ctx, id, j.dir, cs); failed != nil || err != nil {
			if failed != nil {
				return refuse(failed)
			}
			return nil, err
		}
	}
	res, err := r.run(ctx, id, j)
	return &res, err
}

// download puts an extension's files into the machine. failed is for files that cannot be had; err for the machine.
func (r *Room) download(ctx context.Context, id, dir string, cs customScript) (failed, err error) {
	for _, uri := range cs.FileURIs {
		name, err := fileName(uri)
		if err != nil {
			return err, nil
		}
		data, err := r.Fetcher.Fetch(ctx, uri)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("failed to download files: %w", err), nil
		}
		if !bool(cs.SkipDos2Unix) && isScript(name, data) {
			data = unixLines(data)
		}
		if err := r.put(ctx, id, dir, name, data); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// finishExtension says in Azure's words what became of the command.
func finishExtension(st *extensionStatus, res *jobResult, now time.Time) {
	st.ExitCode = res.exitCode
	st.State = extFailed
	why := ""
	switch {
	case res.interrupted && now.Sub(st.Time) >= extensionLimit:
		why = fmt.Sprintf("Enable failed: the command was ended after %s", extensionLimit)
	case res.interrupted:
		why = "Enable failed: the machine was restarted while the command was running. Reimage the instance, or change forceUpdateTag to run it again"
	case res.exitCode != 0:
		why = fmt.Sprintf("Enable failed: failed to execute command: command terminated with exit status=%d", res.exitCode)
	default:
		st.State = extSucceeded
		why = "Enable succeeded: "
	}
	st.Message = why + output(res)
}

// output shows the ends of a command's output in Azure's form.
func output(res *jobResult) string {
	return fmt.Sprintf("\n[stdout]\n%s\n[stderr]\n%s", tail(res.stdout, keepOutput), tail(res.stderr, keepOutput))
}

// makeHome makes the admin user's ~/notebooks, which scripts for data science machines link into.
func (r *Room) makeHome(ctx context.Context, v *instanceView) error {
	const script = `h=$(getent passwd "$1" | cut -d: -f6)
[ -d "$h" ] || exit 0
[ -e "$h/notebooks" ] || install -d -o "$1" -g "$(id -g "$1")" "$h/notebooks"`
	_, err := r.Engine.Exec(ctx, v.Machine.ID, machine.Command{Args: []string{"/bin/sh", "-c", script, "sh", adminOf(v)}})
	return err
}

// linkRemote leads the admin user's ~/notebooks/remote to their directory on the share, if one is mounted and nothing
// else is there yet.
func (w *worker) linkRemote(ctx context.Context, v *instanceView) {
	const script = `h=$(getent passwd "$1" | cut -d: -f6)/notebooks
[ -d "$h" ] && [ -d "$2/notebooks/$1" ] || exit 0
[ -e "$h/remote" ] && exit 0
rm -f "$h/remote"
ln -s "$2/notebooks/$1" "$h/remote" && chown -h "$1": "$h/remote"`
	r := w.c.room
	info, err := r.Engine.Get(ctx, v.Machine.ID)
	if err != nil || len(info.Mounts) == 0 {
		return
	}
	target := info.Mounts[0].Target
	if _, err := r.Engine.Exec(ctx, info.ID, machine.Command{Args: []string{"/bin/sh", "-c", script, "sh", adminOf(v), target}}); err != nil {
		r.Log.Warn("link ~/notebooks/remote", "instance", v.ID, "err", err)
	}
}

func adminOf(v *instanceView) string {
	if m := v.Machine; m != nil && len(m.Spec.Accounts) > 0 {
		return m.Spec.Accounts[0].Name
	}
	return "root"
}
