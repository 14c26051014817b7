//go:build root

package image_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"lido.dev/lido/internal/image"
	"lido.dev/lido/internal/image/imagetest"
	"lido.dev/lido/internal/machine"
)

func TestBaseBoots(t *testing.T) {
	ca := certificate(t)[1].Data
	g := boot(t, engine(t), imagetest.Base(t), func(s *machine.Spec) { s.Files = append(s.Files, image.Trust(ca)...) })
	t.Log(g.must("systemd-analyze; systemd-analyze blame | head -8"))
	if failed := g.must("systemctl list-units --failed --plain --no-legend"); failed != "" {
		t.Errorf("failed units: %s\n%s", failed, g.must("journalctl -b -p warning --no-pager"))
	}
	if state := g.must("systemctl is-system-running --wait"); state != "running" {
		t.Errorf("the system is %s", state)
	}
	g.must("ss -Hltn sport = :22 | grep -q :22")
	g.must("systemctl is-active -q ssh dbus systemd-logind")
	if code, _, _ := g.try("systemctl is-active -q cloud-init.service"); code == 0 {
		t.Error("cloud-init ran in a machine without cloud-config")
	}
	if got := g.must("locale -a; . /etc/default/locale; echo $LANG"); !strings.Contains(got, "C.utf8") {
		t.Errorf("locales: %s", got)
	}
	if bundle := g.must("cat /etc/ssl/certs/ca-certificates.crt"); !strings.HasSuffix(bundle, strings.TrimSpace(string(ca))) || strings.Count(bundle, "BEGIN") < 100 {
		t.Error("the machine does not trust what it was given")
	}
	g.must("journalctl --list-boots && systemctl is-active -q journal-persist && ls /var/log/journal/*/system.journal")
	if code, _, errs := g.as("alice", "sudo", "-n", "true"); code != 0 {
		t.Errorf("alice and sudo: %s", errs)
	}
}

func TestCloudConfig(t *testing.T) {
	g := boot(t, engine(t), imagetest.Base(t), func(s *machine.Spec) {
		s.Files = append(s.Files, machine.File{Path: "/var/lib/cloud/seed/nocloud/meta-data", Data: []byte("instance-id: i-1\n")},
			machine.File{Path: "/var/lib/cloud/seed/nocloud/user-data", Data: []byte("#cloud-config\n" +
				"write_files:\n- {path: /etc/told, content: hello}\n" +
				"runcmd:\n- [sh, -c, 'echo ran >/etc/ran']\n")})
	})
	g.must("timeout 120 cloud-init status --wait")
	if got := g.must("cat /etc/told; cat /etc/ran; hostname"); got != "helloran\nguest" {
		t.Errorf("got %q", got)
	}
	g.must("id alice && ls /etc/ssh/ssh_host_ed25519_key")
	if failed := g.must("systemctl list-units --failed --plain --no-legend"); failed != "" {
		t.Errorf("failed units: %s\n%s", failed, g.must("journalctl -b -p warning --no-pager"))
	}
	t.Log(g.must("systemd-analyze; systemd-analyze blame | head -8"))
}

// A storage key as Azure's look, and a password that only a credentials file can carry past mount(8).
const (
	storageKey  = "k+e/y0=="
	oddPassword = `o,"d"\d=`
)

// shareHost answers for lido's side of the mount helper and mounts for real.
type shareHost struct {
	t     *testing.T
	guest *guest
	share string
	asked []map[string]string
}

