package identity

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// However tries are spread over accounts and sources, no source gets more than its free ones and one per wait, and a
// person at a source of their own never waits longer than the account's limit.
func TestThrottleNever(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(0, 0)
		th := newThrottle(func() time.Time { return now })
		tried := 0
		steps := rapid.IntRange(1, 300).Draw(t, "steps")
		for range steps {
			account := rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "account")
			if th.try(account, "attacker") == 0 {
				tried++
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 500).Draw(t, "ms")) * time.Millisecond)
		}
		if most := sourceLimit.free + 1 + int(now.Unix())/1; tried > most {
			t.Fatalf("%d tries in %v", tried, now.Sub(time.Unix(0, 0)))
		}
		if wait := th.try("a", "home"); wait > accountLimit.max {
			t.Fatalf("the person waits %v", wait)
		}
	})
}

func TestPlanKeysAlwaysHasOneThatSigns(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		now := time.Unix(0, 0)
		var starts []time.Time
		for range rapid.IntRange(1, 50).Draw(t, "uses") {
			keep, add := planKeys(starts, now)
			var next []time.Time
			for i, s := range starts {
				if keep[i] {
					next = append(next, s)
				}
			}
			starts = append(next, add...)
			signs := 0
			for _, s := range starts {
				if !s.After(now) && now.Before(s.Add(keyLife)) {
					signs++
				}
			}
			if signs != 1 {
				t.Fatalf("at %v %d keys sign: %v", now, signs, starts)
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 1000).Draw(t, "hours")) * time.Hour)
		}
	})
}
