package template

import "strings"

// objectBuilder makes an object member by member.
type objectBuilder struct{ o object }

// set puts a member, in place of one of exactly the same name if there is one.
func (b *objectBuilder) set(key string, v Value) {
	if i := b.o.find(key, false); i >= 0 {
		b.o.vals[i] = v
		return
	}
	b.add(key, v)
}

// put is set, but takes a member whose name differs in case for the same.
func (b *objectBuilder) put(key string, v Value) {
	if i := b.o.find(key, true); i >= 0 {
		b.o.vals[i] = v
		return
	}
	b.add(key, v)
}

func (b *objectBuilder) add(key string, v Value) {
	b.o.keys = append(b.o.keys, key)
	b.o.vals = append(b.o.vals, v)
	switch n := len(b.o.keys); {
	case b.o.index != nil:
		b.o.indexKey(n - 1)
	case n == indexFrom:
		b.o.index = make(map[string]int, 2*n)
		for i := range b.o.keys {
			b.o.indexKey(i)
		}
	}
}

func (b *objectBuilder) value() Value {
	v := Value{kind: Object, obj: &b.o}
	for i := range b.o.vals {
		v.grow(&b.o.vals[i])
		v.secure = v.secure || b.o.vals[i].secure
		v.unknown = v.unknown || b.o.vals[i].unknown
	}
	return v
}

// indexKey enters key i as it is written and, unless another has it, in lower case behind a mark.
func (o *object) indexKey(i int) {
	o.index[o.keys[i]] = i
	low := "\x00" + strings.ToLower(o.keys[i])
	if _, taken := o.index[low]; !taken {
		o.index[low] = i
	}
}

// find returns the place of the member called key, or -1. An exact match goes before a loose one.
func (o *object) find(key string, loose bool) int {
	if o.index != nil {
		if i, ok := o.index[key]; ok {
			return i
		}
		if i, ok := o.index["\x00"+strings.ToLower(key)]; ok && loose {
			return i
		}
		return -1
	}
	at := -1
	for i, k := range o.keys {
		if k == key {
			return i
		}
		if loose && at < 0 && strings.EqualFold(k, key) {
			at = i
		}
	}
	return at
}

// ObjectOf makes an object of alternating names (strings) and values.
func ObjectOf(pairs ...any) Value {
	var b objectBuilder
	for i := 0; i+1 < len(pairs); i += 2 {
		b.set(pairs[i].(string), pairs[i+1].(Value))
	}
	return b.value()
}
