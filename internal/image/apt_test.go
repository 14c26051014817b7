package image

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAptSources(t *testing.T) {
	root := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := writeFile(filepath.Join(root, "etc/apt", name), content); err != nil {
			t.Fatal(err)
		}
	}
	write("sources.list", "# deb http://old.example bookworm main\ndeb http://one.example/debian bookworm main contrib\n"+
		"deb-src http://one.example/debian bookworm main\ndeb cdrom:[x]/ bookworm main\n")
	write("sources.list.d/a.sources", "Types: deb deb-src\n# a comment\nURIs: http://two.example/debian\nSuites: bookworm bookworm-updates bookworm-backports\n"+
		"Components: main\nSigned-By: /usr/share/keyrings/k.gpg\n\nTypes: deb\nURIs: http://other.example\nSuites: nodistro\nComponents: main\n\n"+
		"Enabled: no\nTypes: deb\nURIs: http://off.example\nSuites: bookworm\nComponents: main\n")
	write("sources.list.d/b.list.disabled", "deb http://off.example bookworm main\n")
	want := "deb http://one.example/debian bookworm main contrib\n" +
		"deb [signed-by=/usr/share/keyrings/k.gpg] http://two.example/debian bookworm main\n" +
		"deb [signed-by=/usr/share/keyrings/k.gpg] http://two.example/debian bookworm-updates main\n"
	if got := AptSources(root, "bookworm", ""); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if got := AptSources(root, "jammy", ""); got != "" {
		t.Errorf("a suite that the host does not have: %q", got)
	}
	if got := AptSources(root, "jammy", "http://m.example/ubuntu"); got != "deb http://m.example/ubuntu jammy main\n" {
		t.Errorf("a mirror by URL: %q", got)
	}
	own := "deb http://m.example/a jammy main universe\ndeb http://m.example/b jammy-security main"
	if got := AptSources(root, "jammy", own); got != own+"\n" {
		t.Errorf("a mirror as sources: %q", got)
	}
}

func TestAuthorities(t *testing.T) {
	root := t.TempDir()
	pem := "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n"
	for name, content := range map[string]string{
		"usr/local/share/ca-certificates/a.crt": pem, "usr/local/share/ca-certificates/b/c.crt": pem, "usr/local/share/ca-certificates/d.crt": "no",
		AuthoritiesPath: "own\n\n",
	} {
		if err := writeFile(filepath.Join(root, name), content); err != nil {
			t.Fatal(err)
		}
	}
	extra := authorities(root)
	if len(extra) != 2 {
		t.Errorf("got %d authorities, want 2", len(extra))
	}
	got, err := Rootfs{Dir: root}.Authorities(extra[:1]...)
	if err != nil || string(got) != "own\n"+pem {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := (Rootfs{Dir: t.TempDir()}).Authorities(); !os.IsNotExist(err) {
		t.Errorf("a root without a bundle: %v", err)
	}
}
