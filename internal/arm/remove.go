package arm

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"lido.dev/lido/internal/store"
)

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
		if err := Precondition(r, d); err != nil {
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
	if later, err := h.later(ctx, tx, d); err != nil {
		return err
	} else if !later {
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

func (h *documents) later(ctx context.Context, tx *store.Tx, d *store.Doc) (bool, error) {
	if h.Later == nil {
		return h.Async, nil
	}
	return h.Later(ctx, tx, d)
}

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
