package arm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"

	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

// Document is a resource type whose resources are documents in the store: PUT stores a wish, GET shows it with what
// lido knows. Type makes the handlers. The hooks run inside the transaction that reads or writes the document.
type Document struct {
	Name        string
	APIVersions []string
	NameRule    *regexp.Regexp // nil means Azure's usual rule
	NoLocation  bool           // a child, or a type without a location
	Created     int            // status of a PUT that creates; 0 means 201
	// Async: a write or deletion is done when the room's reconciler calls Settle or Gone. Otherwise it is done at once.
	Async bool

	// Secrets are paths of values that are sealed and shown as placeholders, Hidden of those sealed and never shown.
	// A Hidden value that a PUT leaves out keeps what was stored.
	Secrets, Hidden []string

	// Admit checks a wish and writes its defaults into a.Body, before it is stored.
	Admit func(ctx context.Context, a *Admission) error
	// Merge makes a PUT's body from the stored one and what was sent; nil means that the sent one replaces the stored.
	Merge func(stored, sent map[string]any) map[string]any
	// Render adds what lido knows to a body that is shown. The body holds the desired half, id, name, type and state.
	Render func(ctx context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error
	// Removing checks that the document may go, and tidies what is the room's own. nil means it may, unless referenced.
	Removing func(ctx context.Context, tx *store.Tx, d *store.Doc) error

	Actions map[string]Handler
}

// Admission is a wish on its way into the store.
type Admission struct {
	Tx      *store.Tx
	Request *Request
	ID      ID
	Old     *store.Doc     // nil if the resource is new
	Body    map[string]any // the whole wish; secrets are in clear, or placeholders that the client read before
	Refs    []string       // ids that the document mentions; set by Admit
	Patch   bool
}

// Status is the part of a document's status half that all rooms share; they embed it in their own.
type Status struct {
	Settled           int64  `json:"settled,omitempty"` // generation that was carried out, or failed
	ProvisioningState string `json:"provisioningState,omitempty"`
	Error             *Error `json:"error,omitempty"`
}

// Type returns the resource type with its handlers.
func (s *Server) Document(d Document) Type {
	h := &documents{Server: s, Document: d}
	if d.NameRule == nil {
		h.NameRule = nameRule
	}
	if d.Created == 0 {
		h.Created = http.StatusCreated
	}
	return Type{Name: d.Name, APIVersions: d.APIVersions, Get: h.get, Put: h.put, Patch: h.put, Delete: h.remove, List: h.list, Actions: d.Actions}
}

type documents struct {
	*Server
	Document
}

func (h *documents) get(ctx context.Context, r *Request) (*Response, error) {
	var body map[string]any
	err := h.Store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(r.ID.String())
		if err != nil {
			return orNotFound(err, r.ID)
		}
		body, err = h.render(ctx, tx, d)
		return err
	})
	if err != nil {
		return nil, err
	}
	return withEtag(OK(body), body), nil
}

func withEtag(resp *Response, body map[string]any) *Response {
	if etag, ok := body["etag"].(string); ok {
		resp.Header = http.Header{"Etag": {etag}}
	}
	return resp
}

// render returns a document as clients see it.
func (h *documents) render(ctx context.Context, tx *store.Tx, d *store.Doc) (map[string]any, error) {
	body := map[string]any{}
	if err := json.Unmarshal(d.Desired, &body); err != nil {
		return nil, err
	}
	secret.Hide(body, h.Hidden)
	id := ParsePath(d.ID)
	body["id"], body["name"], body["type"], body["etag"] = d.ID, id.Name(), h.Name, `"`+d.Etag+`"`
	props, ok := body["properties"].(map[string]any)
	if !ok {
		props = map[string]any{}
		body["properties"] = props
	}
	props["provisioningState"] = h.state(d)
	if h.Render == nil {
		return body, nil
	}
	return body, h.Render(ctx, tx, d, body)
}

// Rendered returns a document of this type as clients see it; for rooms that show another's document.
func (s *Server) Rendered(ctx context.Context, tx *store.Tx, d *store.Doc, doc Document) (map[string]any, error) {
	return (&documents{Server: s, Document: doc}).render(ctx, tx, d)
}

func (h *documents) state(d *store.Doc) string {
	if !h.Async {
		return Succeeded
	}
	var st Status
	json.Unmarshal(d.Status, &st)
	switch {
	case d.Deleting:
		return "Deleting"
	case st.Settled < d.Generation && st.Settled == 0:
		return "Creating"
	case st.Settled < d.Generation:
		return "Updating"
	case st.ProvisioningState == "":
		return Succeeded
	}
	return st.ProvisioningState
}

