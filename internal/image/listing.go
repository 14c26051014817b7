package image

import (
	"slices"
	"strings"
)

// Publishers returns the names of all publishers, in order.
func (c *Catalogue) Publishers() []string {
	return distinct(c.entries, func(e Entry) []string { return []string{e.Publisher} })
}

// Offers returns the offers of a publisher, in order.
func (c *Catalogue) Offers(publisher string) []string {
	of := c.where(func(e Entry) bool { return strings.EqualFold(e.Publisher, publisher) })
	return distinct(of, func(e Entry) []string { return []string{e.Offer} })
}

// SKUs returns the listed skus of an offer, in order.
func (c *Catalogue) SKUs(publisher, offer string) []string {
	of := c.where(func(e Entry) bool {
		return strings.EqualFold(e.Publisher, publisher) && strings.EqualFold(e.Offer, offer)
	})
	return slices.DeleteFunc(distinct(of, func(e Entry) []string { return e.SKUs }), func(s string) bool { return s == "*" })
}

// Versions returns the versions of a sku, or nothing when there is no such sku.
func (c *Catalogue) Versions(publisher, offer, sku string) []string {
	if _, _, err := c.find(Reference{Publisher: publisher, Offer: offer, SKU: sku}); err != nil {
		return nil
	}
	return []string{Version}
}

// Alias is one entry of the alias document that clients fetch.
type Alias struct {
	Name         string `json:"-"`
	Publisher    string `json:"publisher"`
	Offer        string `json:"offer"`
	SKU          string `json:"sku"`
	Version      string `json:"version"`
	Architecture string `json:"architecture"`
}

// Aliases returns all aliases, ordered by name.
func (c *Catalogue) Aliases() []Alias {
	var out []Alias
	for _, name := range c.aliasNames() {
		ref, ok := ParseURN(c.aliases[strings.ToLower(name)])
		if !ok {
			continue
		}
		out = append(out, Alias{name, ref.Publisher, ref.Offer, ref.SKU, ref.Version, "x64"})
	}
	return out
}

// AliasDocument returns the document behind a cloud's vmImageAliasDoc endpoint, ready for encoding/json.
func (c *Catalogue) AliasDocument() map[string]any {
	linux := map[string]Alias{}
	for _, a := range c.Aliases() {
		linux[a.Name] = a
	}
	value := map[string]any{"Linux": linux, "Windows": map[string]any{}}
	return map[string]any{
		"$schema":        "http://schema.management.azure.com/schemas/2015-01-01/deploymentTemplate.json",
		"contentVersion": "1.0.0.0", "parameters": map[string]any{}, "variables": map[string]any{}, "resources": []any{},
		"outputs": map[string]any{"aliases": map[string]any{"type": "object", "value": value}},
	}
}

func (c *Catalogue) aliasNames() []string {
	var out []string
	for _, name := range c.names {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// distinct returns the names that get finds in the entries, in order, each once whatever its case.
func distinct(entries []Entry, get func(Entry) []string) []string {
	var out []string
	for _, e := range entries {
		for _, n := range get(e) {
			if !slices.ContainsFunc(out, func(o string) bool { return strings.EqualFold(o, n) }) {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return out
}
