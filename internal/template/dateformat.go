package template

import (
	"fmt"
	"strings"
	"time"
)

// standardDates are .NET's standard formats in its invariant culture.
var standardDates = map[string]string{
	"d": "MM/dd/yyyy", "D": "dddd, dd MMMM yyyy", "f": "dddd, dd MMMM yyyy HH:mm", "F": "dddd, dd MMMM yyyy HH:mm:ss",
	"g": "MM/dd/yyyy HH:mm", "G": "MM/dd/yyyy HH:mm:ss", "m": "MMMM dd", "M": "MMMM dd", "o": "yyyy-MM-ddTHH:mm:ss.fffffffK",
	"O": "yyyy-MM-ddTHH:mm:ss.fffffffK", "r": "ddd, dd MMM yyyy HH:mm:ss 'GMT'", "R": "ddd, dd MMM yyyy HH:mm:ss 'GMT'",
	"s": "yyyy-MM-ddTHH:mm:ss", "t": "HH:mm", "T": "HH:mm:ss", "u": "yyyy-MM-dd HH:mm:ss'Z'",
	"U": "dddd, dd MMMM yyyy HH:mm:ss", "y": "yyyy MMMM", "Y": "yyyy MMMM",
}

// formatDate writes a time in UTC by a .NET format string, standard or custom.
func formatDate(t time.Time, format string) string {
	if custom, ok := standardDates[format]; ok {
		format = custom
	}
	var b strings.Builder
	for i := 0; i < len(format); {
		c := format[i]
		n := 1
		for i+n < len(format) && format[i+n] == c {
			n++
		}
		switch {
		case c == '\'' || c == '"':
			end := strings.IndexByte(format[i+1:], c)
			if end < 0 {
				end = len(format) - i - 1
			}
			b.WriteString(format[i+1 : i+1+end])
			n = min(end+2, len(format)-i)
		case c == '\\' && i+1 < len(format):
			b.WriteByte(format[i+1])
			n = 2
		case c == '%':
			n = 1
		default:
			b.WriteString(datePart(t, c, n))
		}
		i += n
	}
	return b.String()
}

// datePart is one specifier, such as yyyy, repeated n times.
func datePart(t time.Time, c byte, n int) string {
	switch c {
	case 'y':
		if n <= 2 {
			return padDigits(int64(t.Year()%100), n)
		}
		return padDigits(int64(t.Year()), n)
	case 'M':
		return namedPart(int(t.Month()), n, t.Month().String())
	case 'd':
		if n <= 2 {
			return padDigits(int64(t.Day()), n)
		}
		return namedPart(0, n, t.Weekday().String())
	case 'h':
		return padDigits(int64((t.Hour()+11)%12+1), min(n, 2))
	case 'H':
		return padDigits(int64(t.Hour()), min(n, 2))
	case 'm':
		return padDigits(int64(t.Minute()), min(n, 2))
	case 's':
		return padDigits(int64(t.Second()), min(n, 2))
	case 'f', 'F':
		digits := fmt.Sprintf("%09d", t.Nanosecond())[:min(n, 7)]
		if c == 'F' {
			digits = strings.TrimRight(digits, "0")
		}
		return digits
	case 't':
		return t.Format("PM")[:min(n, 2)]
	case 'K':
		return strings.Repeat("Z", n)
	case 'z':
		return map[int]string{1: "+0", 2: "+00"}[n] + map[bool]string{true: "+00:00"}[n > 2]
	}
	return strings.Repeat(string(c), n)
}

// namedPart is a number of one or two digits, or a name, short or whole.
func namedPart(number, n int, name string) string {
	switch n {
	case 1, 2:
		return padDigits(int64(number), n)
	case 3:
		return name[:3]
	}
	return name
}