func (h *documents) put(ctx context.Context, r *Request) (*Response, error) {
	sent, err := r.BodyMap()
	if err != nil {
		return nil, err
	}
	resp := &Response{}
	err = h.Store.Update(ctx, func(tx *store.Tx) error {
		return h.write(ctx, tx, r, sent, resp)
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (h *documents) write(ctx context.Context, tx *store.Tx, r *Request, sent map[string]any, resp *Response) error {
	old, err := h.existing(tx, r)
	if err != nil {
		return err
	}
	a := &Admission{Tx: tx, Request: r, ID: r.ID, Old: old, Patch: r.Method == http.MethodPatch}
	if a.Body, err = h.wish(tx, a, sent); err != nil {
		return err
	}
	if err := h.check(a); err != nil {
		return err
	}
	if h.Admit != nil {
		if err := h.Admit(ctx, a); err != nil {
			return err
		}
	}
	d, err := h.store(a)
	if err != nil {
		return err
	}
	return h.answerWrite(ctx, a, d, resp)
}

// existing returns the stored document or nil, having checked the preconditions of a write.
func (h *documents) existing(tx *store.Tx, r *Request) (*store.Doc, error) {
	old, err := tx.Get(r.ID.String())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if old == nil && r.Method == http.MethodPatch {
		return nil, NotFound(r.ID)
	}
	if old != nil && old.Deleting {
		return nil, Conflict("Conflict", "The resource '%s' is being deleted. Try again when it is gone.", r.ID.FullName())
	}
	if err := precondition(r, old); err != nil {
		return nil, err
	}
	if old != nil {
		return old, nil
	}
	return nil, checkHome(tx, r.ID)
}

// checkHome checks, in the transaction that makes a resource, that its group and parent are there to stay.
func checkHome(tx *store.Tx, id ID) error {
	if group := id.GroupID(); !group.IsZero() && group.Key() != id.Key() {
		d, err := tx.Get(group.String())
		if err != nil {
			return orNotFound(err, group)
		}
		if d.Deleting {
			return groupGoes(group)
		}
	}
	if len(id.Types) == 1 || id.Scope == "" {
		return nil
	}
	parent := id.Parent()
	d, err := tx.Get(parent.String())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return Errorf(http.StatusNotFound, "ParentResourceNotFound", "Can not perform requested operation on nested resource. Parent resource '%s' not found.", parent.FullName())
	case err != nil:
		return err
	case d.Deleting:
		return Conflict("Conflict", "The resource '%s' is being deleted; nothing can be made in it.", parent.FullName())
	}
	return nil
}

func precondition(r *Request, old *store.Doc) error {
	fail := Errorf(http.StatusPreconditionFailed, "PreconditionFailed", "The condition '%s' set by the request is not satisfied: the resource has changed since it was read, or exists already. Read it again.", strings.TrimSpace(r.IfMatch+" "+r.IfNoneMatch))
	if r.IfNoneMatch == "*" && old != nil {
		return fail
	}
	switch m := strings.Trim(r.IfMatch, `"`); {
	case m == "":
		return nil
	case old == nil, m != "*" && m != old.Etag:
		return fail
	}
	return nil
}

// store seals the wish's secrets and writes it.
func (h *documents) store(a *Admission) (*store.Doc, error) {
	id := a.ID
	if a.Old != nil {
		id = ParsePath(a.Old.ID)
	} else {
		id = h.inCasing(a.Tx, id)
	}
	paths := append(append(append([]string{}, h.Secrets...), h.Hidden...), a.Request.Secrets...)
	if err := h.Box.Conceal(a.Tx, id.String(), a.Body, paths); errors.Is(err, secret.ErrUnknown) {
		return nil, BadRequest("InvalidParameter", "", "%v.", err)
	} else if err != nil {
		return nil, err
	}
	desired, err := json.Marshal(a.Body)
	if err != nil {
		return nil, err
	}
	d := &store.Doc{ID: id.String(), Type: h.Name, APIVersion: a.Request.APIVersion, Desired: desired}
	if err := a.Tx.Put(d, h.Now()); err != nil {
		return nil, err
	}
	if err := h.retryFailed(a, d); err != nil {
		return nil, err
	}
	if a.Old == nil || a.Refs != nil {
		return d, a.Tx.SetRefs(d.ID, a.Refs)
	}
	return d, nil
}

// retryFailed makes a new generation of a wish that is repeated after it failed, so that the room tries again.
func (h *documents) retryFailed(a *Admission, d *store.Doc) error {
	if !h.Async || a.Old == nil || a.Old.Generation != d.Generation {
		return nil
	}
	var st Status
	json.Unmarshal(d.Status, &st)
	if st.Settled < d.Generation || st.ProvisioningState != Failed {
		return nil
	}
	return a.Tx.Renew(d, h.Now())
}

// inCasing gives a new document's id the casing in which its group and parent were first written.
func (h *documents) inCasing(tx *store.Tx, id ID) ID {
	if len(id.Types) > 1 {
		if parent, err := tx.Get(id.Parent().String()); err == nil {
			return ParsePath(parent.ID).Child(id.Types[len(id.Types)-1], id.Name())
		}
	}
	if group, err := tx.Get(id.Scope); err == nil && id.Scope != "" {
		id.Scope = group.ID
	}
	return id
}

func (h *documents) answerWrite(ctx context.Context, a *Admission, d *store.Doc, resp *Response) error {
	resp.Status = http.StatusOK
	if a.Old == nil {
		resp.Status = h.Created
	}
	if h.Async {
		op, err := h.writeOperation(a.Tx, d)
		if err != nil {
			return err
		}
		resp.Operation = op
	}
	body, err := h.render(ctx, a.Tx, d)
	if err != nil {
		return err
	}
	resp.Body = body
	withEtag(resp, body)
	return nil
}

// writeOperation starts an operation if the document's wish is not carried out yet.
func (h *documents) writeOperation(tx *store.Tx, d *store.Doc) (*Operation, error) {
	var st Status
	json.Unmarshal(d.Status, &st)
	if st.Settled >= d.Generation && st.ProvisioningState != Failed {
		return nil, nil
	}
	return h.StartOperation(tx, d, "write", d.Generation)
}

func (h *documents) remove(ctx context.Context, r *Request) (*Response, error) {
	resp := &Response{Status: http.StatusNoContent}
	err := h.Store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(r.ID.String())
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := precondition(r, d); err != nil {
			return err
		}
		return h.removeDoc(ctx, tx, d, resp)
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (h *documents) removeDoc(ctx context.Context, tx *store.Tx, d *store.Doc, resp *Response) error {
	if h.Removing != nil {
		if err := h.Removing(ctx, tx, d); err != nil {
			return err
		}
	}
	if err := h.unreferenced(tx, d); err != nil {
		return err
	}
	if !h.Async {
		resp.Status = http.StatusOK
		return h.gone(tx, d)
	}
	if _, err := tx.MarkDeleting(d.ID, h.Now()); err != nil {
		return err
	}
	resp.Status = http.StatusAccepted
	op, err := h.StartOperation(tx, d, "delete", 0)
	resp.Operation, resp.Location = op, true
	return err
}

// gone removes a document and the documents below it.
func (h *documents) gone(tx *store.Tx, d *store.Doc) error {
	children, err := tx.List(store.Query{Under: d.ID})
	if err != nil {
		return err
	}
	for _, c := range children {
		if err := h.Gone(tx, c); err != nil {
			return err
		}
	}
	return h.Gone(tx, d)
}

// unreferenced refuses to remove what documents outside of it mention.
func (h *documents) unreferenced(tx *store.Tx, d *store.Doc) error {
	from, err := tx.Referrers(d.ID)
	if err != nil {
		return err
	}
	var users []string
	for _, key := range from {
		if key == store.Key(d.ID) || strings.HasPrefix(key, store.Key(d.ID)+"/") {
			continue
		}
		if u, err := tx.Get(key); err == nil {
			users = append(users, u.ID)
		}
	}
	if len(users) == 0 {
		return nil
	}
	return Conflict("InUse", "The resource '%s' cannot be deleted because it is in use by: %s. Delete or change those first.", d.ID, strings.Join(users, ", "))
}

func orNotFound(err error, id ID) error {
	if errors.Is(err, store.ErrNotFound) {
		return NotFound(id)
	}
	return err
}

// Revealed returns a document's wish with its secrets in clear, decoded into v.
func (s *Server) Revealed(tx *store.Tx, d *store.Doc, v any) error {
	body := map[string]any{}
	if err := json.Unmarshal(d.Desired, &body); err != nil {
		return err
	}
	clear, err := s.Box.Reveal(tx, d.ID, body)
	if err != nil {
		return err
	}
	return Convert(clear, v)
}
