package batch

import (
	"regexp"
	"strconv"
	"time"
)

var durationForm = regexp.MustCompile(`^P(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// maxDuration bounds what is understood as a duration: ten years.
const maxDuration = 10 * 366 * 24 * time.Hour

// parseDuration reads a duration in ISO 8601 (P7D, PT1H30M), without years and months. It is false for one that is not
// in that form, not positive, or beyond reason.
func parseDuration(s string) (time.Duration, bool) {
	m := durationForm.FindStringSubmatch(s)
	if m == nil {
		return 0, false
	}
	total := 0.0
	for i, unit := range []time.Duration{7 * 24 * time.Hour, 24 * time.Hour, time.Hour, time.Minute, time.Second} {
		if m[i+1] != "" {
			n, err := strconv.ParseFloat(m[i+1], 64)
			if err != nil {
				return 0, false
			}
			total += n * float64(unit)
		}
	}
	if total < 1 || total > float64(maxDuration) {
		return 0, false
	}
	return time.Duration(total), true
}

// limit returns how long a job may run; a week unless it says otherwise.
func (c constraints) limit() time.Duration {
	if d, ok := parseDuration(c.Limit); ok {
		return d
	}
	return 7 * 24 * time.Hour
}
