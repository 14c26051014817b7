package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "lido.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoad(t *testing.T) {
	c, err := Load(write(t, `
listen: 0.0.0.0:9443
publicAddresses: [10.9.0.0/24, 192.168.7.0/28]
publish:
  - {listen: ":2222", to: "team/poolpip:22"}
images:
  aliases: {Ours: "a:b:c:latest"}
sizes:
  - {name: Lab_small, vCPUs: 1, memoryGiB: 0.5}
overcommit: {memory: 2}
drain: 90s
mirrors:
  https://raw.githubusercontent.com/: /srv/mirror
location: lab
shareRoot: /srv/shares
`))
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != "0.0.0.0:9443" || c.PublicAddresses[1] != netip.MustParsePrefix("192.168.7.0/28") ||
		c.Publish[0].To != "team/poolpip:22" || c.Sizes[0] != (Size{"Lab_small", 1, 0.5}) || c.Overcommit != (Overcommit{Memory: 2}) ||
		time.Duration(c.Drain) != 90*time.Second || c.Mirrors["https://raw.githubusercontent.com/"] != "/srv/mirror" ||
		c.Location != "lab" || c.ShareRoot != "/srv/shares" {
		t.Errorf("%+v", c)
	}
	var images struct {
		Aliases map[string]string `json:"aliases"`
	}
	if err := c.Images.Decode("images", &images); err != nil || images.Aliases["Ours"] != "a:b:c:latest" {
		t.Errorf("images: %v %v", images, err)
	}
	var other struct {
		Alias map[string]string `json:"aliase"`
	}
	if err := c.Images.Decode("images", &other); err == nil || !strings.Contains(err.Error(), `images.aliases: there is no such key; did you mean "aliase"?`) {
		t.Errorf("images with another key: %v", err)
	}
}

func TestDefaults(t *testing.T) {
	d := Default()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", write(t, ""), write(t, "# nothing\n"), write(t, "drain:\n")} {
		c, err := Load(path)
		if err != nil || c.Listen != d.Listen || c.Overcommit.Memory != 4 || c.Location != "local" {
			t.Errorf("%q: %+v %v", path, c, err)
		}
	}
}

func TestFaultsSayWhereAndWhatNext(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"location: local\nlissten: x", `:2: lissten: there is no such key; did you mean "listen"?`},
		{"quux: 1", `the keys here are batchIdle, batchSetupLimit, drain, images`},
		{"sizes:\n- name: a\n  vcpus: 2\n", `:3: sizes[0].vcpus: there is no such key; did you mean "vCPUs"?`},
		{"sizes:\n- {name: a, vCPUs: two, memoryGiB: 1}", `:2: sizes[0].vCPUs: "two" is not a whole number`},
		{"overcommit:\n  memory: 0\n", `:2: overcommit.memory: 0 leaves no room`},
		{"overcommit: 4", `:1: overcommit: a mapping (key: value) is expected here`},
		{"publicAddresses: 10.0.0.0/24", `publicAddresses: a list is expected here`},
		{"publicAddresses:\n- 10.0.0.0/24\n- 10.0.0.7/24", `:3: publicAddresses[1]: 10.0.0.7/24 has bits set`},
		{"publicAddresses: [ten]", `publicAddresses[0]: netip.ParsePrefix`},
		{"publicAddresses: [100.64.1.0/24]", `overlaps 100.64.0.0/10`},
		{"publicAddresses: [10.0.0.0/8, 10.1.0.0/16]", `publicAddresses[1]: 10.1.0.0/16 overlaps publicAddresses[0]`},
		{"publicAddresses: []", `at least one range`},
		{"drain: soon", `"soon" is not a time span`},
		{"drain: 5", `not a time span`},
		{"drain: -5m", `negative wait`},
		{"listen: 8443", `"8443" is not text`},
		{"listen: here", `"here" is not HOST:PORT; write HOST:PORT`},
		{"publish:\n- {listen: ':22', to: ':22'}", `:2: publish[0].to: ":22" names no host`},
		{"mirrors:\n  raw.githubusercontent.com: /srv", `:2: mirrors[raw.githubusercontent.com]: "raw.githubusercontent.com" is not the beginning of a URL`},
		{"mirrors:\n  https://a.example/: srv", `"srv" is neither a URL nor an absolute directory`},
		{"location: West Europe", `not a location's name`},
		{"shareRoot: shares", `not an absolute path`},
		{"a: [", `this is not YAML`},
		{"listen: a:1\nlisten: b:1", `listen`},
	} {
		_, err := Load(write(t, c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "lido.yaml") {
			t.Errorf("%q:\n%v\nwant %s", c.text, err, c.want)
		}
	}
	if _, err := Load("/nonexistent/lido.yaml"); err == nil || !strings.Contains(err.Error(), "leave --config out") {
		t.Errorf("missing file: %v", err)
	}
}
