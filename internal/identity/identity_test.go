package identity

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"lido.dev/lido/internal/arm"
	"lido.dev/lido/internal/store"
)

const testTenant = "6b3f3c0e-8f0a-4b7a-9b1e-0c1d2e3f4a5b"

// bench is a service on a real store with a clock that tests move.
type bench struct {
	*Service
	t     *testing.T
	dir   string
	mu    sync.Mutex
	clock time.Time
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir(), clock: time.Now()}
	b.open()
	return b
}

func (b *bench) open() {
	b.t.Helper()
	st, err := store.Open(filepath.Join(b.dir, "lido.db"))
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { st.Close() })
	b.Service, err = New(b.t.Context(), Options{Store: st, Dir: b.dir, Tenant: testTenant, Now: b.time,
		Cloud: Cloud{Name: "lido", StorageSuffix: "core.lido.internal", VaultSuffix: "vault.lido.internal"}})
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) time() time.Time {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.clock
}

func (b *bench) pass(d time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clock = b.clock.Add(d)
}

func (b *bench) add(kind Kind, name string, role Role, password string) Account {
	b.t.Helper()
	a, _, err := b.Add(b.t.Context(), NewAccount{Kind: kind, Name: name, Role: role, Password: password})
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

// send sends a request as a client at source would.
func (b *bench) send(source, method, path string, body io.Reader, header ...string) (*http.Response, string) {
	b.t.Helper()
	r := httptest.NewRequest(method, "https://lido.test:8443"+path, body)
	r.RemoteAddr = source + ":40000"
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.Handler().ServeHTTP(w, r)
	return w.Result(), w.Body.String()
}

func (b *bench) form(source, path string, values ...string) (*http.Response, map[string]any) {
	b.t.Helper()
	form := url.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		form.Set(values[i], values[i+1])
	}
	resp, body := b.send(source, "POST", path, strings.NewReader(form.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	var out map[string]any
	json.Unmarshal([]byte(body), &out)
	return resp, out
}

const scope = "https://lido.test:8443/.default"

func (b *bench) password(source, user, password string) (*http.Response, map[string]any) {
	b.t.Helper()
	return b.form(source, "/adfs/oauth2/token", "grant_type", "password", "client_id", "cli", "username", user, "password", password, "scope", scope+" offline_access openid profile")
}

func (b *bench) token(user, password string) string {
	b.t.Helper()
	resp, body := b.password("127.0.0.1", user, password)
	if resp.StatusCode != 200 {
		b.t.Fatalf("sign-in of %s: %d %v", user, resp.StatusCode, body)
	}
	return body["access_token"].(string)
}

func (b *bench) authenticate(token string) (arm.Caller, error) {
	r := httptest.NewRequest("GET", "https://lido.test:8443/subscriptions", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return b.Authenticate(r)
}

func codeOf(err error) string {
	var e *arm.Error
	if errors.As(err, &e) && e.Status == 401 {
		return e.Code
	}
	return "not a 401"
}

func TestFirstStartMakesAnAdmin(t *testing.T) {
	b := newBench(t)
	var cred AdminCredentials
	data, err := os.ReadFile(AdminFile(b.dir))
	if err != nil {
		t.Fatal(err)
	}
	json.Unmarshal(data, &cred)
	if info, _ := os.Stat(AdminFile(b.dir)); info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	b.token(cred.User, cred.Password)

	changed, err := b.SetPassword(t.Context(), AdminName, "")
	if err != nil {
		t.Fatal(err)
	}
	b.open() // a second start makes no other admin and keeps the new password
	b.token(AdminName, changed)
	if now, _ := readAdmin(b.dir); now.Password != changed {
		t.Error("admin.json does not have the new password")
	}
	if all, _ := b.Accounts(t.Context()); len(all) != 1 {
		t.Errorf("accounts %v", all)
	}
}

func TestPersonSignsIn(t *testing.T) {
	b := newBench(t)
	ada := b.add(User, "Ada", Reader, "correct horse")
	resp, body := b.password("127.0.0.1", "ada@LIDO", "correct horse")
	if resp.StatusCode != 200 || body["scope"] != scope || body["expires_in"] != 3600.0 {
		t.Fatalf("%d %v", resp.StatusCode, body)
	}
	caller, err := b.authenticate(body["access_token"].(string))
	if want := (arm.Caller{Name: "ada@lido", ObjectID: ada.ID, TenantID: testTenant}); err != nil || caller != want {
		t.Errorf("got %+v, %v; want %+v", caller, err, want)
	}
	id := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(body["id_token"].(string), id); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]any{"aud": "cli", "tid": testTenant, "upn": "ada@lido", "sub": ada.ID, "iss": "https://lido.test:8443/adfs"} {
		if id[k] != want {
			t.Errorf("id token's %s is %v, want %v", k, id[k], want)
		}
	}
	if _, err := b.authenticate(body["id_token"].(string)); codeOf(err) != "InvalidAuthenticationTokenAudience" {
		t.Errorf("id token as access token: %v", err)
	}
}

func TestServicePrincipalSignsIn(t *testing.T) {
	b := newBench(t)
	sp := b.add(ServicePrincipal, "ci", Owner, "a long secret")
	for _, id := range []string{sp.AppID, "ci"} {
		resp, body := b.form("127.0.0.1", "/adfs/oauth2/token", "grant_type", "client_credentials", "client_id", id, "client_secret", "a long secret", "scope", scope)
		if resp.StatusCode != 200 || body["refresh_token"] != nil || body["id_token"] != nil {
			t.Fatalf("%d %v", resp.StatusCode, body)
		}
		if c, err := b.authenticate(body["access_token"].(string)); err != nil || c.Name != sp.AppID {
			t.Errorf("%+v, %v", c, err)
		}
	}
	resp, body := b.form("127.0.0.1", "/adfs/oauth2/token", "grant_type", "client_credentials", "client_id", "ci", "client_secret", "wrong", "scope", scope)
	if resp.StatusCode != 401 || body["error"] != "invalid_client" {
		t.Errorf("wrong secret: %d %v", resp.StatusCode, body)
	}
	if resp, _ := b.password("127.0.0.1", "ci", "a long secret"); resp.StatusCode != 400 {
		t.Errorf("a service principal signed in as a person: %d", resp.StatusCode)
	}
}

func TestRefusedTokens(t *testing.T) {
	b := newBench(t)
	b.add(User, "ada", Owner, "correct horse")
	good := b.token("ada", "correct horse")

	other := newBench(t)
	other.add(User, "ada", Owner, "correct horse")
	parts := strings.Split(good, ".")
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + parts[1] + "."
	for name, token := range map[string]string{
		"forged": other.token("ada", "correct horse"), "unsigned": none, "cut": good[:len(good)-4], "nonsense": "x",
	} {
		if _, err := b.authenticate(token); codeOf(err) != "InvalidAuthenticationToken" {
			t.Errorf("%s token: %v", name, err)
		}
	}
	if _, err := b.authenticate(""); codeOf(err) != "AuthenticationFailed" {
		t.Errorf("no token: %v", err)
	}
	_, body := b.form("127.0.0.1", "/adfs/oauth2/token", "grant_type", "password", "client_id", "cli", "username", "ada", "password", "correct horse", "scope", "https://storage.azure.com/.default")
	if _, err := b.authenticate(body["access_token"].(string)); codeOf(err) != "InvalidAuthenticationTokenAudience" {
		t.Errorf("token for storage: %v", err)
	}
	_, body = b.form("127.0.0.1", "/adfs/oauth2/token", "grant_type", "password", "client_id", "cli", "username", "ada", "password", "correct horse", "scope", "https://wiki.lab.example/.default")
	if _, err := b.authenticate(body["access_token"].(string)); codeOf(err) != "InvalidAuthenticationTokenAudience" {
		t.Errorf("token for another service: %v", err)
	}
	b.pass(accessLife + time.Second)
	if _, err := b.authenticate(good); codeOf(err) != "ExpiredAuthenticationToken" {
		t.Errorf("expired token: %v", err)
	}
}

func TestForManagement(t *testing.T) {
	for _, c := range []struct {
		audience, host string
		want           bool
	}{
		{"https://lido.test:8443", "lido.test:8443", true},
		{"https://LIDO.test:8443/", "lido.test:8443", true},
		{"https://lido.test", "lido.test:443", true},
		{"https://[::1]:8443", "[::1]:8443", true},
		{"https://management.azure.com", "lido.test:8443", true},
		{"https://management.core.windows.net/", "lido.test:8443", true},
		{"https://lido.test:9443", "lido.test:8443", false},
		{"https://other.test:8443", "lido.test:8443", false},
		{"https://management.evil.example", "lido.test:8443", false},
		{"https://management.azure.com.evil.example", "lido.test:8443", false},
		{"https://storage.azure.com", "lido.test:8443", false},
		{"https://pool.vault.lido.internal:8443", "lido.test:8443", false},
		{"http://lido.test:8443", "lido.test:8443", false},
		{"https://lido.test:8443/sub", "lido.test:8443", false},
		{"04b07795-8ddb-461a-bbee-02f9e1bf7b46", "lido.test:8443", false},
		{"", "", false},
	} {
		if got := forManagement(c.audience, c.host); got != c.want {
			t.Errorf("%q at %q: %v", c.audience, c.host, got)
		}
	}
}

func TestNewPasswordVoidsTokens(t *testing.T) {
	b := newBench(t)
	b.add(User, "ada", Reader, "correct horse")
	_, body := b.password("127.0.0.1", "ada", "correct horse")
	refresh := func() int {
		resp, _ := b.form("127.0.0.1", "/adfs/oauth2/token", "grant_type", "refresh_token", "client_id", "cli", "refresh_token", body["refresh_token"].(string), "scope", scope)
		return resp.StatusCode
	}
	b.pass(accessLife * 2)
	if got := refresh(); got != 200 {
		t.Errorf("refresh: %d", got)
	}
	token := b.token("ada", "correct horse")
	if _, err := b.SetPassword(t.Context(), "ada", "battery staple"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.authenticate(token); codeOf(err) != "InvalidAuthenticationToken" {
		t.Errorf("old token: %v", err)
	}
	if got := refresh(); got != 400 {
		t.Errorf("old refresh token: %d", got)
	}
	token = b.token("ada", "battery staple")
	if err := b.Remove(t.Context(), "ada"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.authenticate(token); codeOf(err) != "InvalidAuthenticationToken" {
		t.Errorf("removed account's token: %v", err)
	}
}

func TestRefreshTokenExpiresUnused(t *testing.T) {
	b := newBench(t)
	b.add(User, "ada", Reader, "correct horse")
	_, body := b.password("127.0.0.1", "ada", "correct horse")
	use := func(client string) int {
		resp, _ := b.form("127.0.0.1", "/adfs/oauth2/token", "grant_type", "refresh_token", "client_id", client, "refresh_token", body["refresh_token"].(string), "scope", scope)
		return resp.StatusCode
	}
	for range 3 { // use keeps it alive
		b.pass(refreshLife * 2 / 3)
		if got := use("cli"); got != 200 {
			t.Fatalf("refresh: %d", got)
		}
	}
	if got := use("another"); got != 400 {
		t.Errorf("another client used it: %d", got)
	}
	b.pass(refreshLife)
	if got := use("cli"); got != 400 {
		t.Errorf("expired: %d", got)
	}
}

func TestRoles(t *testing.T) {
	b := newBench(t)
	owner, reader := b.add(User, "olga", Owner, "correct horse"), b.add(User, "rita", Reader, "correct horse")
	for _, c := range []struct {
		who    Account
		action string
		want   bool
	}{
		{owner, "Microsoft.Storage/storageAccounts/listKeys/action", true},
		{reader, "Microsoft.Compute/virtualMachineScaleSets/read", true},
		{reader, "Microsoft.Compute/virtualMachineScaleSets/write", false},
		{reader, "Microsoft.Storage/storageAccounts/listKeys/action", false},
		{Account{ID: "gone"}, "Microsoft.Compute/virtualMachineScaleSets/read", false},
	} {
		if got := b.Allowed(t.Context(), arm.Caller{ObjectID: c.who.ID}, c.action, arm.ID{}); got != c.want {
			t.Errorf("%s may %s: %v", c.who.Name, c.action, got)
		}
	}
}

func TestDeviceFlow(t *testing.T) {
	b := newBench(t)
	b.add(User, "ada", Reader, "correct horse")
	_, dev := b.form("127.0.0.1", "/adfs/oauth2/devicecode", "client_id", "cli", "scope", scope+" openid")
	poll := func() (int, map[string]any) {
		resp, body := b.form("127.0.0.1", "/adfs/oauth2/token", "grant_type", grantDeviceCode, "client_id", "cli", "device_code", dev["device_code"].(string))
		return resp.StatusCode, body
	}
	if status, body := poll(); status != 400 || body["error"] != "authorization_pending" {
		t.Fatalf("%d %v", status, body)
	}
	page := "/adfs/oauth2/deviceauth"
	if resp, body := b.send("127.0.0.1", "GET", page+"?user_code="+dev["user_code"].(string), nil); resp.StatusCode != 200 || !strings.Contains(body, dev["user_code"].(string)) {
		t.Errorf("page: %d %s", resp.StatusCode, body)
	}
	approve := func(code, password string) int {
		resp, _ := b.form("127.0.0.1", page, "user_code", code, "username", "ada", "password", password)
		return resp.StatusCode
	}
	if got := approve(dev["user_code"].(string), "wrong"); got != 403 {
		t.Errorf("wrong password: %d", got)
	}
	if got := approve("BBBB-BBBB", "correct horse"); got != 403 {
		t.Errorf("wrong code: %d", got)
	}
	if got := approve(strings.ToLower(dev["user_code"].(string)), "correct horse"); got != 200 {
		t.Errorf("approve: %d", got)
	}
	status, body := poll()
	if status != 200 || body["scope"] != scope {
		t.Fatalf("%d %v", status, body)
	}
	if _, err := b.authenticate(body["access_token"].(string)); err != nil {
		t.Error(err)
	}
	if status, _ := poll(); status != 400 {
		t.Errorf("redeemed twice: %d", status)
	}
}

func TestBrowserFlow(t *testing.T) {
	b := newBench(t)
	b.add(User, "ada", Reader, "correct horse")
	verifier := strings.Repeat("v", 50)
	sum := sha256.Sum256([]byte(verifier))
	ask := func(redirect, mode string) (*http.Response, map[string]any) {
		return b.form("127.0.0.1", "/adfs/oauth2/authorize", "client_id", "cli", "redirect_uri", redirect, "response_type", "code", "response_mode", mode, "scope", scope, "state", "s1", "nonce", "n1",
			"code_challenge", base64.RawURLEncoding.EncodeToString(sum[:]), "code_challenge_method", "S256", "username", "ada", "password", "correct horse")
	}
	if resp, _ := ask("https://evil.example/", "query"); resp.StatusCode != 400 {
		t.Errorf("foreign redirect: %d", resp.StatusCode)
	}
	if resp, _ := ask("http://localhost:8400", "form_post"); resp.StatusCode != 200 || !strings.Contains(resp.Header.Get("Content-Security-Policy"), "http://localhost:8400") {
		t.Errorf("form_post: %d %v", resp.StatusCode, resp.Header)
	}
	nonce := func(body map[string]any) any {
		id := jwt.MapClaims{}
		token, _ := body["id_token"].(string)
		jwt.NewParser().ParseUnverified(token, id)
		return id["nonce"]
	}
	redeem := func(verifier string) int {
		resp, _ := ask("http://localhost:8400", "query")
		to, err := resp.Location()
		if err != nil || to.Query().Get("state") != "s1" {
			t.Fatalf("%v %v", to, err)
		}
		resp, body := b.form("127.0.0.1", "/adfs/oauth2/token", "grant_type", "authorization_code", "client_id", "cli", "redirect_uri", "http://localhost:8400", "code", to.Query().Get("code"), "code_verifier", verifier)
		if resp.StatusCode == 200 && nonce(body) != "n1" {
			t.Errorf("nonce %v", nonce(body))
		}
		return resp.StatusCode
	}
	if got := redeem(verifier); got != 200 {
		t.Errorf("redeem: %d", got)
	}
	if got := redeem("another"); got != 400 {
		t.Errorf("redeem with another verifier: %d", got)
	}
}

func TestGuessingIsSlowed(t *testing.T) {
	b := newBench(t)
	b.add(User, "ada", Reader, "correct horse")
	for i := range pairLimit.free + 1 {
		if resp, _ := b.password("10.9.9.9", "ada", "wrong"+string(rune('a'+i))); resp.StatusCode != 400 || resp.Header.Get("Retry-After") != "" {
			t.Fatalf("try %d: %d, Retry-After %q", i, resp.StatusCode, resp.Header.Get("Retry-After"))
		}
	}
	resp, _ := b.password("10.9.9.9", "ada", "correct horse")
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("after too many failures: %d, Retry-After %q", resp.StatusCode, resp.Header.Get("Retry-After"))
	}
	if resp, _ := b.password("10.8.8.8", "ada", "correct horse"); resp.StatusCode != 200 {
		t.Errorf("the person elsewhere: %d", resp.StatusCode)
	}
	b.pass(time.Second)
	if resp, _ := b.password("10.9.9.9", "ada", "correct horse"); resp.StatusCode != 200 {
		t.Errorf("after the wait: %d", resp.StatusCode)
	}
}

func TestAccountsAPI(t *testing.T) {
	b := newBench(t)
	b.add(User, "olga", Owner, "correct horse")
	do := func(token, method, path, body string) (int, string) {
		resp, out := b.send("127.0.0.1", method, AccountsPath+path, strings.NewReader(body), "Authorization", "Bearer "+token)
		return resp.StatusCode, out
	}
	olga := b.token("olga", "correct horse")
	status, out := do(olga, "POST", "", `{"name":"ada"}`)
	var made AccountAnswer
	json.Unmarshal([]byte(out), &made)
	if status != 201 || made.Password == "" || made.Role != Reader || strings.Contains(out, "argon2") {
		t.Fatalf("%d %s", status, out)
	}
	ada := b.token("ada", made.Password)
	for _, c := range []struct {
		token, method, path, body string
		status                    int
		want                      string
	}{
		{olga, "POST", "", `{"name":"ada"}`, 409, "AccountExists"},
		{olga, "POST", "", `{"name":"9lives"}`, 400, "InvalidAccount"},
		{olga, "POST", "", `{"name":"x","password":"short"}`, 400, "InvalidAccount"},
		{olga, "GET", "", "", 200, `"name":"ada"`},
		{ada, "GET", "", "", 403, "AuthorizationFailed"},
		{ada, "POST", "/olga/password", `{}`, 403, "AuthorizationFailed"},
		{ada, "POST", "/ada/password", `{"password":"battery staple"}`, 403, "WrongPassword"},
		{ada, "POST", "/ada/password", `{"password":"battery staple","current":"` + made.Password + `"}`, 200, "battery staple"},
		{ada, "POST", "/ada/password", `{}`, 401, "InvalidAuthenticationToken"},
		{olga, "DELETE", "/ada", "", 204, ""},
		{olga, "DELETE", "/ada", "", 404, "AccountNotFound"},
	} {
		if status, out := do(c.token, c.method, c.path, c.body); status != c.status || !strings.Contains(out, c.want) {
			t.Errorf("%s %s: %d %s; want %d %s", c.method, c.path, status, out, c.status, c.want)
		}
	}
	if err := b.Remove(t.Context(), AdminName); err != nil {
		t.Error(err)
	}
	if err := b.Remove(t.Context(), "olga"); !errors.Is(err, ErrLastOwner) {
		t.Errorf("the last owner: %v", err)
	}
}

func TestMetadataShapes(t *testing.T) {
	b := newBench(t)
	for version, want := range map[string]string{
		"2015-01-01": `{"galleryEndpoint":"https://lido.test:8443"`,
		"2019-05-01": `[{"name":"lido"`,
		"2020-06-01": `[{"name":"lido"`,
		"2022-09-01": `{"name":"lido"`,
		"2026-01-01": `{"name":"lido"`,
	} {
		resp, body := b.send("127.0.0.1", "GET", "/metadata/endpoints?api-version="+version, nil)
		if resp.StatusCode != 200 || !strings.HasPrefix(body, want) || !strings.Contains(body, `"loginEndpoint":"https://lido.test:8443/adfs"`) {
			t.Errorf("%s: %d %s", version, resp.StatusCode, body)
		}
	}
}

func TestConfigurationAndKeys(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/adfs/.well-known/openid-configuration", "/adfs/contoso/.well-known/openid-configuration", "/ADFS/.well-known/openid-configuration"} {
		if resp, body := b.send("127.0.0.1", "GET", path, nil); resp.StatusCode != 200 || !strings.Contains(body, `"token_endpoint":"https://lido.test:8443/adfs/oauth2/token"`) {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	_, body := b.send("127.0.0.1", "GET", "/adfs/discovery/keys", nil)
	key, err := b.keys.current()
	if err != nil || !strings.Contains(body, key.ID) {
		t.Errorf("%v: %s does not have %s", err, body, key.ID)
	}
}

func TestKeysRotate(t *testing.T) {
	b := newBench(t)
	b.add(User, "ada", Reader, "correct horse")
	first, _ := b.keys.current()
	b.pass(keyLife - time.Minute)
	token := b.token("ada", "correct horse") // signed by the first key in its last minute
	b.pass(2 * time.Minute)
	second, err := b.keys.current()
	if err != nil || second.ID == first.ID {
		t.Fatalf("no new key: %v", err)
	}
	if _, err := b.authenticate(token); err != nil {
		t.Errorf("token of the retired key: %v", err)
	}
	b.pass(keyOverlap * 2)
	b.keys.current()
	if _, ok := b.keys.public(first.ID); ok {
		t.Error("the first key is still published")
	}
	again, err := openKeyRing(filepath.Join(b.dir, "token-keys.json"), b.time)
	if err != nil {
		t.Fatal(err)
	}
	if k, _ := again.current(); k.ID != second.ID {
		t.Error("another key after a restart")
	}
}

func TestSignInEndsWithTheRequest(t *testing.T) {
	b := newBench(t)
	b.hashing <- struct{}{}
	b.hashing <- struct{}{}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.signIn(ctx, "ada", "x", "127.0.0.1", User); err == nil {
		t.Error("no error")
	}
}
