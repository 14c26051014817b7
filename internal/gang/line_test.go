package gang

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestLineFindsTheFirstThatFits(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l, q := &line{}, New(Options{})
		jobs := fillLine(t, l, q)
		keep, by := rapid.IntRange(1, 30).Draw(t, "keep one in"), rapid.SampledFrom([]int{1, 7, 101}).Draw(t, "by")
		var kept []*job
		for i, j := range jobs {
			if i*by%keep > 0 {
				l.remove(j)
			} else {
				kept = append(kept, j)
			}
		}
		jobs = kept
		if all := checkLine(t, l); !slices.Equal(all, jobs) {
			t.Fatal("other jobs than were put in")
		}
		if n := l.root.chunks(); n > 2+len(jobs)*8/chunkJobs {
			t.Fatalf("%d chunks for %d jobs", n, len(jobs))
		}
		for range 20 {
			h := hole{
				class: rapid.IntRange(-1, classes-2).Draw(t, "class"),
				until: uint16(rapid.IntRange(0, 100).Draw(t, "until")),
				ever:  uint16(rapid.IntRange(0, 20).Draw(t, "ever")),
			}
			var want *job
			if i := slices.IndexFunc(jobs, h.fits); i >= 0 {
				want = jobs[i]
			}
			if got := l.first(h); got != want {
				t.Fatalf("%v: %v, want %v", h, got, want)
			}
		}
	})
}

func (c *chunk) chunks() int {
	if c == nil {
		return 0
	}
	return 1 + c.left.chunks() + c.right.chunks()
}

// fillLine puts jobs into a line, some out of order, and returns them in order.
func fillLine(t *rapid.T, l *line, q *Queue) (jobs []*job) {
	n := rapid.IntRange(1, 1000).Draw(t, "jobs")
	late := rapid.IntRange(0, 3).Draw(t, "late") // how many in four come out of order
	for i := range n {
		j := &job{id: fmt.Sprint(i), line: l, seq: int64(i)}
		if i%4 < late {
			j.seq = int64(i * 7919 % n)
		}
		j.width = uint16(i*31%97 + 1)
		j.class = classOf(time.Duration(i*i%1000+1) * time.Minute)
		l.insert(j, q.roll)
		jobs = append(jobs, j)
	}
	slices.SortFunc(jobs, before)
	return jobs
}

func TestLimitClasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		limit := min(drawLimit(t), 600*time.Hour)
		c := int(classOf(limit))
		if b := bound(limit); c > lastTime && limit <= 512*time.Hour || c <= lastTime && bounds[c] != b || b > limit+max(limit/8, grain) && c <= lastTime {
			t.Fatalf("class of %s is %d, bound %s", limit, c, b)
		}
		w := classWithin(limit)
		if w >= 0 && bounds[w] > limit || w < lastTime && bounds[w+1] <= limit {
			t.Fatalf("class within %s is %d", limit, w)
		}
	})
	for _, exact := range []time.Duration{time.Hour, 30 * time.Minute, 15 * time.Minute, 24 * time.Hour, 12 * time.Hour, 72 * time.Hour} {
		if bound(exact) != exact {
			t.Errorf("%s is taken for %s", exact, bound(exact))
		}
	}
	if classWithin(0) != -1 || classWithin(-time.Hour) != -1 || classOf(1) != 0 || classOf(1000*time.Hour) != classes-1 {
		t.Error("the ends are wrong")
	}
}
