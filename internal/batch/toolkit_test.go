package batch

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/node"
)

var update = flag.Bool("update", false, "write the golden files anew")

// described is a plan as golden files have it: variables that all processes share come first.
func described(p *plan) string {
	var b strings.Builder
	common := map[string]string{}
	for _, ph := range p.Phases {
		for _, s := range ph.Steps {
			if s.Task.Env == nil {
				continue
			}
			if len(common) == 0 {
				common = maps.Clone(s.Task.Env)
			}
			maps.DeleteFunc(common, func(k, v string) bool { return s.Task.Env[k] != v })
		}
	}
	variables := func(indent string, env map[string]string, but map[string]string) {
		for _, k := range slices.Sorted(maps.Keys(env)) {
			if _, known := but[k]; !known {
				fmt.Fprintf(&b, "%s%s=%s\n", indent, k, env[k])
			}
		}
	}
	variables("", common, nil)
	for _, ph := range append(slices.Clone(p.Phases), p.Clean) {
		for _, s := range ph.Steps {
			t := s.Task
			fmt.Fprintf(&b, "\n%s on node %d: %s user=%s dir=%s server=%v limit=%v\n", ph.Kind, s.Node, t.ID, t.User, t.Dir, s.Server, t.Limit)
			variables("  ", t.Env, common)
			for _, m := range t.Mounts {
				fmt.Fprintf(&b, "  mount %s %s at %s\n", m.Kind, m.Source, m.Target)
			}
			for _, d := range t.Dirs {
				fmt.Fprintf(&b, "  mkdir %s\n", d)
			}
			for _, f := range t.Files {
				fmt.Fprintf(&b, "  file %s %q\n", f.Path, f.Data)
			}
			for _, u := range t.Unmount {
				fmt.Fprintf(&b, "  unmount %s\n", u)
			}
			if t.Command != "" {
				fmt.Fprintf(&b, "  $ %s\n  > %s\n  2> %s\n", t.Command, t.Stdout, t.Stderr)
			}
		}
	}
	return b.String()
}

// planOf is the plan of a job's properties on nodes 10.0.0.4, 10.0.0.5, ...
func planOf(t *testing.T, properties string) *plan {
	t.Helper()
	var j job
	if err := arm.Decode([]byte(properties), &j); err != nil {
		t.Fatal(err)
	}
	j.Segment = "sub/g/workspaces/w/experiments/e/jobs/j/uuid"
	in := planInput{ID: "/subscriptions/sub/resourceGroups/g/providers/Microsoft.BatchAI/workspaces/w/experiments/e/jobs/j", UID: "uid", Attempt: 1, Job: &j, User: "ada", Root: "/mnt/root"}
	for i := range max(1, int(j.NodeCount)) {
		in.Nodes = append(in.Nodes, placed{Node: fmt.Sprintf("n%d", i), Address: fmt.Sprintf("10.0.0.%d", 4+i)})
		if j.Container != nil {
			in.Containers = append(in.Containers, &node.Container{Image: j.Container.Source.Image, Root: "/images/x"})
		}
	}
	in.Mounts = volumesUnder(&j.Mounts, "/mnt/root/jobs/w/e/j/mounts", nil)
	return makePlan(in)
}

const goldenPrefix = `"stdOutErrPathPrefix":"$AZ_BATCHAI_MOUNT_ROOT/work",`

