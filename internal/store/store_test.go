package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var now = time.Date(2026, 11, 23, 12, 0, 0, 123456000, time.UTC)

func open(t testing.TB, path string) *Store {
	t.Helper()
	s, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func fresh(t testing.TB) *Store { return open(t, filepath.Join(t.TempDir(), "lido.db")) }

func update(t testing.TB, s *Store, fn func(*Tx) error) {
	t.Helper()
	if err := s.Update(context.Background(), fn); err != nil {
		t.Fatal(err)
	}
}

func put(t testing.TB, s *Store, id, desired string) *Doc {
	t.Helper()
	d := &Doc{ID: id, Type: "Test.Zoo/Cages", APIVersion: "2020-01-01", Desired: json.RawMessage(desired)}
	update(t, s, func(tx *Tx) error { return tx.Put(d, now) })
	return d
}

func get(t testing.TB, s *Store, id string) (*Doc, error) {
	t.Helper()
	var d *Doc
	err := s.View(context.Background(), func(tx *Tx) (err error) { d, err = tx.Get(id); return err })
	return d, err
}

func TestPutKeepsWhatItMustAndCountsChanges(t *testing.T) {
	s := fresh(t)
	first := put(t, s, "/S/Cages/Lion", `{"a":1}`)
	if first.Generation != 1 || first.UID == "" || first.Etag == "" || first.Type != "test.zoo/cages" || string(first.Status) != "{}" {
		t.Errorf("new: %+v", first)
	}
	same := put(t, s, "/s/CAGES/lion", `{"a":1}`)
	if same.ID != "/S/Cages/Lion" || same.UID != first.UID || same.Generation != 1 || same.Etag != first.Etag {
		t.Errorf("same wish: %+v", same)
	}
	update(t, s, func(tx *Tx) error { return tx.SetStatus(first.ID, first.UID, map[string]int{"ready": 1}) })
	changed := put(t, s, "/s/cages/lion", `{"a":2}`)
	if changed.Generation != 2 || changed.Etag == first.Etag || string(changed.Status) != `{"ready":1}` {
		t.Errorf("changed wish: %+v", changed)
	}
	d, err := get(t, s, "/S/cages/LION")
	if err != nil || d.ID != "/S/Cages/Lion" || string(d.Desired) != `{"a":2}` || !d.CreatedAt.Equal(now) || d.APIVersion != "2020-01-01" {
		t.Errorf("read: %+v %v", d, err)
	}
}

func TestStatusMovesNeitherGenerationNorEtag(t *testing.T) {
	s := fresh(t)
	first := put(t, s, "/s/cages/lion", `{}`)
	update(t, s, func(tx *Tx) error { return tx.SetStatus(first.ID, first.UID, map[string]int{"n": 3}) })
	d, _ := get(t, s, first.ID)
	if d.Generation != 1 || d.Etag != first.Etag || string(d.Status) != `{"n":3}` || !d.ChangedAt.Equal(now) {
		t.Errorf("%+v", d)
	}
}

func TestAnotherIncarnationIsAnotherThing(t *testing.T) {
	s := fresh(t)
	first := put(t, s, "/s/cages/lion", `{"a":1}`)
	update(t, s, func(tx *Tx) error { return tx.Delete("/S/CAGES/LION") })
	if _, err := get(t, s, first.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("deleted: %v", err)
	}
	err := s.Update(t.Context(), func(tx *Tx) error { return tx.SetStatus(first.ID, first.UID, 1) })
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("status of what is gone: %v", err)
	}
	second := put(t, s, "/s/cages/lion", `{"a":1}`)
	if second.UID == first.UID || second.Generation != 1 || second.Etag == first.Etag {
		t.Errorf("%+v after %+v", second, first)
	}
	err = s.Update(t.Context(), func(tx *Tx) error { return tx.SetStatus(first.ID, first.UID, 1) })
	if !errors.Is(err, ErrStale) {
		t.Errorf("status of the old one: %v", err)
	}
	update(t, s, func(tx *Tx) error { return tx.Delete("/s/never") })
}

func TestDeletingAndRenewAreWishes(t *testing.T) {
	s := fresh(t)
	first := put(t, s, "/s/cages/lion", `{}`)
	var marked *Doc
	update(t, s, func(tx *Tx) (err error) { marked, err = tx.MarkDeleting(first.ID, now); return err })
	if !marked.Deleting || marked.Generation != 2 {
		t.Errorf("%+v", marked)
	}
	update(t, s, func(tx *Tx) (err error) { marked, err = tx.MarkDeleting(first.ID, now); return err })
	if marked.Generation != 2 {
		t.Errorf("marked twice: %+v", marked)
	}
	update(t, s, func(tx *Tx) error { return tx.Renew(marked, now.Add(time.Hour)) })
	if d, _ := get(t, s, first.ID); d.Generation != 3 || !d.Deleting || d.Etag == marked.UID || !d.ChangedAt.Equal(now.Add(time.Hour)) {
		t.Errorf("renewed: %+v", d)
	}
}

