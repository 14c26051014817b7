package storage

import (
	"context"
	"net/http"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// serviceDefaults are the settings that an account's services begin with.
var serviceDefaults = map[string]string{
	"fileServices": `{"properties":{"cors":{"corsRules":[]},"shareDeleteRetentionPolicy":{"enabled":false}}}`,
	"blobServices": `{"properties":{"cors":{"corsRules":[]},"deleteRetentionPolicy":{"enabled":false}}}`,
}

// serviceType is an account's file or blob service: one resource, named default, that comes and goes with the account.
func (r *Room) serviceType(name string) arm.Type {
	t := r.arm.Document(arm.Document{
		Name: name, APIVersions: apiVersions, NoLocation: true, Created: http.StatusOK,
		Admit: admitService, Render: renderService,
	})
	t.Delete, t.Patch = nil, nil // as in Azure
	return t
}

// retention is how long deleted shares are kept, as the file service says.
type retention struct {
	Enabled arm.Bool `json:"enabled"`
	Days    arm.Int  `json:"days"`
}

type serviceWish struct {
	Properties struct {
		ShareDeleteRetentionPolicy retention `json:"shareDeleteRetentionPolicy"`
	} `json:"properties"`
}

func admitService(_ context.Context, a *arm.Admission) error {
	if !strings.EqualFold(a.ID.Name(), "default") {
		return arm.BadRequest("InvalidResourceName", "name", "An account has one service of the type '%s', and its name is 'default'.", a.ID.Type())
	}
	delete(a.Body, "sku")
	properties(a.Body)
	var wish serviceWish
	if err := arm.Convert(a.Body, &wish); err != nil {
		return err
	}
	if p := wish.Properties.ShareDeleteRetentionPolicy; p.Enabled && (p.Days < 1 || p.Days > 365) {
		return invalid("properties.shareDeleteRetentionPolicy.days", "Deleted shares are kept for 1 to 365 days.")
	}
	return nil
}

// renderService shows the account's sku, as Azure does.
func renderService(_ context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error {
	account, err := tx.Get(arm.ParsePath(d.ID).Parent().String())
	if err != nil {
		return err
	}
	var shown struct{ SKU any }
	if err := arm.Decode(account.Desired, &shown); err != nil {
		return err
	}
	body["sku"] = shown.SKU
	return nil
}
