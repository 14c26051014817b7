package compute

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// change is what an action does to an instance's wish.
type change func(w *wish, setModel string)

var changes = map[string]change{
	"start":         func(w *wish, _ string) { w.Power = PowerOn; w.Starts++ },
	"restart":       func(w *wish, _ string) { w.Restarts++ },
	"redeploy":      func(w *wish, _ string) { w.Restarts++ },
	"powerOff":      func(w *wish, _ string) { w.Power = PowerOff },
	"deallocate":    func(w *wish, _ string) { w.Power = PowerDeallocated },
	"reimage":       reimage,
	"reimageAll":    reimage,
	"manualupgrade": func(w *wish, m string) { w.Model = m },
}

// reimage wishes for a fresh machine of the set's present model.
func reimage(w *wish, model string) { w.Serial, w.Model = w.Serial+1, model }

// setActions are the actions on a set: on all its instances, or on those that the body names.
func (r *Room) setActions() map[string]arm.Handler {
	out := map[string]arm.Handler{"delete": r.deleteInstances}
	for name, c := range changes {
		out[name] = func(ctx context.Context, req *arm.Request) (*arm.Response, error) {
			ids, err := namedInstances(req, name == "manualupgrade")
			if err != nil {
				return nil, err
			}
			return r.act(ctx, setOf(req.ID), name, ids, c)
		}
	}
	return out
}

// instanceActions are the actions on one instance.
func (r *Room) instanceActions() map[string]arm.Handler {
	out := map[string]arm.Handler{"runCommand": r.runCommand}
	for name, c := range changes {
		out[name] = func(ctx context.Context, req *arm.Request) (*arm.Response, error) {
			return r.act(ctx, setOf(req.ID), name, []string{req.ID.Name()}, c)
		}
	}
	return out
}

// namedInstances returns the instance numbers that a body names; nil means all.
func namedInstances(req *arm.Request, must bool) ([]string, error) {
	var body struct {
		IDs []arm.String `json:"instanceIds"`
	}
	if err := req.Decode(&body); err != nil {
		return nil, err
	}
	var ids []string
	for _, id := range body.IDs {
		if id == "*" {
			return nil, nil
		}
		ids = append(ids, string(id))
	}
	if must && len(ids) == 0 {
		return nil, required("instanceIds")
	}
	return ids, nil
}

