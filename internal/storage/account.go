package storage

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

const (
	typeAccounts     = "Microsoft.Storage/storageAccounts"
	typeFileServices = typeAccounts + "/fileServices"
	typeBlobServices = typeAccounts + "/blobServices"
	typeShares       = typeFileServices + "/shares"
	typeContainers   = typeBlobServices + "/containers"
)

var (
	anyName     = regexp.MustCompile(`(?s).*`) // names are checked in Admit, where Azure's own error can be given
	accountRule = regexp.MustCompile(`^[a-z0-9]{3,24}$`)
)

var kinds = []string{"Storage", "StorageV2", "BlobStorage", "FileStorage", "BlockBlobStorage"}

var skus = []string{"Standard_LRS", "Standard_GRS", "Standard_RAGRS", "Standard_ZRS", "Standard_GZRS", "Standard_RAGZRS",
	"Premium_LRS", "Premium_ZRS", "StandardV2_LRS", "StandardV2_GRS", "StandardV2_ZRS", "StandardV2_GZRS", "PremiumV2_LRS", "PremiumV2_ZRS"}

func (r *Room) accountType() arm.Type {
	t := r.arm.Document(arm.Document{
		Name: typeAccounts, APIVersions: apiVersions, NameRule: anyName, Created: http.StatusOK, // clients refuse a 201
		Admit: r.admitAccount, Render: r.renderAccount, Removing: r.removingAccount,
		Actions: map[string]arm.Handler{"listKeys": r.listKeys, "regenerateKey": r.regenerateKey},
	})
	t.Delete = r.thenTidy(t.Delete)
	return t
}

// accountWish is what lido understands of an account; the rest is kept as it was sent.
type accountWish struct {
	SKU        *struct{ Name string } `json:"sku"`
	Kind       string                 `json:"kind"`
	Properties struct {
		AccountType              string   `json:"accountType"` // the sku's name, until 2015-06-15
		SupportsHTTPSTrafficOnly arm.Bool `json:"supportsHttpsTrafficOnly"`
		IsNfsV3Enabled           arm.Bool `json:"isNfsV3Enabled"`
	} `json:"properties"`
}

// shownOnly are properties that lido computes; clients send them back.
var shownOnly = []string{"creationTime", "primaryEndpoints", "primaryLocation", "statusOfPrimary", "keyCreationTime",
	"secondaryEndpoints", "secondaryLocation", "statusOfSecondary", "privateEndpointConnections", "failoverInProgress", "geoReplicationStats"}

func (r *Room) admitAccount(_ context.Context, a *arm.Admission) error {
	props := properties(a.Body)
	for _, k := range shownOnly {
		delete(props, k)
	}
	var wish accountWish
	if err := arm.Convert(a.Body, &wish); err != nil {
		return err
	}
	if err := settleSKU(a.Body, props, &wish); err != nil {
		return err
	}
	for k, v := range accountDefaults {
		if props[k] == nil {
			props[k] = v
		}
	}
	if a.Old != nil {
		return nil
	}
	return r.claimName(a)
}

var accountDefaults = map[string]any{
	"supportsHttpsTrafficOnly": true, "minimumTlsVersion": "TLS1_2", "allowBlobPublicAccess": false, "accessTier": "Hot",
	"encryption": map[string]any{"keySource": "Microsoft.Storage", "services": map[string]any{
		"blob": map[string]any{"enabled": true, "keyType": "Account"}, "file": map[string]any{"enabled": true, "keyType": "Account"}}},
	"networkAcls": map[string]any{"bypass": "AzureServices", "defaultAction": "Allow", "ipRules": []any{}, "virtualNetworkRules": []any{}},
}

// settleSKU checks kind and sku, and writes them as Azure spells them.
func settleSKU(body, props map[string]any, wish *accountWish) error {
	name := wish.Properties.AccountType
	if wish.SKU != nil {
		name = wish.SKU.Name
	}
	kind := wish.Kind
	if kind == "" {
		kind = "Storage" // what versions without kinds made
	}
	skuAt, kindAt := indexFold(skus, name), indexFold(kinds, kind)
	switch {
	case name == "":
		return invalid("sku.name", "An account needs a sku, for example Standard_LRS.")
	case skuAt < 0:
		return invalid("sku.name", "'%s' is not one of %s.", name, strings.Join(skus, ", "))
	case kindAt < 0:
		return invalid("kind", "'%s' is not one of %s.", kind, strings.Join(kinds, ", "))
	}
	tier, _, _ := strings.Cut(skus[skuAt], "_")
	body["sku"] = map[string]any{"name": skus[skuAt], "tier": strings.TrimSuffix(tier, "V2")}
	body["kind"] = kinds[kindAt]
	if _, old := props["accountType"]; old { // shown to those who speak the old form
		props["accountType"] = skus[skuAt]
	}
	return nil
}

func indexFold(list []string, s string) int {
	return slices.IndexFunc(list, func(x string) bool { return strings.EqualFold(x, s) })
}

// invalid is how the storage provider says that a property's value is wrong.
func invalid(path, format string, args ...any) *arm.Error {
	e := arm.BadRequest("InvalidValuesForRequestParameters", path, format, args...)
	e.Message = "Values for request parameters are invalid: " + path + ". " + e.Message
	return e
}