func (h *shareHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil || r.URL.Path != "/v1/mount" {
		h.t.Errorf("%s: %v", r.URL, err)
	}
	form := map[string]string{}
	for k := range r.PostForm {
		form[k] = r.PostForm.Get(k)
	}
	h.asked = append(h.asked, form)
	if form["password"] != storageKey && form["password"] != oddPassword {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, "mount error(13): Permission denied")
		return
	}
	err := h.guest.engine.Mount(r.Context(), h.guest.id, machine.Mount{Source: h.share, Target: form["target"]})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func TestMountHelper(t *testing.T) {
	dir := t.TempDir()
	os.Chmod(dir, 0o755)
	h := &shareHost{t: t, share: t.TempDir()}
	l, err := net.Listen("unix", filepath.Join(dir, "host.sock"))
	if err != nil {
		t.Fatal(err)
	}
	os.Chmod(filepath.Join(dir, "host.sock"), 0o666)
	server := &http.Server{Handler: h}
	go server.Serve(l)
	t.Cleanup(func() { server.Close() })
	g := boot(t, engine(t), imagetest.Base(t), func(s *machine.Spec) { s.HostDir = dir })
	h.guest = g

	g.must("mkdir -p /datamnt/share")
	source := "//acct.file.core.windows.net/share"
	tell := func(script, wantErr string, wantCode int) {
		t.Helper()
		code, out, errs := g.try(script)
		if code != wantCode || !strings.Contains(errs, wantErr) {
			t.Errorf("%s: exit code %d, want %d\nstdout: %s\nstderr: %s\nwant: %s", script, code, wantCode, out, errs, wantErr)
		}
	}
	tell("mount -t cifs "+source+" /datamnt/share -o vers=3.0,username=acct,password=wrong", "mount error(13): Permission denied", 32)
	tell("mountpoint -q /datamnt/share", "", 32)
	tell("mount -t cifs "+source+" /nowhere -o username=acct,password=x", "Couldn't chdir to /nowhere", 1)
	tell("mount.cifs "+source+" /nowhere -o username=acct,password=x", "Couldn't chdir to /nowhere: No such file or directory", 1)
	tell("mount -t cifs -o credentials=/etc/none "+source+" /datamnt/share", "opening credential file /etc/none", 2)

	// As the template's script does, and by the other name.
	for _, kind := range []string{"cifs", "smb3"} {
		tell(fmt.Sprintf("mount -t %s %s /datamnt/share -o 'vers=3.0,username=acct,password=%s,dir_mode=0777,file_mode=0777'", kind, source, storageKey), "", 0)
		g.must("mountpoint -q /datamnt/share && echo hello >/datamnt/share/f")
		g.must("umount /datamnt/share && ! mountpoint -q /datamnt/share")
		g.engine.Unmount(t.Context(), g.id, "/datamnt/share")
	}
	last := h.asked[len(h.asked)-1]
	for k, want := range map[string]string{"source": source, "target": "/datamnt/share", "username": "acct", "password": storageKey,
		"options": "rw,vers=3.0,dir_mode=0777,file_mode=0777,username=acct,password=" + storageKey} {
		if last[k] != want {
			t.Errorf("%s: got %q, want %q", k, last[k], want)
		}
	}
	if data, _ := os.ReadFile(filepath.Join(h.share, "f")); string(data) != "hello\n" {
		t.Errorf("on the share: %q", data)
	}

	// From fstab with a credentials file, through systemd, too.
	g.must("printf 'username=acct\npassword=%s\n' '" + oddPassword + "' >/etc/creds; chmod 600 /etc/creds")
	g.must("echo '" + source + " /datamnt/share cifs nofail,_netdev,credentials=/etc/creds,vers=3.0,uid=1000,gid=1000,dir_mode=0777,file_mode=0777 0 0' >>/etc/fstab")
	g.must("mount -a && mountpoint -q /datamnt/share && umount /datamnt/share")
	g.engine.Unmount(t.Context(), g.id, "/datamnt/share")
	g.must("systemctl daemon-reload && systemctl start datamnt-share.mount && grep -q hello /datamnt/share/f")

	// The real package does not take the helper away.
	deb(t, dir)
	g.must("dpkg -i /run/lido/cifs-utils.deb && head -1 /sbin/mount.cifs | grep -q /bin/sh && ls /sbin/mount.cifs.distrib /sbin/mount.smb3.distrib")

	server.Close()
	g.must("mkdir -p /other")
	tell("mount -t cifs "+source+" /other -o username=acct,password=x", "mount error(111)", 32)
}

// deb makes a package with the files that cifs-utils has.
func deb(t *testing.T, dir string) {
	t.Helper()
	root := t.TempDir()
	os.MkdirAll(filepath.Join(root, "DEBIAN"), 0o755)
	os.MkdirAll(filepath.Join(root, "sbin"), 0o755)
	os.WriteFile(filepath.Join(root, "DEBIAN/control"), []byte("Package: cifs-utils\nVersion: 1\nArchitecture: all\nMaintainer: a <a@example.org>\nDescription: a\n"), 0o644)
	os.WriteFile(filepath.Join(root, "sbin/mount.cifs"), []byte("the real one\n"), 0o755)
	os.Symlink("mount.cifs", filepath.Join(root, "sbin/mount.smb3"))
	if out, err := exec.Command("dpkg-deb", "--build", root, filepath.Join(dir, "cifs-utils.deb")).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}
