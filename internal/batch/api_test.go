package batch

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/store"
)

func TestClusterIsShownAsAzureDoes(t *testing.T) {
	f := newFixture(t)
	id := ws + "/clusters/C"
	for _, verb := range []string{"PUT", "GET"} {
		m := f.must(verb, id, map[string]string{"PUT": clusterBody}[verb], 200)
		for path, want := range map[string]any{
			"properties.provisioningState": "succeeded", "properties.allocationState": "resizing", "properties.currentNodeCount": 0.0,
			"properties.vmPriority": "dedicated", "properties.scaleSettings.autoScale.initialNodeCount": 0.0, "properties.creationTime": "2026-11-23T12:00:00.000Z",
			"properties.virtualMachineConfiguration.imageReference.publisher": "Canonical", "properties.userAccountSettings.adminUserName": "lab",
			"properties.userAccountSettings.adminUserPassword": nil, "submittedBy": nil, "name": "C",
		} {
			if got := at(m, path); got != want {
				t.Errorf("%s: %s is %v, want %v", verb, path, got, want)
			}
		}
		if counts := at(m, "properties.nodeStateCounts").(map[string]any); len(counts) != 5 {
			t.Errorf("nodeStateCounts: %v", counts)
		}
		if b, _ := json.Marshal(m); strings.Contains(string(b), "hush") || strings.Contains(string(b), "right") || strings.Contains(string(b), "lido-secret") {
			t.Errorf("%s shows a secret: %s", verb, b)
		}
	}
	f.setStatus(id, clusterStatus{Allocation: "steady", Nodes: []nodeInfo{
		{Name: "n1", State: nodeIdle, Login: "10.1.1.1", Port: 50000}, {Name: "n2", State: nodeUnusable, Reason: &Problem{Code: "SetupTaskFailed", Message: "It failed."}}}})
	m := f.must("GET", id, "", 200)
	if at(m, "properties.nodeStateCounts.idleNodeCount") != 1.0 || at(m, "properties.currentNodeCount") != 2.0 || len(at(m, "properties.errors").([]any)) != 1 {
		t.Errorf("with nodes: %v", m)
	}
	m = f.must("POST", id+"/listRemoteLoginInformation", "", 200)
	if b, _ := json.Marshal(m["value"]); string(b) != `[{"ipAddress":"10.1.1.1","nodeId":"n1","port":50000}]` {
		t.Errorf("logins: %s", b)
	}
}

func TestWhatGetShowedCanBePutBack(t *testing.T) {
	f := newFixture(t)
	id := ws + "/clusters/C"
	f.must("PUT", id, clusterBody, 200)
	f.must("PUT", exp+"/jobs/J", jobBody, 200)
	for _, id := range []string{id, exp + "/jobs/J"} {
		shown := f.request("GET", id, "").Body.String()
		f.must("PUT", id, shown, 200)
		if again := f.request("GET", id, "").Body.String(); again != shown {
			t.Errorf("PUT of what GET showed changed\n%s to\n%s", shown, again)
		}
	}
	f.inTx(func(tx *store.Tx) error {
		d, _ := tx.Get(id)
		c, _, err := readCluster(f.Server, tx, d)
		if c.User.Password != "hush-password" || c.Setup.Mounts.Shares[0].Credentials.Key != "right" || string(c.Setup.Task.Secrets[0].Value) != "hush-token" {
			t.Errorf("secrets of the cluster: %+v", c)
		}
		j, _ := tx.Get(exp + "/jobs/J")
		w, st, err2 := readJob(f.Server, tx, j)
		if string(w.Secrets[0].Value) != "hush-token" || st.State != stateQueued || submitter(j) != "ada" || w.Constraints.limit() != 7*24*time.Hour {
			t.Errorf("job: %+v %+v by %q", w, st, submitter(j))
		}
		return first(err, err2)
	})
	f.must("PUT", exp+"/jobs/J", jobBody, 200) // the same job, its secrets in clear
	m := f.must("PUT", exp+"/jobs/J", edit(t, jobBody, "nodeCount", "1"), 409)
	if at(m, "error.code") != "PropertyChangeNotAllowed" || at(m, "error.target") != "properties.nodeCount" {
		t.Errorf("changed job: %v", m)
	}
	f.must("PUT", exp+"/jobs/J", edit(t, jobBody, "secrets", `[{"name":"TOKEN","value":"other"}]`), 409)
	f.must("PUT", id, edit(t, clusterBody, "vmSize", `"Standard_D4_v3"`), 409)
	f.must("PUT", id, edit(t, clusterBody, "scaleSettings", `{"manual":{"targetNodeCount":3}}`), 200)
	m = f.must("PATCH", id, `{"properties":{"scaleSettings":{"autoScale":{"minimumNodeCount":1,"maximumNodeCount":2}}}}`, 200)
	if at(m, "properties.scaleSettings.manual") != nil || at(m, "properties.scaleSettings.autoScale.maximumNodeCount") != 2.0 {
		t.Errorf("patched: %v", m)
	}
	f.must("PATCH", ws, `{"tags":{"a":"b"}}`, 200)
}

