package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Decode decodes JSON into v. A syntax error or a value of the wrong kind becomes InvalidRequestContent, with the
// path of the property (properties.subnets[1].name) as its target.
func Decode(b []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	err := dec.Decode(v)
	if err == nil {
		if _, err := dec.Token(); err != io.EOF {
			return invalidContent("", "something follows the JSON value")
		}
		return nil
	}
	var typeErr *json.UnmarshalTypeError
	if !errors.As(err, &typeErr) {
		return invalidContent("", err.Error())
	}
	path := typeErr.Field // without the indexes of arrays, which mismatch finds
	if at, ok := mismatch(b, reflect.TypeOf(v), typeErr.Field); ok {
		path = at
	}
	what := "the value of '" + path + "'"
	if path == "" {
		what = "the content"
	}
	return invalidContent(path, fmt.Sprintf("%s is %s where %s is expected", what, article(typeErr.Value), kindName(typeErr.Type)))
}

func invalidContent(path, why string) *Error {
	return BadRequest("InvalidRequestContent", path, "The request content was invalid and could not be deserialized: %s.", why)
}

// article puts "a" or "an" before encoding/json's name of a kind, of which the value itself is left out: it may be a
// secret.
func article(kind string) string {
	kind, _, _ = strings.Cut(kind, " ")
	if kind == "array" || kind == "object" {
		return "an " + kind
	}
	return "a " + kind
}

func kindName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Map, reflect.Struct:
		return "an object"
	}
	if t.Kind() == reflect.Float64 {
		return "a number"
	}
	return "a whole number"
}

// mismatch returns the path of a value in a JSON text that does not fit the Go type it is for: the one that
// encoding/json stopped at, which it names by field (without indexes), or else the first.
func mismatch(b []byte, t reflect.Type, field string) (string, bool) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return "", false
	}
	found := misfits(v, t, "")
	for _, at := range found {
		if withoutIndexes.ReplaceAllString(at, "") == field {
			return at, true
		}
	}
	if len(found) == 0 {
		return "", false
	}
	return found[0], true
}

var withoutIndexes = regexp.MustCompile(`\[\d+\]`)

// misfits returns the paths of the innermost values that don't fit.
func misfits(v any, t reflect.Type, at string) []string {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	var found []string
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Sorted(maps.Keys(v)) {
			if ct, ok := memberType(t, k); ok {
				found = append(found, misfits(v[k], ct, joinPath(at, k))...)
			}
		}
	case []any:
		for i, child := range v {
			if t.Kind() == reflect.Slice || t.Kind() == reflect.Array {
				found = append(found, misfits(child, t.Elem(), fmt.Sprintf("%s[%d]", at, i))...)
			}
		}
	}
	if len(found) > 0 {
		return found
	}
	if b, err := json.Marshal(v); err == nil && json.Unmarshal(b, reflect.New(t).Interface()) != nil {
		return []string{at}
	}
	return nil
}

func joinPath(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// memberType returns the type that a JSON object's member has in a map or struct, if it has one.
func memberType(t reflect.Type, key string) (reflect.Type, bool) {
	switch t.Kind() {
	case reflect.Map:
		return t.Elem(), true
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(t) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			if name == "" {
				name = f.Name
			}
			if f.IsExported() && name != "-" && strings.EqualFold(name, key) && !(f.Anonymous && f.Tag.Get("json") == "") {
				return f.Type, true
			}
		}
	}
	return nil, false
}
