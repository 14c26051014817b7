package compute

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

// adopt takes over the machines of an earlier run of lido: their memory, and their guests' sockets.
func (r *Room) adopt(infos []machine.Info) error {
	deallocated, err := r.deallocated()
	if err != nil {
		return err
	}
	for _, m := range infos {
		if m.Spec.Labels[labelInstance] == "" {
			continue
		}
		if uid := m.Spec.Labels[labelUID]; !deallocated[uid] {
			r.ledger.adopt(uid, m.Spec.Memory)
		}
		g := guest{machine: m.ID, instance: m.Spec.Labels[labelInstance], set: m.Spec.Labels[labelSet]}
		if len(m.Spec.Accounts) > 0 {
			g.admin = m.Spec.Accounts[0].Name
		}
		if err := r.guests.begin(g); err != nil {
			r.Log.Error("guest socket", "machine", m.ID, "err", err)
		}
	}
	r.removeStaleGuests(infos)
	return nil
}

// deallocated returns the uids of instances that hold no memory.
func (r *Room) deallocated() (map[string]bool, error) {
	out := map[string]bool{}
	err := r.Store.View(r.ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Type: TypeInstance})
		if err != nil {
			return err
		}
		for _, d := range docs {
			var st status
			if err := json.Unmarshal(d.Status, &st); err != nil {
				return err
			}
			out[d.UID] = st.Power == PowerDeallocated
		}
		return nil
	})
	return out, err
}

// removeStaleGuests removes the directories of machines that are no more.
func (r *Room) removeStaleGuests(infos []machine.Info) {
	if r.RunDir == "" {
		return
	}
	live := map[string]bool{}
	for _, m := range infos {
		live[m.ID] = true
	}
	entries, err := os.ReadDir(r.RunDir)
	if err != nil {
		return // not there yet
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "vm-") && !live[e.Name()] {
			os.RemoveAll(filepath.Join(r.RunDir, e.Name()))
		}
	}
}