func TestBadClustersAreExplained(t *testing.T) {
	f := newFixture(t)
	const share = "nodeSetup.mountVolumes.azureFileShares"
	const oneShare = `[{"accountName":"%s","azureFileUrl":"https://%[1]s.file.x/%s","credentials":{"accountKey":"%s"},"relativeMountPath":"%s"}]`
	for _, c := range []struct{ path, value, code, target string }{
		{"vmSize", `null`, "MissingRequiredProperty", "vmSize"},
		{"vmSize", `"Huge"`, "InvalidVMSize", "vmSize"},
		{"vmSize", `5`, "InvalidRequestContent", "vmSize"},
		{"vmPriority", `"spot"`, "InvalidPropertyValue", "vmPriority"},
		{"scaleSettings.manual", `{"targetNodeCount":1}`, "InvalidScaleSettings", "scaleSettings"},
		{"scaleSettings.autoScale.maximumNodeCount", `-1`, "InvalidPropertyValue", "scaleSettings.autoScale.maximumNodeCount"},
		{"scaleSettings", `{"manual":{"targetNodeCount":-1}}`, "InvalidPropertyValue", "scaleSettings.manual.targetNodeCount"},
		{"scaleSettings", `{"manual":{"targetNodeCount":1,"nodeDeallocationOption":"now"}}`, "InvalidPropertyValue", "scaleSettings.manual.nodeDeallocationOption"},
		{"virtualMachineConfiguration.imageReference", `{"publisher":"nobody","offer":"o","sku":"s"}`, "PlatformImageNotFound", "virtualMachineConfiguration.imageReference"},
		{"virtualMachineConfiguration.imageReference", `{"publisher":"p","offer":"o"}`, "MissingRequiredProperty", "virtualMachineConfiguration.imageReference.sku"},
		{"userAccountSettings", `null`, "MissingRequiredProperty", "userAccountSettings.adminUserName"},
		{"userAccountSettings", `{"adminUserName":"lab"}`, "InvalidUserAccountSettings", "userAccountSettings"},
		{"userAccountSettings", `{"adminUserName":"root","adminUserPassword":"x"}`, "InvalidPropertyValue", "userAccountSettings.adminUserName"},
		{"userAccountSettings", `{"adminUserName":"lab","adminUserSshPublicKey":"hello"}`, "InvalidPropertyValue", "userAccountSettings.adminUserSshPublicKey"},
		{"nodeSetup.setupTask.commandLine", `null`, "MissingRequiredProperty", "nodeSetup.setupTask.commandLine"},
		{"nodeSetup.setupTask.stdOutErrPathPrefix", `"$AZ_BATCHAI_MOUNT_ROOT/nfs"`, "MountVolumeNotFound", "nodeSetup.setupTask.stdOutErrPathPrefix"},
		{"nodeSetup.setupTask.secrets", `[{"name":"A","value":"x"},{"name":"A","value":"y"}]`, "DuplicateEnvironmentVariable", "nodeSetup.setupTask.secrets[1].name"},
		{share, fmt.Sprintf(oneShare, "acc", "share", "wrong", "afs"), "InvalidCredentials", share + "[0].credentials.accountKey"},
		{share, fmt.Sprintf(oneShare, "acc", "share", "", "afs"), "InvalidCredentials", share + "[0].credentials.accountKey"},
		{share, fmt.Sprintf(oneShare, "other", "share", "right", "afs"), "StorageAccountNotFound", share + "[0].accountName"},
		{share, fmt.Sprintf(oneShare, "acc", "none", "right", "afs"), "ShareNotFound", share + "[0].azureFileUrl"},
		{share, fmt.Sprintf(oneShare, "acc", "", "right", "afs"), "InvalidPropertyValue", share + "[0].azureFileUrl"},
		{share, fmt.Sprintf(oneShare, "acc", "share", "right", "../afs"), "InvalidPropertyValue", share + "[0].relativeMountPath"},
		{"nodeSetup.mountVolumes.fileServers", `[{"fileServer":{"id":"` + ws + `/fileServers/none"},"relativeMountPath":"nfs"}]`, "FileServerNotFound", "nodeSetup.mountVolumes.fileServers[0].fileServer.id"},
		{"nodeSetup.mountVolumes.unmanagedFileSystems", `[{"mountCommand":"x","relativeMountPath":"afs"}]`, "DuplicateMountPath", "nodeSetup.mountVolumes.unmanagedFileSystems[0].relativeMountPath"},
		{"subnet", `{"id":"` + group + `/providers/Microsoft.Network/virtualNetworks/v/subnets/s"}`, "SubnetNotFound", "subnet.id"},
		{"subnet", `{"id":"x"}`, "InvalidPropertyValue", "subnet.id"},
	} {
		f.refused(ws+"/clusters/bad", edit(t, clusterBody, c.path, c.value), c.code, "properties."+c.target)
	}
	f.refused(ws+"/clusters/b.d", clusterBody, "InvalidResourceName", "name")
}

