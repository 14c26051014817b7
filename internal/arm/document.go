package arm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"regexp"

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

	// Later tells whether a deletion waits for Gone though writes are done at once. nil means that it waits if Async.
	Later func(ctx context.Context, tx *store.Tx, d *store.Doc) (bool, error)

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
	return Type{Name: d.Name, APIVersions: d.APIVersions, Get: h.get, Put: h.put, Patch: h.put, Delete: h.remove, List: h.list, Actions: d.Actions, Rehearse: h.rehearse}
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
	var st Status
	json.Unmarshal(d.Status, &st)
	switch {
	case d.Deleting:
		return "Deleting"
	case !h.Async:
		return Succeeded
	case st.Settled < d.Generation && st.Settled == 0:
		return "Creating"
	case st.Settled < d.Generation:
		return "Updating"
	case st.ProvisioningState == "":
		return Succeeded
	}
	return st.ProvisioningState
}

// existing returns the stored document or nil, having checked the preconditions of a write.
// checkHome checks, in the transaction that makes a resource, that its group and parent are there to stay.
// store seals the wish's secrets and writes it.
// retryFailed makes a new generation of a wish that is repeated after it failed, so that the room tries again.
// inCasing gives a new document's id the casing in which its group and parent were first written.
// writeOperation starts an operation if the document's wish is not carried out yet.
// gone removes a document and the documents below it.
// unreferenced refuses to remove what documents outside of it mention.
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
