package arm

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"lido.dev/lido/internal/secret"
	"lido.dev/lido/internal/store"
)

type everybody struct{}

func (everybody) Authenticate(r *http.Request) (Caller, error) {
	if r.Header.Get("Authorization") == "" {
		return Caller{}, Errorf(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	return Caller{Name: "ada"}, nil
}

func (everybody) Allowed(_ context.Context, c Caller, action string, _ ID) bool {
	return c.Name != "reader" || strings.HasSuffix(action, "/read")
}

func newServer(t *testing.T) *Server {
	t.Helper()
	st, err := store.Open(filepath.Join(t.TempDir(), "lido.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { st.Close() })
	box, err := secret.New(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	s := New(st, box, everybody{}, slog.New(slog.DiscardHandler))
	s.Register(
		s.Document(Document{Name: TypeResourceGroup, APIVersions: []string{"2021-04-01"}}),
		s.Document(Document{Name: "Test.Zoo/cages", APIVersions: []string{"2022-01-01", "2020-01-01"}, Async: true,
			Secrets: []string{"properties.note"}, Hidden: []string{"properties.locks[*].code"}}),
		s.Document(Document{Name: "Test.Zoo/cages/animals", NoLocation: true, Admit: func(_ context.Context, a *Admission) error {
			a.Refs = []string{"/subscriptions/s/resourceGroups/G/providers/Test.Zoo/cages/other"}
			return nil
		}}),
	)
	put(t, s, "/subscriptions/s/resourcegroups/G", `{"location":"West Europe"}`, 201)
	return s
}

func call(t *testing.T, s *Server, method, path, body string, header ...string) (int, map[string]any, http.Header) {
	t.Helper()
	r := httptest.NewRequest(method, path+"?api-version=2021-05-01", strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer x")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	m := map[string]any{}
	if w.Body.Len() > 0 {
		if err := json.Unmarshal(w.Body.Bytes(), &m); err != nil {
			t.Fatalf("%s %s: %v in %q", method, path, err, w.Body)
		}
	}
	return w.Code, m, w.Header()
}

func put(t *testing.T, s *Server, path, body string, want int) map[string]any {
	t.Helper()
	code, m, _ := call(t, s, "PUT", path, body)
	if code != want {
		t.Fatalf("PUT %s: %d, want %d: %v", path, code, want, m)
	}
	return m
}

const cage = "/subscriptions/s/resourceGroups/g/providers/Test.Zoo//Cages/Lion"

func TestDocumentLife(t *testing.T) {
	s := newServer(t)
	code, m, h := call(t, s, "PUT", cage, `{"location":"local","properties":{"size":3,"note":"key=hush","locks":[{"code":"1234"}]}}`)
	if code != 201 || m["id"] != "/subscriptions/s/resourceGroups/G/providers/Test.Zoo/cages/Lion" || m["name"] != "Lion" {
		t.Fatalf("PUT: %d %v", code, m)
	}
	if h.Get("x-lido-api-version") != "2020-01-01" {
		t.Errorf("behaviour header: %q", h.Get("x-lido-api-version"))
	}
	props := m["properties"].(map[string]any)
	if props["provisioningState"] != "Creating" {
		t.Errorf("state %v", props["provisioningState"])
	}
	note, _ := props["note"].(string)
	if !strings.HasPrefix(note, secret.Prefix) {
		t.Errorf("note is shown as %q", note)
	}
	if b, _ := json.Marshal(m); strings.Contains(string(b), "hush") || strings.Contains(string(b), "1234") {
		t.Errorf("secret shown: %s", b)
	}

	op := strings.TrimPrefix(h.Get("Azure-AsyncOperation"), "https://example.com")
	op, _, _ = strings.Cut(op, "?")
	if _, m, h := call(t, s, "GET", op, ""); m["status"] != InProgress || h.Get("Retry-After") != "1" {
		t.Fatalf("operation: %v %v", m, h)
	}
	settle(t, s, 1)
	if _, m, _ := call(t, s, "GET", op, ""); m["status"] != Succeeded {
		t.Fatalf("operation: %v", m)
	}

	// What GET shows can be PUT back and changes nothing: the placeholder stands for the value, the hidden one is kept.
	_, m, _ = call(t, s, "GET", strings.ToUpper(cage), "")
	etag := m["etag"].(string)
	b, _ := json.Marshal(m)
	code, m, _ = call(t, s, "PUT", cage, string(b))
	if code != 200 || m["etag"] != etag {
		t.Fatalf("PUT back: %d, etag %v was %v", code, m["etag"], etag)
	}
	var clear struct {
		Properties struct {
			Note  string
			Locks []struct{ Code string }
		}
	}
	err := s.Store.View(t.Context(), func(tx *store.Tx) error {
		d, err := tx.Get(ParsePath(cage).String())
		if err != nil {
			return err
		}
		return s.Revealed(tx, d, &clear)
	})
	if err != nil || clear.Properties.Note != "key=hush" || clear.Properties.Locks[0].Code != "1234" {
		t.Fatalf("revealed: %v %+v", err, clear)
	}

	if code, m, _ := call(t, s, "PUT", cage, `{"location":"local"}`, "If-Match", `"old"`); code != 412 {
		t.Errorf("If-Match: %d %v", code, m)
	}
	if code, m, _ := call(t, s, "PUT", cage, `{"location":"moon"}`); code != 409 {
		t.Errorf("other location: %d %v", code, m)
	}
	code, m, _ = call(t, s, "PATCH", cage, `{"tags":{"a":"b"}}`)
	if code != 200 || m["properties"].(map[string]any)["size"] != 3.0 {
		t.Errorf("PATCH: %d %v", code, m)
	}
	if code, m, _ := call(t, s, "PATCH", cage, `{"tags":{"c":"d"}}`); code != 200 || len(m["tags"].(map[string]any)) != 1 {
		t.Errorf("PATCH of tags: %d %v", code, m)
	}
	code, _, h = call(t, s, "DELETE", cage, "")
	if code != 202 || h.Get("Location") == "" {
		t.Errorf("DELETE: %d %v", code, h)
	}
	if _, m, _ := call(t, s, "GET", cage, ""); m["properties"].(map[string]any)["provisioningState"] != "Deleting" {
		t.Errorf("while deleting: %v", m)
	}
	err = s.Store.Update(t.Context(), func(tx *store.Tx) error {
		d, err := tx.Get(ParsePath(cage).String())
		if err != nil {
			return err
		}
		return s.Gone(tx, d)
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, m, _ := call(t, s, "GET", cage, ""); code != 404 {
		t.Errorf("after deletion: %d %v", code, m)
	}
}

func settle(t *testing.T, s *Server, generation int64) {
	t.Helper()
	err := s.Store.Update(t.Context(), func(tx *store.Tx) error {
		d, err := tx.Get(ParsePath(cage).String())
		if err != nil {
			return err
		}
		if err := tx.SetStatus(d.ID, d.UID, Status{Settled: generation, ProvisioningState: Succeeded}); err != nil {
			return err
		}
		return s.SettleWrites(tx, d, generation, nil)
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestErrors(t *testing.T) {
	s := newServer(t)
	for _, c := range []struct {
		method, path, body string
		status             int
		code, target       string
	}{
		{"GET", "/subscriptions/s/resourceGroups/none", "", 404, "ResourceGroupNotFound", ""},
		{"PUT", "/subscriptions/s/resourceGroups/none/providers/Test.Zoo/cages/a", "{}", 404, "ResourceGroupNotFound", ""},
		{"GET", cage, "", 404, "ResourceNotFound", ""},
		{"PUT", cage, "{}", 400, "LocationRequired", "location"},
		{"PUT", cage, `{"location":3}`, 400, "InvalidRequestContent", "location"},
		{"PUT", cage, `{"location":"local","properties":[]}`, 400, "InvalidRequestContent", "properties"},
		{"PUT", cage, `{"location":"local","properties":{"note":"lido-secret:abc"}}`, 400, "InvalidParameter", ""},
		{"PUT", cage, `{`, 400, "InvalidRequestContent", ""},
		{"PUT", strings.Replace(cage, "Lion", "-lion", 1), `{"location":"local"}`, 400, "InvalidResourceName", "name"},
		{"PATCH", cage, `{}`, 404, "ResourceNotFound", ""},
		{"PUT", cage + "/animals/a", `{}`, 404, "ParentResourceNotFound", ""},
		{"GET", "/subscriptions/s/resourceGroups/g/providers/Test.Zoo/trees/a", "", 404, "InvalidResourceType", ""},
		{"GET", "/subscriptions/s/resourceGroups/g/providers/No.Such/trees/a", "", 404, "InvalidResourceNamespace", ""},
		{"POST", cage + "/feed", "", 404, "InvalidResourceType", ""},
	} {
		status, m, _ := call(t, s, c.method, c.path, c.body)
		e, _ := m["error"].(map[string]any)
		target, _ := e["target"].(string)
		if status != c.status || e["code"] != c.code || target != c.target || e["message"] == "" {
			t.Errorf("%s %s %s: %d %v, want %d %s at %q", c.method, c.path, c.body, status, m, c.status, c.code, c.target)
		}
	}
	if status, _, h := call(t, s, "GET", cage, "", "Authorization", ""); status != 401 || h.Get("WWW-Authenticate") == "" {
		t.Errorf("without token: %d %v", status, h)
	}
	_, err := s.Do(t.Context(), &Request{Method: "PUT", ID: ParsePath(cage), APIVersion: "2020-01-01", Caller: Caller{Name: "reader"}})
	var e *Error
	if !errors.As(err, &e) || e.Status != 403 || e.Code != "AuthorizationFailed" {
		t.Errorf("reader writes: %v", err)
	}
}

func TestInUse(t *testing.T) {
	s := newServer(t)
	put(t, s, cage, `{"location":"local"}`, 201)
	put(t, s, strings.Replace(cage, "Lion", "other", 1), `{"location":"local"}`, 201)
	put(t, s, cage+"/animals/leo", `{}`, 201)
	if code, m, _ := call(t, s, "DELETE", strings.Replace(cage, "Lion", "other", 1), ""); code != 409 {
		t.Errorf("delete what is in use: %d %v", code, m)
	}
	if code, m, _ := call(t, s, "GET", cage+"/animals", ""); code != 200 || len(m["value"].([]any)) != 1 {
		t.Errorf("list children: %d %v", code, m)
	}
	if code, _, _ := call(t, s, "DELETE", cage+"/animals/leo", ""); code != 200 {
		t.Errorf("delete child: %d", code)
	}
	if code, _, _ := call(t, s, "DELETE", cage+"/animals/leo", ""); code != 204 {
		t.Errorf("delete again: %d", code)
	}
}

func TestParsePath(t *testing.T) {
	for _, c := range []struct{ path, typ, name, str string }{
		{"/subscriptions", "Microsoft.Resources/subscriptions", "", "/subscriptions"},
		{"/subscriptions/S/resourcegroups/G/", "Microsoft.Resources/subscriptions/resourcegroups", "G", "/subscriptions/S/resourcegroups/G"},
		{"/subscriptions/S/providers/Microsoft.Compute", "Microsoft.Resources/subscriptions/providers", "Microsoft.Compute", "/subscriptions/S/providers/Microsoft.Compute"},
		{"/subscriptions/S/providers/Microsoft.Compute/register", "Microsoft.Resources/subscriptions/providers/register", "Microsoft.Compute", "/subscriptions/S/providers/Microsoft.Compute/register"},
		{"/subscriptions/S/providers/Microsoft.Compute/locations/L/vmSizes", "Microsoft.Compute/locations/vmSizes", "L", "/subscriptions/S/providers/Microsoft.Compute/locations/L/vmSizes"},
		{"/subscriptions/S/resourceGroups/G/providers/A.B//c/C/d/D", "A.B/c/d", "D", "/subscriptions/S/resourceGroups/G/providers/A.B/c/C/d/D"},
		{"/subscriptions/S/resourceGroups/G/providers/A.B/c/C/providers/M.I/metrics", "M.I/metrics", "", "/subscriptions/S/resourceGroups/G/providers/A.B/c/C/providers/M.I/metrics"},
		{"/subscriptions/S/resourcegroups/G/deployments/N/operations", "Microsoft.Resources/subscriptions/resourcegroups/deployments/operations", "N", "/subscriptions/S/resourcegroups/G/deployments/N/operations"},
	} {
		id := ParsePath(c.path)
		if id.Type() != c.typ || id.Name() != c.name || id.String() != c.str {
			t.Errorf("%s: type %q name %q string %q", c.path, id.Type(), id.Name(), id.String())
		}
	}
	id := ParsePath(cage)
	if id.Group() != "g" || id.Subscription() != "s" || id.Parent().String() != "/subscriptions/s/resourceGroups/g" {
		t.Errorf("parts of %s: %q %q %q", cage, id.Group(), id.Subscription(), id.Parent())
	}
}