func (f *fixture) refused(id, body, code, target string) {
	f.Helper()
	status, m := f.call("PUT", id, body)
	message, _ := at(m, "error.message").(string)
	if status < 400 || status >= 500 || at(m, "error.code") != code || at(m, "error.target") != target || !strings.Contains(message, " ") {
		f.Errorf("%s: %d %v; want %s at %s", body, status, m, code, target)
	}
	if strings.Contains(message, "hush") || strings.Contains(message, "wrong") {
		f.Errorf("the refusal shows a secret: %s", message)
	}
}

func TestBadJobsAreExplained(t *testing.T) {
	f := newFixture(t)
	f.must("PUT", ws+"/clusters/C", clusterBody, 200)
	away := strings.Replace(ws, "Lab", "Away", 1)
	f.must("PUT", away, `{"location":"mars"}`, 200)
	f.must("PUT", away+"/clusters/C", clusterBody, 200)
	for _, c := range []struct{ path, value, code, target string }{
		{"cluster", `null`, "MissingRequiredProperty", "cluster.id"},
		{"cluster", `{"id":"C"}`, "InvalidPropertyValue", "cluster.id"},
		{"cluster", `{"id":"` + ws + `/clusters/none"}`, "ClusterNotFound", "cluster.id"},
		{"cluster", `{"id":"` + away + `/clusters/C"}`, "ClusterInAnotherLocation", "cluster.id"},
		{"nodeCount", `0`, "InvalidPropertyValue", "nodeCount"},
		{"nodeCount", `5`, "JobNodeCountExceedsClusterSize", "nodeCount"},
		{"nodeCount", `"many"`, "InvalidRequestContent", "nodeCount"},
		{"customToolkitSettings", `null`, "NoToolkitSpecified", ""},
		{"horovodSettings", `{"pythonScriptFilePath":"x"}`, "MultipleToolkitsSpecified", "horovodSettings"},
		{"customToolkitSettings", `{"commandLine":" "}`, "MissingRequiredProperty", "customToolkitSettings.commandLine"},
		{"schedulingPriority", `"urgent"`, "InvalidPropertyValue", "schedulingPriority"},
		{"constraints", `{"maxWallClockTime":"soon"}`, "InvalidPropertyValue", "constraints.maxWallClockTime"},
		{"constraints", `{"maxWallClockTime":"PT0S"}`, "InvalidPropertyValue", "constraints.maxWallClockTime"},
		{"stdOutErrPathPrefix", `null`, "MissingRequiredProperty", "stdOutErrPathPrefix"},
		{"stdOutErrPathPrefix", `"$AZ_BATCHAI_MOUNT_ROOT/nfs"`, "MountVolumeNotFound", "stdOutErrPathPrefix"},
		{"stdOutErrPathPrefix", `"$AZ_BATCHAI_JOB_MOUNT_ROOT/afs"`, "MountVolumeNotFound", "stdOutErrPathPrefix"},
		{"stdOutErrPathPrefix", `"afs"`, "InvalidPropertyValue", "stdOutErrPathPrefix"},
		{"inputDirectories", `[{"id":"A","path":"/x"},{"id":"A","path":"/y"}]`, "DuplicateDirectoryId", "inputDirectories[1].id"},
		{"inputDirectories", `[{"id":"A B","path":"/x"}]`, "InvalidPropertyValue", "inputDirectories[0].id"},
		{"outputDirectories", `[{"id":"A","pathPrefix":"$AZ_BATCHAI_MOUNT_ROOT/x"}]`, "MountVolumeNotFound", "outputDirectories[0].pathPrefix"},
		{"outputDirectories", `[{"id":"A","pathPrefix":"/x","pathSuffix":"../up"}]`, "InvalidPropertyValue", "outputDirectories[0].pathSuffix"},
		{"environmentVariables", `[{"name":"1A","value":"x"}]`, "InvalidPropertyValue", "environmentVariables[0].name"},
		{"environmentVariables", `[{"name":"TOKEN","value":"x"}]`, "DuplicateEnvironmentVariable", "secrets[0].name"},
		{"secrets", `[{"name":"A","valueSecretReference":{"secretUrl":"https://v/s"}}]`, "KeyVaultReferenceNotSupported", "secrets[0].valueSecretReference"},
		{"containerSettings", `{"imageSourceRegistry":{}}`, "MissingRequiredProperty", "containerSettings.imageSourceRegistry.image"},
		{"containerSettings", `{"imageSourceRegistry":{"image":"a"},"shmSize":"big"}`, "InvalidPropertyValue", "containerSettings.shmSize"},
		{"jobPreparation", `{"commandLine":""}`, "MissingRequiredProperty", "jobPreparation.commandLine"},
	} {
		target := strings.TrimSuffix("properties."+c.target, ".")
		f.refused(exp+"/jobs/bad", edit(t, jobBody, c.path, c.value), c.code, target)
	}
	for _, c := range []struct{ toolkit, settings, code, target string }{
		{"tensorFlowSettings", `{"pythonScriptFilePath":"$AZ_BATCHAI_INPUT_OTHER/x.py"}`, "InputDirectoryNotFound", "pythonScriptFilePath"},
		{"tensorFlowSettings", `{"pythonScriptFilePath":"x.py","parameterServerCount":3}`, "InvalidPropertyValue", "parameterServerCount"},
		{"pyTorchSettings", `{"pythonScriptFilePath":"$AZ_BATCHAI_INPUT_SCRIPT/x.py","communicationBackend":"pigeon"}`, "InvalidPropertyValue", "communicationBackend"},
		{"horovodSettings", `{"pythonScriptFilePath":"$AZ_BATCHAI_MOUNT_ROOT/x/y.py"}`, "MountVolumeNotFound", "pythonScriptFilePath"},
		{"chainerSettings", `{"processCount":-1,"pythonScriptFilePath":"x"}`, "InvalidPropertyValue", "processCount"},
		{"cntkSettings", `{"languageType":"BrainScript"}`, "MissingRequiredProperty", "configFilePath"},
		{"caffeSettings", `{}`, "InvalidPropertyValue", "configFilePath"},
		{"caffe2Settings", `{}`, "MissingRequiredProperty", "pythonScriptFilePath"},
	} {
		f.refused(exp+"/jobs/bad", edit(t, jobBody, "customToolkitSettings", "null", c.toolkit, c.settings), c.code, "properties."+c.toolkit+"."+c.target)
	}
}

