package azenv

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/identity"
	"lido.dev/lido/internal/pki"
	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
	"lido.dev/lido/internal/subscription"
)

// startLido serves what az needs to sign in and list groups, and returns it with the admin's login.
func startLido(t *testing.T) (Server, Login, *identity.Service) {
	t.Helper()
	dir := t.TempDir()
	st, err := store.Open(filepath.Join(dir, "lido.db"))
	check(t, err)
	t.Cleanup(func() { st.Close() })
	sub, err := subscription.Load(t.Context(), st)
	check(t, err)
	log := slog.New(slog.DiscardHandler)
	svc, err := identity.New(t.Context(), identity.Options{Store: st, Dir: dir, Tenant: sub.Tenant, Now: time.Now, Log: log,
		Cloud: identity.Cloud{Name: "lido", StorageSuffix: "core.lido.internal", VaultSuffix: "vault.lido.internal"}})
	check(t, err)
	box, err := secret.Open(filepath.Join(dir, "secret.key"))
	check(t, err)
	api := arm.New(st, box, svc, log)
	api.Register((&subscription.Room{Identity: sub, Locations: []string{"local"}}).Types()...)
	api.Register(api.Document(arm.Document{Name: arm.TypeResourceGroup, APIVersions: []string{"2021-04-01"}}))
	ca, err := pki.Open(filepath.Join(dir, "ca"), time.Now)
	check(t, err)
	ln, err := tls.Listen("tcp", "127.0.0.1:0", ca.ServerTLS("127.0.0.1"))
	check(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if identity.Owns(r.URL.Path) {
			svc.Handler().ServeHTTP(w, r)
			return
		}
		api.ServeHTTP(w, r)
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	data, err := os.ReadFile(identity.AdminFile(dir))
	check(t, err)
	var cred identity.AdminCredentials
	check(t, json.Unmarshal(data, &cred))
	return Server{URL: "https://127.0.0.1:" + port(ln), CA: ca.CertPEM()}, Login{User: cred.User, Password: cred.Password}, svc
}

func port(ln net.Listener) string {
	_, p, _ := net.SplitHostPort(ln.Addr().String())
	return p
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestMakeTouchesOnlyItsOwn(t *testing.T) {
	server, login, _ := startLido(t)
	dir := filepath.Join(t.TempDir(), "az")
	o := Options{Dir: dir, Server: server, Login: login, Data: "/some/where", Now: time.Now()}
	check(t, Make(t.Context(), o))
	if got := Find(filepath.Dir(dir), "/some/where"); len(got) != 1 || got[0] != dir {
		t.Errorf("found %v", got)
	}
	if got := Find(filepath.Dir(dir), "/else/where"); len(got) != 0 {
		t.Errorf("found %v", got)
	}
	check(t, Make(t.Context(), o)) // anew
	entries, err := os.ReadDir(dir)
	check(t, err)
	for _, e := range entries {
		if info, _ := e.Info(); info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
	}
	check(t, Remove(dir))
	check(t, Remove(dir)) // nothing left to do

	other := t.TempDir()
	check(t, os.WriteFile(filepath.Join(other, "azureProfile.json"), []byte("{}"), 0o600))
	o.Dir = other
	if err := Make(t.Context(), o); err == nil {
		t.Error("made in a directory of something else")
	}
	if err := Remove(other); err == nil {
		t.Error("removed a directory of something else")
	}
}

// Under sudo everything belongs to the person who called it, also the directories above that had to be made.
func TestMakeForAnotherUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	server, login, _ := startLido(t)
	home := t.TempDir()
	dir := filepath.Join(home, ".local", "state", "az")
	check(t, Make(t.Context(), Options{Dir: dir, Server: server, Login: login, Owner: &Owner{UID: 65534, GID: 65534}, Now: time.Now()}))
	check(t, filepath.WalkDir(filepath.Join(home, ".local"), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != 65534 {
			t.Errorf("%s belongs to %d", path, uid)
		}
		return err
	}))
}

func TestMakeRefusals(t *testing.T) {
	server, login, _ := startLido(t)
	login.Password = "wrong"
	dir := filepath.Join(t.TempDir(), "az")
	if err := Make(t.Context(), Options{Dir: dir, Server: server, Login: login}); err == nil || !strings.Contains(err.Error(), "password is wrong") {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("a directory was made although nobody signed in")
	}
	stranger, err := pki.Open(t.TempDir(), time.Now)
	check(t, err)
	server.CA = stranger.CertPEM()
	if err := Make(t.Context(), Options{Dir: dir, Server: server, Login: login}); err == nil {
		t.Error("trusted a server with another CA")
	}
}

