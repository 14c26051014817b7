package storage

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const containers = pool + "/blobServices/default/containers"

// TestContainers: a container's directory is the account's, is opened by its keys alone, and goes with the account.
func TestContainers(t *testing.T) {
	f := newFixture(t)
	ctx := context.Background()
	f.put(pool, wish, 200)
	key := func() string {
		return f.must("POST", pool+"/listKeys", "", 200)["keys"].([]any)[0].(map[string]any)["value"].(string)
	}
	dir, err := f.AuthorizeContainer(ctx, "PoolShare", key(), "models")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(dir, "/poolshare/$blob/models") {
		t.Errorf("directory %s", dir)
	}
	if err := os.WriteFile(filepath.Join(dir, "net"), []byte("weights"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		account, key, name string
		want               error
	}{
		{"poolshare", "d3Jvbmc=", "models", ErrWrongKey}, {"nobody", key(), "models", ErrNoAccount},
		{"poolshare", key(), "../drive", ErrNoShare}, {"poolshare", key(), "models/containers/abc", ErrNoShare}, {"poolshare", key(), "a", ErrNoShare}, {"poolshare", key(), "a--b", ErrNoShare},
	} {
		if _, err := f.AuthorizeContainer(ctx, c.account, c.key, c.name); !errors.Is(err, c.want) {
			t.Errorf("%s %s: %v, want %v", c.account, c.name, err, c.want)
		}
	}
	if m := f.must("GET", containers+"/models", "", 200); props(m)["publicAccess"] != "None" {
		t.Errorf("a container that was mounted shows %v", m)
	}
	if _, err := f.Authorize(ctx, "poolshare", key(), "$blob/models"); !errors.Is(err, ErrNoShare) {
		t.Errorf("a container is given as a share: %v", err)
	}
	f.mounts.fail = errors.New("machine does not answer")
	f.must("DELETE", pool, "", 200)
	f.put(pool, wish, 200)
	if _, err := f.AuthorizeContainer(ctx, "poolshare", key(), "models"); !errors.Is(err, ErrNoShare) {
		t.Errorf("a new account's container is made where the old one's still is: %v", err)
	}
	f.mounts.fail = nil
	if err := f.moveAside(ctx); err != nil {
		t.Fatal(err)
	}
	if dir, err = f.AuthorizeContainer(ctx, "poolshare", key(), "models"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "net")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a new account finds the data of the one before: %v", err)
	}
}

func TestContainerLife(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	m := f.put(containers+"/models", `{"properties":{"publicAccess":"blob","metadata":{"a":"b"}}}`, 201)
	if p := props(m); m["name"] != "models" || m["type"] != typeContainers || m["etag"] == nil || p["publicAccess"] != "Blob" ||
		p["defaultEncryptionScope"] != "$account-encryption-key" || p["denyEncryptionScopeOverride"] != false || p["deleted"] != false ||
		p["hasImmutabilityPolicy"] != false || p["hasLegalHold"] != false || p["leaseState"] != "Available" || p["leaseStatus"] != "Unlocked" ||
		p["lastModifiedTime"] != "2026-11-23T12:00:00Z" || p["provisioningState"] != nil {
		t.Errorf("%v", m)
	}
	back, _ := json.Marshal(m)
	if again := f.put(containers+"/Models", string(back), 200); again["etag"] != m["etag"] {
		t.Errorf("PUT back changed %s to %v", back, again)
	}
	p := props(f.must("PATCH", containers+"/models", `{"properties":{"publicAccess":"None"}}`, 200))
	if meta, _ := p["metadata"].(map[string]any); p["publicAccess"] != "None" || meta["a"] != "b" {
		t.Errorf("PATCH: %v", p)
	}
	f.put(containers+"/$root", `{}`, 201)
	f.put(shares+"/models", `{}`, 201)
	if v := f.must("GET", containers, "", 200)["value"].([]any); len(v) != 2 {
		t.Errorf("%v", v)
	}
	dir := f.Dir("poolshare", "$blob/models")
	os.WriteFile(filepath.Join(dir, "net"), []byte("weights"), 0o600)
	f.must("DELETE", containers+"/models", "", 200)
	f.must("DELETE", containers+"/models", "", 204)
	f.refused("GET", containers+"/models", "", 404, "ContainerNotFound", "")
	f.refused("PATCH", containers+"/models", `{}`, 404, "ContainerNotFound", "")
	if exists(dir) || len(f.mounts.released) != 1 || f.mounts.released[0] != dir || !exists(f.Dir("poolshare", "models")) {
		t.Errorf("after deletion: %v, released %v", exists(dir), f.mounts.released)
	}
	f.put(containers+"/models", `{}`, 201)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("made again: %v %v", entries, err)
	}
	f.must("DELETE", pool, "", 200)
	f.run()
	f.eventually("data is removed", func() bool {
		hidden, _ := os.ReadDir(filepath.Join(f.dir, "shares", trashDir))
		return len(hidden) == 0 && !exists(filepath.Join(f.dir, "shares", "poolshare"))
	})
}

func TestContainerRefusals(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.put(accounts+"/files", strings.Replace(wish, "StorageV2", "FileStorage", 1), 200)
	for _, name := range []string{"ab", "Upper", "two--hyphens", "-begins", "ends-", "a.b.c", "..", "$other", strings.Repeat("a", 64)} {
		f.refused("PUT", containers+"/"+name, `{}`, 400, "InvalidResourceName", "name")
	}
	for body, target := range map[string]string{
		`{"properties":{"publicAccess":"All"}}`:                              "properties.publicAccess",
		`{"properties":{"immutableStorageWithVersioning":{"enabled":true}}}`: "properties.immutableStorageWithVersioning.enabled",
	} {
		f.refused("PUT", containers+"/models", body, 400, "InvalidValuesForRequestParameters", target)
	}
	f.refused("PUT", accounts+"/nobody/blobServices/default/containers/models", `{}`, 404, "ParentResourceNotFound", "")
	f.refused("PUT", accounts+"/files/blobServices/default/containers/models", `{}`, 400, "FeatureNotSupportedForAccount", "")
	if exists(f.Dir("poolshare", "$blob")) {
		t.Error("a refused container made a directory")
	}
}

func TestContainerCrashHeals(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.healsCrashes(containers+"/models", f.Dir("poolshare", "$blob/models"), "ContainerBeingDeleted")
}
