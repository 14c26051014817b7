package template

import (
	"strconv"
	"strings"
	"sync/atomic"
)

// Pos is a place in a document: line and column count from 1. The zero Pos is unknown.
type Pos struct{ Line, Col int }

// Node is one JSON value of a document that was read, with its place in it.
type Node struct {
	Pos     Pos
	Kind    Kind
	Text    string   // a string's value, a number's digits
	Bool    bool     // a boolean's value
	Items   []*Node  // an array's elements
	Members []Member // an object's members, in their order
	Secure  bool     // a string that derives from a secret; see MarkSecure

	from, to int // its text in what was read
	up       *Node
	key      string
	index    int
	expr     atomic.Pointer[parsed]
}

// Member is one member of an object.
type Member struct {
	Key string
	Pos Pos
	Val *Node
}

// Get returns the object's member of that name, an exact match before one in another case, or nil.
func (n *Node) Get(name string) *Node {
	if n == nil {
		return nil
	}
	var loose *Node
	for i := range n.Members {
		switch m := &n.Members[i]; {
		case m.Key == name:
			return m.Val
		case loose == nil && strings.EqualFold(m.Key, name):
			loose = m.Val
		}
	}
	return loose
}

// At follows names from object to object and returns the node there, or nil.
func (n *Node) At(names ...string) *Node {
	for _, name := range names {
		n = n.Get(name)
	}
	return n
}

// Present says that the node is there and is not JSON's null.
func (n *Node) Present() bool { return n != nil && n.Kind != Null }

// Str returns the string's value, or "" for anything that is not a string.
func (n *Node) Str() string {
	if n == nil || n.Kind != String {
		return ""
	}
	return n.Text
}

// Root makes n the document that paths are counted from. It is how a template inside a request becomes a document.
func (n *Node) Root() *Node {
	if n != nil {
		n.up, n.key = nil, ""
	}
	return n
}

// Path is the JSON path from the document's root, such as "resources[2].properties.sku", or "" for the root.
func (n *Node) Path() string {
	if n == nil || n.up == nil {
		return ""
	}
	above := n.up.Path()
	if n.up.Kind == Array {
		return above + "[" + strconv.Itoa(n.index) + "]"
	}
	if !plainKey(n.key) {
		return above + "['" + n.key + "']"
	}
	if above == "" {
		return n.key
	}
	return above + "." + n.key
}

func plainKey(key string) bool {
	return key != "" && !strings.ContainsAny(key, ".[]'\" /")
}

// adopt sets the way up for n's children.
func (n *Node) adopt() {
	for i, item := range n.Items {
		item.up, item.index = n, i
	}
	for _, m := range n.Members {
		m.Val.up, m.Val.key = n, m.Key
	}
}

// Value is the node as plain data, with no expression evaluated.
func (n *Node) Value() Value {
	if n == nil {
		return Value{}
	}
	switch n.Kind {
	case Bool:
		return BoolValue(n.Bool)
	case Int, Float:
		return numberValue(n.Text)
	case String:
		return Value{kind: String, s: n.Text, secure: n.Secure}
	case Array:
		items := make([]Value, len(n.Items))
		for i, item := range n.Items {
			items[i] = item.Value()
		}
		return ArrayValue(items)
	case Object:
		var b objectBuilder
		for _, m := range n.Members {
			b.set(m.Key, m.Val.Value())
		}
		return b.value()
	}
	return Value{}
}

// NodeOf makes a document of a value, for values that stand where a document is expected. All its nodes are at pos.
func NodeOf(v Value, pos Pos) *Node {
	n := &Node{Pos: pos, Kind: v.kind, Secure: v.secure && v.kind == String}
	switch v.kind {
	case Bool:
		n.Bool = v.n != 0
	case Int, Float, String:
		n.Text = v.text()
	case Array:
		for _, item := range v.arr {
			n.Items = append(n.Items, NodeOf(item, pos))
		}
	case Object:
		for i, key := range v.obj.keys {
			n.Members = append(n.Members, Member{Key: key, Pos: pos, Val: NodeOf(v.obj.vals[i], pos)})
		}
	}
	n.adopt()
	return n
}

// MarkSecure marks the string at a path such as a.b[0].c as a secret, so that all that is made of it is one. It does
// nothing when there is no string.
func (n *Node) MarkSecure(path string) {
	for _, step := range strings.Split(strings.ReplaceAll(path, "[", ".["), ".") {
		if n == nil {
			return
		}
		if digits, ok := strings.CutPrefix(step, "["); ok {
			i, err := strconv.Atoi(strings.TrimSuffix(digits, "]"))
			if err != nil || i < 0 || i >= len(n.Items) {
				return
			}
			n = n.Items[i]
		} else {
			n = n.Get(step)
		}
	}
	if n != nil && n.Kind == String {
		n.Secure = true
	}
}

// Source is the text that n was read from, out of the document's text, behind as many line breaks and blanks as keep
// every position in it what it was.
func (n *Node) Source(document []byte) string {
	text := strings.TrimPrefix(string(document), "\ufeff")
	return strings.Repeat("\n", max(0, n.Pos.Line-1)) + strings.Repeat(" ", max(0, n.Pos.Col-1)) + text[n.from:n.to]
}