func TestListSelects(t *testing.T) {
	s := fresh(t)
	for _, id := range []string{"/s/g/Team/x", "/s/g/team/x/y/z", "/s/g/team-2/x", "/s/g/team.2", "/s/g/tea/x", "/s/g/team"} {
		put(t, s, id, `{}`)
	}
	update(t, s, func(tx *Tx) error { return tx.Put(&Doc{ID: "/s/g/team/other", Type: "Test.Zoo/Trees"}, now) })
	for _, c := range []struct {
		q    Query
		want string
	}{
		{Query{Under: "/S/G/TEAM", Type: "test.zoo/CAGES"}, "/s/g/Team/x /s/g/team/x/y/z"},
		{Query{Under: "/s/g/team/"}, "/s/g/team/other /s/g/Team/x /s/g/team/x/y/z"},
		{Query{Type: "test.zoo/trees"}, "/s/g/team/other"},
		{Query{Under: "/s/g/team", Limit: 1}, "/s/g/team/other"},
		{Query{Under: "/s/g/team", Limit: 9, After: "/s/g/TEAM/other"}, "/s/g/Team/x /s/g/team/x/y/z"},
		{Query{Under: "/s/g/none"}, ""},
	} {
		var ids []string
		err := s.View(t.Context(), func(tx *Tx) error {
			docs, err := tx.List(c.q)
			for _, d := range docs {
				ids = append(ids, d.ID)
			}
			return err
		})
		if got := strings.Join(ids, " "); err != nil || got != c.want {
			t.Errorf("%+v: %q %v, want %q", c.q, got, err, c.want)
		}
	}
}

func TestReferences(t *testing.T) {
	s := fresh(t)
	put(t, s, "/s/set", `{}`)
	update(t, s, func(tx *Tx) error { return tx.SetRefs("/s/Set", []string{"/s/Net/subnets/a", "/s/lb", "/s/LB"}) })
	update(t, s, func(tx *Tx) error { return tx.SetRefs("/s/other", []string{"/s/network2"}) })
	check := func(id, want string) {
		t.Helper()
		var from []string
		err := s.View(t.Context(), func(tx *Tx) (err error) { from, err = tx.Referrers(id); return err })
		if got := strings.Join(from, " "); err != nil || got != want {
			t.Errorf("who mentions %s: %q %v, want %q", id, got, err, want)
		}
	}
	check("/S/NET", "/s/set") // what lies below counts
	check("/s/net/subnets/a", "/s/set")
	check("/s/net/subnets", "/s/set")
	check("/s/ne", "")
	check("/s/network", "")
	update(t, s, func(tx *Tx) error { return tx.SetRefs("/s/set", []string{"/s/lb"}) })
	check("/s/net", "")
	check("/s/lb", "/s/set")
	update(t, s, func(tx *Tx) error { return tx.Delete("/s/set") })
	check("/s/lb", "")
}

func TestKV(t *testing.T) {
	s := fresh(t)
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.SetKV("b", "2", []byte("two")), tx.SetKV("b", "1", nil), tx.SetKV("B", "1", []byte("other")), tx.SetJSON("b", "3", map[string]int{"x": 1}), tx.SetKV("b", "2", []byte("zwei")))
	})
	err := s.View(t.Context(), func(tx *Tx) error {
		all, err := tx.ListKV("b")
		if err != nil || len(all) != 3 || all[0].Key != "1" || string(all[1].Value) != "zwei" {
			t.Errorf("%+v %v", all, err)
		}
		var v map[string]int
		if err := tx.GetJSON("b", "3", &v); err != nil || v["x"] != 1 {
			t.Errorf("%v %v", v, err)
		}
		_, err = tx.GetKV("b", "none")
		return err
	})
	if !errors.Is(err, ErrNotFound) {
		t.Errorf("missing: %v", err)
	}
	update(t, s, func(tx *Tx) error {
		return errors.Join(tx.DeleteKV("b", "1"), tx.DeleteKV("b", "none"), tx.DeleteBucket("B"))
	})
	s.View(t.Context(), func(tx *Tx) error {
		b, _ := tx.ListKV("b")
		other, _ := tx.ListKV("B")
		if len(b) != 2 || len(other) != 0 {
			t.Errorf("after deletion: %d %d", len(b), len(other))
		}
		return nil
	})
}

