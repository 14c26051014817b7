package template

import (
	"fmt"
	"strconv"
	"strings"
)

// The format function: .NET's composite formatting, {index[,width][:format]}.

func fnFormat(a []Value) (Value, error) {
	var b strings.Builder
	s := a[0].s
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c != '{' && c != '}' {
			b.WriteByte(c)
			continue
		}
		if i+1 < len(s) && s[i+1] == c {
			b.WriteByte(c)
			i++
			continue
		}
		n := strings.IndexByte(s[i:], '}')
		if c == '}' || n < 0 {
			return Value{}, faultf("the format string '%s' is not valid at position %d", s, i)
		}
		item, err := formatItem(s[i+1:i+n], a[1:])
		if err != nil {
			return Value{}, err
		}
		b.WriteString(item)
		i += n
	}
	return StringValue(b.String()), nil
}

// formatItem formats what stands between two braces.
func formatItem(item string, args []Value) (string, error) {
	spec := ""
	if i := strings.IndexByte(item, ':'); i >= 0 {
		item, spec = item[:i], item[i+1:]
	}
	width := 0
	if i := strings.IndexByte(item, ','); i >= 0 {
		w, err := strconv.Atoi(strings.TrimSpace(item[i+1:]))
		if err != nil || w > maxExpression || w < -maxExpression {
			return "", faultf("the format item '{%s}' has no valid width", item)
		}
		item, width = item[:i], w
	}
	n, err := strconv.Atoi(strings.TrimSpace(item))
	if err != nil || n < 0 {
		return "", faultf("the format item '{%s}' has no valid number", item)
	}
	if n >= len(args) {
		return "", faultf("the format item '{%d}' has no argument: there are %d", n, len(args))
	}
	text := formatValue(args[n], spec)
	if pad := max(width, -width) - utf16Len(text); pad > 0 && width > 0 {
		text = strings.Repeat(" ", pad) + text
	} else if pad > 0 {
		text += strings.Repeat(" ", pad)
	}
	return text, nil
}

func formatValue(v Value, spec string) string {
	switch {
	case v.kind == Array || v.kind == Object:
		return string(v.appendQuoted(nil, '\''))
	case spec == "" || !v.isNumber():
		return v.text()
	}
	if strings.ContainsAny(spec[:1], "0#") {
		return formatDigits(v, spec)
	}
	digits, err := strconv.Atoi(spec[1:])
	if err != nil {
		digits = -1
	}
	switch spec[0] {
	case 'd', 'D':
		return padDigits(v.Int(), max(digits, 0))
	case 'x':
		return fmt.Sprintf("%0*x", max(digits, 1), uint64(v.Int()))
	case 'X':
		return fmt.Sprintf("%0*X", max(digits, 1), uint64(v.Int()))
	case 'f', 'F':
		return strconv.FormatFloat(v.float(), 'f', orDefault(digits, 2), 64)
	case 'n', 'N':
		return groupDigits(strconv.FormatFloat(v.float(), 'f', orDefault(digits, 2), 64))
	case 'p', 'P':
		return groupDigits(strconv.FormatFloat(v.float()*100, 'f', orDefault(digits, 2), 64)) + " %"
	case 'e', 'E':
		return strconv.FormatFloat(v.float(), spec[0], orDefault(digits, 6), 64)
	}
	return v.text()
}

func orDefault(n, otherwise int) int {
	if n < 0 {
		return otherwise
	}
	return n
}

func padDigits(n int64, digits int) string {
	sign := ""
	if n < 0 {
		sign, n = "-", -n
	}
	return fmt.Sprintf("%s%0*d", sign, digits, n)
}

// groupDigits puts commas between thousands.
func groupDigits(s string) string {
	whole, rest, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		rest = "." + rest
	}
	return sign + whole + rest
}

// formatDigits is a custom format of zeros and marks, such as 0000 or 0.00.
func formatDigits(v Value, spec string) string {
	whole, decimals, _ := strings.Cut(spec, ".")
	s := strconv.FormatFloat(v.float(), 'f', len(decimals), 64)
	grouped := strings.Contains(whole, ",")
	sign := ""
	if strings.HasPrefix(s, "-") {
		sign, s = "-", s[1:]
	}
	digits := strings.Count(whole, "0")
	n := strings.IndexByte(s, '.')
	if n < 0 {
		n = len(s)
	}
	s = strings.Repeat("0", max(0, digits-n)) + s
	if grouped {
		s = groupDigits(s)
	}
	return sign + s
}
