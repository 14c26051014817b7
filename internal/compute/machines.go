package compute

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// MachineState is an instance as people look at it.
type MachineState struct {
	Name          string    `json:"name"` // SET_N
	Computer      string    `json:"computer"`
	Set           string    `json:"scaleSet"`
	Group         string    `json:"resourceGroup"`
	InstanceID    string    `json:"id"` // resource id
	Machine       string    `json:"machine,omitempty"`
	State         string    `json:"state"`            // creating, running, stopped, deallocated, draining, deleting, failed...
	Reason        string    `json:"reason,omitempty"` // a sentence, where the state alone does not explain
	Address       string    `json:"address,omitempty"`
	Since         time.Time `json:"since,omitzero"`   // of the machine's last start
	Stopped       time.Time `json:"stopped,omitzero"` // when the machine last stopped
	Created       time.Time `json:"created"`
	Sessions      int       `json:"sessions"` // counted inside, at most half a minute ago; 0 also if not known
	Distribution  string    `json:"distribution,omitempty"`
	Substitution  string    `json:"substitution,omitempty"`
	LatestModel   bool      `json:"latestModel"`
	ProvisionedAs string    `json:"provisioningState"`
}

// Machines lists all instances by set and number.
func (r *Room) Machines(ctx context.Context) ([]MachineState, error) { return r.MachinesOf(ctx, "") }

// MachinesOf lists the instances of a set, by its id; no id means all sets.
func (r *Room) MachinesOf(ctx context.Context, setID string) ([]MachineState, error) {
	infos, err := r.Engine.List(ctx)
	if err != nil {
		return nil, err
	}
	machines := map[string]*machine.Info{}
	for i := range infos {
		machines[infos[i].ID] = &infos[i]
	}
	var out []MachineState
	err = r.Store.View(ctx, func(tx *store.Tx) error {
		current, err := currentModels(tx, setID)
		if err != nil {
			return err
		}
		docs, err := tx.List(store.Query{Type: TypeInstance, Under: setID})
		if err != nil {
			return err
		}
		for _, d := range docs {
			s, err := r.machineState(d, machines, current)
			if err != nil {
				return err
			}
			out = append(out, s)
		}
		return nil
	})
	slices.SortStableFunc(out, func(a, b MachineState) int {
		return cmp.Or(strings.Compare(a.Group+"/"+a.Set, b.Group+"/"+b.Set), len(a.Name)-len(b.Name), strings.Compare(a.Name, b.Name))
	})
	return out, err
}

// setsOf returns one set's document, if it is there, or all.
func setsOf(tx *store.Tx, setID string) ([]*store.Doc, error) {
	if setID == "" {
		return tx.List(store.Query{Type: TypeSet})
	}
	d, err := tx.Get(setID)
	if isNotFound(err) {
		return nil, nil
	}
	return []*store.Doc{d}, err
}

// currentModels returns the hash of each set's model, by the set's key.
func currentModels(tx *store.Tx, setID string) (map[string]string, error) {
	sets, err := setsOf(tx, setID)
	out := map[string]string{}
	if err != nil {
		return out, err
	}
	for _, d := range sets {
		if out[store.Key(d.ID)], err = modelHash(d.Desired); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (r *Room) machineState(d *store.Doc, machines map[string]*machine.Info, current map[string]string) (MachineState, error) {
	rec, err := readRecord(d)
	if err != nil {
		return MachineState{}, err
	}
	w, st := &rec.wish, &rec.status
	set := setOf(arm.ParsePath(d.ID))
	s := MachineState{
		Name: set.Name() + "_" + itoa(w.Number), Computer: w.Computer, Set: set.Name(), Group: set.Group(), InstanceID: d.ID, Created: d.CreatedAt,
		Sessions: max(r.busy.get(store.Key(d.ID)), 0), LatestModel: current[set.Key()] == w.Model, ProvisionedAs: instanceState(d, st),
	}
	if st.Image != nil {
		s.Distribution, s.Substitution = st.Image.Distribution, st.Image.Substitution
	}
	m := machines[machineID(d.UID, w.Serial)]
	if m != nil {
		s.Machine, s.Since, s.Stopped = m.ID, m.StartedAt, m.StoppedAt
		if n := m.Spec.NIC; n != nil && len(n.Addresses) > 0 {
			s.Address = n.Addresses[0].Addr().String()
		}
	}
	s.State, s.Reason = stateWord(d, w, st, m)
	if s.Reason == "" && s.State == "creating" {
		s.Reason = r.progress.get(set.Key())
	}
	return s, nil
}

// stateWord names an instance's state in one word, and says why where that is not plain.
func stateWord(d *store.Doc, w *wish, st *status, m *machine.Info) (word, reason string) {
	failure := ""
	if st.Error != nil {
		failure = st.Error.Code + ": " + inOneLine(st.Error.Message)
	}
	power, has := powerStatus(w, st, m)
	word = strings.TrimPrefix(power.Code, "PowerState/")
	switch {
	case d.Deleting:
		return "deleting", failure
	case !w.Surplus.IsZero():
		return "draining", "the set was made smaller; its sessions may end first"
	case st.ProvisioningState == arm.Failed:
		return "failed", failure
	case !has:
		return "creating", failure
	case word == "running" && runningExtension(st) != nil:
		return "running", "the extension '" + runningExtension(st).Name + "' is running"
	}
	return word, cmp.Or(failure, power.Message)
}

// inOneLine shortens a message that ends with a command's output: its first line, and the last one that was written to
// standard error.
func inOneLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	_, errors, found := strings.Cut(s, "\n[stderr]\n")
	lines := strings.Split(strings.TrimRight(errors, "\n\"."), "\n")
	if last := strings.TrimSpace(lines[len(lines)-1]); found && last != "" {
		return first + ": " + last
	}
	return first
}
