package storage

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestAccountLife(t *testing.T) {
	f := newFixture(t)
	m := f.put(pool, wish, 200) // clients refuse a 201
	if m["id"] != strings.Replace(pool, "resourcegroups/team", "resourceGroups/Team", 1) || m["kind"] != "StorageV2" {
		t.Errorf("%v", m)
	}
	p := props(m)
	if p["provisioningState"] != "Succeeded" || p["primaryLocation"] != "local" || p["statusOfPrimary"] != "available" ||
		p["creationTime"] != "2026-11-23T12:00:00Z" || p["fancy"] == nil || p["supportsHttpsTrafficOnly"] != true ||
		p["primaryEndpoints"].(map[string]any)["file"] != "https://poolshare.file.core.lido.internal/" {
		t.Errorf("%v", p)
	}
	// What GET shows can be PUT back and changes nothing.
	m = f.must("GET", strings.ToUpper(pool), "", 200)
	back, _ := json.Marshal(m)
	if again := f.put(pool, string(back), 200); again["etag"] != m["etag"] {
		t.Errorf("PUT back changed %s to %v", back, again)
	}
	m = f.must("PATCH", pool, `{"tags":{"cost":"7"},"sku":{"name":"standard_lrs"}}`, 200)
	if tags := m["tags"].(map[string]any); tags["cost"] != "7" || len(tags) != 1 || m["sku"].(map[string]any)["name"] != "Standard_LRS" {
		t.Errorf("PATCH: %v", m)
	}
	for _, list := range []string{accounts, "/subscriptions/s/providers/Microsoft.Storage/storageAccounts"} {
		if v := f.must("GET", list, "", 200)["value"].([]any); len(v) != 1 {
			t.Errorf("%s: %v", list, v)
		}
	}
	if m := f.must("GET", pool+"/fileServices/default", "", 200); m["name"] != "default" || m["sku"] == nil {
		t.Errorf("%v", m)
	}
	f.must("GET", pool+"/blobServices/default", "", 200)
	f.must("DELETE", pool, "", 200)
	f.must("DELETE", pool, "", 204)
	f.refused("GET", pool, "", 404, "ResourceNotFound", "")
	f.refused("GET", pool+"/fileServices/default", "", 404, "ResourceNotFound", "")
	f.refused("POST", pool+"/listKeys", "", 404, "ResourceNotFound", "")
}

func TestAccountRefusals(t *testing.T) {
	f := newFixture(t)
	f.put("/subscriptions/s/resourceGroups/other", `{"location":"local"}`, 201)
	f.put(pool, wish, 200)
	other := strings.Replace(pool, "/team/", "/other/", 1)
	f.refused("PUT", other, wish, 409, "StorageAccountAlreadyTaken", "")
	f.refused("POST", other+"/listKeys", "", 404, "ResourceNotFound", "")
	for _, name := range []string{"ab", "Upper", "with-dash", strings.Repeat("a", 25)} {
		f.refused("PUT", accounts+"/"+name, wish, 400, "AccountNameInvalid", "name")
	}
	at := accounts + "/acct"
	f.refused("PUT", at, `{"location":"local","kind":"StorageV2"}`, 400, "InvalidValuesForRequestParameters", "sku.name")
	f.refused("PUT", at, `{"location":"local","kind":"StorageV2","sku":{"name":"Cheap"}}`, 400, "InvalidValuesForRequestParameters", "sku.name")
	f.refused("PUT", at, `{"location":"local","kind":"Disk","sku":{"name":"Standard_LRS"}}`, 400, "InvalidValuesForRequestParameters", "kind")
	f.refused("PUT", at, `{"location":"local","kind":7,"sku":{"name":"Standard_LRS"}}`, 400, "InvalidRequestContent", "kind")
	f.refused("PUT", at, `{"kind":"StorageV2","sku":{"name":"Standard_LRS"}}`, 400, "LocationRequired", "location")
	f.refused("POST", pool+"/regenerateKey", `{"keyName":"key3"}`, 400, "InvalidValuesForRequestParameters", "keyName")
	f.refused("PUT", pool+"/fileServices/second", `{}`, 400, "InvalidResourceName", "name")
	f.refused("DELETE", pool+"/fileServices/default", ``, 405, "MethodNotAllowed", "")
	f.refused("PUT", pool+"/fileServices/default", `{"properties":{"shareDeleteRetentionPolicy":{"enabled":true,"days":0}}}`, 400, "InvalidValuesForRequestParameters", "properties.shareDeleteRetentionPolicy.days")

	check := "/subscriptions/s/providers/Microsoft.Storage/checkNameAvailability"
	for name, want := range map[string]string{"poolshare": "AlreadyExists", "Bad": "AccountNameInvalid", "free": ""} {
		m := f.must("POST", check, `{"name":"`+name+`","type":"Microsoft.Storage/storageAccounts"}`, 200)
		if reason, _ := m["reason"].(string); reason != want || m["nameAvailable"] != (want == "") {
			t.Errorf("%s: %v", name, m)
		}
	}
}
