package pki

import (
	"bytes"
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
)

func open(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := Open(dir, time.Now)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOpenKeepsItsCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ca")
	first := open(t, dir)
	if got := open(t, dir).Fingerprint(); got != first.Fingerprint() {
		t.Errorf("second start has CA %s, first had %s", got, first.Fingerprint())
	}
	for name, want := range map[string]os.FileMode{"": 0o700, caKeyFile: 0o600} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != want {
			t.Errorf("%q has mode %v, want %v", name, info.Mode().Perm(), want)
		}
	}
}

func TestServerCertificateIsTrustedAndRenewed(t *testing.T) {
	now := time.Now()
	a, err := Open(t.TempDir(), func() time.Time { return now })
	if err != nil {
		t.Fatal(err)
	}
	cfg := a.ServerTLS("localhost", "127.0.0.1")
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Listener = tls.NewListener(srv.Listener, cfg)
	srv.Start()
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: a.Pool()}}}
	if _, err := client.Get("https://" + srv.Listener.Addr().String()); err != nil {
		t.Error(err)
	}

	before, _ := cfg.GetCertificate(nil)
	now = now.Add(serverLifetime / 2)
	if same, _ := cfg.GetCertificate(nil); same != before {
		t.Error("renewed too early")
	}
	now = now.Add(serverLifetime / 4)
	if after, _ := cfg.GetCertificate(nil); after == before {
		t.Error("not renewed with a quarter of its life left")
	}
}

func TestFetchPinned(t *testing.T) {
	a, other := open(t, t.TempDir()), open(t, t.TempDir())
	ln, err := tls.Listen("tcp", "127.0.0.1:0", a.ServerTLS("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { c.(*tls.Conn).Handshake(); c.Close() }()
		}
	}()
	ctx := context.Background()
	got, err := FetchPinned(ctx, ln.Addr().String(), strings.ToUpper(a.Fingerprint()))
	if err != nil || !bytes.Equal(got, a.CertPEM()) {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := FetchPinned(ctx, ln.Addr().String(), other.Fingerprint()); err == nil || !strings.Contains(err.Error(), a.Fingerprint()) {
		t.Errorf("wrong fingerprint: got %v", err)
	}
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	if _, err := FetchPinned(ctx, "localhost:"+port, a.Fingerprint()); err == nil {
		t.Error("accepted a certificate that does not name the host")
	}
}

// A certificate in the strict reading of OpenSSL (which Python 3.13 asks for) must verify.
func TestIssuedLeafVerifiesWithOpenSSL(t *testing.T) {
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("no openssl here")
	}
	a := open(t, t.TempDir())
	leaf, err := a.Issue(MachineLifetime, "pool.example", "10.0.0.4")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "leaf.pem")
	if err := os.WriteFile(file, leaf.CertPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip", "10.0.0.4", "-CAfile", a.CertFile(), file).CombinedOutput()
	if err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

func TestHostKeyBelongsToTheAddress(t *testing.T) {
	seed := bytes.Repeat([]byte{7}, 32)
	a, err := NewHostKey(seed, "10.254.0.5")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := NewHostKey(seed, "10.254.0.5")
	if !bytes.Equal(a.PrivatePEM, again.PrivatePEM) {
		t.Error("the same address has two keys")
	}
	if b, _ := NewHostKey(seed, "10.254.0.6"); b.Fingerprint == a.Fingerprint {
		t.Error("two addresses share a key")
	}
	signer, err := ssh.ParsePrivateKey(a.PrivatePEM)
	if err != nil {
		t.Fatal(err)
	}
	if got := ssh.FingerprintSHA256(signer.PublicKey()); got != a.Fingerprint {
		t.Errorf("private key has fingerprint %s, want %s", got, a.Fingerprint)
	}
	if _, err := NewHostKey(seed[:8], "x"); err == nil {
		t.Error("accepted a short seed")
	}
}

func TestHostKeyIsReadByOpenSSH(t *testing.T) {
	if _, err := exec.LookPath("ssh-keygen"); err != nil {
		t.Skip("no ssh-keygen here")
	}
	key, err := NewHostKey(bytes.Repeat([]byte{9}, 32), "10.254.0.7")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, key.PrivatePEM, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ssh-keygen", "-y", "-f", file).CombinedOutput()
	if err != nil || strings.TrimSpace(string(out)) != key.Public {
		t.Errorf("ssh-keygen: %v: %s\nwant %s", err, out, key.Public)
	}
}
