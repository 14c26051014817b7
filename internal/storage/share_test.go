package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestShareLife(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	m := f.put(shares+"/work", `{"properties":{"shareQuota":10,"metadata":{"a":"b"}}}`, 201)
	if p := props(m); m["name"] != "work" || m["type"] != typeShares || p["shareQuota"] != 10.0 || p["enabledProtocols"] != "SMB" || p["leaseState"] != "available" {
		t.Errorf("%v", m)
	}
	f.put(shares+"/work", `{"properties":{"shareQuota":10}}`, 200)
	if p := props(f.must("PATCH", shares+"/work", `{"properties":{"shareQuota":"20"}}`, 200)); p["shareQuota"] != "20" && p["shareQuota"] != 20.0 {
		t.Errorf("%v", p)
	}
	dir := f.Dir("poolshare", "work")
	os.WriteFile(filepath.Join(dir, "data"), make([]byte, 100_000), 0o600)
	os.Link(filepath.Join(dir, "data"), filepath.Join(dir, "again"))
	used, _ := props(f.must("GET", shares+"/work?$expand=stats", "", 200))["shareUsageBytes"].(float64)
	if used < 100_000 || used > 150_000 {
		t.Errorf("used %v", used)
	}
	if v := f.must("GET", shares, "", 200)["value"].([]any); len(v) != 1 {
		t.Errorf("%v", v)
	}
	f.must("DELETE", shares+"/work", "", 200)
	f.refused("GET", shares+"/work", "", 404, "ShareNotFound", "")
	if exists(dir) || len(f.mounts.released) != 1 || f.mounts.released[0] != dir {
		t.Errorf("after deletion: %v, released %v", exists(dir), f.mounts.released)
	}
	f.put(shares+"/work", `{}`, 201)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 0 {
		t.Errorf("made again: %v %v", entries, err)
	}
	f.must("DELETE", pool, "", 200)
	f.run()
	f.eventually("data is removed", func() bool {
		left, _ := filepath.Glob(filepath.Join(f.dir, "shares", "*", "*"))
		hidden, _ := os.ReadDir(filepath.Join(f.dir, "shares", trashDir))
		return len(left) == 0 && len(hidden) == 0
	})
}

func TestShareRefusals(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.put(accounts+"/blobs", strings.Replace(wish, "StorageV2", "BlobStorage", 1), 200)
	for _, name := range []string{"ab", "Upper", "two--hyphens", "-begins", "ends-", "a.b.c", "..", strings.Repeat("a", 64)} {
		f.refused("PUT", shares+"/"+name, `{}`, 400, "InvalidResourceName", "name")
	}
	f.put(shares+"/"+strings.Repeat("a", 63), `{}`, 201)
	f.put(shares+"/a-b-c", `{}`, 201)
	for body, target := range map[string]string{
		`{"properties":{"shareQuota":0}}`:           "properties.shareQuota",
		`{"properties":{"shareQuota":102401}}`:      "properties.shareQuota",
		`{"properties":{"enabledProtocols":"NFS"}}`: "properties.enabledProtocols",
	} {
		f.refused("PUT", shares+"/work", body, 400, "InvalidValuesForRequestParameters", target)
	}
	f.refused("PUT", shares+"/work", `{"properties":{"shareQuota":"many"}}`, 400, "InvalidRequestContent", "properties.shareQuota")
	f.refused("PUT", accounts+"/nobody/fileServices/default/shares/work", `{}`, 404, "ParentResourceNotFound", "")
	f.refused("PUT", accounts+"/blobs/fileServices/default/shares/work", `{}`, 400, "FeatureNotSupportedForAccount", "")
	if exists(filepath.Join(f.dir, "etc")) || exists(f.Dir("poolshare", "work")) {
		t.Error("a refused share made a directory")
	}
}

