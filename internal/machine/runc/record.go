package runc

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"time"

	"lido.dev/lido/internal/machine"
)

// phase is how far a machine's making or unmaking has come.
type phase string

const (
	creating phase = "creating" // Create has not returned yet; after a crash it is undone
	ready    phase = "ready"
	deleting phase = "deleting" // Delete has begun; after a crash it is finished
)

// record is what is kept on disk about a machine.
type record struct {
	Spec   machine.Spec    `json:"spec"`
	Phase  phase           `json:"phase"`
	Base   uint32          `json:"uidBase"` // first host uid of the machine's range
	CPUSet string          `json:"cpuset,omitempty"`
	Want   machine.State   `json:"want"` // Running or Stopped, what was last asked for or happened by itself
	State  machine.State   `json:"state"`
	Reason string          `json:"reason,omitempty"`
	Mounts []machine.Mount `json:"mounts,omitempty"`

	Boots     int       `json:"boots"`
	Restarts  int       `json:"restarts"`
	Failures  int       `json:"failures"`        // starts in a row that did not last
	Ended     bool      `json:"ended,omitempty"` // the last boot's end has been judged, the next is due
	StartedAt time.Time `json:"startedAt,omitzero"`
	StoppedAt time.Time `json:"stoppedAt,omitzero"`

	Init   process `json:"init"`
	Conmon process `json:"conmon"`
}

// process names a process beyond the reuse of its pid.
type process struct {
	PID    int    `json:"pid,omitempty"`
	Start  uint64 `json:"start,omitempty"`  // field 22 of /proc/PID/stat
	BootID string `json:"bootId,omitempty"` // of the host
}

func (r *record) info() machine.Info {
	i := machine.Info{
		ID: r.Spec.ID, Spec: r.Spec, State: r.State, Reason: r.Reason, StartedAt: r.StartedAt, StoppedAt: r.StoppedAt,
		Boots: r.Boots, Restarts: r.Restarts, Mounts: append([]machine.Mount(nil), r.Mounts...),
	}
	if r.State == machine.Running {
		i.Init = r.Init.PID
	}
	return i
}

// save publishes the record and writes it so that a reader finds the old one or the new one, never half of it.
func (e *Engine) save(r *record) error {
	e.publish(r)
	data, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	path := e.recordPath(r.Spec.ID)
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return fmt.Errorf("save record: %w", err)
	}
	return os.Rename(path+".new", path)
}

// load reads a record; a directory without a whole one was never a machine.
func (e *Engine) load(id string) (*record, error) {
	data, err := os.ReadFile(e.recordPath(id))
	if err != nil {
		return nil, err
	}
	r := new(record)
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("record of machine %q: %w", id, err)
	}
	if r.Spec.ID != id {
		return nil, errors.New("record of another machine")
	}
	return r, nil
}

var idForm = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,39}$`)

func sameSpec(a, b machine.Spec) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
