package template

import "unicode/utf8"

const hexDigits = "0123456789abcdef"

// appendQuotedString appends s as a JSON string in quotes of either kind, escaping no more than JSON asks for.
func appendQuotedString(b []byte, s string, quote byte) []byte {
	b = append(b, quote)
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != quote && c != '\\' {
			continue
		}
		b = append(b, s[from:i]...)
		from = i + 1
		switch c {
		case quote, '\\':
			b = append(b, '\\', c)
		case '\n':
			b = append(b, '\\', 'n')
		case '\r':
			b = append(b, '\\', 'r')
		case '\t':
			b = append(b, '\\', 't')
		default:
			b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
	}
	return append(append(b, s[from:]...), quote)
}

// utf16Len is how many UTF-16 units s has: the language counts characters as .NET does.
func utf16Len(s string) int {
	n := 0
	for _, c := range s {
		n++
		if c > 0xffff {
			n++
		}
	}
	return n
}

// cut returns the characters of s from unit from, at most count of them, counted in UTF-16 units.
func cut(s string, from, count int) string {
	if isASCII(s) {
		return s[from : from+count]
	}
	start, end, unit := len(s), len(s), 0
	for i, c := range s {
		if unit == from {
			start = i
		}
		if unit == from+count {
			end = i
			break
		}
		unit++
		if c > 0xffff {
			unit++
		}
	}
	if start > end {
		start = end
	}
	return s[start:end]
}

func isASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}
