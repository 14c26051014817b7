package template

import (
	"encoding/json"
	"strconv"
)

// AppendJSON appends v as JSON without white space. What is unknown is written as null.
func (v Value) AppendJSON(b []byte) []byte { return v.appendQuoted(b, '"') }

// appendQuoted is AppendJSON with strings and names in the quotes given.
func (v Value) appendQuoted(b []byte, quote byte) []byte {
	switch v.kind {
	case Bool:
		return strconv.AppendBool(b, v.n != 0)
	case Int:
		return strconv.AppendInt(b, v.n, 10)
	case Float:
		return append(b, v.s...)
	case String:
		return appendQuotedString(b, v.s, quote)
	case Array:
		b = append(b, '[')
		for i := range v.arr {
			if i > 0 {
				b = append(b, ',')
			}
			b = v.arr[i].appendQuoted(b, quote)
		}
		return append(b, ']')
	case Object:
		b = append(b, '{')
		for i, key := range v.obj.keys {
			if i > 0 {
				b = append(b, ',')
			}
			b = append(appendQuotedString(b, key, quote), ':')
			b = v.obj.vals[i].appendQuoted(b, quote)
		}
		return append(b, '}')
	}
	return append(b, "null"...)
}

// MarshalJSON makes v usable with encoding/json.
func (v Value) MarshalJSON() ([]byte, error) { return v.AppendJSON(nil), nil }

// UnmarshalJSON reads strict or lenient JSON into v.
func (v *Value) UnmarshalJSON(text []byte) error {
	n, err := Read(text)
	if err != nil {
		return err
	}
	*v = n.Value()
	return nil
}

var _ json.Marshaler = Value{}
