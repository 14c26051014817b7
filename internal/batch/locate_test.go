package batch

import "testing"

func TestLocate(t *testing.T) {
	ofCluster := &mountVolumes{
		Shares:  []fileShare{{Account: "a", URL: "https://a.file.core.lido.internal/one", Path: "afs"}, {URL: "https://a.file.core.lido.internal/two/sub/", Path: "afs/inner"}},
		Servers: []fileServerUse{{Path: "nfs"}},
	}
	ofJob := &mountVolumes{Containers: []blobContainer{{Container: "c", Path: "/bfs/"}}}
	for _, c := range []struct{ path, at, rel string }{
		{"$AZ_BATCHAI_MOUNT_ROOT/afs", "afs", ""},
		{"$AZ_BATCHAI_MOUNT_ROOT/afs/", "afs", ""},
		{"${AZ_BATCHAI_MOUNT_ROOT}/afs/x/y", "afs", "x/y"},
		{"$AZ_BATCHAI_MOUNT_ROOT//afs/./x", "afs", "x"},
		{"$AZ_BATCHAI_MOUNT_ROOT/afs/inner/z", "afs/inner", "z"},
		{"$AZ_BATCHAI_MOUNT_ROOT/afs/innermost", "afs", "innermost"},
		{"$AZ_BATCHAI_MOUNT_ROOT/nfs/x", "nfs", "x"},
		{"$AZ_BATCHAI_JOB_MOUNT_ROOT/bfs/x", "bfs", "x"},
		{mountRoot + "/afs/x", "afs", "x"},
		{"$AZ_BATCHAI_MOUNT_ROOT/afs/../../../nfs/x", "nfs", "x"},
		{"$AZ_BATCHAI_MOUNT_ROOT/bfs/x", "", ""},
		{"$AZ_BATCHAI_MOUNT_ROOT", "", ""},
		{"$AZ_BATCHAI_MOUNT_ROOTS/afs", "", ""},
		{"$AZ_BATCHAI_MOUNT_ROOT/af", "", ""},
		{"/tmp/x", "", ""}, {"", "", ""}, {mountRoot + "/../x", "", ""},
	} {
		p, ok := locate(c.path, ofCluster, ofJob)
		if ok != (c.at != "") || ok && (p.at() != c.at || p.rel != c.rel) {
			t.Errorf("%s: %v at %q, %q; want %q, %q", c.path, ok, p.at(), p.rel, c.at, c.rel)
		}
	}
	if share, dir := ofCluster.Shares[1].shareName(); share != "two" || dir != "sub" {
		t.Errorf("share %q, directory %q", share, dir)
	}
}
