package template

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// dates enters the date functions.
func (t table) dates() {
	t.pure("dateTimeAdd", "s s s?", fnDateTimeAdd)
	t.pure("dateTimeFromEpoch", "i", func(a []Value) (Value, error) {
		return StringValue(time.Unix(a[0].n, 0).UTC().Format("2006-01-02T15:04:05Z")), nil
	})
	t.pure("dateTimeToEpoch", "s", func(a []Value) (Value, error) {
		when, _, err := parseDate(a[0].s)
		return IntValue(when.Unix()), err
	})
	t.special("utcNow", 0, 1, fnUtcNow)
	t.special("newGuid", 0, 0, fnNewGUID)
}

// compactDate is the form of utcNow when it is given no other, englishDate that in which dateTimeAdd answers when it is given
// none and its base is not in ISO 8601.
const (
	compactDate = "yyyyMMddTHHmmssZ"
	englishDate = "M/d/yyyy h:mm:ss tt"
)

func fnUtcNow(e *env, x *call) (Value, error) {
	if !e.defaults {
		return Value{}, faultf("The template function 'utcNow' is not expected at this location. It may only be used in the default value of a parameter. Please see https://aka.ms/arm-functions for usage details.")
	}
	format := compactDate
	if len(x.args) == 1 {
		v, err := e.eval(x.args[0])
		if err != nil {
			return v, err
		}
		format = v.text()
	}
	return StringValue(formatDate(e.sc.in.Now.UTC(), format)), nil
}

// dateForms are the forms of dates that are read, with the form that dateTimeAdd answers in.
var dateForms = []struct{ layout, out string }{
	{"20060102T150405Z", compactDate},
	{"2006-01-02 15:04:05Z", englishDate},
	{time.RFC3339Nano, "yyyy-MM-ddTHH:mm:ssZ"},
	{"2006-01-02T15:04:05", "yyyy-MM-ddTHH:mm:ss"},
	{"2006-01-02 15:04:05", englishDate},
	{"2006-01-02 15:04:05Z07:00", englishDate},
	{"2006-01-02T15:04Z07:00", "yyyy-MM-ddTHH:mmZ"},
	{"2006-01-02", "yyyy-MM-dd"},
	{"1/2/2006 3:04:05 PM", englishDate},
	{"1/2/2006 15:04:05", englishDate},
	{"1/2/2006", "M/d/yyyy"},
	{time.RFC1123, "R"},
}

// parseDate reads a date in one of the usual forms; one without a zone is UTC.
func parseDate(s string) (when time.Time, form string, err error) {
	for _, f := range dateForms {
		if when, err = time.Parse(f.layout, strings.TrimSpace(s)); err == nil {
			return when.UTC(), f.out, nil
		}
	}
	return when, "", faultf("'%s' is not a date and time that can be read, such as '2020-04-07T14:53:14Z'", s)
}

func fnDateTimeAdd(a []Value) (Value, error) {
	base, form, err := parseDate(a[0].s)
	if err != nil {
		return Value{}, err
	}
	when, err := addDuration(base, a[1].s)
	if err != nil {
		return Value{}, err
	}
	if len(a) > 2 {
		form = a[2].s
	}
	return StringValue(formatDate(when, form)), nil
}

var duration = regexp.MustCompile(`^([-+]?)P(?:(\d+)Y)?(?:(\d+)M)?(?:(\d+)W)?(?:(\d+)D)?(?:T(?:(\d+)H)?(?:(\d+)M)?(?:(\d+(?:\.\d+)?)S)?)?$`)

// addDuration adds a duration in ISO 8601 notation.
func addDuration(t time.Time, s string) (time.Time, error) {
	m := duration.FindStringSubmatch(s)
	if m == nil || len(strings.Trim(s, "+-PT")) == 0 {
		return t, faultf("'%s' is not a duration in ISO 8601 notation, such as 'P3DT4H'", s)
	}
	sign := 1
	if m[1] == "-" {
		sign = -1
	}
	n := func(i int) int {
		v, _ := strconv.Atoi(m[i])
		return sign * min(v, 1<<24)
	}
	seconds, _ := strconv.ParseFloat(m[8], 64)
	t = addMonths(t, 12*n(2)+n(3)).AddDate(0, 0, 7*n(4)+n(5))
	t = t.Add(time.Duration(n(6))*time.Hour + time.Duration(n(7))*time.Minute + time.Duration(float64(sign)*seconds*float64(time.Second)))
	if t.Year() < 1 || t.Year() > 9999 {
		return t, faultf("the date is out of range")
	}
	return t, nil
}

// addMonths adds months; a day that the month does not have becomes its last.
func addMonths(t time.Time, months int) time.Time {
	out := t.AddDate(0, months, 0)
	if out.Day() != t.Day() {
		out = out.AddDate(0, 0, -out.Day())
	}
	return out
}
