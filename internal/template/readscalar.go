package template

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

func wordByte(c byte) bool {
	return c == '_' || c == '$' || c == '-' || c == '+' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}

// word reads null, a boolean or a number.
func (r *reader) word(n *Node) error {
	from := r.at
	for !r.end() && wordByte(r.src[r.at]) {
		r.at++
	}
	switch w := r.src[from:r.at]; {
	case w == "null":
		n.Kind = Null
	case w == "true" || w == "false":
		n.Kind, n.Bool = Bool, w == "true"
	case isNumber(w):
		n.Kind, n.Text = Float, w
		if _, err := strconv.ParseInt(w, 10, 64); err == nil {
			n.Kind = Int
		}
	default:
		r.at = from
		if r.end() {
			return r.failf("Unexpected end of content while reading a value")
		}
		return r.failf("Unexpected character encountered while parsing value: %s", r.next())
	}
	return nil
}

// isNumber says whether w is a number as JSON writes it, leading zeros allowed.
func isNumber(w string) bool {
	digits := strings.TrimPrefix(w, "-")
	if digits == "" || digits[0] < '0' || digits[0] > '9' || strings.ContainsAny(digits, "xXpP_nN") {
		return false
	}
	_, err := strconv.ParseFloat(w, 64)
	return err == nil
}

// quoted reads a string in either kind of quotes. Line breaks inside it belong to it.
func (r *reader) quoted() (string, error) {
	quote := r.src[r.at]
	r.at++
	from := r.at
	var b []byte
	for !r.end() {
		switch c := r.src[r.at]; c {
		case quote:
			s := r.src[from:r.at]
			if b != nil {
				s = string(append(b, s...))
			}
			r.at++
			return s, nil
		case '\\':
			b = append(b, r.src[from:r.at]...)
			var err error
			if b, err = r.escape(b); err != nil {
				return "", err
			}
			from = r.at
		case '\n':
			r.at++
			r.newline()
		default:
			r.at++
		}
	}
	return "", r.failf("Unterminated string. Expected delimiter: %c", quote)
}

// escape reads a backslash and what follows and appends what they mean.
func (r *reader) escape(b []byte) ([]byte, error) {
	const from, to = `"\/'bfnrt`, "\"\\/'\b\f\n\r\t"
	if r.at+1 >= len(r.src) {
		return nil, r.failf("Unterminated string")
	}
	c := r.src[r.at+1]
	if i := strings.IndexByte(from, c); i >= 0 {
		r.at += 2
		return append(b, to[i]), nil
	}
	switch c {
	case '\n': // a line that is continued
		r.at += 2
		r.newline()
		return b, nil
	case 'u':
		first, ok := r.hex(r.at)
		if !ok {
			break
		}
		r.at += 6
		if second, ok := r.hex(r.at); ok && utf16.IsSurrogate(first) {
			if c := utf16.DecodeRune(first, second); c != utf8.RuneError {
				first = c
				r.at += 6
			}
		}
		return utf8.AppendRune(b, first), nil
	}
	return nil, r.failf("Bad JSON escape sequence: \\%c", c)
}

// hex reads the four digits of a \u escape that begins at i.
func (r *reader) hex(i int) (rune, bool) {
	if i+6 > len(r.src) || r.src[i] != '\\' || r.src[i+1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(r.src[i+2:i+6], 16, 32)
	return rune(n), err == nil
}
