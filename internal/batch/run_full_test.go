package batch

import (
	"strings"
	"testing"

	"lido.dev/lido/internal/node"
)

func TestFullProblem(t *testing.T) {
	p := &plan{Volumes: []node.Mount{
		{Kind: "cifs", Source: "//team.file.core.lido.internal/drive", Target: "/m/drive"},
		{Kind: "blob", Source: "//team.blob/models", Target: "/m/drive/models"},
		{Kind: "command", Source: "mount secret", Target: "/m/own"},
	}}
	for path, want := range map[string]string{
		"/m/drive/j/stderr.txt":        "the share //team.file.core.lido.internal/drive:",
		"/m/drive/models/j/stderr.txt": "the container //team.blob/models:",
		"/m/own/x":                     "what is mounted at /m/own:",
		"/m/drives/x":                  "the node's disk:",
	} {
		if got := p.fullProblem(node.Report{Full: path, ExitCode: 4}, "n0", nil); got.Code != codeShareFull || !strings.Contains(got.Message, want) || !strings.Contains(got.Message, "ended with 4") {
			t.Errorf("%s: %+v", path, got)
		}
	}
	if endedWell(node.Report{State: node.Ended, Full: "/m/drive/x"}) {
		t.Error("a task whose output has no room ended well")
	}
	for code, r := range map[int]node.Report{-1: {}, 4: {ExitCode: 4}} {
		if got := fullCode(r); got != code {
			t.Errorf("exit code %d shown as %d", r.ExitCode, got)
		}
	}
}
