package deploy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/template"
)

// maxNested is how deep deployments may nest.
const maxNested = 8

// checked is a deployment that was looked over.
type checked struct {
	rec    *record
	plan   *template.Plan
	depth  int                             // how many deployments are around it
	coming groups                          // what it and those around it make
	nested map[*template.Resource]*checked // those in it that can be worked out beforehand
}

// check reads the request for a deployment, expands its template, and looks over what it would deploy, deployments
// nested in it included.
func (m *Room) check(ctx context.Context, r *arm.Request) (*checked, error) {
	return m.checkWithin(ctx, r, 0, nil)
}

// checkWithin is check inside of depth deployments that make the groups coming.
func (m *Room) checkWithin(ctx context.Context, r *arm.Request, depth int, coming groups) (*checked, error) {
	rec, err := m.newRecord(ctx, r, coming)
	if err != nil {
		return nil, err
	}
	if rec.Parent != "" && rec.Mode == modeComplete {
		return nil, arm.BadRequest("InvalidTemplate", "properties.mode", "Deployment template validation failed: 'The nested deployment '%s' has the mode 'Complete'. Only the outermost deployment can have it; use 'Incremental'.'.", r.ID.Name())
	}
	plan, err := m.expanded(rec)
	if err != nil {
		return nil, fromTemplate(err)
	}
	c := &checked{rec: rec, plan: plan, depth: depth, coming: coming.with(plan), nested: map[*template.Resource]*checked{}}
	var wrong []*arm.Error
	for _, p := range plan.Resources {
		if p.Skipped || p.Existing {
			continue
		}
		if e := m.checkResource(ctx, r, c, p); e != nil {
			wrong = append(wrong, e)
		}
	}
	if wrong == nil {
		return c, nil
	}
	return nil, notValid(r, wrong)
}

// notValid is the error of a deployment that cannot be started, with one detail for each resource that stands against it.
func notValid(r *arm.Request, wrong []*arm.Error) *arm.Error {
	e := arm.Errorf(http.StatusBadRequest, "InvalidTemplateDeployment", "The template deployment '%s' is not valid according to the validation procedure. The tracking id is '%s'. See inner errors for details.", r.ID.Name(), r.CorrelationID)
	e.Details = wrong
	return e
}

// preflight asks the types about the resources for which all that they depend on is there already: what they refuse now they
// will refuse later.
func (m *Room) preflight(ctx context.Context, r *arm.Request, c *checked) error {
	var wrong []*arm.Error
	there, err := m.there(ctx, c.plan)
	if err != nil {
		return err
	}
	for _, p := range c.plan.Resources {
		if p.Skipped || p.Existing || p.OnlyIfNew || !p.Known() || !allIn(there, p.DependsOn) {
			continue
		}
		err := m.rehearse(ctx, r, c.rec, p, p.Body, func(*store.Tx, *store.Doc) error { return nil })
		if e := (*arm.Error)(nil); errors.As(err, &e) && e.Status == http.StatusBadRequest {
			wrong = append(wrong, about(p.ID, e))
		}
	}
	if wrong == nil {
		return nil
	}
	return notValid(r, wrong)
}

// there are the resources of a plan that exist.
func (m *Room) there(ctx context.Context, plan *template.Plan) (map[*template.Resource]bool, error) {
	out := map[*template.Resource]bool{}
	err := m.store.View(ctx, func(tx *store.Tx) error {
		for _, p := range plan.Resources {
			for _, d := range p.DependsOn {
				if _, known := out[d]; known {
					continue
				}
				_, err := tx.Get(d.ID)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					return err
				}
				out[d] = err == nil
			}
		}
		return nil
	})
	return out, err
}

func allIn(there map[*template.Resource]bool, list []*template.Resource) bool {
	for _, d := range list {
		if !there[d] {
			return false
		}
	}
	return true
}

// errNoRehearsal says that a type cannot tell beforehand what it would do.
var errNoRehearsal = errors.New("the type has no rehearsals")

// rehearse has a resource's type do as if the resource were deployed now, as the caller of r.
func (m *Room) rehearse(ctx context.Context, r *arm.Request, rec *record, p *template.Resource, body template.Value, see func(*store.Tx, *store.Doc) error) error {
	id := arm.ParsePath(p.ID)
	t := m.Server.Lookup(id.Type())
	if t == nil || t.Rehearse == nil || !body.Known() {
		return errNoRehearsal
	}
	put := &arm.Request{Method: http.MethodPut, ID: id, APIVersion: p.APIVersion, Caller: r.Caller, BaseURL: r.BaseURL,
		CorrelationID: r.CorrelationID, Query: map[string][]string{}}
	var err error
	if put.Body, put.Secrets, err = requestBody(rec, p, body); err != nil {
		return err
	}
	return t.Rehearse(ctx, put, see)
}

