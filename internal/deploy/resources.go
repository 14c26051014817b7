package deploy

import (
	"context"
	"encoding/json"
	"strings"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

// shownInLists are the members of a resource that the lists of all resources show.
var shownInLists = []string{"location", "tags", "sku", "kind", "plan", "zones", "identity", "managedBy", "extendedLocation"}

// listResources lists the resources of a group or of the subscription, over all types.
func (m *Room) listResources(ctx context.Context, r *arm.Request) (*arm.Response, error) {
	parent := r.ID.Parent()
	var docs []*store.Doc
	err := m.store.View(ctx, func(tx *store.Tx) (err error) {
		if parent.Key() == parent.GroupID().Key() {
			if _, err := tx.Get(parent.String()); err != nil {
				return arm.NotFound(parent)
			}
		}
		docs, err = tx.List(store.Query{Under: parent.String()})
		return err
	})
	if err != nil {
		return nil, err
	}
	expand := strings.ToLower(r.Query.Get("$expand"))
	items := []map[string]any{}
	for _, d := range docs {
		if item := m.listed(d, expand); item != nil {
			items = append(items, item)
		}
	}
	return filtered(r, arm.Page(items))
}

// listed is a resource as lists of all resources show it; nil for what is none, such as groups and children without a
// location of their own.
func (m *Room) listed(d *store.Doc, expand string) map[string]any {
	t := m.Server.Lookup(d.Type)
	if t == nil || t.Hidden || strings.EqualFold(d.Type, typeGroup) || strings.EqualFold(d.Type, TypeDeployment) {
		return nil
	}
	desired := map[string]any{}
	if json.Unmarshal(d.Desired, &desired) != nil || desired["location"] == nil {
		return nil
	}
	item := map[string]any{"id": d.ID, "name": arm.ParsePath(d.ID).FullName(), "type": t.Name}
	for _, k := range shownInLists {
		if v, ok := desired[k]; ok {
			item[k] = v
		}
	}
	if strings.Contains(expand, "createdtime") {
		item["createdTime"] = d.CreatedAt
	}
	if strings.Contains(expand, "changedtime") {
		item["changedTime"] = d.ChangedAt
	}
	if strings.Contains(expand, "provisioningstate") {
		item["provisioningState"] = stateOf(d)
	}
	return item
}

// stateOf is the provisioning state that a document's status half tells.
func stateOf(d *store.Doc) string {
	var st arm.Status
	json.Unmarshal(d.Status, &st)
	switch {
	case d.Deleting:
		return "Deleting"
	case st.Settled > 0 && st.Settled < d.Generation:
		return "Updating"
	case st.ProvisioningState == "":
		return arm.Succeeded
	}
	return st.ProvisioningState
}