func TestJobIsTerminatedAndDeleted(t *testing.T) {
	f := newFixture(t)
	id := exp + "/jobs/J"
	f.must("PUT", ws+"/clusters/C", clusterBody, 200)
	m := f.must("PUT", id, jobBody, 200)
	for path, want := range map[string]any{"executionState": "queued", "toolType": "custom", "schedulingPriority": "normal", "provisioningState": "succeeded", "constraints.maxWallClockTime": "P7D"} {
		if got := at(m, "properties."+path); got != want {
			t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
	if seg, _ := at(m, "properties.jobOutputDirectoryPathSegment").(string); !strings.HasPrefix(seg, "s/Team/workspaces/Lab/experiments/first/jobs/J/") {
		t.Errorf("segment %s", seg)
	}
	f.must("DELETE", ws+"/clusters/C", "", 409)
	other := strings.Replace(ws, "Lab", "Other", 1)
	f.must("PUT", other, `{"location":"local"}`, 200)
	f.must("PUT", other+"/experiments/e", "", 200)
	f.must("PUT", other+"/experiments/e/jobs/J", jobBody, 200) // on a cluster of another workspace
	f.must("DELETE", ws, "", 409)
	f.must("DELETE", other, "", 202)
	w := f.request("POST", id+"/terminate", "")
	if w.Code != 202 || w.Header().Get("Location") == "" {
		t.Fatalf("terminate: %d %v", w.Code, w.Header())
	}
	if m := f.must("GET", id, "", 200); at(m, "properties.executionState") != "terminating" {
		t.Errorf("after terminate: %v", m)
	}
	location := w.Header().Get("Location")
	poll := func() int { return f.request("GET", location[len("https://example.com"):], "").Code }
	if code := poll(); code != 202 {
		t.Errorf("poll while it runs: %d", code)
	}
	code := 143
	f.setStatus(id, jobStatus{State: stateFailed, End: f.now, ExitCode: &code, Errors: []Problem{{Code: "JobTerminated", Message: "By ada."}}})
	if _, err := f.sweepOnce(t.Context()); err != nil {
		t.Fatal(err)
	}
	if code := poll(); code != 200 {
		t.Errorf("poll at the end: %d", code)
	}
	m = f.must("GET", id, "", 200)
	if at(m, "properties.executionInfo.exitCode") != 143.0 || at(m, "properties.executionInfo.startTime") == nil || at(m, "properties.executionState") != "failed" {
		t.Errorf("at the end: %v", m)
	}
	f.must("POST", id+"/terminate", "", 200)
	f.must("DELETE", id, "", 200)
	f.must("DELETE", id, "", 204)
	f.must("DELETE", ws+"/clusters/C", "", 202)
}

func TestWorkspaceGoesAfterWhatIsInIt(t *testing.T) {
	f := newFixture(t)
	f.must("PUT", ws+"/clusters/C", clusterBody, 200)
	f.must("PUT", exp+"/jobs/J", jobBody, 200)
	f.must("DELETE", ws, "", 202)
	if m := f.must("GET", ws, "", 200); at(m, "properties.provisioningState") != "deleting" {
		t.Errorf("workspace: %v", m)
	}
	f.must("PUT", exp+"/jobs/K", jobBody, 409)
	for _, id := range []string{exp + "/jobs/J", "", ws + "/clusters/C", ""} {
		if _, err := f.sweepOnce(t.Context()); err != nil {
			t.Fatal(err)
		}
		if id == "" {
			continue
		}
		if m := f.must("GET", id, "", 200); at(m, "properties.provisioningState") != "deleting" {
			t.Errorf("%s: %v", id, m)
		}
		f.inTx(func(tx *store.Tx) error { // as the runner or controller does
			d, err := tx.Get(id)
			return first(err, f.Server.Gone(tx, d))
		})
	}
	f.sweepOnce(t.Context())
	f.must("GET", ws, "", 404)
}

func TestListsComeInPages(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"a", "b", "c"} {
		f.must("PUT", ws+"/experiments/"+name, "", 200)
	}
	page := f.must("GET", ws+"/experiments?maxresults=3", "", 200)
	next, _ := page["nextLink"].(string)
	if len(page["value"].([]any)) != 3 || next == "" {
		t.Fatalf("first page: %v", page)
	}
	if page = f.must("GET", strings.TrimPrefix(next, "https://example.com"), "", 200); len(page["value"].([]any)) != 1 || page["nextLink"] != nil {
		t.Errorf("last page: %v", page)
	}
}

func TestWaitForAJob(t *testing.T) {
	f := newFixture(t)
	id := exp + "/jobs/J"
	f.must("PUT", ws+"/clusters/C", clusterBody, 200)
	f.must("PUT", id, jobBody, 200)
	done := make(chan any)
	go func() {
		_, m := f.call("GET", id, "", "Prefer", "respond-async, wait=20")
		done <- at(m, "properties.executionState")
	}()
	time.Sleep(20 * time.Millisecond)
	f.setStatus(id, jobStatus{State: stateRunning, Start: f.now})
	select {
	case state := <-done:
		if state != "running" {
			t.Errorf("state %v", state)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("the GET does not come back")
	}
	begin := time.Now()
	if _, m := f.call("GET", id, "", "Prefer", "wait=20, seen=queued"); at(m, "properties.executionState") != "running" || time.Since(begin) > 5*time.Second {
		t.Errorf("after the change: %v in %v", m, time.Since(begin))
	}
	if _, m := f.call("GET", id, "", "Prefer", "wait=1, seen=running"); at(m, "properties.executionState") != "running" {
		t.Errorf("without a change: %v", m)
	}
}

func TestOutputFilesAreListedAndStreamed(t *testing.T) {
	f := newFixture(t)
	f.must("PUT", ws+"/clusters/C", clusterBody, 200)
	m := f.must("PUT", exp+"/jobs/J", jobBody, 200)
	list := exp + "/jobs/J/listOutputFiles?outputdirectoryid=stdouterr&directory=.&linkexpiryinminutes=60&maxresults=2"
	if m := f.must("POST", list, "", 200); len(m["value"].([]any)) != 0 {
		t.Errorf("before it ran: %v", m)
	}
	dir := filepath.Join(f.drives.dir, "share", at(m, "properties.jobOutputDirectoryPathSegment").(string), "stdouterr")
	write(t, filepath.Join(dir, "stdout.txt"), "hello")
	write(t, filepath.Join(dir, "stderr.txt"), "")
	write(t, filepath.Join(dir, "logs", "x.txt"), "x")
	write(t, filepath.Join(f.drives.dir, "..", "outside"), "hush")
	os.Symlink("../../../../../../../../../../../outside", filepath.Join(dir, "link"))
	os.Symlink(filepath.Join(f.drives.dir, "..", "outside"), filepath.Join(dir, "link2"))
	m = f.must("POST", list, "", 200)
	next, _ := m["nextLink"].(string)
	first := m["value"].([]any)
	if len(first) != 2 || member(first[0], "name") != "logs" || member(first[0], "fileType") != "directory" || next == "" {
		t.Fatalf("first page: %v", m)
	}
	m = f.must("GET", strings.TrimPrefix(next, "https://example.com"), "", 200)
	rest := m["value"].([]any)
	if len(rest) != 1 || member(rest[0], "name") != "stdout.txt" || at(rest[0], "properties.contentLength") != 5.0 || m["nextLink"] != nil {
		t.Fatalf("second page: %v", m)
	}
	link := member(rest[0], "downloadUrl").(string)
	for _, c := range []struct {
		method, link, rng string
		code              int
		body              string
	}{
		{"GET", link, "", 200, "hello"}, {"HEAD", link, "", 200, ""},
		{"GET", link, "bytes=0-", 206, "hello"}, {"GET", link, "bytes=3-", 206, "lo"}, {"GET", link, "bytes=5-", 416, ""}, {"GET", link, "bytes=-2", 206, "lo"},
		{"POST", link, "", 405, ""}, {"GET", strings.Replace(link, "stdout", "stderr", 1), "", 403, ""}, {"GET", strings.Replace(link, "sig=", "sig=x", 1), "", 403, ""},
		{"GET", strings.Replace(link, "dir=stdouterr", "dir=MODEL", 1), "", 403, ""},
	} {
		code, body := f.fetch(c.method, c.link, c.rng)
		if code != c.code || c.code < 300 && body != c.body {
			t.Errorf("%s %s %s: %d %q, want %d %q", c.method, c.link, c.rng, code, body, c.code, c.body)
		}
	}
	secrets := filepath.Join(f.drives.dir, "share", "private")
	write(t, filepath.Join(secrets, "stdout.txt"), "hush")
	os.Symlink(secrets, filepath.Join(dir, "dir"))
	os.Symlink(filepath.Join("..", "..", "..", "..", "..", "..", "..", "..", "..", "private", "stdout.txt"), filepath.Join(dir, "inside"))
	if m := f.must("POST", strings.Replace(list, "maxresults=2", "maxresults=9", 1), "", 200); len(m["value"].([]any)) != 3 {
		t.Errorf("with links: %v", m)
	}
	os.Rename(dir, dir+".old") // the job's owner can put a link in the directory's place
	os.Symlink(secrets, dir)
	if code, body := f.fetch("GET", link, ""); code != 409 {
		t.Errorf("by a link in place of the directory: %d %s", code, body)
	}
	f.must("POST", list, "", 409)
	os.Remove(dir)
	if code, _ := f.fetch("GET", link, ""); code != 404 {
		t.Errorf("from a directory that is gone: %d", code)
	}
	os.Rename(dir+".old", dir)
	f.now = f.now.Add(61 * time.Minute)
	if code, _ := f.fetch("GET", link, ""); code != 403 {
		t.Errorf("an old link: %d", code)
	}
	forged := fileLink{Job: exp + "/jobs/J", UID: "", Output: "stdouterr", Path: "link", Expires: f.now.Add(time.Hour).Unix()}
	for _, p := range []string{"link", "link2", "../../../../../../../outside", "logs", "none"} {
		forged.Path = p
		if code, _ := f.fetch("GET", forged.url(f.FilesKey), ""); code != 404 {
			t.Errorf("%s: %d", p, code)
		}
	}
	f.must("POST", exp+"/jobs/J/listOutputFiles?outputdirectoryid=NONE", "", 400)
	f.must("POST", exp+"/jobs/J/listOutputFiles", "", 400)
	f.must("POST", exp+"/jobs/J/listOutputFiles?outputdirectoryid=stdouterr&maxresults=0", "", 400)
	f.must("POST", exp+"/jobs/none/listOutputFiles?outputdirectoryid=stdouterr", "", 404)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) fetch(method, link, rng string) (int, string) {
	r := httptest.NewRequest(method, link, nil)
	if rng != "" {
		r.Header.Set("Range", rng)
	}
	w := httptest.NewRecorder()
	f.Files().ServeHTTP(w, r)
	return w.Code, w.Body.String()
}

func TestUsagesAndOperations(t *testing.T) {
	f := newFixture(t)
	f.must("PUT", ws+"/clusters/C", clusterBody, 200)
	f.setStatus(ws+"/clusters/C", clusterStatus{Nodes: []nodeInfo{{Name: "a"}, {Name: "b"}}})
	m := f.must("GET", "/subscriptions/s/providers/Microsoft.BatchAI/locations/local/usages", "", 200)
	b, _ := json.Marshal(m)
	for _, want := range []string{`{"currentValue":1,"limit":2147483647,"name":{"localizedValue":"Clusters"`, `{"currentValue":4,"limit":2147483647,"name":{"localizedValue":"Total Cluster Dedicated Regional vCPUs"`} {
		if !strings.Contains(string(b), want) {
			t.Errorf("no %s in %s", want, b)
		}
	}
	if m := f.must("GET", "/providers/Microsoft.BatchAI/operations", "", 200); len(m["value"].([]any)) == 0 {
		t.Errorf("operations: %v", m)
	}
}

func TestFileServer(t *testing.T) {
	f := newFixture(t)
	const body = `{"properties":{"vmSize":"Standard_D2_v3","sshConfiguration":{"userAccountSettings":{"adminUserName":"lab","adminUserPassword":"hush"}},"dataDisks":{"diskSizeInGB":10,"diskCount":2,"storageAccountType":"Standard_LRS"}}}`
	id := ws + "/fileServers/F"
	m := f.must("PUT", id, body, 200)
	if at(m, "properties.mountSettings.mountPoint") != "/mnt/data" || at(m, "properties.dataDisks.cachingType") != "none" {
		t.Errorf("file server: %v", m)
	}
	f.must("PUT", id, body, 200)
	f.refused(ws+"/fileServers/G", edit(t, body, "dataDisks", "null"), "MissingRequiredProperty", "properties.dataDisks")
	f.refused(ws+"/fileServers/G", edit(t, body, "dataDisks.diskCount", "0"), "InvalidPropertyValue", "properties.dataDisks.diskCount")
	f.must("PUT", ws+"/clusters/C", edit(t, clusterBody, "nodeSetup.mountVolumes.fileServers", `[{"fileServer":{"id":"`+id+`"},"relativeMountPath":"nfs"}]`), 200)
	f.must("DELETE", id, "", 409)
	j := f.must("PUT", exp+"/jobs/J", edit(t, jobBody, "outputDirectories", `[{"id":"OUT","pathPrefix":"$AZ_BATCHAI_MOUNT_ROOT/nfs/a","pathSuffix":"b"}]`), 200)
	f.inTx(func(tx *store.Tx) error {
		d, err := tx.Get(id)
		write(t, filepath.Join(f.drives.dir, d.UID, "a", at(j, "properties.jobOutputDirectoryPathSegment").(string), "outputs", "b", "model"), "x")
		return err
	})
	if m := f.must("POST", exp+"/jobs/J/listOutputFiles?outputdirectoryid=OUT", "", 200); len(m["value"].([]any)) != 1 {
		t.Errorf("output on the file server: %v", m)
	}
	f.inTx(func(tx *store.Tx) error {
		d, err := tx.Get(ws + "/clusters/C")
		return first(err, f.Server.Gone(tx, d))
	})
	f.must("DELETE", id, "", 202)
	f.sweepOnce(t.Context())
	f.must("GET", id, "", 404)
}

// FuzzPut sends any body to where clusters, jobs and file servers are made: none may end in an internal error.
func FuzzPut(f *testing.F) {
	f.Add(clusterBody)
	f.Add(jobBody)
	for _, s := range []string{`{"properties":null}`, `{"properties":{"nodeSetup":{"setupTask":[]}}}`, `{"properties":{"mountVolumes":{"azureFileShares":[null,{"azureFileUrl":"%"}]}}}`,
		`{"properties":{"secrets":[{"value":{"a":1}}]}}`, `{"properties":{"customToolkitSettings":{},"cluster":{"id":"//providers/"}}}`, `{"Properties":{"ClUsTeR":{"iD":""}}}`} {
		f.Add(s)
	}
	fix := newFixture(f)
	fix.call("PUT", ws+"/clusters/C", clusterBody)
	fix.call("PUT", exp+"/jobs/J", jobBody)
	f.Fuzz(func(t *testing.T, body string) {
		for _, id := range []string{ws + "/clusters/C", ws + "/clusters/D", exp + "/jobs/J", exp + "/jobs/K", ws + "/fileServers/F"} {
			for _, verb := range []string{"PUT", "PATCH"} {
				w := httptest.NewRecorder()
				fix.Server.ServeHTTP(w, httptest.NewRequest(verb, id+"?api-version=2018-05-01", strings.NewReader(body)))
				if w.Code >= http.StatusInternalServerError {
					t.Fatalf("%s %s %q: %d %s", verb, id, body, w.Code, w.Body)
				}
				if w.Code == http.StatusOK && strings.HasSuffix(id, "/K") { // so that the next one is new
					fix.Store.Update(t.Context(), func(tx *store.Tx) error { return tx.Delete(id) })
				}
			}
		}
	})
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"P7D": 168 * time.Hour, "PT1H30M": 90 * time.Minute, "P1DT2H": 26 * time.Hour, "PT0.5S": time.Second / 2, "P2W": 336 * time.Hour,
		"": 0, "P": 0, "PT": 0, "7D": 0, "PT0S": 0, "P99999999999999999999D": 0, "P1Y": 0, "PT-1S": 0, "p7d": 0} {
		if got, ok := parseDuration(text); got != want || ok != (want > 0) {
			t.Errorf("%q: %v %v, want %v", text, got, ok, want)
		}
	}
}
