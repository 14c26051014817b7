package storage

import (
	"context"
	"errors"
	"maps"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

func (r *Room) shareType() arm.Type {
	t := r.arm.Document(arm.Document{
		Name: typeShares, APIVersions: apiVersions, NoLocation: true, NameRule: anyName,
		Admit: admitShare, Render: renderShare, Removing: r.removingShare,
		Actions: map[string]arm.Handler{"restore": r.restore},
	})
	t.Put, t.Delete = r.thenMake(t.Put), r.thenTidy(t.Delete)
	t.Get, t.Patch = shareKind.orMissing(r.withUsage(t.Get)), shareKind.orMissing(t.Patch)
	t.List = r.withDeleted(t.List)
	return t
}

type shareWish struct {
	Properties struct {
		ShareQuota       *arm.Int          `json:"shareQuota"` // GiB
		EnabledProtocols string            `json:"enabledProtocols"`
		AccessTier       string            `json:"accessTier"`
		Metadata         map[string]string `json:"metadata"`
	} `json:"properties"`
}

func admitShare(_ context.Context, a *arm.Admission) error {
	var wish shareWish
	if err := shareKind.read(a, &wish); err != nil {
		return err
	}
	switch p := wish.Properties; {
	case p.ShareQuota != nil && (*p.ShareQuota < 1 || *p.ShareQuota > 102400):
		return invalid("properties.shareQuota", "It is a whole number of GiB from 1 to 102400.")
	case p.EnabledProtocols != "" && !strings.EqualFold(p.EnabledProtocols, "SMB"):
		return invalid("properties.enabledProtocols", "lido's shares are mounted as SMB shares are (mount -t cifs) and behave as a POSIX file system then; '%s' is not served.", p.EnabledProtocols)
	}
	return shareKind.admit(a)
}

func renderShare(_ context.Context, _ *store.Tx, d *store.Doc, body map[string]any) error {
	maps.Copy(properties(body), map[string]any{
		"lastModifiedTime": d.ChangedAt.Format(time.RFC3339), "leaseState": "available", "leaseStatus": "unlocked",
	})
	delete(properties(body), "provisioningState") // a share has none
	return nil
}

// removingShare discards a share's data, which is kept for as long as the account's file service says.
func (r *Room) removingShare(_ context.Context, tx *store.Tx, d *store.Doc) error {
	id := arm.ParsePath(d.ID)
	keep, err := keepDays(tx, id.Parent())
	if err != nil {
		return err
	}
	return r.discard(tx, d, id.Name(), keep)
}

func keepDays(tx *store.Tx, service arm.ID) (int, error) {
	d, err := tx.Get(service.String())
	if errors.Is(err, store.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	var wish serviceWish
	if err := arm.Decode(d.Desired, &wish); err != nil {
		return 0, err
	}
	if p := wish.Properties.ShareDeleteRetentionPolicy; p.Enabled {
		return int(p.Days), nil
	}
	return 0, nil
}

// thenMake makes the directory of a share or container after its document was written. A crash in between is healed by
// Run, and by Authorize.
func (r *Room) thenMake(put arm.Handler) arm.Handler {
	return func(ctx context.Context, req *arm.Request) (*arm.Response, error) {
		resp, err := put(ctx, req)
		if err != nil {
			return nil, err
		}
		return resp, r.ensure(ctx, req.ID)
	}
}

// withUsage adds the bytes that a share uses, if they are asked for.
func (r *Room) withUsage(get arm.Handler) arm.Handler {
	return func(ctx context.Context, req *arm.Request) (*arm.Response, error) {
		resp, err := get(ctx, req)
		if err != nil || !expands(req, "stats") {
			return resp, err
		}
		used, err := diskUsage(ctx, r.Dir(place(req.ID)))
		if err != nil {
			return nil, err
		}
		properties(resp.Body.(map[string]any))["shareUsageBytes"] = used
		return resp, nil
	}
}

// withDeleted adds the shares that can be restored, if they are asked for.
func (r *Room) withDeleted(list arm.Handler) arm.Handler {
	return func(ctx context.Context, req *arm.Request) (*arm.Response, error) {
		resp, err := list(ctx, req)
		if err != nil || !expands(req, "deleted") {
			return resp, err
		}
		gone, err := r.deletedShares(ctx, req.ID)
		if err != nil {
			return nil, err
		}
		page := resp.Body.(map[string]any)
		page["value"] = append(page["value"].([]map[string]any), gone...)
		return resp, nil
	}
}

func expands(req *arm.Request, what string) bool {
	return strings.Contains(strings.ToLower(req.Query.Get("$expand")), what)
}