var goldenJobs = map[string]string{
	"custom":           `"nodeCount":1,"customToolkitSettings":{"commandLine":"echo $A"},"environmentVariables":[{"name":"A","value":"$AZ_BATCHAI_JOB_NAME b"}],"inputDirectories":[{"id":"D","path":"$AZ_BATCHAI_MOUNT_ROOT/data"}],"outputDirectories":[{"id":"M","pathPrefix":"${AZ_BATCHAI_MOUNT_ROOT}/work","pathSuffix":"models"}]`,
	"custom2":          `"nodeCount":2,"customToolkitSettings":{"commandLine":"run"},"jobPreparation":{"commandLine":"prepare"}`,
	"custommpi":        `"nodeCount":2,"customMpiSettings":{"commandLine":"echo 'it' $OMPI_COMM_WORLD_RANK","processCount":3},"secrets":[{"name":"TOKEN","value":"hush"}]`,
	"horovod":          `"nodeCount":2,"horovodSettings":{"pythonScriptFilePath":"$AZ_BATCHAI_MOUNT_ROOT/my scripts/train.py","pythonInterpreterPath":"/opt/py/bin/python","commandLineArgs":"--out $AZ_BATCHAI_OUTPUT_M"}`,
	"chainer":          `"nodeCount":2,"chainerSettings":{"pythonScriptFilePath":"t.py"}`,
	"cntk-brainscript": `"nodeCount":2,"cntkSettings":{"languageType":"BrainScript","configFilePath":"$AZ_BATCHAI_MOUNT_ROOT/a.cntk","commandLineArgs":"x=1"}`,
	"cntk-one":         `"nodeCount":1,"cntkSettings":{"languageType":"Python","pythonScriptFilePath":"t.py"}`,
	"caffe":            `"nodeCount":1,"caffeSettings":{"configFilePath":"solver.prototxt"}`,
	"caffe2":           `"nodeCount":2,"caffe2Settings":{"pythonScriptFilePath":"t.py","commandLineArgs":"--shard_id $AZ_BATCHAI_TASK_INDEX --file_store_path $AZ_BATCHAI_SHARED_JOB_TEMP"}`,
	"pytorch-tcp":      `"nodeCount":2,"pyTorchSettings":{"pythonScriptFilePath":"t.py","processCount":3,"communicationBackend":"tcp"}`,
	"pytorch-mpi":      `"nodeCount":2,"pyTorchSettings":{"pythonScriptFilePath":"t.py","communicationBackend":"mpi"}`,
	"tensorflow":       `"nodeCount":2,"tensorFlowSettings":{"pythonScriptFilePath":"t.py","masterCommandLineArgs":"m","workerCommandLineArgs":"w","parameterServerCommandLineArgs":"p","workerCount":3}`,
	"tensorflow-one":   `"nodeCount":1,"tensorFlowSettings":{"pythonScriptFilePath":"t.py","masterCommandLineArgs":"m"}`,
}

func TestToolkits(t *testing.T) {
	for name, properties := range goldenJobs {
		t.Run(name, func(t *testing.T) {
			golden(t, name, described(planOf(t, "{"+goldenPrefix+properties+"}")))
		})
	}
}