// act changes the wishes of instances and starts the operation that ends when they are carried out.
func (r *Room) act(ctx context.Context, setID arm.ID, verb string, ids []string, c change) (*arm.Response, error) {
	resp := &arm.Response{Status: http.StatusAccepted, Location: true}
	err := r.Store.Update(ctx, func(tx *store.Tx) error {
		set, docs, err := r.chosen(ctx, tx, setID, ids)
		if err != nil {
			return err
		}
		model, err := keepModel(tx, set)
		if err != nil {
			return err
		}
		a := action{Verb: verb}
		for _, d := range docs {
			if d.Deleting || ids == nil && protected(d) {
				continue
			}
			if err := r.rewish(tx, d, func(w *wish) { c(w, model) }); err != nil {
				return err
			}
			a.Targets = append(a.Targets, target{d.ID, d.UID, d.Generation})
		}
		resp.Operation, err = r.beginAction(tx, set, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.wakeSet(setID.String())
	return resp, nil
}

// rewish changes an instance's wish; an equal one is wished for anew, so that what failed is tried again.
func (r *Room) rewish(tx *store.Tx, d *store.Doc, change func(*wish)) error {
	before := d.Generation
	if err := putWish(tx, d, r.Now(), change); err != nil {
		return err
	}
	var st status
	if err := json.Unmarshal(d.Status, &st); err != nil {
		return err
	}
	if d.Generation == before && st.ProvisioningState == arm.Failed {
		return tx.Renew(d, r.Now())
	}
	return nil
}

// protected tells whether an instance is left out of actions on the whole set.
func protected(d *store.Doc) bool {
	var w wish
	return json.Unmarshal(d.Desired, &w) == nil && w.Protection != nil && bool(w.Protection.Actions)
}

// chosen returns a set's document and those of the named instances; nil names all.
func (r *Room) chosen(ctx context.Context, tx *store.Tx, setID arm.ID, ids []string) (*store.Doc, []*store.Doc, error) {
	f, docs, err := r.instanceDocs(ctx, tx, setID)
	if err != nil {
		return nil, nil, err
	}
	if f.doc.Deleting {
		return nil, nil, arm.Conflict("Conflict", "The scale set '%s' is being deleted.", setID.Name())
	}
	if ids == nil {
		return f.doc, docs, nil
	}
	var out []*store.Doc
	for _, id := range ids {
		i := slices.IndexFunc(docs, func(d *store.Doc) bool { return itoa(numberOf(d)) == id })
		if i < 0 {
			return nil, nil, arm.BadRequest(codeInvalid, "instanceIds", "The provided instanceId %s is not an active Virtual Machine Scale Set VM instanceId. 'az vmss list-instances' shows those that exist.", id)
		}
		if !slices.Contains(out, docs[i]) { // or naming one twice would count it twice
			out = append(out, docs[i])
		}
	}
	return f.doc, out, nil
}

// deleteInstances deletes the named instances at once and makes the set that much smaller.
func (r *Room) deleteInstances(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	ids, err := namedInstances(req, false)
	if err != nil {
		return nil, err
	}
	if ids == nil && !strings.Contains(string(req.Body), "*") {
		return nil, required("instanceIds")
	}
	return r.deleteNamed(ctx, req, ids)
}

func (r *Room) deleteInstance(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	resp, err := r.deleteNamed(ctx, req, []string{req.ID.Name()})
	var e *arm.Error
	if errors.As(err, &e) && e.Target == "instanceIds" {
		return &arm.Response{Status: http.StatusNoContent}, nil
	}
	return resp, err
}

func (r *Room) deleteNamed(ctx context.Context, req *arm.Request, ids []string) (*arm.Response, error) {
	setID := setOf(req.ID)
	resp := &arm.Response{Status: http.StatusAccepted, Location: true}
	err := r.Store.Update(ctx, func(tx *store.Tx) error {
		set, docs, err := r.chosen(ctx, tx, setID, ids)
		if err != nil {
			return err
		}
		if !req.ID.IsCollection() && req.ID.Type() == TypeInstance {
			if err := arm.Precondition(req, docs[0]); err != nil {
				return err
			}
		}
		a := action{Verb: "delete instances"}
		fewer := 0
		for _, d := range docs {
			if !d.Deleting && !isSurplus(d) {
				fewer++
			}
			if d, err = tx.MarkDeleting(d.ID, r.Now()); err != nil {
				return err
			}
			a.Targets = append(a.Targets, target{d.ID, d.UID, 0})
		}
		if err := r.shrink(tx, set, fewer); err != nil {
			return err
		}
		resp.Operation, err = r.beginAction(tx, set, a)
		return err
	})
	if err != nil {
		return nil, err
	}
	r.wakeSet(setID.String())
	return resp, nil
}

func isSurplus(d *store.Doc) bool {
	var w wish
	return json.Unmarshal(d.Desired, &w) == nil && !w.Surplus.IsZero()
}

// shrink takes n off a set's wished-for capacity.
func (r *Room) shrink(tx *store.Tx, set *store.Doc, n int) error {
	body := map[string]any{}
	if err := json.Unmarshal(set.Desired, &body); err != nil {
		return err
	}
	sku := at(body, "sku")
	capacity, ok := sku["capacity"].(float64)
	if !ok || n == 0 {
		return nil
	}
	sku["capacity"] = max(0, int(capacity)-n)
	b, err := json.Marshal(body)
	if err != nil {
		return err
	}
	set.Desired = b
	return tx.Put(set, r.Now())
}