// properties returns a body's properties, which it makes if they are missing.
func properties(body map[string]any) map[string]any {
	props, ok := body["properties"].(map[string]any)
	if !ok {
		props = map[string]any{}
		body["properties"] = props
	}
	return props
}

// claimName takes a new account's name, which is unique in all groups, and makes its keys and services.
func (r *Room) claimName(a *arm.Admission) error {
	name := a.ID.Name()
	if why := nameFault(name); why != "" {
		return arm.BadRequest("AccountNameInvalid", "name", "%s", why)
	}
	if _, err := r.account(a.Tx, name); err == nil {
		return arm.Conflict("StorageAccountAlreadyTaken", "%s", takenFault(name))
	} else if !errors.Is(err, ErrNoAccount) {
		return err
	}
	id := a.ID
	if group, err := a.Tx.Get(id.Scope); err == nil {
		id.Scope = group.ID
	}
	if err := r.newAccount(a.Tx, name, id.String()); err != nil {
		return err
	}
	for _, service := range []string{"fileServices", "blobServices"} {
		d := &store.Doc{ID: id.Child(service, "default").String(), Type: typeAccounts + "/" + service,
			APIVersion: a.Request.APIVersion, Desired: []byte(serviceDefaults[service])}
		if err := a.Tx.Put(d, r.arm.Now()); err != nil {
			return err
		}
	}
	return nil
}

func nameFault(name string) string {
	if accountRule.MatchString(name) {
		return ""
	}
	return name + " is not a valid storage account name. Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only."
}

func takenFault(name string) string {
	return "The storage account named " + name + " is already taken."
}

func (r *Room) renderAccount(_ context.Context, tx *store.Tx, d *store.Doc, body map[string]any) error {
	props, name := properties(body), arm.ParsePath(d.ID).Name()
	endpoints := map[string]any{}
	for _, service := range []string{"blob", "dfs", "file", "queue", "table", "web"} {
		endpoints[service] = "https://" + name + "." + service + "." + EndpointSuffix + "/"
	}
	props["primaryEndpoints"] = endpoints
	props["primaryLocation"] = body["location"]
	props["statusOfPrimary"] = "available"
	props["creationTime"] = d.CreatedAt.Format(time.RFC3339Nano)
	props["privateEndpointConnections"] = []any{}
	rec, err := r.account(tx, name)
	if errors.Is(err, ErrNoAccount) {
		return nil
	}
	if err != nil {
		return err
	}
	props["keyCreationTime"] = map[string]any{"key1": rec.Keys[0].Created, "key2": rec.Keys[1].Created}
	return nil
}

// removingAccount gives up the account's name and keys and the data of its shares and containers.
func (r *Room) removingAccount(_ context.Context, tx *store.Tx, d *store.Doc) error {
	shares, err := tx.List(store.Query{Under: d.ID, Type: typeShares})
	if err != nil {
		return err
	}
	for _, s := range shares {
		if err := r.discard(tx, s, arm.ParsePath(s.ID).Name(), 0); err != nil {
			return err
		}
	}
	name := arm.ParsePath(d.ID).Name()
	if err := r.expireTrash(tx, name); err != nil {
		return err
	}
	if err := r.discard(tx, d, containersDir, 0); err != nil {
		return err
	}
	return tx.DeleteKV(bucketAccounts, name)
}

func (r *Room) checkNameAvailability(ctx context.Context, req *arm.Request) (*arm.Response, error) {
	var q struct{ Name, Type string }
	if err := req.Decode(&q); err != nil {
		return nil, err
	}
	if q.Name == "" {
		return nil, invalid("name", "Give the name that is to be checked.")
	}
	if why := nameFault(q.Name); why != "" {
		return unavailable("AccountNameInvalid", why), nil
	}
	err := r.arm.Store.View(ctx, func(tx *store.Tx) error {
		_, err := r.account(tx, q.Name)
		return err
	})
	switch {
	case errors.Is(err, ErrNoAccount):
		return arm.OK(map[string]any{"nameAvailable": true}), nil
	case err != nil:
		return nil, err
	}
	return unavailable("AlreadyExists", takenFault(q.Name)), nil
}

func unavailable(reason, message string) *arm.Response {
	return arm.OK(map[string]any{"nameAvailable": false, "reason": reason, "message": message})
}

func listSKUs(_ context.Context, _ *arm.Request) (*arm.Response, error) {
	var items []map[string]any
	for _, kind := range kinds {
		for _, sku := range skus {
			tier, _, _ := strings.Cut(sku, "_")
			items = append(items, map[string]any{"resourceType": "storageAccounts", "name": sku, "tier": strings.TrimSuffix(tier, "V2"),
				"kind": kind, "locations": []string{"local"}, "capabilities": []any{}, "restrictions": []any{}})
		}
	}
	return arm.Page(items), nil
}

// maxAccounts is shown as the limit of accounts; it is not enforced.
const maxAccounts = 10000

func (r *Room) usages(ctx context.Context, _ *arm.Request) (*arm.Response, error) {
	n := 0
	err := r.arm.Store.View(ctx, func(tx *store.Tx) error {
		accounts, err := tx.ListKV(bucketAccounts)
		n = len(accounts)
		return err
	})
	if err != nil {
		return nil, err
	}
	return arm.Page([]map[string]any{{"unit": "Count", "currentValue": n, "limit": maxAccounts,
		"name": map[string]any{"value": "StorageAccounts", "localizedValue": "Storage Accounts"}}}), nil
}
