package frontdoor

import "time"

// probeState is what is known of one backend by one probe. It changes by next, which is pure.
type probeState struct {
	healthy  bool
	misses   int       // failures in a row
	since    time.Time // first probed, or last found healthy
	everGood bool
}

// next takes the result of a probe and says when to probe again.
func (s probeState) next(p Probe, good bool, now time.Time) (probeState, time.Duration) {
	if good {
		s.healthy, s.everGood, s.misses, s.since = true, true, 0, now
		return s, p.Interval
	}
	s.misses++
	if s.misses >= max(p.Failures, 1) {
		s.healthy = false
	}
	if s.healthy {
		return s, p.Interval
	}
	return s, min(p.Interval, eagerness(now.Sub(s.since)))
}

// patience is how long a probe waits for its connection: for a backend that is looked for eagerly not long, since a
// first packet that was lost (its link was not up yet) is repeated by the kernel only after a second.
func (s probeState) patience(now time.Time) time.Duration {
	if s.healthy {
		return probeTimeout
	}
	return min(probeTimeout, eagerness(now.Sub(s.since))+5*time.Millisecond)
}

// eagerness is how soon to look again at a backend that has been away this long: a machine that boots is to be found
// at once.
func eagerness(away time.Duration) time.Duration {
	switch {
	case away < 5*time.Second:
		return 20 * time.Millisecond
	case away < 20*time.Second:
		return 100 * time.Millisecond
	case away < time.Minute:
		return 500 * time.Millisecond
	}
	return time.Hour
}
