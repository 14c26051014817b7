package arm

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"lido.dev/lido/internal/store"
)

func TestHeaders(t *testing.T) {
	s := newServer(t)
	code, m, h := call(t, s, "PUT", cage, `{"location":"local"}`, "x-ms-client-request-id", "mine", "x-ms-correlation-request-id", "joined")
	if code != 201 || h.Get("x-ms-client-request-id") != "mine" || h.Get("x-ms-correlation-request-id") != "joined" || h.Get("x-ms-request-id") == "" {
		t.Errorf("%d %v", code, h)
	}
	if h.Get("ETag") != m["etag"] || !strings.HasPrefix(h.Get("ETag"), `"`) {
		t.Errorf("etag %q, in the body %q", h.Get("ETag"), m["etag"])
	}
	if ct := h.Get("Content-Type"); ct != "application/json; charset=utf-8" {
		t.Errorf("%q", ct)
	}
	// Clients retry whatever has Retry-After from 400 up, so a refusal has none; the version is named there too.
	code, _, h = call(t, s, "GET", cage+"x", "")
	if code != 404 || h.Get("Retry-After") != "" || h.Get("x-lido-api-version") != "2020-01-01" || h.Get("x-ms-failure-cause") == "" {
		t.Errorf("%d %v", code, h)
	}
}

func TestHeadHasNoBody(t *testing.T) {
	s := newServer(t)
	put(t, s, cage, `{"location":"local"}`, 201)
	for path, want := range map[string]int{cage: 200, cage + "x": 404} {
		r := httptest.NewRequest("HEAD", path+"?api-version=2021-05-01", nil)
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code != want || w.Body.Len() != 0 {
			t.Errorf("%s: %d, %d bytes", path, w.Code, w.Body.Len())
		}
	}
}

func TestAPIVersions(t *testing.T) {
	s := newServer(t)
	put(t, s, cage, `{"location":"local"}`, 201)
	for version, want := range map[string]string{
		"2022-01-01": "2022-01-01", "2030-12-31": "2022-01-01", "2021-12-31-preview": "2020-01-01", "2022-01-01-preview": "2022-01-01",
		"1999-01-01": "2020-01-01", "": "400 MissingApiVersionParameter", "latest": "400 InvalidApiVersionParameter", "2022-01-01'": "400 InvalidApiVersionParameter",
	} {
		r := httptest.NewRequest("GET", cage+"?API-Version="+version, nil)
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		got := w.Header().Get("x-lido-api-version")
		if w.Code != 200 {
			_, code, _ := strings.Cut(w.Body.String(), `"code":"`)
			code, _, _ = strings.Cut(code, `"`)
			got = fmt.Sprint(w.Code, " ", code)
		}
		if got != want {
			t.Errorf("%q: %q, want %q", version, got, want)
		}
	}
}

func TestConditions(t *testing.T) {
	s := newServer(t)
	etag := put(t, s, cage+"2", `{"location":"local"}`, 201)["etag"].(string)
	for _, c := range []struct {
		method, path, header, value string
		want                        int
	}{
		{"PUT", cage, "If-Match", "*", 412},
		{"PUT", cage, "If-Match", etag, 412},
		{"PUT", cage, "If-None-Match", "*", 201},
		{"PUT", cage, "If-None-Match", "*", 412},
		{"PUT", cage, "If-Match", "*", 200},
		{"PATCH", cage, "If-Match", `"other"`, 412},
		{"DELETE", cage, "If-Match", `"other"`, 412},
		{"PATCH", cage + "2", "If-Match", etag, 200},
		{"DELETE", cage + "2", "If-Match", strings.Trim(etag, `"`), 412}, // the PATCH above made another
	} {
		body := `{"location":"local","tags":{"a":"b"}}`
		if code, m, _ := call(t, s, c.method, c.path, body, c.header, c.value); code != c.want {
			t.Errorf("%s %s %s: %d, want %d: %v", c.method, c.header, c.value, code, c.want, m)
		}
	}
}