// checkResource says what can be said against one resource of c before it is deployed.
func (m *Room) checkResource(ctx context.Context, r *arm.Request, c *checked, p *template.Resource) *arm.Error {
	id := arm.ParsePath(p.ID)
	t := m.Server.Lookup(id.Type())
	if t == nil || t.Put == nil {
		e := arm.Errorf(http.StatusBadRequest, "InvalidResourceType", "The resource '%s' (line %d of the template) is of the type '%s', which this lido does not serve. 'az provider list' shows the types that it serves.", p.Name, p.Pos.Line, p.Type)
		e.Target = p.ID
		return e
	}
	if !m.Server.Access.Allowed(ctx, r.Caller, t.Name+"/write", id) {
		e := arm.Errorf(http.StatusForbidden, "AuthorizationFailed", "The client '%s' with object id '%s' does not have authorization to perform action '%s/write' over scope '%s'.", r.Caller.Name, r.Caller.ObjectID, t.Name, p.ID)
		e.Target = p.ID
		return e
	}
	if err := m.Server.CheckSubscription(id); err != nil {
		return about(p.ID, arm.AsError(err))
	}
	if !sameType(p.Type, TypeDeployment) {
		return nil
	}
	if !p.Known() {
		return m.checkTypes(p)
	}
	if c.depth >= maxNested {
		e := arm.BadRequest("InvalidTemplate", p.ID, "Deployment template validation failed: 'Deployments nest more than %d levels deep at '%s'.'.", maxNested, p.ID)
		return e
	}
	inner, err := m.checkNested(ctx, r, c, p, p.Body)
	if err != nil {
		return about(p.ID, arm.AsError(err))
	}
	c.nested[p] = inner
	return nil
}

// checkTypes looks over the types in the template of a nested deployment that cannot be worked out yet, for what hopeless
// deployments make before they fail has to be cleaned up by people.
func (m *Room) checkTypes(p *template.Resource) *arm.Error {
	var wrong []*arm.Error
	m.unservedIn(p.Body.At("properties", "template", "resources"), "", func(resourceType string) {
		e := arm.Errorf(http.StatusBadRequest, "InvalidResourceType", "The nested deployment '%s' has a resource of the type '%s', which this lido does not serve. 'az provider list' shows the types that it serves.", p.Name, resourceType)
		e.Target = p.ID
		wrong = append(wrong, e)
	})
	if wrong == nil {
		return nil
	}
	wrong[0].Details = wrong[1:]
	return wrong[0]
}

// unservedIn tells each type in a resources section that lido does not serve, as far as they are written plainly and without a
// condition, each once.
func (m *Room) unservedIn(resources template.Value, parent string, tell func(string)) {
	items := resources.Items()
	for _, key := range resources.Keys() {
		items = append(items[:len(items):len(items)], resources.At(key))
	}
	seen := map[string]bool{}
	for _, r := range items {
		typ := r.At("type").Str()
		if parent != "" && !strings.Contains(typ, ".") {
			typ = parent + "/" + typ
		}
		if typ == "" || strings.HasPrefix(typ, "[") || r.At("condition").Kind() != template.Null || r.At("existing").Kind() != template.Null {
			continue
		}
		if sameType(typ, "Microsoft.Resources/resourceGroups") {
			typ = typeGroup
		}
		if t := m.Server.Lookup(typ); (t == nil || t.Put == nil) && !seen[typ] {
			seen[typ] = true
			tell(typ)
		}
		m.unservedIn(r.At("resources"), typ, tell)
		if sameType(typ, TypeDeployment) {
			m.unservedIn(r.At("properties", "template", "resources"), "", tell)
		}
	}
}

// with adds the groups that a plan makes.
func (g groups) with(plan *template.Plan) groups {
	var out groups
	for _, p := range plan.Resources {
		id := arm.ParsePath(p.ID)
		if p.Skipped || p.Existing || !sameType(id.Type(), typeGroup) {
			continue
		}
		if out == nil {
			out = maps.Clone(g)
		}
		if out == nil {
			out = groups{}
		}
		s, tags := template.StringValue, p.Body.At("tags")
		if tags.Kind() != template.Object {
			tags = template.ObjectOf()
		}
		out[id.Key()] = template.ObjectOf("id", s(p.ID), "name", s(p.Name), "type", s("Microsoft.Resources/resourceGroups"),
			"location", s(arm.NormalLocation(p.Body.At("location").Str())), "tags", tags, "properties", template.ObjectOf("provisioningState", s(arm.Succeeded))).AppendJSON(nil)
	}
	if out == nil {
		return g
	}
	return out
}

// checkNested is check of a deployment in c.
func (m *Room) checkNested(ctx context.Context, r *arm.Request, c *checked, p *template.Resource, body template.Value) (*checked, error) {
	inner := *r
	inner.ID = arm.ParsePath(p.ID)
	var err error
	if inner.Body, inner.Secrets, err = requestBody(c.rec, p, body); err != nil {
		return nil, err
	}
	return m.checkWithin(nestedContext(ctx, c.rec.ID), &inner, c.depth+1, c.coming)
}

// requestBody is what is sent to a resource's type, and the paths of the secrets in it. A nested deployment's relative
// link is made absolute.
func requestBody(rec *record, p *template.Resource, body template.Value) ([]byte, []string, error) {
	secrets := body.SecurePaths()
	if link := body.At("properties", "templateLink"); sameType(p.Type, TypeDeployment) && link.Kind() == template.Object {
		l := linkOf(template.NodeOf(link, p.Pos))
		if err := l.absolute(rec.Link); err != nil {
			return nil, nil, arm.BadRequest("InvalidTemplate", p.ID, "Deployment template validation failed: 'The relative path '%s' cannot be resolved: %v.'.", l.RelativePath, err)
		}
		body = body.With(valueOf(l), "properties", "templateLink")
	}
	return body.AppendJSON(nil), secrets, nil
}
