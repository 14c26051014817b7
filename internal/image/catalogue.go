package image

import (
	_ "embed"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

//go:embed catalogue.yaml
var defaultCatalogue []byte

// Version is the one version that every image of the catalogue has.
const Version = "1.0.0"

// Entry is one row of the catalogue: the references of an offer and the recipe behind them.
type Entry struct {
	Publisher string   `json:"publisher"`
	Offer     string   `json:"offer"`
	SKUs      []string `json:"skus"` // "*" stands for all that are not listed
	Recipe    string   `json:"recipe"`
	Suite     string   `json:"suite,omitempty"`   // "DISTRIBUTION SUITE" that the reference promises
	Instead   string   `json:"instead,omitempty"` // what the reference promises and lido never has
}

// Overrides is what lido's config says about images.
type Overrides struct {
	Mirrors map[string]string `json:"mirrors,omitempty"` // suite → mirror, see AptSources
	Recipes map[string]Recipe `json:"recipes,omitempty"` // new recipes, or others in place of lido's own
	Images  []Entry           `json:"catalogue,omitempty"`
	Aliases map[string]string `json:"aliases,omitempty"`
}

// Catalogue knows the images that can be asked for. It does not change after NewCatalogue.
type Catalogue struct {
	entries []Entry
	aliases map[string]string // lower-cased alias → URN
	names   map[string]string // lower-cased alias → as written
	recipes map[string]Recipe
	mirrors map[string]string
	apt     string // directory above etc/apt: the host's package sources
}

// NewCatalogue returns lido's own catalogue with the overrides applied. It fails when an entry, an alias or a recipe
// names something that is not there.
func NewCatalogue(o Overrides) (*Catalogue, error) {
	tree, err := fs.Sub(embedded, "recipes")
	if err != nil {
		return nil, err
	}
	recipes, err := loadRecipes(tree)
	if err != nil {
		return nil, err
	}
	for name, r := range o.Recipes {
		r.Name = name
		recipes[name] = r
	}
	var own struct {
		Images  []Entry           `json:"images"`
		Aliases map[string]string `json:"aliases"`
	}
	if err := yaml.UnmarshalStrict(defaultCatalogue, &own); err != nil {
		return nil, fmt.Errorf("image catalogue: %w", err)
	}
	c := &Catalogue{
		entries: slices.Concat(o.Images, own.Images),
		aliases: map[string]string{}, names: map[string]string{}, recipes: recipes, mirrors: o.Mirrors, apt: "/",
	}
	c.addAliases(own.Aliases)
	c.addAliases(o.Aliases)
	return c, c.check()
}

func (c *Catalogue) addAliases(aliases map[string]string) {
	for name, urn := range aliases {
		c.aliases[strings.ToLower(name)] = urn
		c.names[strings.ToLower(name)] = name
	}
}

func (c *Catalogue) check() error {
	for _, name := range c.Recipes() {
		if _, err := link(c.recipes, name); err != nil {
			return fmt.Errorf("image catalogue: %w", err)
		}
	}
	for _, e := range c.entries {
		if _, ok := c.recipes[e.Recipe]; !ok {
			return fmt.Errorf("image catalogue: %s:%s names the recipe %q, which does not exist", e.Publisher, e.Offer, e.Recipe)
		}
	}
	for alias, urn := range c.aliases {
		ref, ok := ParseURN(urn)
		if !ok {
			return fmt.Errorf("image catalogue: alias %q: %q is not publisher:offer:sku:version", c.names[alias], urn)
		}
		if _, err := c.Resolve(ref); err != nil {
			return fmt.Errorf("image catalogue: alias %q: %w", c.names[alias], err)
		}
	}
	return nil
}

// Recipes returns the names of all recipes, in order.
func (c *Catalogue) Recipes() []string {
	return slices.Sorted(maps.Keys(c.recipes))
}

// Recipe returns a recipe by its name, ready to be built.
func (c *Catalogue) Recipe(name string) (Recipe, error) {
	r, err := link(c.recipes, name)
	if err != nil {
		return Recipe{}, fmt.Errorf("%w; the recipes are %s", err, strings.Join(c.Recipes(), ", "))
	}
	root := r.root()
	if m := c.mirrors[root.Suite]; m != "" && root.Mirror == "" {
		r = r.withSuite(root.Distribution, root.Suite, m)
	}
	return r, nil
}
