package template

import "strconv"

// Copy loops inside objects: properties (of resources, and of any object in them), variables and outputs.

// isPropertyCopy says that a member called "copy" is a loop and not data of that name.
func isPropertyCopy(n *Node) bool {
	if n.Kind != Array || len(n.Items) == 0 {
		return false
	}
	for _, item := range n.Items {
		if item.Get("name") == nil || item.Get("count") == nil || item.Get("input") == nil {
			return false
		}
	}
	return true
}

// copyProperties runs the loops of a "copy" array and puts what they make into b.
func (e *env) copyProperties(n *Node, b *objectBuilder) error {
	for _, item := range n.Items {
		name, err := e.evalText(item.Get("name"), "copy loop's name")
		if err != nil {
			return err
		}
		v, err := e.copyValues(item, name, true)
		if err != nil {
			return err
		}
		b.put(name, v)
	}
	return nil
}

// copyValues evaluates one loop's input as often as its count says. property is the loop's.
func (e *env) copyValues(item *Node, name string, property bool) (Value, error) {
	count, err := e.copyCount(item.Get("count"), name)
	if err != nil {
		return Value{}, err
	}
	items, size := make([]Value, count), 0
	for i := range items {
		turn := *e
		turn.loops = &loop{name: name, turn: i, property: property, outer: e.loops}
		if items[i], err = turn.evalNode(item.Get("input")); err != nil {
			return Value{}, err
		}
		if size += items[i].weight(); size > maxSize {
			return Value{}, validationError(item, "The template 'copy' definition '%s' at line '%d' and column '%d' makes a value that is too large", name, item.Pos.Line, item.Pos.Col)
		}
	}
	return ArrayValue(items), nil
}

// maxCopies is Azure's limit on the turns of a loop.
const maxCopies = 800

func (e *env) copyCount(n *Node, name string) (int, error) {
	v, err := e.evalNode(n)
	if err != nil {
		return 0, err
	}
	v = wholeNumber(v)
	if v.kind != Int || v.n < 0 || v.n > maxCopies {
		return 0, validationError(n, "The template 'copy' definition '%s' at line '%d' and column '%d' has an invalid copy count. The copy count must be a positive integer value and cannot exceed '%d'. Please see https://aka.ms/arm-copy for usage details",
			name, n.Pos.Line, n.Pos.Col, maxCopies)
	}
	return int(v.n), nil
}

// wholeNumber is a number that is written as a string, which counts of loops may be.
func wholeNumber(v Value) Value {
	if v.kind == String {
		if n, err := strconv.ParseInt(v.s, 10, 64); err == nil {
			return IntValue(n)
		}
	}
	return v
}
