package template

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// parsed is what a document's string is: text, or an expression, or one that cannot be parsed.
type parsed struct {
	text string // when expr is nil
	expr expr
	err  error
}

// maxExpression is the length that Azure allows an expression.
const maxExpression = 24576

// maxNesting bounds how deep calls nest in one expression.
const maxNesting = 256

// expression says what n's text is. The work is done once.
func (n *Node) expression() *parsed {
	if p := n.expr.Load(); p != nil {
		return p
	}
	p := parseString(n.Text)
	n.expr.Store(p)
	return p
}

// parseString tells text from expressions: a string in brackets is an expression, one that begins with two is text
// that begins with one.
func parseString(s string) *parsed {
	if !isExpression(s) {
		if strings.HasPrefix(s, "[[") && strings.HasSuffix(s, "]") {
			s = s[1:]
		}
		return &parsed{text: s}
	}
	if len(s) > maxExpression {
		return &parsed{err: faultf("The template language expression is too long: it has %d characters, the limit is %d.", len(s), maxExpression)}
	}
	x, err := parseExpression(s[1 : len(s)-1])
	if err != nil {
		err = faultf("The language expression '%s' is not valid: %s.", s[1:len(s)-1], err)
	}
	return &parsed{expr: x, err: err}
}

func isExpression(s string) bool {
	return strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") && !strings.HasPrefix(s, "[[") && len(s) > 1
}

// escapeText turns text that would be read as an expression into one that reads as text.
func escapeText(s string) string {
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		return "[" + s
	}
	return s
}

// parseExpression parses what stands between the brackets.
func parseExpression(src string) (expr, error) {
	p := &parser{src: src}
	p.advance()
	x, err := p.expression()
	switch {
	case err != nil:
		return nil, err
	case p.err != nil:
		return nil, p.err
	case p.tok.kind != tokEnd:
		return nil, p.unexpected("the end of the expression")
	}
	return x, nil
}

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokName
	tokString
	tokNumber
	tokMark // one of ( ) [ ] . ,
)

var tokenNames = [...]string{"EndOfData", "Identifier", "String", "Number", "Mark"}

type token struct {
	kind tokenKind
	text string
	at   int
}

// parser is a recursive-descent parser with one token of look-ahead.
type parser struct {
	src   string
	at    int
	tok   token
	err   error // the scanner's complaint
	depth int
}

func (p *parser) unexpected(want string) error {
	if p.err != nil {
		return p.err
	}
	shown := p.tok.text
	if p.tok.kind == tokEnd {
		shown = tokenNames[tokEnd]
	}
	return fmt.Errorf("the string character '%s' at position '%d' is not expected; expected %s", shown, p.tok.at, want)
}

// expression parses a primary and the accesses that follow it.
func (p *parser) expression() (expr, error) {
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > maxNesting {
		return nil, fmt.Errorf("it nests more than %d levels deep", maxNesting)
	}
	x, err := p.primary()
	for chain := 0; err == nil; chain++ {
		switch {
		case chain > maxNesting:
			return nil, fmt.Errorf("it has more than %d accesses in a row", maxNesting)
		case p.mark("."):
			if p.tok.kind != tokName {
				return nil, p.unexpected("a property name")
			}
			x = &property{x, p.tok.text}
			p.advance()
		case p.mark("["):
			var at expr
			if at, err = p.expression(); err == nil {
				x = &index{x, at}
				err = p.want("]")
			}
		default:
			return x, nil
		}
	}
	return nil, err
}

func (p *parser) primary() (expr, error) {
	t := p.tok
	switch t.kind {
	case tokString:
		p.advance()
		return &literal{StringValue(t.text)}, nil
	case tokNumber:
		p.advance()
		return &literal{numberValue(t.text)}, nil
	case tokName:
		return p.call()
	}
	return nil, p.unexpected("a function, a string or a number")
}

// call parses a function's name, with the namespace of a user function, and its arguments.
func (p *parser) call() (expr, error) {
	c := &call{shown: p.tok.text}
	p.advance()
	for p.mark(".") {
		c.shown += "." + p.tok.text
		if p.tok.kind != tokName {
			return nil, p.unexpected("a function name")
		}
		p.advance()
	}
	c.name = strings.ToLower(c.shown)
	if err := p.want("("); err != nil {
		return nil, err
	}
	if p.mark(")") {
		return c, nil
	}
	for {
		arg, err := p.expression()
		if err != nil {
			return nil, err
		}
		c.args = append(c.args, arg)
		if p.mark(")") {
			return c, nil
		}
		if err := p.want(","); err != nil {
			return nil, err
		}
	}
}

// mark passes the punctuation if it is at hand.
func (p *parser) mark(text string) bool {
	if p.tok.kind != tokMark || p.tok.text != text {
		return false
	}
	p.advance()
	return true
}

func (p *parser) want(text string) error {
	if !p.mark(text) {
		return p.unexpected("'" + text + "'")
	}
	return nil
}

// advance scans the next token.
func (p *parser) advance() {
	rest := strings.TrimLeftFunc(p.src[p.at:], unicode.IsSpace)
	p.at = len(p.src) - len(rest)
	p.tok = token{at: p.at}
	if rest == "" || p.err != nil {
		return
	}
	c, _ := utf8.DecodeRuneInString(rest)
	n := 1
	switch {
	case c == '\'':
		n = p.scanString(rest)
	case strings.ContainsRune("()[].,", c):
		p.tok.kind, p.tok.text = tokMark, rest[:1]
	case c == '-' || c == '+' || unicode.IsDigit(c):
		n = p.scanNumber(rest)
	case nameRune(c):
		if n = strings.IndexFunc(rest, func(c rune) bool { return !nameRune(c) && !unicode.IsDigit(c) }); n < 0 {
			n = len(rest)
		}
		p.tok.kind, p.tok.text = tokName, rest[:n]
	default:
		p.err = fmt.Errorf("the string character '%c' at position '%d' is not expected", c, p.at)
	}
	p.at += n
}

func nameRune(c rune) bool { return c == '_' || c == '$' || unicode.IsLetter(c) }

func (p *parser) scanString(rest string) int {
	var b strings.Builder
	for i := 1; i < len(rest); i++ {
		switch {
		case rest[i] != '\'':
			b.WriteByte(rest[i])
		case i+1 < len(rest) && rest[i+1] == '\'':
			b.WriteByte('\'')
			i++
		default:
			p.tok.kind, p.tok.text = tokString, b.String()
			return i + 1
		}
	}
	p.err = fmt.Errorf("the string at position '%d' is not terminated", p.at)
	return len(rest)
}

func (p *parser) scanNumber(rest string) int {
	n := 1
	for n < len(rest) && (rest[n] >= '0' && rest[n] <= '9' || rest[n] == '.' && n+1 < len(rest) && rest[n+1] >= '0' && rest[n+1] <= '9') {
		n++
	}
	p.tok.kind, p.tok.text = tokNumber, strings.TrimPrefix(rest[:n], "+")
	_, err := strconv.ParseInt(p.tok.text, 10, 64)
	if err != nil && !strings.Contains(p.tok.text, ".") || !isNumber(p.tok.text) {
		p.err = fmt.Errorf("the number '%s' at position '%d' is not a number of 64 bits", rest[:n], p.at)
	}
	return n
}
