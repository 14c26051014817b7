package image

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"sigs.k8s.io/yaml"
)

// format changes when the builder itself makes other images from the same recipe.
const format = 1

//go:embed all:recipes
var embedded embed.FS

// Recipe is everything that goes into an image. It is a value: changing a copy makes another image.
type Recipe struct {
	Name         string   `json:"name"`
	Title        string   `json:"title"`
	From         string   `json:"from,omitempty"`         // name of the recipe it is built on; empty for a root of its own
	Distribution string   `json:"distribution,omitempty"` // with Suite, only where From is empty
	Suite        string   `json:"suite,omitempty"`
	Mirror       string   `json:"mirror,omitempty"` // see AptSources; empty means the host's own package sources
	Packages     []string `json:"packages,omitempty"`
	Exclude      []string `json:"exclude,omitempty"` // paths not to unpack from packages
	Include      []string `json:"include,omitempty"` // exceptions from Exclude
	Node         string   `json:"node,omitempty"`    // directory for the Node.js packages of PackageLock

	Setup       string            `json:"setup,omitempty"`      // shell script run in the root at the end
	PythonLock  string            `json:"pythonLock,omitempty"` // requirements with hashes, installed under /usr/local
	PackageJSON string            `json:"packageJSON,omitempty"`
	PackageLock string            `json:"packageLock,omitempty"`
	Files       map[string]string `json:"files,omitempty"` // path without leading slash → content; "#!" makes it executable

	Parent *Recipe `json:"parent,omitempty"` // what From names
	// Substitution is the note of the resolution that led here. It is not part of the image.
	Substitution string `json:"-"`
}

// Hash names the image that the recipe makes: 16 hexadecimal digits over everything that goes in.
func (r Recipe) Hash() string {
	data, err := json.Marshal(struct {
		Format int
		Recipe Recipe
	}{format, r})
	if err != nil { // a struct of strings always marshals
		panic(err)
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:8])
}

// root returns the recipe at the bottom, which names the distribution.
func (r Recipe) root() Recipe {
	for r.Parent != nil {
		r = *r.Parent
	}
	return r
}

// withSuite returns the recipe on another distribution's suite.
func (r Recipe) withSuite(distribution, suite, mirror string) Recipe {
	if r.Parent == nil {
		r.Distribution, r.Suite, r.Mirror = distribution, suite, mirror
		return r
	}
	p := r.Parent.withSuite(distribution, suite, mirror)
	r.Parent = &p
	return r
}

// loadRecipes reads a tree of recipes: a directory for each, with recipe.yaml, setup.sh, files/, python.lock,
// package.json and package-lock.json, all but the first optional.
func loadRecipes(tree fs.FS) (map[string]Recipe, error) {
	dirs, err := fs.ReadDir(tree, ".")
	if err != nil {
		return nil, err
	}
	recipes := map[string]Recipe{}
	for _, d := range dirs {
		r, err := loadRecipe(tree, d.Name())
		if err != nil {
			return nil, fmt.Errorf("recipe %q: %w", d.Name(), err)
		}
		recipes[r.Name] = r
	}
	return recipes, nil
}

func loadRecipe(tree fs.FS, name string) (Recipe, error) {
	data, err := fs.ReadFile(tree, path.Join(name, "recipe.yaml"))
	if err != nil {
		return Recipe{}, err
	}
	r := Recipe{}
	if err := yaml.UnmarshalStrict(data, &r); err != nil {
		return Recipe{}, err
	}
	r.Name = name
	for file, field := range map[string]*string{
		"setup.sh": &r.Setup, "python.lock": &r.PythonLock, "package.json": &r.PackageJSON, "package-lock.json": &r.PackageLock,
	} {
		if data, err := fs.ReadFile(tree, path.Join(name, file)); err == nil {
			*field = string(data)
		}
	}
	r.Files, err = loadFiles(tree, path.Join(name, "files"))
	return r, err
}

func loadFiles(tree fs.FS, dir string) (map[string]string, error) {
	files := map[string]string{}
	if _, err := fs.Stat(tree, dir); err != nil {
		return files, nil
	}
	err := fs.WalkDir(tree, dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := fs.ReadFile(tree, p)
		files[strings.TrimPrefix(p, dir+"/")] = string(data)
		return err
	})
	return files, err
}

// link sets each recipe's Parent from its From.
func link(recipes map[string]Recipe, name string, seen ...string) (Recipe, error) {
	r, ok := recipes[name]
	if !ok {
		return Recipe{}, fmt.Errorf("recipe %q: %w", name, ErrUnknown)
	}
	for _, s := range seen {
		if s == name {
			return Recipe{}, fmt.Errorf("recipe %q is built on itself: %s", name, strings.Join(append(seen, name), " from "))
		}
	}
	if r.From == "" {
		if r.Suite == "" {
			return Recipe{}, fmt.Errorf("recipe %q names neither another recipe (from) nor a suite", name)
		}
		return r, nil
	}
	p, err := link(recipes, r.From, append(seen, name)...)
	r.Parent = &p
	return r, err
}

// lockedPackages counts the packages that the Python lock file pins.
func (r Recipe) lockedPackages() int {
	n := 0
	for _, line := range bytes.Split([]byte(r.PythonLock), []byte("\n")) {
		if len(line) > 0 && line[0] != ' ' && line[0] != '#' && bytes.Contains(line, []byte("==")) {
			n++
		}
	}
	return n
}