func TestShellRestores(t *testing.T) {
	for shell, name := range map[Shell]string{Sh: "sh", Fish: "fish"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		before := map[string]string{"AZURE_CONFIG_DIR": `it's $HOME\ "x"`, "HOME": "/nowhere", "PATH": os.Getenv("PATH")}
		on := run(t, path, before, func(w *bytes.Buffer, env map[string]string) {
			shell.WriteExports(w, Vars("/tmp/a b", "https://h:1"), lookup(env))
		})
		if on["AZURE_CONFIG_DIR"] != "/tmp/a b" || on[DirVar] != "/tmp/a b" {
			t.Fatalf("%s: %v", name, on)
		}
		again := run(t, path, on, func(w *bytes.Buffer, env map[string]string) {
			shell.WriteExports(w, Vars("/tmp/c", "https://h:2"), lookup(env))
		})
		off := run(t, path, again, func(w *bytes.Buffer, env map[string]string) { shell.WriteUnsets(w, lookup(env)) })
		for _, k := range []string{"AZURE_CONFIG_DIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", DirVar, "LIDO_URL", "LIDO_CA", savedPrefix + "AZURE_CONFIG_DIR"} {
			if off[k] != before[k] {
				t.Errorf("%s: %s is %q after, was %q", name, k, off[k], before[k])
			}
		}
	}
}

func lookup(env map[string]string) func(string) (string, bool) {
	return func(k string) (string, bool) { v, ok := env[k]; return v, ok }
}

// run evaluates what write writes in a shell with an environment, and returns the environment after.
func run(t *testing.T, shell string, env map[string]string, write func(*bytes.Buffer, map[string]string)) map[string]string {
	t.Helper()
	var script bytes.Buffer
	write(&script, env)
	script.WriteString("\nenv -0\n")
	cmd := exec.Command(shell, "-c", script.String())
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.Output()
	check(t, err)
	after := map[string]string{}
	for line := range strings.SplitSeq(string(out), "\x00") {
		if k, v, ok := strings.Cut(line, "="); ok {
			after[k] = v
		}
	}
	return after
}

// clients are the pinned azs, where `make setup-test` put them.
func clients(t *testing.T) map[string]string {
	t.Helper()
	cache := os.Getenv("LIDO_TEST_CACHE")
	if cache == "" {
		cache = "/var/cache/lido-test"
	}
	found := map[string]string{}
	for _, name := range []string{"az-new", "az-2.45"} {
		az := filepath.Join(cache, "clients", name, "bin", "az")
		if _, err := os.Stat(az); err == nil {
			found[name] = az
		}
	}
	if len(found) == 0 {
		t.Skip("no az here: run make setup-test")
	}
	return found
}

// The real clients must find themselves signed in, as a person and as a service principal, and still be after the
// access token that they were given has expired.
func TestRealAzIsSignedIn(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds")
	}
	server, admin, svc := startLido(t)
	sp, secret, err := svc.Add(t.Context(), identity.NewAccount{Kind: identity.ServicePrincipal, Name: "ci", Role: identity.Reader})
	check(t, err)
	for name, az := range clients(t) {
		for who, login := range map[string]Login{"person": admin, "app": {User: sp.AppID, Password: secret, App: true}} {
			t.Run(name+"/"+who, func(t *testing.T) {
				dir := filepath.Join(t.TempDir(), "az")
				// An hour ago: the token in the cache counts as expired, so az must get another by itself.
				check(t, Make(t.Context(), Options{Dir: dir, Server: server, Login: login, SystemCAs: SystemCAs(os.LookupEnv), Now: time.Now().Add(-time.Hour)}))
				out := azRun(t.Context(), t, az, dir, server.URL, "group", "list", "-o", "tsv")
				if strings.TrimSpace(out) != "" {
					t.Errorf("group list printed %q", out)
				}
				if out := azRun(t.Context(), t, az, dir, server.URL, "account", "show", "--query", "user.type", "-o", "tsv"); out == "" {
					t.Error("account show printed nothing")
				}
			})
		}
	}
}

func azRun(ctx context.Context, t *testing.T, az, dir, url string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(ctx, az, args...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}
	for k, v := range Vars(dir, url) {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil || strings.Contains(stderr.String(), "ERROR") {
		t.Fatalf("az %v: %v\n%s", args, err, stderr.String())
	}
	return string(out)
}

// A program of our own signs in as az would, with a token of the cache or, when that has expired, with its refresh token.
func TestOpen(t *testing.T) {
	server, login, _ := startLido(t)
	dir := filepath.Join(t.TempDir(), "az")
	check(t, Make(t.Context(), Options{Dir: dir, Server: server, Login: login, Now: time.Now()}))
	for _, now := range []time.Time{time.Now(), time.Now().Add(2 * time.Hour)} {
		s, err := Open(t.Context(), dir, now)
		check(t, err)
		c, err := newClient(s.Server)
		check(t, err)
		var sub struct {
			ID string `json:"subscriptionId"`
		}
		check(t, c.get(t.Context(), "/subscriptions/"+s.Subscription+"?api-version=2022-12-01", s.Token, &sub))
		if sub.ID != s.Subscription || !strings.HasPrefix(s.User, login.User) {
			t.Errorf("session is of %q in %q, the server says %q", s.User, s.Subscription, sub.ID)
		}
	}
	if _, err := Open(t.Context(), t.TempDir(), time.Now()); err == nil {
		t.Error("opened a directory that is not one")
	}
}