// healsCrashes tries crashes while a share or container is made and while it is deleted.
func (f *fixture) healsCrashes(id, dir, deleting string) {
	f.Helper()
	f.put(id, `{}`, 201)
	os.RemoveAll(filepath.Dir(dir)) // as if we had died before it was made
	f.restart()
	f.run()
	f.eventually("directory is made", func() bool { return exists(dir) })
	os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o600)

	f.mounts.fail = errors.New("machine does not answer")
	f.must("DELETE", id, "", 200)
	f.refused("PUT", id, `{}`, 409, deleting, "")
	f.restart()
	if !exists(filepath.Join(dir, "mine")) {
		f.Fatal("data is gone while machines have it mounted")
	}
	f.mounts.fail = nil
	f.run()
	f.eventually("data is moved aside", func() bool { code, _ := f.call("PUT", id, `{}`); return code == 201 })
	if exists(filepath.Join(dir, "mine")) {
		f.Error("the new one has the old one's data")
	}
}

func TestCrashHeals(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.healsCrashes(shares+"/work", f.Dir("poolshare", "work"), "ShareBeingDeleted")
	f.eventually("data is removed", func() bool {
		left, _ := os.ReadDir(filepath.Join(f.dir, "shares", trashDir))
		return len(left) == 0
	})
}

func TestDeletedSharesAreKeptAndRestored(t *testing.T) {
	f := newFixture(t)
	f.put(pool, wish, 200)
	f.put(pool+"/fileServices/default", `{"properties":{"shareDeleteRetentionPolicy":{"enabled":true,"days":7}}}`, 200)
	f.put(shares+"/work", `{"properties":{"shareQuota":5}}`, 201)
	file := filepath.Join(f.Dir("poolshare", "work"), "mine")
	os.WriteFile(file, []byte("x"), 0o600)
	f.must("DELETE", shares+"/work", "", 200)
	f.run()
	gone := f.must("GET", shares+"?$expand=deleted", "", 200)["value"].([]any)
	if len(gone) != 1 || props(gone[0].(map[string]any))["deleted"] != true || props(gone[0].(map[string]any))["remainingRetentionDays"] != 7.0 {
		t.Fatalf("%v", gone)
	}
	if v := f.must("GET", shares, "", 200)["value"].([]any); len(v) != 0 {
		t.Errorf("%v", v)
	}
	version := props(gone[0].(map[string]any))["version"].(string)
	ask := fmt.Sprintf(`{"deletedShareName":"work","deletedShareVersion":%q}`, version)
	f.refused("POST", shares+"/work/restore", `{"deletedShareName":"work","deletedShareVersion":"other"}`, 404, "ShareNotFound", "")
	f.must("POST", shares+"/work/restore", ask, 200)
	if m := f.must("GET", shares+"/work", "", 200); props(m)["shareQuota"] != 5.0 || !exists(file) {
		t.Errorf("%v, file %v", m, exists(file))
	}
	f.refused("POST", shares+"/work/restore", ask, 409, "ShareAlreadyExists", "")

	f.must("DELETE", shares+"/work", "", 200)
	gone = f.must("GET", shares+"?$expand=deleted", "", 200)["value"].([]any)
	ask = fmt.Sprintf(`{"deletedShareName":"work","deletedShareVersion":%q}`, props(gone[0].(map[string]any))["version"])
	f.must("POST", shares+"/other/restore", ask, 200)
	if m := f.must("GET", shares+"/other", "", 200); m["name"] != "other" || !exists(filepath.Join(f.Dir("poolshare", "other"), "mine")) || exists(file) {
		t.Errorf("restored under another name: %v", m)
	}
	f.must("DELETE", shares+"/other", "", 200)
	f.stop() // the clock belongs to the room while it runs
	f.now = f.now.AddDate(0, 0, 8)
	f.start()
	f.run()
	f.eventually("data is removed", func() bool {
		left, _ := os.ReadDir(filepath.Join(f.dir, "shares", trashDir))
		return len(left) == 0
	})
}
