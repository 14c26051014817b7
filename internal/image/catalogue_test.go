package image

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func newCatalogue(t *testing.T, o Overrides) *Catalogue {
	t.Helper()
	c, err := NewCatalogue(o)
	if err != nil {
		t.Fatal(err)
	}
	c.apt = t.TempDir() // no sources of the machine that runs the test
	return c
}

func TestResolve(t *testing.T) {
	c := newCatalogue(t, Overrides{Mirrors: map[string]string{"focal": "http://mirror.example/ubuntu"}})
	for _, test := range []struct {
		name, recipe, suite string
		note                string // part of the substitution; empty means none
	}{
		{"UbuntuDSVM", "dsvm", "bookworm", "based on Ubuntu in Azure"},
		{"ubuntudsvm", "dsvm", "bookworm", "based on Ubuntu in Azure"},
		{"microsoft-ads:linux-data-science-vm-ubuntu:linuxdsvmubuntu:latest", "dsvm", "bookworm", "based on Ubuntu"},
		{"MICROSOFT-ADS:Linux-Data-Science-VM-Ubuntu:LinuxDSVMUbuntu:latest", "dsvm", "bookworm", "based on Ubuntu"},
		{"microsoft-dsvm:ubuntu-hpc:2004:latest", "dsvm", "bookworm", "based on Ubuntu"},
		{"UbuntuLTS", "base", "bookworm", "images.mirrors.jammy"},
		{"Canonical:UbuntuServer:16.04-LTS:latest", "base", "bookworm", "is Ubuntu xenial"},
		{"Canonical:UbuntuServer:99.10:latest", "base", "bookworm", "no package sources"},
		{"Canonical:0001-com-ubuntu-server-focal:20_04-lts-gen2:latest", "base", "focal", ""},
		{"Debian12", "base", "bookworm", ""},
		{"Debian:debian-12:12", "base", "bookworm", ""},
		{"Debian:debian-12:12:12.20240101.1", "base", "bookworm", "Version 12.20240101.1 was asked for"},
		{"Debian11", "base", "bookworm", "is Debian bullseye"},
		{"base", "base", "bookworm", ""},
	} {
		res, err := c.ResolveName(test.name)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
			continue
		}
		if res.Recipe.Name != test.recipe || res.Recipe.root().Suite != test.suite {
			t.Errorf("%s: got %s on %s, want %s on %s", test.name, res.Recipe.Name, res.Recipe.root().Suite, test.recipe, test.suite)
		}
		if (test.note == "") != (res.Substitution == "") || !strings.Contains(res.Substitution, test.note) {
			t.Errorf("%s: substitution %q, want one with %q", test.name, res.Substitution, test.note)
		}
		if res.Recipe.Substitution != res.Substitution {
			t.Errorf("%s: the recipe does not carry the substitution", test.name)
		}
	}
}

func TestResolveErrorsSayWhatThereIs(t *testing.T) {
	c := newCatalogue(t, Overrides{})
	for name, want := range map[string]string{
		"NoSuchAlias": "UbuntuDSVM",
		"MicrosoftWindowsServer:WindowsServer:x:1":  "Canonical",
		"Canonical:NoSuchOffer:1:latest":            "UbuntuServer",
		"lido:machines:tiny:latest":                 "base, batch, dsvm",
		"Canonical:UbuntuServer:*:latest":           "18.04-LTS",
		"/subscriptions/s/images/mine":              "aliases",
		"microsoft-ads:windows-data-science-vm:a:b": "linux-data-science-vm-ubuntu",
	} {
		_, err := c.ResolveName(name)
		if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want ErrUnknown naming %q", name, err, want)
		}
	}
	if _, err := c.Resolve(Reference{ID: "/subscriptions/s/images/mine"}); !errors.Is(err, ErrUnknown) {
		t.Errorf("an image by id: got %v", err)
	}
}

func TestListing(t *testing.T) {
	c := newCatalogue(t, Overrides{})
	if got := strings.Join(c.Publishers(), " "); !strings.Contains(got, "Canonical Debian") {
		t.Errorf("publishers: %s", got)
	}
	if got := strings.Join(c.Offers("canonical"), " "); !strings.Contains(got, "UbuntuServer") {
		t.Errorf("offers: %s", got)
	}
	for _, s := range c.SKUs("Canonical", "ubuntuserver") {
		if s == "*" {
			t.Error("the wildcard is listed as a sku")
		}
		if len(c.Versions("Canonical", "UbuntuServer", s)) == 0 {
			t.Errorf("sku %s has no version", s)
		}
	}
	if v := c.Versions("Canonical", "NoSuchOffer", "1"); v != nil {
		t.Errorf("versions of nothing: %v", v)
	}
}

func TestAliasDocument(t *testing.T) {
	data, err := json.Marshal(newCatalogue(t, Overrides{}).AliasDocument())
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Outputs struct {
			Aliases struct {
				Value struct{ Linux map[string]map[string]string }
			}
		}
	}
	if err := json.Unmarshal(data, &doc); err != nil {
		t.Fatal(err)
	}
	got := doc.Outputs.Aliases.Value.Linux["UbuntuDSVM"]
	for key, want := range map[string]string{
		"publisher": "microsoft-ads", "offer": "linux-data-science-vm-ubuntu", "sku": "linuxdsvmubuntu", "version": "latest", "architecture": "x64",
	} {
		if got[key] != want {
			t.Errorf("%s: got %q, want %q", key, got[key], want)
		}
	}
}

func TestOverrides(t *testing.T) {
	c := newCatalogue(t, Overrides{
		Recipes: map[string]Recipe{"team": {From: "dsvm", Packages: []string{"ffmpeg"}, Setup: "true"}},
		Images:  []Entry{{Publisher: "team", Offer: "machines", SKUs: []string{"1"}, Recipe: "team"}},
		Aliases: map[string]string{"UbuntuDSVM": "team:machines:1:latest"},
	})
	res, err := c.ResolveName("UbuntuDSVM")
	if err != nil {
		t.Fatal(err)
	}
	if r := res.Recipe; r.Name != "team" || r.Parent.Name != "dsvm" || r.Parent.Parent.Name != "base" {
		t.Errorf("got %q on %+v", r.Name, r.Parent)
	}
}

func TestWrongOverridesAreRefused(t *testing.T) {
	for name, o := range map[string]Overrides{
		"unknown recipe":  {Images: []Entry{{Publisher: "a", Offer: "b", SKUs: []string{"c"}, Recipe: "none"}}},
		"unknown parent":  {Recipes: map[string]Recipe{"a": {From: "none"}}},
		"a circle":        {Recipes: map[string]Recipe{"a": {From: "b"}, "b": {From: "a"}}},
		"no suite":        {Recipes: map[string]Recipe{"a": {}}},
		"not a URN":       {Aliases: map[string]string{"x": "dsvm"}},
		"alias to no one": {Aliases: map[string]string{"x": "a:b:c:latest"}},
	} {
		if _, err := NewCatalogue(o); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
