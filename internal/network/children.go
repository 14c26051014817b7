package network

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// childType serves entries of a list inside a parent's document as resources of their own. A write is a write of the
// parent, with the parent's checks, so there is one home and one set of rules.
func (r *Room) childType(parent arm.Document, list string, writable bool) arm.Type {
	c := &children{room: r, parent: parent, list: list}
	t := arm.Type{Name: parent.Name + "/" + list, APIVersions: apiVersions, Get: c.get, List: c.all}
	if writable {
		t.Put, t.Delete = c.put, c.remove
	}
	return t
}

type children struct {
	room   *Room
	parent arm.Document
	list   string
}

// rendered returns the parent as clients see it.
func (c *children) rendered(ctx context.Context, id arm.ID) (map[string]any, error) {
	var body map[string]any
	err := c.room.store.View(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(id.String())
		if errors.Is(err, store.ErrNotFound) {
			return arm.NotFound(id)
		}
		if err != nil {
			return err
		}
		body, err = c.room.server.Rendered(ctx, tx, d, c.parent)
		return err
	})
	return body, err
}

func (c *children) all(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	body, err := c.rendered(ctx, r.ID.Parent())
	if err != nil {
		return nil, err
	}
	return arm.Page(items(props(body), c.list)), nil
}

func (c *children) get(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	body, err := c.rendered(ctx, r.ID.Parent())
	if err != nil {
		return nil, err
	}
	e := find(items(props(body), c.list), r.ID.Name())
	if e == nil {
		return nil, arm.NotFound(r.ID)
	}
	return arm.OK(e), nil
}

func (c *children) put(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	sent, err := r.BodyMap()
	if err != nil {
		return nil, err
	}
	sent["name"] = r.ID.Name()
	status := http.StatusOK
	err = c.edit(ctx, r, func(list []object) []object {
		for i, e := range list {
			if strings.EqualFold(text(e, "name"), r.ID.Name()) {
				sent["name"] = e["name"]
				list[i] = sent
				return list
			}
		}
		status = http.StatusCreated
		return append(list, sent)
	})
	if err != nil {
		return nil, err
	}
	resp, err := c.get(ctx, r)
	if err == nil {
		resp.Status = status
	}
	return resp, err
}

func (c *children) remove(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	status := http.StatusNoContent
	err := c.edit(ctx, r, func(list []object) []object {
		for i, e := range list {
			if strings.EqualFold(text(e, "name"), r.ID.Name()) {
				status = http.StatusOK
				return append(list[:i:i], list[i+1:]...)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return &arm.Response{Status: status}, nil
}

// edit changes the list and writes the parent, again if somebody else wrote it meanwhile. A nil list changes nothing.
func (c *children) edit(ctx context.Context, r *arm.Request, change func([]object) []object) error {
	for try := 0; ; try++ {
		body, err := c.rendered(ctx, r.ID.Parent())
		if err != nil {
			return err
		}
		next := change(items(props(body), c.list))
		if next == nil {
			return nil
		}
		setItems(props(body), c.list, next)
		err = c.write(ctx, r, body)
		var e *arm.Error
		if errors.As(err, &e) && e.Status == http.StatusPreconditionFailed && r.IfMatch == "" && try < 50 {
			continue
		}
		return err
	}
}

func (c *children) write(ctx context.Context, r *arm.Request, body map[string]any) error {
	etag, _ := body["etag"].(string)
	if r.IfMatch != "" {
		etag = r.IfMatch
	}
	sent, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, err = c.room.server.Do(ctx, &arm.Request{Method: http.MethodPut, ID: r.ID.Parent(), APIVersion: r.APIVersion, IfMatch: etag,
		Caller: r.Caller, Body: sent, BaseURL: r.BaseURL, CorrelationID: r.CorrelationID})
	return err
}

// Types returns the resource types of this room.
func (r *Room) Types() []arm.Type {
	vnets, lbs, groups := r.vnetDocument(), r.lbDocument(), r.groupDocument()
	out := []arm.Type{
		r.server.Document(vnets), r.childType(vnets, "subnets", true),
		r.server.Document(r.pipDocument()),
		r.server.Document(lbs),
		r.server.Document(groups), r.childType(groups, "securityRules", true), r.childType(groups, "defaultSecurityRules", false),
		{Name: typeNIC, APIVersions: apiVersions, List: r.noInterfaces},
	}
	for _, list := range lbLists {
		out = append(out, r.childType(lbs, list, list == "inboundNatRules" || list == "backendAddressPools"))
	}
	return out
}

// noInterfaces lists interfaces that belong to nobody's machine: lido makes none.
func (r *Room) noInterfaces(context.Context, *arm.Request) (*arm.Response, error) {
	return arm.Page[object](nil), nil
}
