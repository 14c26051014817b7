package batch

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"lido.dev/lido/internal/arm"
)

// shared returns a directory of others' files that the tests look at where it is: below LIDO_TEST_SHARED, or beside the
// project. In CI it has to be there.
func shared(t *testing.T, dir string) string {
	t.Helper()
	root := os.Getenv("LIDO_TEST_SHARED")
	if root == "" {
		root = filepath.Join("..", "..", "..", "shared")
	}
	dir = filepath.Join(root, dir)
	if _, err := os.Stat(dir); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v: set LIDO_TEST_SHARED", err)
		}
		t.Skip(err)
	}
	return dir
}

// example is a call of the API's description.
type example struct {
	Parameters map[string]any `json:"parameters"`
	Responses  map[string]struct {
		Body any `json:"body"`
	} `json:"responses"`
}

// fixIDs mends ids in the examples that no service would take.
var fixIDs = strings.NewReplacer("demo_workspaces", "demo_workspace", "fileservers/fileservercedd134b", "fileServers/demo_nfs",
	"BatchAI/workspace/", "BatchAI/workspaces/", "00000000-0000-0000-0000-000000000000/resourceGroups", "s/resourceGroups")

func readExample(t *testing.T, name string) (e example) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(shared(t, "specs/Microsoft.BatchAI/2018-05-01/examples"), name+".json"))
	if err == nil {
		err = json.Unmarshal([]byte(fixIDs.Replace(string(b))), &e)
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// TestExamples makes the calls of the API's description, in an order that makes sense, and looks for each property of their
// answers.
func TestExamples(t *testing.T) {
	f := newFixture(t)
	f.Drives = nil
	const group = "/subscriptions/s/resourceGroups/demo_resource_group"
	const ws = group + "/providers/Microsoft.BatchAI/workspaces/demo_workspace"
	const exp, job = ws + "/experiments/demo_experiment", ws + "/experiments/demo_experiment/jobs/demo_job"
	f.must("PUT", group, `{"location":"eastus"}`, 201)
	for _, c := range []struct{ method, id, example string }{
		{"PUT", ws, "PutWorkspace"}, {"PATCH", ws, "PatchWorkspace"}, {"GET", ws, "GetWorkspace"}, {"GET", group + "/providers/Microsoft.BatchAI/workspaces", "ListWorkspaceByResourceGroup"},
		{"GET", "/subscriptions/s/providers/Microsoft.BatchAI/workspaces", "ListWorkspace"},
		{"PUT", ws + "/fileServers/demo_nfs", "PutFileServer"}, {"GET", ws + "/fileServers/demo_nfs", "GetFileServer"}, {"GET", ws + "/fileServers", "ListFileServerByWorkspace"},
		{"PUT", ws + "/clusters/demo_cluster", "PutCluster"}, {"GET", ws + "/clusters/demo_cluster", "GetCluster"}, {"GET", ws + "/clusters", "ListClusterByWorkspace"},
		{"POST", ws + "/clusters/demo_cluster/listRemoteLoginInformation", "ClusterListRemoteLoginInfo"},
		{"PUT", exp, "PutExperiment"}, {"GET", exp, "GetExperiment"}, {"GET", ws + "/experiments", "ListExperimentByWorkspace"},
		{"PUT", job, "PutJob"}, {"GET", job, "GetJob"}, {"GET", exp + "/jobs", "ListJobByExperiment"}, {"POST", job + "/listRemoteLoginInformation", "JobListRemoteLoginInfo"},
		{"PATCH", ws + "/clusters/demo_cluster", "PatchCluster"},
		{"GET", "/subscriptions/s/providers/Microsoft.BatchAI/locations/eastus/usages", "ListUsages"}, {"GET", "/providers/Microsoft.BatchAI/operations", "ListOperation"},
		{"POST", job + "/terminate", "TerminateJob"}, {"DELETE", job, "DeleteJob"}, {"DELETE", exp, "DeleteExperiment"}, {"DELETE", ws, "DeleteWorkspace"},
	} {
		e := readExample(t, c.example)
		body, _ := json.Marshal(e.Parameters["parameters"])
		query := url.Values{}
		for k, v := range e.Parameters {
			if s, ok := v.(string); ok && strings.ToLower(k) == k && k != "api-version" {
				query.Set(k, s)
			}
		}
		if c.method == "GET" || c.method == "POST" {
			body = nil
		}
		code, got := f.call(c.method, c.id+"?"+query.Encode(), string(body))
		if code != 200 && code != 202 {
			t.Errorf("%s: %d %v", c.example, code, got)
			continue
		}
		for _, path := range lacking(e.Responses["200"].Body, any(got), "") {
			t.Errorf("%s: the answer has no %s: %v", c.example, path, got)
		}
	}
}

// later are properties of a resource that has run for a while, and what the examples' author had in the subscription.
var later = map[string]bool{".properties.subnet": true, ".properties.executionInfo": true, ".properties.mountSettings.fileServerPublicIP": true,
	".properties.mountSettings.fileServerInternalIP": true, ".properties.performanceCountersSettings": true}

// lacking returns the paths of members that want has and got has not. Of lists the first elements are compared.
func lacking(want, got any, at string) (paths []string) {
	switch want := want.(type) {
	case map[string]any:
		have, _ := got.(map[string]any)
		for k, v := range want {
			here := at + "." + k
			if _, ok := have[k]; !ok && !expectedLater(here) {
				paths = append(paths, here)
			} else if ok {
				paths = append(paths, lacking(v, have[k], here)...)
			}
		}
	case []any:
		have, _ := got.([]any)
		if len(want) > 0 && len(have) > 0 {
			return lacking(want[0], have[0], at+"[0]")
		}
	}
	return paths
}

func expectedLater(path string) bool {
	i := strings.LastIndex(path, ".properties")
	return i >= 0 && later[path[i:]]
}

// TestRecipes admits the job files that people have, as az sends them.
func TestRecipes(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(shared(t, "data/recipes"), "*.job.json"))
	if len(files) == 0 {
		t.Fatal("no job files")
	}
	f := newFixture(t)
	f.must("PUT", ws+"/clusters/C", strings.ReplaceAll(clusterBody, "afs", "external"), 200) // as Azure's own tutorials name it
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("<AZURE_BATCHAI_STORAGE_ACCOUNT>", "acc", "<AZURE_BATCHAI_STORAGE_KEY>", "right").Replace(string(b))
		body := map[string]any{}
		if err := arm.Decode([]byte(text), &body); err != nil {
			t.Fatal(err)
		}
		properties(body)["cluster"] = map[string]any{"id": ws + "/clusters/C"}
		for _, s := range listOf(at(body, "properties.mountVolumes.azureFileShares")) {
			share := s.(map[string]any) // az looks the account and its key up
			u, _ := url.Parse(share["azureFileUrl"].(string))
			share["accountName"], share["credentials"] = "acc", map[string]any{"accountKey": "right"}
			os.MkdirAll(filepath.Join(f.drives.dir, relative(u.Path)), 0o755)
		}
		for _, c := range listOf(at(body, "properties.mountVolumes.azureBlobFileSystems")) {
			container := c.(map[string]any)
			container["credentials"] = map[string]any{"accountKey": "right"}
			os.MkdirAll(filepath.Join(f.drives.dir, container["containerName"].(string)), 0o755)
		}
		sent, _ := json.Marshal(body)
		if code, m := f.call("PUT", exp+"/jobs/"+strings.TrimSuffix(filepath.Base(file), ".job.json"), string(sent)); code != 200 {
			t.Errorf("%s: %d %v", filepath.Base(file), code, m)
		}
	}
}

func listOf(v any) []any { l, _ := v.([]any); return l }
