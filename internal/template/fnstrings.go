package template

import (
	"strings"
	"unicode"
)

// strings enters the functions on strings.
func (t table) strings() {
	t.pure("concat", "snba snba ...", fnConcat)
	t["concat"].min = 1
	t.pure("format", "s x ...", fnFormat)
	t["format"].min = 1
	t.pure("string", "x", func(a []Value) (Value, error) { return StringValue(a[0].text()), nil })
	t.pure("toLower", "s", func(a []Value) (Value, error) { return StringValue(strings.ToLower(a[0].s)), nil })
	t.pure("toUpper", "s", func(a []Value) (Value, error) { return StringValue(strings.ToUpper(a[0].s)), nil })
	t.pure("trim", "s", func(a []Value) (Value, error) { return StringValue(strings.TrimFunc(a[0].s, unicode.IsSpace)), nil })
	t.pure("substring", "s i i?", fnSubstring)
	t.pure("replace", "s s s", fnReplace)
	t.pure("padLeft", "sn i s?", fnPadLeft)
	t.pure("split", "s sa", fnSplit)
	t.pure("join", "a s", fnJoin)
	t.pure("startsWith", "s s", func(a []Value) (Value, error) {
		return BoolValue(len(a[0].s) >= len(a[1].s) && strings.EqualFold(a[0].s[:len(a[1].s)], a[1].s)), nil
	})
	t.pure("endsWith", "s s", func(a []Value) (Value, error) {
		return BoolValue(len(a[0].s) >= len(a[1].s) && strings.EqualFold(a[0].s[len(a[0].s)-len(a[1].s):], a[1].s)), nil
	})
	t.pure("like", "s s", func(a []Value) (Value, error) {
		return BoolValue(like(strings.ToLower(a[0].s), strings.ToLower(a[1].s))), nil
	})
	t.pure("indexOf", "sa x", func(a []Value) (Value, error) { return fnIndexOf(a, strings.Index, false) })
	t.pure("lastIndexOf", "sa x", func(a []Value) (Value, error) { return fnIndexOf(a, strings.LastIndex, true) })
}

// like says that s is of the form of pattern, in which "*" stands for any text.
func like(s, pattern string) bool {
	parts := strings.Split(pattern, "*")
	last := len(parts) - 1
	if last == 0 {
		return s == pattern
	}
	if !strings.HasPrefix(s, parts[0]) {
		return false
	}
	s = s[len(parts[0]):]
	for _, p := range parts[1:last] {
		i := strings.Index(s, p)
		if i < 0 {
			return false
		}
		s = s[i+len(p):]
	}
	return strings.HasSuffix(s, parts[last])
}

// fnConcat joins scalars to a string, or arrays to an array.
func fnConcat(a []Value) (Value, error) {
	if a[0].kind == Array {
		var items []Value
		for _, v := range a {
			if v.kind != Array {
				return Value{}, faultf("it takes only arrays or only strings")
			}
			items = append(items, v.arr...)
		}
		return ArrayValue(items), nil
	}
	var b strings.Builder
	for _, v := range a {
		if v.kind == Array {
			return Value{}, faultf("it takes only arrays or only strings")
		}
		b.WriteString(v.text())
	}
	return StringValue(b.String()), nil
}

func fnSubstring(a []Value) (Value, error) {
	size := int64(a[0].Len())
	from := a[1].n
	count := size - from
	if len(a) > 2 {
		count = a[2].n
	}
	if from < 0 || count < 0 || from > size || count > size-from {
		return Value{}, faultf("the index and length parameters must refer to a location within the string: index '%d', length '%d', length of the string '%d'", from, count, size)
	}
	return StringValue(cut(a[0].s, int(from), int(count))), nil
}

func fnReplace(a []Value) (Value, error) {
	if a[1].s == "" {
		return Value{}, faultf("the string to replace is empty")
	}
	return StringValue(strings.ReplaceAll(a[0].s, a[1].s, a[2].s)), nil
}

func fnPadLeft(a []Value) (Value, error) {
	s, pad := a[0].text(), " "
	if len(a) > 2 {
		pad = a[2].s
	}
	if utf16Len(pad) != 1 {
		return Value{}, faultf("the padding must be one character")
	}
	if a[1].n < 0 || a[1].n > maxExpression {
		return Value{}, faultf("the total length '%d' is out of range", a[1].n)
	}
	return StringValue(strings.Repeat(pad, max(0, int(a[1].n)-utf16Len(s))) + s), nil
}

// fnSplit cuts at one delimiter, or at any of several.
func fnSplit(a []Value) (Value, error) {
	var marks []string
	if a[1].kind == String {
		marks = []string{a[1].s}
	}
	for _, m := range a[1].arr {
		if m.kind != String {
			return Value{}, faultf("the delimiters must be strings")
		}
		marks = append(marks, m.s)
	}
	var items []Value
	from, s := 0, a[0].s
	for i := 0; i < len(s); {
		n := delimiterAt(s[i:], marks)
		if n == 0 {
			i++
			continue
		}
		items = append(items, StringValue(s[from:i]))
		i += n
		from = i
	}
	return ArrayValue(append(items, StringValue(s[from:]))), nil
}

// delimiterAt returns the length of the delimiter that s begins with, or 0.
func delimiterAt(s string, marks []string) int {
	for _, m := range marks {
		if m != "" && strings.HasPrefix(s, m) {
			return len(m)
		}
	}
	return 0
}

func fnJoin(a []Value) (Value, error) {
	parts := make([]string, len(a[0].arr))
	for i, v := range a[0].arr {
		parts[i] = v.text()
	}
	return StringValue(strings.Join(parts, a[1].s)), nil
}

// fnIndexOf looks for a string in a string, in any case, or for an element of an array.
func fnIndexOf(a []Value, in func(s, sub string) int, last bool) (Value, error) {
	if a[0].kind == String {
		if a[1].kind != String {
			return Value{}, faultf("it looks for a string in a string, the second parameter is of type '%s'", a[1].kind)
		}
		s := strings.ToLower(a[0].s)
		i := in(s, strings.ToLower(a[1].s))
		if i > 0 {
			i = utf16Len(s[:i])
		}
		return IntValue(int64(i)), nil
	}
	at := -1
	for i, v := range a[0].arr {
		if equal(v, a[1]) {
			if at = i; !last {
				break
			}
		}
	}
	return IntValue(int64(at)), nil
}
