package template

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestZZOut(t *testing.T) {
	root := os.Getenv("ZZ")
	filepath.Walk(root, func(p string, fi os.FileInfo, err error) error {
		if fi == nil || fi.IsDir() || !strings.HasSuffix(p, ".json") { return nil }
		b, _ := os.ReadFile(p)
		rel, _ := filepath.Rel(root, p)
		n, err := Read(b)
		if err != nil { return nil }
		plan, err := Expand(n, nil, testInputs())
		if err != nil { fmt.Printf("BAD %s: %v\n", rel, err); return nil }
		outs, err := plan.Outputs(nil)
		fmt.Println("==", rel, err)
		for _, m := range n.Get("parameters").members() { if d := m.Val.Get("defaultValue"); d != nil { s := string(d.Value().AppendJSON(nil)); if len(s) > 200 { s = s[:200] }; fmt.Println("   P", m.Key, s) } }
		for _, o := range outs { fmt.Printf("  %s = %s    <- %s\n", o.Name, o.Value.AppendJSON(nil), n.At("outputs", o.Name, "value").Str()) }
		return nil
	})
}
