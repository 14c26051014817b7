package template

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxDepth bounds how deep a document may nest.
const maxDepth = 512

// Read reads a JSON document as leniently as Azure reads requests and templates: comments of both kinds, trailing
// commas, keys without quotes, strings in single quotes, and strings that run over several lines. Of members with the
// same key the last wins. The error is an [*Error] that says where reading stopped.
func Read(text []byte) (*Node, error) {
	r := &reader{src: strings.TrimPrefix(string(text), "\ufeff"), line: 1}
	n, err := r.document()
	if err != nil {
		return nil, err
	}
	return n, nil
}

// reader is a scanner over src. start is where the present line starts.
type reader struct {
	src         string
	at          int
	line, start int
	depth       int
	path        []string
}

func (r *reader) document() (*Node, error) {
	if err := r.space(); err != nil {
		return nil, err
	}
	if r.end() {
		return nil, r.failf("The document is empty")
	}
	n, err := r.value()
	if err != nil {
		return nil, err
	}
	if err := r.space(); err != nil {
		return nil, err
	}
	if !r.end() {
		return nil, r.failf("Additional text encountered after finished reading JSON content: %s", r.next())
	}
	return n, nil
}

func (r *reader) end() bool { return r.at >= len(r.src) }

func (r *reader) pos() Pos { return Pos{r.line, r.at - r.start + 1} }

// next is the character at hand, for messages.
func (r *reader) next() string {
	c, _ := utf8.DecodeRuneInString(r.src[r.at:])
	return string(c)
}

func (r *reader) newline() { r.line++; r.start = r.at }

func (r *reader) failf(format string, args ...any) error {
	p := r.pos()
	path := strings.TrimPrefix(strings.Join(r.path, ""), ".")
	text := fmt.Sprintf(format, args...)
	return &Error{Code: CodeInvalidRequestContent, Pos: p, Path: path,
		Message: fmt.Sprintf("The request content was invalid and could not be deserialized: '%s. Path '%s', line %d, position %d.'.", text, path, p.Line, p.Col)}
}

// space passes white space and comments.
func (r *reader) space() error {
	for !r.end() {
		switch c := r.src[r.at]; {
		case c == '\n':
			r.at++
			r.newline()
		case c == ' ' || c == '\t' || c == '\r':
			r.at++
		case strings.HasPrefix(r.src[r.at:], "\u00a0"):
			r.at += len("\u00a0")
		case c == '/':
			if err := r.comment(); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

func (r *reader) comment() error {
	rest := r.src[r.at:]
	switch {
	case strings.HasPrefix(rest, "//"):
		n := strings.IndexByte(rest, '\n')
		if n < 0 {
			n = len(rest)
		}
		r.at += n
	case strings.HasPrefix(rest, "/*"):
		n := strings.Index(rest, "*/")
		if n < 0 {
			return r.failf("Unexpected end while parsing comment")
		}
		for end := r.at + n + 2; r.at < end; {
			r.at++
			if r.src[r.at-1] == '\n' {
				r.newline()
			}
		}
	default:
		return r.failf("Error parsing comment. Expected: *, got %s", r.next())
	}
	return nil
}

// value reads one value; white space before it has been passed.
func (r *reader) value() (*Node, error) {
	n := &Node{Pos: r.pos(), from: r.at}
	if r.end() {
		return nil, r.failf("Unexpected end of content while reading a value")
	}
	var err error
	switch c := r.src[r.at]; {
	case c == '{':
		n.Kind = Object
		err = r.nested(func() error { return r.object(n) })
	case c == '[':
		n.Kind = Array
		err = r.nested(func() error { return r.array(n) })
	case c == '"' || c == '\'':
		n.Kind = String
		n.Text, err = r.quoted()
	default:
		err = r.word(n)
	}
	n.to = r.at
	n.adopt()
	return n, err
}

func (r *reader) nested(read func() error) error {
	r.depth++
	defer func() { r.depth-- }()
	if r.depth > maxDepth {
		return r.failf("The document nests more than %d levels deep", maxDepth)
	}
	r.at++
	return read()
}

func (r *reader) object(n *Node) error {
	seen := map[string]int{}
	for {
		if err := r.space(); err != nil {
			return err
		}
		if r.end() {
			return r.failf("Unexpected end when reading an object")
		}
		if r.src[r.at] == '}' {
			r.at++
			return nil
		}
		m, err := r.member()
		if err != nil {
			return err
		}
		if i, ok := seen[m.Key]; ok {
			n.Members[i] = m
		} else {
			seen[m.Key] = len(n.Members)
			n.Members = append(n.Members, m)
		}
		if err := r.comma('}', "object"); err != nil {
			return err
		}
	}
}

func (r *reader) member() (Member, error) {
	m := Member{Pos: r.pos()}
	var err error
	if m.Key, err = r.key(); err != nil {
		return m, err
	}
	r.path = append(r.path, "."+m.Key)
	if err = r.space(); err != nil {
		return m, err
	}
	if r.end() || r.src[r.at] != ':' {
		return m, r.failf("Invalid character after parsing property name. Expected ':'")
	}
	r.at++
	if err = r.space(); err != nil {
		return m, err
	}
	if m.Val, err = r.value(); err == nil {
		r.path = r.path[:len(r.path)-1]
	}
	return m, err
}

func (r *reader) key() (string, error) {
	if c := r.src[r.at]; c == '"' || c == '\'' {
		return r.quoted()
	}
	from := r.at
	for !r.end() && wordByte(r.src[r.at]) {
		r.at++
	}
	if r.at == from {
		return "", r.failf("Invalid property identifier character: %s", r.next())
	}
	return r.src[from:r.at], nil
}

func (r *reader) array(n *Node) error {
	for {
		if err := r.space(); err != nil {
			return err
		}
		if r.end() {
			return r.failf("Unexpected end when reading an array")
		}
		if r.src[r.at] == ']' {
			r.at++
			return nil
		}
		r.path = append(r.path, "["+strconv.Itoa(len(n.Items))+"]")
		item, err := r.value()
		if err != nil {
			return err
		}
		r.path = r.path[:len(r.path)-1]
		n.Items = append(n.Items, item)
		if err := r.comma(']', "array"); err != nil {
			return err
		}
	}
}

// comma passes what stands between two entries: a comma, or nothing when the closing bracket follows.
func (r *reader) comma(closing byte, what string) error {
	if err := r.space(); err != nil {
		return err
	}
	switch {
	case r.end():
		return r.failf("Unexpected end when reading an %s", what)
	case r.src[r.at] == ',':
		r.at++
	case r.src[r.at] != closing:
		return r.failf("After parsing a value an unexpected character was encountered: %s", r.next())
	}
	return nil
}
