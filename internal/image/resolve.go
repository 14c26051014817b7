package image

import (
	"fmt"
	"slices"
	"strings"
)

// ResolveName finds the recipe behind an alias, a publisher:offer:sku:version, or a recipe's own name.
func (c *Catalogue) ResolveName(name string) (Resolution, error) {
	if urn, ok := c.aliases[strings.ToLower(name)]; ok {
		name = urn
	}
	if ref, ok := ParseURN(name); ok {
		return c.Resolve(ref)
	}
	if _, ok := c.recipes[name]; ok {
		r, err := c.Recipe(name)
		return Resolution{Recipe: r}, err
	}
	return Resolution{}, fmt.Errorf("image %q: %w; there are the aliases %s, the recipes %s, and the references that `az vm image list --all` shows",
		name, ErrUnknown, strings.Join(c.aliasNames(), ", "), strings.Join(c.Recipes(), ", "))
}

// Resolve finds the recipe behind a reference. Its error says what is available instead.
func (c *Catalogue) Resolve(ref Reference) (Resolution, error) {
	if ref.ID != "" {
		return Resolution{}, fmt.Errorf("image %q: %w; images by id (galleries, managed images) are not available, use publisher, offer, sku and version", ref.ID, ErrUnknown)
	}
	e, sku, err := c.find(ref)
	if err != nil {
		return Resolution{}, fmt.Errorf("image %q: %w", ref, err)
	}
	r, err := c.Recipe(e.Recipe)
	if err != nil {
		return Resolution{}, fmt.Errorf("image %q: %w", ref, err)
	}
	res := Resolution{
		Reference: Reference{Publisher: e.Publisher, Offer: e.Offer, SKU: sku, Version: Version},
		Recipe:    r,
	}
	c.substitute(&res, e)
	if v := ref.Version; v != "" && !strings.EqualFold(v, "latest") && v != Version {
		res.note(fmt.Sprintf("Version %s was asked for; lido has one version, %s.", v, Version))
	}
	res.Recipe.Substitution = res.Substitution
	return res, nil
}

func (r *Resolution) note(s string) {
	r.Substitution = strings.TrimSpace(r.Substitution + " " + s)
}

// substitute turns the recipe to the suite that the entry promises, where package sources for it are known, and
// otherwise says what is used instead.
func (c *Catalogue) substitute(res *Resolution, e Entry) {
	root := res.Recipe.root()
	built := strings.TrimSpace(root.Distribution + " " + root.Suite)
	if e.Instead != "" {
		res.note(fmt.Sprintf("%s:%s is based on %s in Azure; this image is lido's recipe %q on %s.", e.Publisher, e.Offer, e.Instead, e.Recipe, built))
		return
	}
	if e.Suite == "" || e.Suite == built {
		return
	}
	distribution, suite, _ := strings.Cut(e.Suite, " ")
	if AptSources(c.apt, suite, c.mirrors[suite]) != "" {
		res.Recipe = res.Recipe.withSuite(distribution, suite, c.mirrors[suite])
		return
	}
	res.note(fmt.Sprintf("%s:%s is %s; no package sources of it are known here, so this image is lido's recipe %q on %s. To build it from %s, name a mirror in the config's images.mirrors.%s.",
		e.Publisher, e.Offer, e.Suite, e.Recipe, built, distribution, suite))
}

// find returns the entry of a reference and its sku as the catalogue writes it. A listed sku goes before "*".
func (c *Catalogue) find(ref Reference) (Entry, string, error) {
	publisher := c.where(func(e Entry) bool { return strings.EqualFold(e.Publisher, ref.Publisher) })
	if len(publisher) == 0 {
		return Entry{}, "", fmt.Errorf("%w: publisher %q is not in the catalogue; the publishers are %s", ErrUnknown, ref.Publisher, strings.Join(c.Publishers(), ", "))
	}
	name := publisher[0].Publisher
	offer := c.where(func(e Entry) bool {
		return strings.EqualFold(e.Publisher, name) && strings.EqualFold(e.Offer, ref.Offer)
	})
	if len(offer) == 0 {
		return Entry{}, "", fmt.Errorf("%w: %s has no offer %q; its offers are %s", ErrUnknown, name, ref.Offer, strings.Join(c.Offers(name), ", "))
	}
	for _, e := range offer {
		i := slices.IndexFunc(e.SKUs, func(s string) bool { return strings.EqualFold(s, ref.SKU) && s != "*" })
		if i >= 0 {
			return e, e.SKUs[i], nil
		}
	}
	for _, e := range offer {
		if slices.Contains(e.SKUs, "*") && ref.SKU != "" && ref.SKU != "*" {
			return e, ref.SKU, nil
		}
	}
	return Entry{}, "", fmt.Errorf("%w: %s:%s has no sku %q; its skus are %s", ErrUnknown, name, offer[0].Offer, ref.SKU, strings.Join(c.SKUs(name, offer[0].Offer), ", "))
}

func (c *Catalogue) where(match func(Entry) bool) []Entry {
	var out []Entry
	for _, e := range c.entries {
		if match(e) {
			out = append(out, e)
		}
	}
	return out
}
