package deploy

import (
	"context"
	"errors"
	"net/http"
	"regexp"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

var groupName = regexp.MustCompile(`^[\p{L}\p{Nd}_().-]{0,89}[\p{L}\p{Nd}_()-]$`)

func (m *Room) groupDocument() arm.Document {
	return arm.Document{Name: typeGroup, APIVersions: versions, NameRule: groupName, Render: renderGroup}
}

// groupType is the type of resource groups: documents, but for their lists, probes and deletion.
func (m *Room) groupType() arm.Type {
	t := m.Server.Document(m.groupDocument())
	list, put := t.List, t.Put
	t.List = func(ctx context.Context, r *arm.Request) (*arm.Response, error) {
		resp, err := list(ctx, r)
		if err != nil {
			return nil, err
		}
		return filtered(r, resp)
	}
	t.Put = func(ctx context.Context, r *arm.Request) (*arm.Response, error) {
		resp, err := put(ctx, r)
		if e := (*arm.Error)(nil); errors.As(err, &e) && groupCodes[e.Code] != "" {
			e.Code = groupCodes[e.Code]
		}
		return resp, err
	}
	t.Head, t.Delete = m.headGroup, m.removeGroup
	t.Actions = map[string]arm.Handler{"exportTemplate": m.exportGroup}
	return t
}

// groupCodes are the codes that groups have in place of other resources'.
var groupCodes = map[string]string{"InvalidResourceLocation": "InvalidResourceGroupLocation", "InvalidResourceName": "InvalidResourceGroup"}

func renderGroup(_ context.Context, _ *store.Tx, d *store.Doc, body map[string]any) error {
	body["type"] = "Microsoft.Resources/resourceGroups"
	delete(body, "etag")
	state := arm.Succeeded
	if d.Deleting {
		state = "Deleting"
	}
	body["properties"] = map[string]any{"provisioningState": state}
	return nil
}

// headGroup says whether a group exists: 204 or 404.
func (m *Room) headGroup(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	status := http.StatusNoContent
	err := m.store.View(ctx, func(tx *store.Tx) error {
		_, err := tx.Get(r.ID.String())
		if errors.Is(err, store.ErrNotFound) {
			status = http.StatusNotFound
			return nil
		}
		return err
	})
	return &arm.Response{Status: status}, err
}

// removeGroup records the wish that a group goes with everything in it. Run fulfils it.
func (m *Room) removeGroup(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	resp := &arm.Response{Status: http.StatusAccepted, Location: true}
	err := m.store.Update(ctx, func(tx *store.Tx) error {
		d, err := tx.Get(r.ID.String())
		if errors.Is(err, store.ErrNotFound) {
			return arm.NotFound(r.ID)
		}
		if err != nil {
			return err
		}
		if d, err = tx.MarkDeleting(d.ID, m.now()); err != nil {
			return err
		}
		owner := deletion{Caller: r.Caller, APIVersion: r.APIVersion, BaseURL: r.BaseURL}
		if err := tx.SetJSON(bucketDeletion, d.UID, owner); err != nil {
			return err
		}
		resp.Operation, err = m.Server.StartOperation(tx, d, "delete", 0)
		return err
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}
