package image

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

func TestHashCoversEverything(t *testing.T) {
	c := newCatalogue(t, Overrides{})
	r, err := c.Recipe("dsvm")
	if err != nil {
		t.Fatal(err)
	}
	again, err := c.Recipe("dsvm")
	if err != nil {
		t.Fatal(err)
	}
	if r.Hash() != again.Hash() {
		t.Error("the hash of the same recipe differs")
	}
	seen := map[string]string{r.Hash(): "the recipe itself"}
	for name, change := range map[string]func(*Recipe){
		"package":     func(r *Recipe) { r.Packages = append([]string{"x"}, r.Packages...) },
		"setup":       func(r *Recipe) { r.Setup += "\n" },
		"lock":        func(r *Recipe) { r.PythonLock += "\n" },
		"node":        func(r *Recipe) { r.PackageLock += "\n" },
		"file":        func(r *Recipe) { r.Files = map[string]string{"etc/x": ""} },
		"parent":      func(r *Recipe) { p := *r.Parent; p.Setup += "\n"; r.Parent = &p },
		"other suite": func(r *Recipe) { *r = r.withSuite("Debian", "trixie", "") },
		"mirror":      func(r *Recipe) { *r = r.withSuite("Debian", "bookworm", "http://mirror.example") },
	} {
		changed := r
		change(&changed)
		if other, ok := seen[changed.Hash()]; ok {
			t.Errorf("changing the %s gives the hash of %s", name, other)
		}
		seen[changed.Hash()] = name
	}
	noted := r
	noted.Substitution = "a note"
	if noted.Hash() != r.Hash() {
		t.Error("the substitution's note changes the hash")
	}
}

// TestRecipesNameNoRegistry: where packages come from is the host's business.
func TestRecipesNameNoRegistry(t *testing.T) {
	c := newCatalogue(t, Overrides{})
	for _, name := range c.Recipes() {
		r := c.recipes[name]
		if strings.Contains(r.PackageLock, `"resolved"`) {
			t.Errorf("recipe %s: its npm lock says where packages were found", name)
		}
		for part, text := range map[string]string{
			"setup": r.Setup, "lock": r.PythonLock, "package.json": r.PackageJSON, "mirror": r.Mirror,
		} {
			if strings.Contains(text, "https://") || strings.Contains(text, "http://") {
				t.Errorf("recipe %s: its %s has a URL", name, part)
			}
		}
	}
}

func TestScriptsParse(t *testing.T) {
	c := newCatalogue(t, Overrides{})
	for _, name := range c.Recipes() {
		r := c.recipes[name]
		scripts := map[string]string{"setup.sh": r.Setup}
		for path, content := range r.Files {
			if strings.HasPrefix(content, "#!/bin/sh") {
				scripts[path] = content
			}
		}
		for path, content := range scripts {
			cmd := exec.Command("sh", "-n")
			cmd.Stdin = bytes.NewBufferString(content)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s: %s: %v: %s", name, path, err, out)
			}
		}
	}
}
