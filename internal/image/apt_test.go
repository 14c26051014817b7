package image

import (
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
	pem := "-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----\n\n"
	for name, content := range map[string]string{"a.crt": pem, "b/c.crt": pem, "d.crt": "no", "e.txt": pem} {
		if err := writeFile(filepath.Join(root, "usr/local/share/ca-certificates", name), content); err != nil {
			t.Fatal(err)
		}
	}
	files := Trust(authorities(root)...)
	if len(files) != 2 || files[1].Path != "/etc/lido/trust/1.crt" || string(files[1].Data) != pem[:len(pem)-1] {
		t.Errorf("got %v", files)
	}
}
