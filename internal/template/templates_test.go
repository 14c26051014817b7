package template

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTemplatesOfOthers expands every template below the directories in LIDO_TEMPLATES, with the parameter file that
// lies beside it. Set it to a checkout of templates to see which of them lido can read.
func TestTemplatesOfOthers(t *testing.T) {
	roots := filepath.SplitList(os.Getenv("LIDO_TEMPLATES"))
	if len(roots) == 0 {
		t.Skip("LIDO_TEMPLATES names no directory")
	}
	for _, root := range roots {
		files, _ := filepath.Glob(filepath.Join(root, "*", "azuredeploy.json"))
		more, _ := filepath.Glob(filepath.Join(root, "*.json"))
		for _, file := range append(files, more...) {
			if filepath.Ext(file[:len(file)-len(".json")]) == ".parameters" || filepath.Base(file) == "index.json" {
				continue
			}
			t.Run(filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file), func(t *testing.T) { expandFile(t, file) })
		}
	}
}

func expandFile(t *testing.T, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var given *Node
	if params, err := os.ReadFile(file[:len(file)-len(".json")] + ".parameters.json"); err == nil {
		text := strings.ReplaceAll(strings.ReplaceAll(string(params), "GEN-UNIQUE-8", "uniquely"), "GEN-UNIQUE", "uniquely")
		given = mustRead(t, text).Get("parameters")
	}
	p, err := Expand(mustRead(t, string(text)), given, testInputs())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range p.Resources {
		on := ""
		for _, d := range r.DependsOn {
			on += " " + d.Name
		}
		t.Logf("%s known=%v skipped=%v after:%s", r.ID, r.Known(), r.Skipped, on)
	}
}
