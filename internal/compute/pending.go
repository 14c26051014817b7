package compute

import (
	"encoding/json"
	"slices"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// Actions are wishes: they change the documents of instances, and their operation ends when the reconciler has carried
// the changed wishes out. What an operation waits for is kept beside it.

// bucketActions + set key: operation id -> action.
const bucketActions = "compute action "

// action is what an operation on instances waits for.
type action struct {
	Verb    string   `json:"verb"`
	Targets []target `json:"targets"`
}

// target is an instance whose wish of a generation is to be carried out, or that is to be gone.
type target struct {
	ID         string `json:"id"`
	UID        string `json:"uid"`
	Generation int64  `json:"generation"`
}

// pendingAction is an action whose operation is open.
type pendingAction struct {
	op string
	action
}

func (r *Room) beginAction(tx *store.Tx, set *store.Doc, a action) (*arm.Operation, error) {
	op, err := r.Server.StartOperation(tx, set, a.Verb, 0)
	if err != nil {
		return nil, err
	}
	return op, tx.SetJSON(bucketActions+store.Key(set.ID), op.ID, a)
}

// pendingActions returns the actions on a set whose operations are open.
func (r *Room) pendingActions(tx *store.Tx, setID string) ([]pendingAction, error) {
	entries, err := tx.ListKV(bucketActions + store.Key(setID))
	if err != nil {
		return nil, err
	}
	var out []pendingAction
	for _, e := range entries {
		p := pendingAction{op: e.Key}
		if err := json.Unmarshal(e.Value, &p.action); err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// endedAction is an action that was carried out, and what it failed with.
type endedAction struct {
	op      string
	failure *arm.Error
}

// endedActions returns those of a set's actions that were carried out.
func endedActions(s *snapshot) []endedAction {
	if len(s.actions) == 0 {
		return nil
	}
	byUID := map[string]*instanceView{}
	for _, i := range s.view.Instances {
		byUID[i.UID] = i
	}
	var out []endedAction
	for _, a := range s.actions {
		if done, failure := actionOutcome(a.action, byUID); done {
			out = append(out, endedAction{a.op, failure})
		}
	}
	return out
}

// actionOutcome tells whether an action was carried out on all of its targets, and with what error.
func actionOutcome(a action, byUID map[string]*instanceView) (done bool, failure *arm.Error) {
	for _, t := range a.Targets {
		i := byUID[t.UID]
		switch {
		case i == nil: // gone, which is as good as any
		case t.Generation == 0 || i.Status.Settled < t.Generation || i.Deleting:
			return false, nil
		case i.Status.ProvisioningState == arm.Failed && failure == nil:
			failure = i.Status.Error
		}
	}
	return true, failure
}

// finishActions ends the operations of a set's actions.
func (r *Room) finishActions(tx *store.Tx, setID string, ended []endedAction) error {
	if len(ended) == 0 {
		return nil
	}
	open, err := r.Server.OpenOperations(tx, setID)
	if err != nil {
		return err
	}
	for _, e := range ended {
		if i := slices.IndexFunc(open, func(o *arm.Operation) bool { return o.ID == e.op }); i >= 0 {
			if err := r.Server.FinishOperation(tx, open[i], nil, e.failure); err != nil {
				return err
			}
		}
		if err := tx.DeleteKV(bucketActions+store.Key(setID), e.op); err != nil {
			return err
		}
	}
	return nil
}

// dropActions forgets the actions of a set that is gone; arm ends their operations.
func (r *Room) dropActions(tx *store.Tx, setID string) error {
	return tx.DeleteBucket(bucketActions + store.Key(setID))
}
