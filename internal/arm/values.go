package arm

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
)

// Bool is a boolean that may be sent as a string, as templates do.
type Bool bool

// UnmarshalJSON takes true, false, "true" and "False".
func (v *Bool) UnmarshalJSON(b []byte) error {
	s := string(bytes.Trim(b, `"`))
	if s == "null" {
		return nil
	}
	p, err := strconv.ParseBool(string(bytes.ToLower([]byte(s))))
	if err != nil {
		return &json.UnmarshalTypeError{Value: jsonKind(b), Type: reflect.TypeFor[bool]()}
	}
	*v = Bool(p)
	return nil
}

// Int is a whole number that may be sent as a string, as templates do.
type Int int64

// UnmarshalJSON takes 5, 5.0 and "5".
func (v *Int) UnmarshalJSON(b []byte) error {
	s := string(bytes.Trim(b, `"`))
	if s == "null" {
		return nil
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		*v = Int(n)
		return nil
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || f != float64(int64(f)) {
		return &json.UnmarshalTypeError{Value: jsonKind(b), Type: reflect.TypeFor[int64]()}
	}
	*v = Int(f)
	return nil
}

// String is a string that may be sent as a number, as templates do with ports.
type String string

// UnmarshalJSON takes "5" and 5.
func (v *String) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	if len(b) > 0 && (b[0] == '-' || b[0] >= '0' && b[0] <= '9') {
		*v = String(b)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return &json.UnmarshalTypeError{Value: jsonKind(b), Type: reflect.TypeFor[string]()}
	}
	*v = String(s)
	return nil
}

func jsonKind(b []byte) string {
	switch {
	case len(b) == 0:
		return "nothing"
	case b[0] == '"':
		return "string " + string(b)
	case b[0] == '{':
		return "object"
	case b[0] == '[':
		return "array"
	case b[0] == 't' || b[0] == 'f':
		return "bool"
	}
	return "number " + string(b)
}
