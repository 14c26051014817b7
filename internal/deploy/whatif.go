package deploy

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

// change is what a deployment would do to one resource, as what-if shows it.
type change struct {
	ResourceID string          `json:"resourceId"`
	Type       string          `json:"changeType"` // Create, Modify, NoChange, Deploy, Delete, Ignore, Unsupported
	Reason     string          `json:"unsupportedReason,omitempty"`
	Before     *template.Value `json:"before,omitempty"`
	After      *template.Value `json:"after,omitempty"`
	Delta      []delta         `json:"delta,omitempty"`
}

// whatIf says what a deployment would change.
func (m *Room) whatIf(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	w := &forecast{Room: m, ctx: ctx, r: r, seen: map[string]bool{}}
	if body, err := template.Read(r.Body); err == nil {
		format := body.At("properties", "whatIfSettings", "resultFormat").Str()
		w.idsOnly = strings.EqualFold(format, "ResourceIdOnly")
	}
	c, err := m.check(ctx, r)
	if err != nil {
		return nil, err
	}
	if err := w.deployment(c); err != nil {
		return nil, err
	}
	if r.ID.Group() != "" {
		err = w.rest(c.rec)
	}
	if err != nil {
		return nil, err
	}
	if w.changes == nil {
		w.changes = []change{}
	}
	return arm.OK(map[string]any{"status": arm.Succeeded, "properties": map[string]any{"correlationId": r.CorrelationID, "changes": w.changes}}), nil
}

// forecast gathers the changes of a deployment and of those nested in it.
type forecast struct {
	*Room
	ctx     context.Context
	r       *arm.Request
	idsOnly bool // tell which resources are deployed, not what changes in them
	changes []change
	seen    map[string]bool // lower-cased ids that the deployment names
}

// deployment adds the changes of one deployment.
func (w *forecast) deployment(c *checked) error {
	for _, p := range c.plan.Resources {
		if p.Skipped || p.Existing {
			continue
		}
		body := p.Body
		if resolved, err := p.Resolve(&world{Room: w.Room, ctx: w.ctx, rec: c.rec}); err == nil {
			body = resolved
		}
		if err := w.resource(c, p, body); err != nil {
			return err
		}
	}
	return nil
}

func (w *forecast) resource(of *checked, p *template.Resource, body template.Value) error {
	if sameType(p.Type, TypeDeployment) {
		return w.nested(of, p, body)
	}
	w.seen[strings.ToLower(p.ID)] = true
	after := described(p.ID, p.APIVersion, body)
	before, err := w.before(p.ID)
	if err != nil {
		return err
	}
	c := change{ResourceID: p.ID, Type: "Create"}
	switch exists := before.Kind() != template.Null; {
	case exists && p.OnlyIfNew:
		c.Type = "NoChange"
	case w.idsOnly && exists:
		c.Type = "Deploy"
	case w.idsOnly:
	case !exists:
		shown := veiled(after)
		c.After = &shown
	default:
		after, exact := w.rehearsed(of.rec, p, body, after)
		c.Delta = contrast{exact}.members(before, after, true)
		c.Type = "Modify"
		if len(c.Delta) == 0 {
			c.Type = "NoChange"
		}
		shownBefore, shownAfter := veiled(before), veiled(after)
		c.Before, c.After = &shownBefore, &shownAfter
	}
	w.changes = append(w.changes, c)
	return nil
}

// rehearsed is what a resource that is there already would be wished to be after the deployment, defaults and all, so that
// what the template leaves out is seen to go. Where that cannot be found out, since something it needs is not there yet,
// it is what the template says, and exact is false.
func (w *forecast) rehearsed(rec *record, p *template.Resource, body, plain template.Value) (after template.Value, exact bool) {
	err := w.rehearse(w.ctx, w.r, rec, p, body, func(tx *store.Tx, d *store.Doc) (err error) {
		after, err = w.wished(tx, d)
		return err
	})
	if err != nil {
		return plain, false
	}
	return after, true
}

// wished is what a document wishes for, with its secrets opened and marked.
func (w *forecast) wished(tx *store.Tx, d *store.Doc) (template.Value, error) {
	var desired template.Value
	if err := json.Unmarshal(d.Desired, &desired); err != nil {
		return desired, err
	}
	world := &world{Room: w.Room, ctx: w.ctx}
	v, err := world.open(tx, d.ID, desired)
	return described(d.ID, d.APIVersion, v), err
}

// nested adds the changes of a deployment in another, checked before or, now that its body is known, here.
func (w *forecast) nested(of *checked, p *template.Resource, body template.Value) error {
	if c := of.nested[p]; c != nil {
		return w.deployment(c)
	}
	if !body.Known() {
		w.changes = append(w.changes, change{ResourceID: p.ID, Type: "Unsupported", Reason: "The nested deployment depends on values that are only known when other resources exist."})
		return nil
	}
	c, err := w.checkNested(w.ctx, w.r, of, p, body)
	if err != nil {
		return err
	}
	return w.deployment(c)
}

// rest adds what the group has besides: deleted in complete mode, else left alone.
func (w *forecast) rest(rec *record) error {
	return w.store.View(w.ctx, func(tx *store.Tx) error {
		docs, err := tx.List(store.Query{Under: w.r.ID.GroupID().String()})
		if err != nil {
			return err
		}
		for _, d := range docs {
			if !isRoot(d) || w.seen[store.Key(d.ID)] {
				continue
			}
			c := change{ResourceID: d.ID, Type: "Ignore"}
			if !w.idsOnly {
				before, err := w.wished(tx, d)
				if err != nil {
					return err
				}
				shown := veiled(before)
				c.Before, c.After = &shown, &shown
			}
			if rec.Mode == modeComplete {
				c.Type, c.After = "Delete", nil
			}
			w.changes = append(w.changes, c)
		}
		return nil
	})
}

// before is the wish that is stored for a resource, with its secrets opened and marked; or what a read shows when the
// resource is part of another's document; null when there is none.
func (w *forecast) before(id string) (template.Value, error) {
	var v template.Value
	err := w.store.View(w.ctx, func(tx *store.Tx) error {
		d, err := tx.Get(id)
		if err != nil {
			return err
		}
		v, err = w.wished(tx, d)
		return err
	})
	if err == nil {
		return v, nil
	}
	if !errors.Is(err, store.ErrNotFound) {
		return v, err
	}
	body, err := w.current(w.ctx, w.r, id)
	if err != nil || body == nil {
		return template.Value{}, err
	}
	return valueOf(body), nil
}

// described is a body with what tells the resource.
func described(id, apiVersion string, body template.Value) template.Value {
	s, rid := template.StringValue, arm.ParsePath(id)
	shown := rid.Type()
	if sameType(shown, typeGroup) {
		shown = "Microsoft.Resources/resourceGroups"
	}
	out := template.ObjectOf("id", s(id), "name", s(rid.Name()), "type", s(shown), "apiVersion", s(apiVersion))
	for _, key := range body.Keys() {
		v, _ := body.Get(key)
		if key == "location" {
			v = s(arm.NormalLocation(v.Str()))
		}
		out = out.With(v, key)
	}
	return out
}

// veiled is v with secrets, and what is not known yet, replaced by words that say so.
func veiled(v template.Value) template.Value {
	return v.MapLeaves(func(leaf template.Value) template.Value {
		switch {
		case leaf.Secure() || strings.HasPrefix(leaf.Str(), secret.Prefix):
			return template.StringValue("*******")
		case leaf.Kind() == template.Unknown:
			return template.StringValue("(known after deployment)")
		}
		return leaf
	})
}
