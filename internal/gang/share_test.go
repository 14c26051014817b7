package gang

import (
	"math"
	"testing"
	"time"
)

func TestUseDecays(t *testing.T) {
	s := shares{halfLife: 24 * time.Hour, people: map[string]*person{}}
	p := s.person("a")
	s.start(p, 2, start)
	s.stop(p, 2, start, start.Add(time.Minute))
	for days, want := range map[int]float64{0: 120, 1: 60, 2: 30, 10: 120 / 1024.} {
		if got := s.used(p, start.Add(time.Duration(days)*24*time.Hour)); math.Abs(got-want) > want/1000 {
			t.Errorf("after %d days it counts %f, want %f", days, got, want)
		}
	}
}

func TestUseOverYears(t *testing.T) {
	s := shares{halfLife: 24 * time.Hour, people: map[string]*person{}}
	runner, idler := s.person("runner"), s.person("idler")
	s.start(runner, 1, start)
	s.start(idler, 1, start)
	s.stop(idler, 1, start, start.Add(time.Hour))
	now := start
	for range 300 {
		now = now.Add(13 * 24 * time.Hour)
		if got, want := s.used(runner, now), s.life(); math.Abs(got-want) > want/1000 {
			t.Fatalf("%s: %f, want %f", now, got, want)
		}
	}
	if s.people["idler"] != nil || s.people["runner"] == nil {
		t.Error("who used nothing for years is to be forgotten, who runs something is not")
	}
	s.stop(runner, 1, start, now)
	if got := s.used(runner, now); math.Abs(got-s.life()) > 1 {
		t.Error(got)
	}
}

func TestStrangeTimes(t *testing.T) {
	q := New(Options{})
	q.SetNode("n", 1, time.Time{})
	for i, at := range []time.Time{{}, start, {}, start.AddDate(900, 0, 0), start} {
		id := string(rune('a' + i))
		if err := q.Submit(Job{ID: id, Person: "p", Nodes: 1}); err != nil {
			t.Fatal(err)
		}
		if got := q.Place(at); len(got) != 1 {
			t.Fatal(at, got)
		}
		q.Finished(id, at.Add(-time.Hour))
		if p := q.shares.prices(at)(q.shares.person("p")); math.IsNaN(p) || math.IsInf(p, 0) || p < 0 {
			t.Fatal(at, p)
		}
	}
}