func TestListPages(t *testing.T) {
	s := newServer(t)
	const n = 2*listPage + 5
	err := s.Store.Update(t.Context(), func(tx *store.Tx) error {
		for i := range n {
			id := fmt.Sprintf("/subscriptions/s/resourceGroups/G/providers/Test.Zoo/cages/c%d", i)
			if err := tx.Put(&store.Doc{ID: id, Type: "Test.Zoo/cages", Desired: []byte(`{"location":"local"}`)}, s.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	seen, pages := map[any]bool{}, 0
	for next := "https://example.com/subscriptions/s/providers/Test.Zoo/cages?api-version=2021-05-01&x=y%20z"; next != ""; pages++ {
		r := httptest.NewRequest("GET", next, nil)
		r.Header.Set("Authorization", "Bearer x")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		var m struct {
			Value    []map[string]any
			NextLink string
		}
		if err := Decode(w.Body.Bytes(), &m); err != nil || w.Code != 200 {
			t.Fatalf("%s: %d %v", next, w.Code, err)
		}
		for _, v := range m.Value {
			seen[v["id"]] = true
		}
		if next = m.NextLink; next != "" && (!strings.HasPrefix(next, "https://example.com/subscriptions/s/") || !strings.Contains(next, "x=y+z")) {
			t.Fatalf("next %q", next)
		}
	}
	if len(seen) != n || pages != 3 {
		t.Errorf("%d of %d on %d pages", len(seen), n, pages)
	}
}

func TestListTop(t *testing.T) {
	s := newServer(t)
	for i := range 3 {
		put(t, s, fmt.Sprintf("/subscriptions/s/resourceGroups/G/providers/Test.Zoo/cages/c%d", i), `{"location":"local"}`, 201)
	}
	for query, want := range map[string]int{"$top=1": 1, "$top=3": 3, "$top=2000": 3, "$TOP=2": 2, "$top=0": -1, "$top=-1": -1, "$top=x": -1, "$top=": 3, "$top=1&$filter=name": 3} {
		code, m, _ := call(t, s, "GET", "/subscriptions/s/providers/Test.Zoo/cages?"+strings.ReplaceAll(query, " ", "%20")+"&api-version=2021-05-01&x", "")
		if want < 0 {
			if e, _ := m["error"].(map[string]any); code != 400 || e["target"] != "$top" {
				t.Errorf("%s: %d %v", query, code, m)
			}
			continue
		}
		if list, _ := m["value"].([]any); code != 200 || len(list) != want || m["nextLink"] != nil {
			t.Errorf("%s: %d, %d of them, next %v", query, code, len(list), m["nextLink"])
		}
	}
}

func TestBodiesThatAreNoWish(t *testing.T) {
	s := newServer(t)
	for body, target := range map[string]string{
		`null`: "", `[]`: "", `"x"`: "", `{"location":"local","tags":[]}`: "tags", `{"location":"local","tags":{"a":[]}}`: "tags.a",
	} {
		code, m, _ := call(t, s, "PUT", cage, body)
		e, _ := m["error"].(map[string]any)
		at, _ := e["target"].(string)
		if code != 400 || e["code"] != "InvalidRequestContent" || at != target {
			t.Errorf("%s: %d %v", body, code, m)
		}
	}
	if m := put(t, s, cage, `{"Location":"local","TAGS":{"a":"b","n":1,"t":true},"Properties":{"Size":3}}`, 201); m["location"] != "local" || fmt.Sprint(m["tags"]) != "map[a:b n:1 t:true]" || m["Properties"] != nil || m["properties"].(map[string]any)["Size"] != 3.0 {
		t.Errorf("envelope in another case: %v", m)
	}
	big := `{"location":"local","properties":{"x":"` + strings.Repeat("x", maxBody) + `"}}`
	if code, m, _ := call(t, s, "PUT", cage, big); code != 413 {
		t.Errorf("too large: %d %v", code, m)
	}
}

// A hidden value that is left out is kept with the element of its name, wherever that stands now.
func TestHiddenValuesFollowTheirElement(t *testing.T) {
	s := newServer(t)
	put(t, s, cage, `{"location":"local","properties":{"locks":[{"name":"front","code":"1111"},{"name":"back","code":"2222"}]}}`, 201)
	put(t, s, cage, `{"location":"local","properties":{"Locks":[{"name":"new"},{"name":"BACK"},{"name":"front","code":"3333"}]}}`, 200)
	var clear struct {
		Properties struct{ Locks []struct{ Name, Code string } }
	}
	err := s.Store.View(t.Context(), func(tx *store.Tx) error {
		d, err := tx.Get(ParsePath(cage).String())
		if err != nil {
			return err
		}
		return s.Revealed(tx, d, &clear)
	})
	l := clear.Properties.Locks
	if err != nil || len(l) != 3 || l[0].Code != "" || l[1].Code != "2222" || l[2].Code != "3333" {
		t.Errorf("%+v %v", l, err)
	}
}

func TestNothingIsMadeInWhatGoesAway(t *testing.T) {
	s := newServer(t)
	put(t, s, cage, `{"location":"local"}`, 201)
	put(t, s, cage+"/animals/old", `{}`, 201)
	mark := func(id string) {
		t.Helper()
		if err := s.Store.Update(t.Context(), func(tx *store.Tx) error { _, err := tx.MarkDeleting(id, s.Now()); return err }); err != nil {
			t.Fatal(err)
		}
	}
	mark(ParsePath(cage).String())
	if code, m, _ := call(t, s, "PUT", cage+"/animals/new", `{}`); code != 409 {
		t.Errorf("child of a dying parent: %d %v", code, m)
	}
	if code, m, _ := call(t, s, "PUT", cage, `{"location":"local"}`); code != 409 {
		t.Errorf("PUT of what is being deleted: %d %v", code, m)
	}
	mark("/subscriptions/s/resourceGroups/G")
	if code, m, _ := call(t, s, "PUT", cage+"2", `{"location":"local"}`); code != 409 || m["error"].(map[string]any)["code"] != "ResourceGroupBeingDeleted" {
		t.Errorf("in a dying group: %d %v", code, m)
	}
	id := ParsePath("/subscriptions/s/resourceGroups/g/providers/Test.Zoo/cages/x")
	err := s.Store.Update(t.Context(), func(tx *store.Tx) error { return checkHome(tx, id) })
	if AsError(err).Code != "ResourceGroupBeingDeleted" {
		t.Errorf("in the transaction: %v", err)
	}
}

func TestPanicIsAnInternalError(t *testing.T) {
	s := newServer(t)
	s.Register(Type{Name: "Test.Zoo/traps", Get: func(context.Context, *Request) (*Response, error) { panic("secret detail") }})
	code, m, _ := call(t, s, "GET", strings.Replace(cage, "Cages", "traps", 1), "")
	if e := m["error"].(map[string]any); code != 500 || e["code"] != "InternalServerError" || strings.Contains(fmt.Sprint(e), "secret detail") {
		t.Errorf("%d %v", code, m)
	}
}

func TestSubscription(t *testing.T) {
	s := newServer(t)
	s.Subscription = "S"
	if code, _, _ := call(t, s, "GET", cage, ""); code != 404 {
		t.Errorf("own: %d", code)
	}
	if code, m, _ := call(t, s, "GET", strings.Replace(cage, "/s/", "/other/", 1), ""); code != 404 || m["error"].(map[string]any)["code"] != "SubscriptionNotFound" {
		t.Errorf("another: %d %v", code, m)
	}
}

// Writers of one resource come one after the other: with If-Match, of those that read the same state one wins.
func TestConcurrentConditionalWriters(t *testing.T) {
	s := newServer(t)
	etag := put(t, s, cage, `{"location":"local"}`, 201)["etag"].(string)
	var wg sync.WaitGroup
	results := make([]int, 12)
	for i := range results {
		wg.Go(func() {
			results[i], _, _ = call(t, s, "PATCH", cage, fmt.Sprintf(`{"tags":{"by":"%d"}}`, i), "If-Match", etag)
		})
	}
	wg.Wait()
	won := 0
	for _, code := range results {
		switch code {
		case http.StatusOK:
			won++
		case http.StatusPreconditionFailed:
		default:
			t.Errorf("%d", code)
		}
	}
	if won != 1 {
		t.Errorf("%d writers won", won)
	}
}
