package arm

import (
	"context"
	"net/url"
	"strconv"

	"lido.dev/lido/internal/store"
)

// listPage is how many resources one answer to a list holds; a long one must not make short calls wait.
const listPage = 1000

func (h *documents) list(ctx context.Context, r *Request) (*Response, error) {
	items, next, page := []map[string]any{}, "", pageOf(r)
	top, err := topOf(r)
	if err != nil {
		return nil, err
	}
	last := top > 0 && top <= page
	if last {
		page = top
	}
	err = h.Store.View(ctx, func(tx *store.Tx) error {
		under, err := h.listScope(tx, r.ID)
		if err != nil {
			return err
		}
		docs, err := tx.List(store.Query{Under: under, Type: h.Name, After: queryFold(r.Query, "$skiptoken"), Limit: page + 1})
		if err != nil {
			return err
		}
		if len(docs) > page {
			docs = docs[:page]
			if !last {
				next = nextLink(r, docs[page-1].ID, top-page)
			}
		}
		for _, d := range docs {
			body, err := h.render(ctx, tx, d)
			if err != nil {
				return err
			}
			items = append(items, body)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	body := map[string]any{"value": items, "nextLink": nil}
	if next != "" {
		body["nextLink"] = next
	}
	return OK(body), nil
}

// pageOf returns how many resources an answer holds; some types' clients ask for fewer.
func pageOf(r *Request) int {
	if n, err := strconv.Atoi(queryFold(r.Query, "maxresults")); err == nil && n > 0 && n < listPage {
		return n
	}
	return listPage
}

// topOf returns how many resources are asked for in all; 0 means all there are. Where a list is filtered, whoever
// filters counts.
func topOf(r *Request) (int, error) {
	s := queryFold(r.Query, "$top")
	if s == "" || queryFold(r.Query, "$filter") != "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n <= 0 {
		return 0, BadRequest("InvalidParameter", "$top", "The value '%s' of the query parameter '$top' is invalid. It is a whole number from 1 up.", s)
	}
	return n, nil
}

// listScope returns the id that a collection's resources lie below: a parent, a group, or a subscription.
func (h *documents) listScope(tx *store.Tx, id ID) (string, error) {
	if len(id.Types) == 1 {
		return id.Scope, nil
	}
	parent := id.Parent()
	if id.Scope == "" { // groups: their subscription is not a document
		return parent.String(), nil
	}
	_, err := tx.Get(parent.String())
	return parent.String(), orNotFound(err, parent)
}

// nextLink leads to what comes after the last one shown; of it, top are asked for if that is more than 0.
func nextLink(r *Request, last string, top int) string {
	query := url.Values{}
	for k, v := range r.Query {
		query[k] = v
	}
	query.Set("$skiptoken", store.Key(last))
	if top > 0 {
		query.Set("$top", strconv.Itoa(top))
	}
	return r.BaseURL + (&url.URL{Path: r.ID.String()}).EscapedPath() + "?" + query.Encode()
}
