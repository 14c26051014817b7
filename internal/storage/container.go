package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// containersDir holds an account's blob containers, beside its shares. No share can be called so.
const containersDir = "$blob"

func containerPlace(name string) string { return containersDir + "/" + strings.ToLower(name) }

func (r *Room) containerType() arm.Type {
	t := r.arm.Document(arm.Document{
		Name: typeContainers, APIVersions: apiVersions, NoLocation: true, NameRule: anyName,
		Admit: admitContainer, Render: renderContainer, Removing: r.removingContainer,
	})
	t.Put, t.Delete = r.thenMake(t.Put), r.thenTidy(t.Delete)
	t.Get, t.Patch = containerKind.orMissing(t.Get), containerKind.orMissing(t.Patch)
	return t
}

type containerWish struct {
	Properties struct {
		PublicAccess                   string            `json:"publicAccess"`
		Metadata                       map[string]string `json:"metadata"`
		DefaultEncryptionScope         string            `json:"defaultEncryptionScope"`
		DenyEncryptionScopeOverride    arm.Bool          `json:"denyEncryptionScopeOverride"`
		ImmutableStorageWithVersioning struct {
			Enabled arm.Bool `json:"enabled"`
		} `json:"immutableStorageWithVersioning"`
	} `json:"properties"`
}

var publicAccess = []string{"None", "Blob", "Container"}

func admitContainer(_ context.Context, a *arm.Admission) error {
	var wish containerWish
	if err := containerKind.read(a, &wish); err != nil {
		return err
	}
	if access := wish.Properties.PublicAccess; access != "" {
		at := indexFold(publicAccess, access)
		if at < 0 {
			return invalid("properties.publicAccess", "'%s' is not one of %s.", access, strings.Join(publicAccess, ", "))
		}
		properties(a.Body)["publicAccess"] = publicAccess[at]
	}
	if wish.Properties.ImmutableStorageWithVersioning.Enabled {
		return invalid("properties.immutableStorageWithVersioning.enabled", "lido does not keep blobs from being changed.")
	}
	return containerKind.admit(a)
}

func renderContainer(_ context.Context, _ *store.Tx, d *store.Doc, body map[string]any) error {
	maps.Copy(properties(body), map[string]any{
		"lastModifiedTime": d.ChangedAt.Format(time.RFC3339), "leaseState": "Available", "leaseStatus": "Unlocked",
		"hasImmutabilityPolicy": false, "hasLegalHold": false, "deleted": false, "remainingRetentionDays": 0,
	})
	delete(properties(body), "provisioningState") // a container has none
	return nil
}

func (r *Room) removingContainer(_ context.Context, tx *store.Tx, d *store.Doc) error {
	_, share := place(arm.ParsePath(d.ID))
	return r.discard(tx, d, share, 0)
}

// AuthorizeContainer checks an account's key and returns the directory of one of its containers, which it makes if there
// is none of that name. Its error is ErrNoAccount, ErrWrongKey or ErrNoShare when it is the caller's.
func (r *Room) AuthorizeContainer(ctx context.Context, account, key, container string) (string, error) {
	container = strings.ToLower(container)
	if err := containerKind.admitName(container); err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoShare, err)
	}
	err := r.arm.Store.Update(ctx, func(tx *store.Tx) error {
		rec, err := r.account(tx, account)
		if err != nil {
			return err
		}
		if err := r.checkKey(rec, account, key); err != nil {
			return err
		}
		return r.needContainer(tx, placeID(rec.ID, containerPlace(container)))
	})
	if e := (*arm.Error)(nil); errors.As(err, &e) {
		return "", fmt.Errorf("%w: %w", ErrNoShare, e)
	}
	if err != nil {
		return "", err
	}
	return r.ensureDir(ctx, account, containerPlace(container))
}

// needContainer makes the document of a container that has none.
func (r *Room) needContainer(tx *store.Tx, id string) error {
	if _, err := tx.Get(id); !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := containerKind.admitNew(tx, arm.ParsePath(id)); err != nil {
		return err
	}
	body, err := json.Marshal(map[string]any{"properties": containerKind.defaults})
	if err != nil {
		return err
	}
	return tx.Put(&store.Doc{ID: id, Type: typeContainers, APIVersion: apiVersions[0], Desired: body}, r.arm.Now())
}
