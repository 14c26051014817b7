package template

import (
	"encoding/json"
	"math"
	"strconv"
)

// Kind is what sort of value a [Value] or a [Node] is.
type Kind uint8

// The kinds. Unknown is a value that only a running deployment can know, such as the result of reference before the
// resource exists.
const (
	Null Kind = iota
	Bool
	Int
	Float
	String
	Array
	Object
	Unknown
)

var kindNames = [...]string{"Null", "Boolean", "Integer", "Float", "String", "Array", "Object", "Unknown"}

// String is the kind's name as Azure's messages have it.
func (k Kind) String() string { return kindNames[k] }

// Value is a value of the template language. It is immutable. A value that was made from a secret is marked secure, and
// so is everything that evaluation makes of it.
type Value struct {
	kind    Kind
	secure  bool // it, or something in it, derives from a secret
	unknown bool // it, or something in it, is not known yet
	size    int32
	n       int64
	s       string
	arr     []Value
	obj     *object
}

// object keeps its members in order. index is there when a search through the keys would take long.
type object struct {
	keys  []string
	vals  []Value
	index map[string]int
}

const indexFrom = 12

// BoolValue makes a boolean.
func BoolValue(b bool) Value {
	if b {
		return Value{kind: Bool, n: 1}
	}
	return Value{kind: Bool}
}

// IntValue makes an integer.
func IntValue(n int64) Value { return Value{kind: Int, n: n} }

// FloatValue makes a number that need not be whole.
func FloatValue(f float64) Value {
	return Value{kind: Float, n: int64(math.Float64bits(f)), s: strconv.FormatFloat(f, 'g', -1, 64)}
}

// StringValue makes a string.
func StringValue(s string) Value { return Value{kind: String, s: s} }

// UnknownValue stands for what a running deployment will know.
func UnknownValue() Value { return Value{kind: Unknown, unknown: true} }

// ArrayValue makes an array. The slice must not change afterwards.
func ArrayValue(items []Value) Value {
	v := Value{kind: Array, arr: items}
	for i := range items {
		v.grow(&items[i])
		v.secure = v.secure || items[i].secure
		v.unknown = v.unknown || items[i].unknown
	}
	return v
}

// maxSize is how many parts a value may have, those of its parts counted; also how long its strings may be in sum.
const maxSize = 1 << 20

// grow counts a part of v. Values share their parts, so a small one can have very many.
func (v *Value) grow(part *Value) {
	v.size = int32(min(int(v.size)+part.weight()+1, maxSize+1))
}

// weight is how large v is, in parts.
func (v *Value) weight() int { return int(v.size) + len(v.s)/8 }

// tooBig says that v is larger than any honest template needs.
func (v *Value) tooBig() bool { return v.size > maxSize || len(v.s) > 8*maxSize }

// numberValue makes a number of its digits in a document; what does not fit a whole number keeps its text.
func numberValue(text string) Value {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return IntValue(n)
	}
	f, _ := strconv.ParseFloat(text, 64)
	if !json.Valid([]byte(text)) { // leading zeros, a bare point
		text = strconv.FormatFloat(f, 'g', -1, 64)
	}
	return Value{kind: Float, n: int64(math.Float64bits(f)), s: text}
}

// Kind says what sort of value v is.
func (v Value) Kind() Kind { return v.kind }

// Secure says that v, or something in it, derives from a secret.
func (v Value) Secure() bool { return v.secure }

// Known says that v and all that is in it is known.
func (v Value) Known() bool { return !v.unknown }

// Str is a string's text; "" for other kinds.
func (v Value) Str() string {
	if v.kind != String {
		return ""
	}
	return v.s
}

// Int is a whole number's value; 0 for other kinds.
func (v Value) Int() int64 {
	if v.kind != Int {
		return 0
	}
	return v.n
}

// True says that v is the boolean true.
func (v Value) True() bool { return v.kind == Bool && v.n != 0 }

// Items are an array's elements, not to be changed.
func (v Value) Items() []Value { return v.arr }

// Len is how many characters, elements or members v has.
func (v Value) Len() int {
	switch v.kind {
	case String:
		return utf16Len(v.s)
	case Array:
		return len(v.arr)
	case Object:
		return len(v.obj.keys)
	}
	return 0
}

// Keys are an object's names in their order, not to be changed.
func (v Value) Keys() []string {
	if v.kind != Object {
		return nil
	}
	return v.obj.keys
}

// Get returns an object's member, an exact match before one in another case.
func (v Value) Get(key string) (Value, bool) {
	if v.kind != Object {
		return Value{}, false
	}
	i := v.obj.find(key, true)
	if i < 0 {
		return Value{}, false
	}
	return v.obj.vals[i], true
}

// At follows names from object to object; null when one is missing.
func (v Value) At(names ...string) Value {
	for _, name := range names {
		v, _ = v.Get(name)
	}
	return v
}

// float is a number's value.
func (v Value) float() float64 {
	if v.kind == Float {
		return math.Float64frombits(uint64(v.n))
	}
	return float64(v.n)
}

func (v Value) isNumber() bool { return v.kind == Int || v.kind == Float }

// text is a scalar as the language writes it in strings.
func (v Value) text() string {
	switch v.kind {
	case Bool:
		if v.n != 0 {
			return "True"
		}
		return "False"
	case Int:
		return strconv.FormatInt(v.n, 10)
	case Float, String:
		return v.s
	case Array, Object:
		return string(v.AppendJSON(nil))
	}
	return ""
}

// taint marks v and everything in it as made from a secret.
func (v Value) taint() Value {
	v.secure = true
	switch v.kind {
	case Array:
		items := make([]Value, len(v.arr))
		for i := range v.arr {
			items[i] = v.arr[i].taint()
		}
		v.arr = items
	case Object:
		o := *v.obj
		o.vals = make([]Value, len(v.obj.vals))
		for i := range v.obj.vals {
			o.vals[i] = v.obj.vals[i].taint()
		}
		v.obj = &o
	}
	return v
}

// Taint returns v marked as a secret, it and everything in it.
func (v Value) Taint() Value { return v.taint() }