func TestFailedUpdateLeavesNothingAndWakesNobody(t *testing.T) {
	s := fresh(t)
	sub := s.Subscribe()
	defer sub.Close()
	boom := errors.New("boom")
	err := s.Update(t.Context(), func(tx *Tx) error {
		tx.Put(&Doc{ID: "/s/a", Type: "t"}, now)
		tx.SetKV("b", "k", []byte("v"))
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("%v", err)
	}
	if _, err := get(t, s, "/s/a"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if woken(sub) {
		t.Error("woken")
	}
	func() { // nor does one that panics, and the store goes on
		defer func() { recover() }()
		s.Update(t.Context(), func(tx *Tx) error { panic("no") })
	}()
	put(t, s, "/s/a", `{}`)
}

func TestViewCannotWrite(t *testing.T) {
	s := fresh(t)
	err := s.View(t.Context(), func(tx *Tx) error { return tx.SetKV("b", "k", nil) })
	if err == nil {
		t.Error("a view wrote")
	}
}

func TestViewSeesOneMoment(t *testing.T) {
	s := fresh(t)
	put(t, s, "/s/a", `{"n":1}`)
	err := s.View(t.Context(), func(tx *Tx) error {
		before, err := tx.Get("/s/a")
		if err != nil {
			return err
		}
		put(t, s, "/s/a", `{"n":2}`) // readers don't hold up the writer
		after, err := tx.Get("/s/a")
		if err == nil && string(after.Desired) != string(before.Desired) {
			t.Errorf("saw %s after %s", after.Desired, before.Desired)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func woken(sub *Subscription) bool {
	select {
	case <-sub.C:
		return true
	default:
		return false
	}
}

func TestSubscriptions(t *testing.T) {
	s := fresh(t)
	all, cages, zoo, other := s.Subscribe(), s.Subscribe("Test.Zoo/cages"), s.Subscribe("test.zoo/"), s.Subscribe("test.zo", "Test.Zoo/cage")
	one, second := s.SubscribeDoc(Key("/S/a")), s.SubscribeDoc("/s/c")
	d := put(t, s, "/s/a", `{}`)
	put(t, s, "/s/b", `{}`) // two changes are one wake
	for name, c := range map[string]struct {
		sub  *Subscription
		want bool
	}{"all": {all, true}, "type": {cages, true}, "namespace": {zoo, true}, "other": {other, false}, "document": {one, true}, "another document": {second, false}} {
		if got := woken(c.sub); got != c.want || woken(c.sub) {
			t.Errorf("%s: %v, want one wake: %v", name, got, c.want)
		}
	}
	update(t, s, func(tx *Tx) error { return tx.SetStatus(d.ID, d.UID, 1) })
	if !woken(cages) {
		t.Error("a status wakes")
	}
	update(t, s, func(tx *Tx) error { return tx.SetStatus(d.ID, d.UID, 1) })
	if woken(cages) {
		t.Error("an equal status does not")
	}
	update(t, s, func(tx *Tx) error { return tx.Delete(d.ID) })
	if !woken(cages) {
		t.Error("a deletion wakes")
	}
	cages.Close()
	put(t, s, "/s/a", `{}`)
	if woken(cages) {
		t.Error("closed")
	}
	zoo.Wake()
	if !woken(zoo) {
		t.Error("Wake")
	}
}

// Writers come one after the other and none is lost, while readers see only whole transactions.
func TestConcurrentWriters(t *testing.T) {
	s := fresh(t)
	const writers, each = 8, 25
	stop, readersDone := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(readersDone)
		for {
			select {
			case <-stop:
				return
			default:
			}
			s.View(context.Background(), func(tx *Tx) error {
				var a, b int
				tx.GetJSON("n", "a", &a)
				tx.GetJSON("n", "b", &b)
				if a != b {
					t.Errorf("half a transaction: %d %d", a, b)
				}
				return nil
			})
		}
	}()
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				err := s.Update(context.Background(), func(tx *Tx) error {
					var n int
					if err := tx.GetJSON("n", "a", &n); err != nil && !errors.Is(err, ErrNotFound) {
						return err
					}
					id := fmt.Sprintf("/s/%d/%d", w, i)
					return errors.Join(tx.SetJSON("n", "a", n+1), tx.SetJSON("n", "b", n+1), tx.Put(&Doc{ID: id, Type: "t"}, now))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(stop)
	<-readersDone
	s.View(t.Context(), func(tx *Tx) error {
		var n int
		tx.GetJSON("n", "a", &n)
		docs, err := tx.List(Query{Type: "t"})
		if n != writers*each || len(docs) != writers*each {
			t.Errorf("%d counted, %d documents, %v", n, len(docs), err)
		}
		return nil
	})
}

func TestCancelledUpdateIsUndone(t *testing.T) {
	s := fresh(t)
	ctx, cancel := context.WithCancel(t.Context())
	err := s.Update(ctx, func(tx *Tx) error {
		tx.SetKV("b", "k", nil)
		cancel()
		return nil
	})
	if err == nil {
		t.Error("committed though cancelled")
	}
	s.View(t.Context(), func(tx *Tx) error {
		if _, err := tx.GetKV("b", "k"); !errors.Is(err, ErrNotFound) {
			t.Errorf("%v", err)
		}
		return nil
	})
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "li do?#.db") // an awkward name, too
	s := open(t, path)
	if _, err := s.write.Exec("PRAGMA user_version = 999"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "newer lido") {
		t.Errorf("%v", err)
	}
}