// TestRecipePlans plans the job files of the service's own recipes.
func TestRecipePlans(t *testing.T) {
	files, _ := filepath.Glob(filepath.Join(shared(t, "data/recipes"), "*.json"))
	if len(files) == 0 {
		t.Fatal("no recipes")
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		var file struct{ Properties json.RawMessage }
		if err := json.Unmarshal(b, &file); err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(f), func(t *testing.T) {
			plan := described(planOf(t, strings.ReplaceAll(string(file.Properties), "<AZURE_BATCHAI_STORAGE_ACCOUNT>", "drive")))
			for _, part := range []string{"AZ_BATCHAI_STDOUTERR_DIR=", "mount cifs //drive.file.", "main on node 0: "} {
				if !strings.Contains(plan, part) {
					t.Errorf("no %q in the plan:\n%s", part, plan)
				}
			}
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", "toolkits", name+".txt")
	if *update {
		if err := errorsOf(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s has changed; look at it, then run with -update. It is now:\n%s", file, got)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func TestSecretsAreNotInCommands(t *testing.T) {
	p := planOf(t, "{"+goldenPrefix+goldenJobs["custommpi"]+"}")
	for _, ph := range p.Phases {
		for _, s := range ph.Steps {
			if strings.Contains(s.Task.Command, "hush") {
				t.Error(s.Task.Command)
			}
		}
	}
}

func TestQuoteWord(t *testing.T) {
	for in, want := range map[string]string{"a/b.py": "a/b.py", "a b": "'a b'", "a'b": `'a'\''b'`, "$X/a b": `"$X/a b"`, `$X/"`: `"$X/\""`, "$X`id`": "\"$X\\`id\\`\""} {
		if got := quoteWord(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// decided is a decision in few words.
func decided(d jobDecision) string {
	var w []string
	for _, s := range d.Run {
		w = append(w, "run "+s.Task.ID)
	}
	for _, s := range d.Stop {
		w = append(w, "stop "+s.Task.ID)
	}
	if d.Done && d.Requeue != nil {
		w = append(w, "requeue "+d.Requeue.Code)
	} else if d.Done {
		w = append(w, d.State, strconv.Itoa(*d.Code))
		for _, p := range d.Errors {
			w = append(w, p.Code)
		}
	}
	return strings.ReplaceAll(strings.Join(w, " "), "uid/1/", "")
}

func TestDecideJob(t *testing.T) {
	two := "{" + goldenPrefix + `"nodeCount":2,"tensorFlowSettings":{"pythonScriptFilePath":"t.py"},"jobPreparation":{"commandLine":"prepare"}}`
	const dirs, mounts, prepared = "dirs/0 dirs/1 ", "mounts/0 mounts/1 ", "prepare/0 prepare/1 "
	ready := dirs + mounts + prepared
	main := "main-ps-0/0 main-wk-0/0 main-wk-1/1"
	for _, c := range []struct {
		name  string
		tasks string // known: id[=code], id~ runs, id! was stopped
		edit  func(*jobView)
		want  string
	}{
		{"begins", "", nil, "run dirs/0 run dirs/1"},
		{"one node has not said what it knows", "", func(v *jobView) { v.Nodes[1].Heard = false }, "run dirs/0"},
		{"mounts", dirs, nil, "run mounts/0 run mounts/1"},
		{"waits for a phase", dirs + "mounts/0 mounts/1~", nil, ""},
		{"main", ready, nil, "run main-ps-0/0 run main-wk-0/0 run main-wk-1/1"},
		{"runs", ready + "main-ps-0/0~ main-wk-0/0~ main-wk-1/1~", nil, ""},
		{"servers are stopped", ready + "main-ps-0/0~ main-wk-0/0 main-wk-1/1", nil, "stop main-ps-0/0"},
		{"ends", ready + "main-ps-0/0=143! main-wk-0/0 main-wk-1/1", nil, "succeeded 0"},
		{"preparation fails", dirs + mounts + "prepare/0=4 prepare/1~", nil, "stop prepare/1"},
		{"preparation failed", dirs + mounts + "prepare/0=4 prepare/1=143!", nil, "failed 4 JobPreparationFailed"},
		{"a process fails", ready + "main-ps-0/0~ main-wk-0/0=3 main-wk-1/1", nil, "stop main-ps-0/0"},
		{"a process failed", ready + "main-ps-0/0=143! main-wk-0/0=3 main-wk-1/1", nil, "failed 3 JobFailed"},
		{"failed, but a node is away", ready + "main-ps-0/0=143! main-wk-0/0=3 main-wk-1/1=1", func(v *jobView) { v.Nodes[1].Away = true }, ""},
		{"failed, for a node was lost", ready + "main-ps-0/0=143! main-wk-0/0=3", func(v *jobView) { v.Nodes[1].Lost = &Problem{Code: "Lost"} }, "requeue Lost"},
		{"lost, the rest is stopped", ready + "main-ps-0/0~ main-wk-0/0~", func(v *jobView) { v.Nodes[1].Lost = &Problem{Code: "Lost"} }, "stop main-ps-0/0 stop main-wk-0/0"},
		{"lost too often", "", func(v *jobView) { v.Nodes[1].Lost, v.Status.Retries = &Problem{Code: "Lost"}, maxRetries }, "stop dirs/0"},
		{"terminate before all", "", func(v *jobView) { v.Status.Terminate = time.Unix(1, 0) }, "stop dirs/0 stop dirs/1"},
		{"terminated", ready + main + "", func(v *jobView) { v.Status.Terminate = time.Unix(1, 0) }, "succeeded 0"},
		{"terminated in time", ready + "main-ps-0/0=143! main-wk-0/0=143! main-wk-1/1=143!", func(v *jobView) { v.Status.Terminate = time.Unix(1, 0) }, "failed -1 JobTerminated"},
		{"terminate, a node is not known yet", ready + "main-ps-0/0=143! main-wk-0/0=143! main-wk-1/1=143!", func(v *jobView) { v.Status.Terminate, v.Nodes[0].Heard = time.Unix(1, 0), false }, ""},
		{"put back", ready + "main-ps-0/0=143! main-wk-0/0=143! main-wk-1/1=143!", func(v *jobView) { v.Status.PutBack = &Problem{Code: "Back"} }, "requeue Back"},
	} {
		v := &jobView{Plan: planOf(t, two), Status: &jobStatus{Nodes: make([]placed, 2)}, Nodes: []jobNode{{Heard: true}, {Heard: true}}, Reports: map[string]node.Report{}}
		for i, word := range strings.Fields(c.tasks) {
			r := node.Report{State: node.Ended, End: time.Unix(int64(i), 0)}
			word, stopped := strings.CutSuffix(word, "!")
			if stopped {
				r.Stopped = node.StopAsked
			}
			word, runs := strings.CutSuffix(word, "~")
			if runs {
				r.State = node.Running
			}
			id, code, _ := strings.Cut(word, "=")
			fmt.Sscan(code, &r.ExitCode)
			v.Reports["uid/1/"+id] = r
		}
		if c.edit != nil {
			c.edit(v)
		}
		if got := decided(decideJob(v)); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
