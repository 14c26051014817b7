//go:build root

package image_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"lido.dev/lido/internal/machine"
	"lido.dev/lido/internal/machine/runc"
)

// guest is a machine of the real engine, started from an image.
type guest struct {
	t      *testing.T
	engine *runc.Engine
	id     string
}

// engine opens an engine of the test's own and removes it with all its machines at the end.
func engine(t *testing.T) *runc.Engine {
	t.Helper()
	var b [3]byte
	rand.Read(b[:])
	tag := hex.EncodeToString(b[:])
	run := filepath.Join("/run/lido", tag)
	e, err := runc.Open(runc.Config{Dir: filepath.Join("/var/tmp", "lido-"+tag), RunDir: filepath.Join(run, "machines"), Tag: tag})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Purge(); err != nil {
			t.Errorf("purge: %v", err)
		}
		e.Close()
		os.Remove(run)
	})
	return e
}

// boot starts a machine with the account alice, whose password is "Pass-w0rd".
func boot(t *testing.T, e *runc.Engine, root string, change func(*machine.Spec)) *guest {
	t.Helper()
	s := machine.Spec{
		ID: "guest", Hostname: "guest", Root: root,
		Accounts: []machine.Account{{Name: "alice", PasswordHash: crypt(t, "Pass-w0rd"), Groups: []string{"sudo"}, Sudo: true}},
		Files:    []machine.File{hostKey(t)},
	}
	if change != nil {
		change(&s)
	}
	if err := e.Create(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if err := e.Start(t.Context(), s.ID); err != nil {
		t.Fatal(err)
	}
	g := &guest{t: t, engine: e, id: s.ID}
	waitFor(t, "the machine to boot", func() bool { code, _, _ := g.try("systemctl is-active -q multi-user.target"); return code == 0 })
	return g
}

// try runs a shell command as root.
func (g *guest) try(script string) (code int, stdout, stderr string) {
	g.t.Helper()
	return g.as("", "sh", "-c", script)
}

// as runs a command as a person, who starts at home.
func (g *guest) as(user string, args ...string) (code int, stdout, stderr string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	c := machine.Command{Args: args, User: user, Stdout: &out, Stderr: &errs}
	if user != "" {
		c.Dir, c.Env = "/home/"+user, []string{"HOME=/home/" + user}
	}
	code, err := g.engine.Exec(ctx, g.id, c)
	if err != nil {
		g.t.Logf("%v: %v", args, err)
		return -1, "", err.Error()
	}
	return code, out.String(), errs.String()
}

// must runs a shell command as root that must end well, and returns what it printed.
func (g *guest) must(script string) string {
	g.t.Helper()
	code, out, errs := g.try(script)
	if code != 0 {
		g.t.Fatalf("%s: exit code %d\n%s%s", script, code, out, errs)
	}
	return strings.TrimSpace(out)
}

func crypt(t *testing.T, password string) string {
	t.Helper()
	out, err := exec.Command("openssl", "passwd", "-6", password).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

func hostKey(t *testing.T) machine.File {
	t.Helper()
	return machine.File{Path: "/etc/ssh/ssh_host_ed25519_key", Mode: 0o600, Data: generated(t, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f")}
}

// certificate makes the two files that JupyterHub waits for.
func certificate(t *testing.T) []machine.File {
	t.Helper()
	dir := t.TempDir()
	key, cert := filepath.Join(dir, "key"), filepath.Join(dir, "cert")
	out, err := exec.Command("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
		"-subj", "/CN=guest", "-keyout", key, "-out", cert).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return []machine.File{
		{Path: "/etc/lido/tls/key.pem", Mode: 0o600, Data: read(t, key)}, {Path: "/etc/lido/tls/cert.pem", Data: read(t, cert)},
	}
}

// generated runs a command with the path of a new file as its last argument and returns what it wrote there.
func generated(t *testing.T, args ...string) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "f")
	if out, err := exec.Command(args[0], append(args[1:], path)...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return read(t, path)
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
