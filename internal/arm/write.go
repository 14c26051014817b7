package arm

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

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
	a, d, err := h.admit(ctx, tx, r, sent)
	if err != nil {
		return err
	}
	return h.answerWrite(ctx, a, d, resp)
}

// admit checks a wish and stores it.
func (h *documents) admit(ctx context.Context, tx *store.Tx, r *Request, sent map[string]any) (*Admission, *store.Doc, error) {
	old, err := h.existing(tx, r)
	if err != nil {
		return nil, nil, err
	}
	a := &Admission{Tx: tx, Request: r, ID: r.ID, Old: old, Patch: r.Method == http.MethodPatch}
	if a.Body, err = h.wish(tx, a, sent); err != nil {
		return nil, nil, err
	}
	if err := h.check(a); err != nil {
		return nil, nil, err
	}
	if h.Admit != nil {
		if err := h.Admit(ctx, a); err != nil {
			return nil, nil, err
		}
	}
	d, err := h.store(a)
	return a, d, err
}

// errRehearsed takes a rehearsal back.
var errRehearsed = errors.New("only rehearsed")

func (h *documents) rehearse(ctx context.Context, r *Request, see func(*store.Tx, *store.Doc) error) error {
	sent, err := r.BodyMap()
	if err != nil {
		return err
	}
	err = h.Store.Update(ctx, func(tx *store.Tx) error {
		_, d, err := h.admit(ctx, tx, r, sent)
		if err != nil {
			return err
		}
		if err := see(tx, d); err != nil {
			return err
		}
		return errRehearsed
	})
	if errors.Is(err, errRehearsed) {
		return nil
	}
	return err
}

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
	if err := Precondition(r, old); err != nil {
		return nil, err
	}
	if old != nil {
		return old, nil
	}
	return nil, checkHome(tx, r.ID)
}

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
	if id.Scope == "" {
		return nil
	}
	for up := id; len(up.Types) > 1; up = up.Parent() {
		if err := checkParent(tx, up.Parent()); err != nil {
			return err
		}
	}
	return nil
}

func checkParent(tx *store.Tx, parent ID) error {
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

// Precondition checks If-Match and If-None-Match against what is stored; nil means that nothing is.
func Precondition(r *Request, old *store.Doc) error {
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

func (h *documents) writeOperation(tx *store.Tx, d *store.Doc) (*Operation, error) {
	var st Status
	json.Unmarshal(d.Status, &st)
	if st.Settled >= d.Generation && st.ProvisioningState != Failed {
		return nil, nil
	}
	return h.StartOperation(tx, d, "write", d.Generation)
}
