package compute

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/store"
)

func itoa(n int) string { return strconv.Itoa(n) }

func isNotFound(err error) bool { return errors.Is(err, store.ErrNotFound) }

// instanceType is the type of a set's instances: they are documents, but made by the room alone.
func (r *Room) instanceType() arm.Type {
	return arm.Type{
		Name: TypeInstance, APIVersions: apiVersions,
		Get: r.getInstance, List: r.listInstances, Put: r.putInstance, Delete: r.deleteInstance, Actions: r.instanceActions(),
	}
}

// expands tells whether a request asks for instance views.
func expands(req *arm.Request) bool {
	return strings.Contains(strings.ToLower(req.Query.Get("$expand")), "instanceview") || strings.Contains(strings.ToLower(req.Query.Get("$select")), "instanceview")
}

func (r *Room) getInstance(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	bodies, err := r.instances(ctx, req.ID, expands(req), nil)
	if err != nil {
		return nil, err
	}
	return arm.OK(bodies[0]), nil
}

func (r *Room) listInstances(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	filter, err := parseInstanceFilter(req.Query.Get("$filter"))
	if err != nil {
		return nil, err
	}
	bodies, err := r.instances(ctx, req.ID, expands(req), filter)
	if err != nil {
		return nil, err
	}
	return arm.Page(bodies), nil
}

// instances renders the instance that id names, or those of its set that pass the filter in the order of their numbers.
func (r *Room) instances(ctx context.Context, id arm.ID, views bool, filter instanceFilter) ([]map[string]any, error) {
	var out []map[string]any
	machines, err := r.machinesFor(ctx, id, views || filter.needsView())
	if err != nil {
		return nil, err
	}
	err = r.Store.View(ctx, func(tx *store.Tx) error {
		f, docs, err := r.instanceDocs(ctx, tx, id)
		if err != nil {
			return err
		}
		out = make([]map[string]any, 0, len(docs))
		for _, d := range docs {
			rec, err := readRecord(d)
			if err != nil {
				return err
			}
			body, err := f.renderInstance(tx, rec)
			if err != nil {
				return err
			}
			props := at(body, "properties")
			if machines != nil {
				props["instanceView"] = r.viewOf(rec, machines)
			}
			if !filter.passes(props) {
				continue
			}
			if !views {
				delete(props, "instanceView")
			}
			out = append(out, body)
		}
		return nil
	})
	return out, err
}

// instanceDocs returns the document of the instance that id names, or those of its whole set, by number.
func (r *Room) instanceDocs(ctx context.Context, tx *store.Tx, id arm.ID) (*frame, []*store.Doc, error) {
	f, err := r.frame(ctx, tx, setOf(id))
	if err != nil {
		return nil, nil, err
	}
	if len(id.Types) > 1 && !id.IsCollection() {
		d, err := tx.Get(id.String())
		if err != nil {
			return nil, nil, instanceNotFound(err, id)
		}
		return f, []*store.Doc{d}, nil
	}
	docs, err := tx.List(store.Query{Under: f.doc.ID, Type: TypeInstance})
	if err != nil {
		return nil, nil, err
	}
	slices.SortFunc(docs, func(a, b *store.Doc) int { return numberOf(a) - numberOf(b) })
	return f, docs, nil
}

// numberOf reads an instance's number out of its id.
func numberOf(d *store.Doc) int {
	n, _ := strconv.Atoi(d.ID[strings.LastIndexByte(d.ID, '/')+1:])
	return n
}

func instanceNotFound(err error, id arm.ID) error {
	if !isNotFound(err) {
		return err
	}
	return arm.Errorf(http.StatusNotFound, "InstanceIdNotFound", "The instance '%s' was not found in the scale set '%s'. 'az vmss list-instances' shows those that exist.", id.Name(), setOf(id).Name())
}

// machinesFor asks the engine for what views need: one machine or all.
func (r *Room) machinesFor(ctx context.Context, id arm.ID, views bool) (map[string]*machine.Info, error) {
	if !views {
		return nil, nil
	}
	infos, err := r.Engine.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make(map[string]*machine.Info, len(infos))
	for i := range infos {
		out[infos[i].ID] = &infos[i]
	}
	return out, nil
}

func (r *Room) viewOf(rec *record, machines map[string]*machine.Info) map[string]any {
	set := setOf(arm.ParsePath(rec.ID))
	return renderView(rec.Doc, &rec.wish, &rec.status, machines[machineID(rec.UID, rec.wish.Serial)], r.progress.get(set.Key()))
}

// views returns the instance view of the instance that id names, or those of all of its set.
func (r *Room) views(ctx context.Context, id arm.ID) (*store.Doc, []map[string]any, error) {
	machines, err := r.machinesFor(ctx, id, true)
	if err != nil {
		return nil, nil, err
	}
	var out []map[string]any
	var set *store.Doc
	err = r.Store.View(ctx, func(tx *store.Tx) error {
		f, docs, err := r.instanceDocs(ctx, tx, id)
		if err != nil {
			return err
		}
		set = f.doc
		for _, d := range docs {
			rec, err := readRecord(d)
			if err != nil {
				return err
			}
			out = append(out, r.viewOf(rec, machines))
		}
		return nil
	})
	return set, out, err
}

// instanceView serves {V}/virtualMachines/I/instanceView.
func (r *Room) instanceView(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	_, views, err := r.views(ctx, req.ID.Parent())
	if err != nil {
		return nil, err
	}
	return arm.OK(views[0]), nil
}

// setView serves {V}/instanceView.
func (r *Room) setInstanceView(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	set := setOf(req.ID)
	doc, views, err := r.views(ctx, set)
	if err != nil {
		return nil, err
	}
	body, err := renderSetView(doc, views, r.progress.get(set.Key()))
	if err != nil {
		return nil, err
	}
	return arm.OK(body), nil
}

// putInstance takes the one thing that clients may change of an instance: its protection.
func (r *Room) putInstance(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var sent struct {
		Properties struct {
			Protection *protection `json:"protectionPolicy"`
		} `json:"properties"`
	}
	if err := req.Decode(&sent); err != nil {
		return nil, err
	}
	err := r.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(req.ID.String())
		if err != nil {
			return instanceNotFound(err, req.ID)
		}
		if d.Deleting {
			return arm.Conflict("Conflict", "The instance '%s' is being deleted.", req.ID.FullName())
		}
		if err := arm.Precondition(req, d); err != nil {
			return err
		}
		return putWish(tx, d, r.Now(), func(w *wish) { w.Protection = sent.Properties.Protection })
	})
	if err != nil {
		return nil, err
	}
	r.wakeSet(setOf(req.ID).String())
	return r.getInstance(ctx, req)
}
