package config

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3" // for line numbers
	k8s "sigs.k8s.io/yaml"
)

// Fault is something wrong with one value of the file.
type Fault struct {
	Path string // a.b[0].c; empty for the whole file
	Line int    // 0 if not known
	Text string // what is wrong, why, and what to write
}

// Faults are all that is wrong with a file.
type Faults []Fault

func (f *Faults) add(path, format string, args ...any) {
	*f = append(*f, Fault{Path: path, Text: fmt.Sprintf(format, args...)})
}

func (f Faults) orNil() error {
	if len(f) == 0 {
		return nil
	}
	return f
}

func (f Faults) Error() string {
	var lines []string
	for _, one := range f {
		lines = append(lines, one.in(""))
	}
	return strings.Join(lines, "\n")
}

func (f Fault) in(file string) string {
	s := file
	if file != "" && f.Line > 0 {
		s += ":" + strconv.Itoa(f.Line)
	}
	for _, part := range []string{f.Path, f.Text} {
		if s != "" && part != "" {
			s += ": "
		}
		s += part
	}
	return s
}

// inFile names the file in an error.
func inFile(path string, err error) error {
	var f Faults
	if !errors.As(err, &f) {
		return fmt.Errorf("config %s: %w", path, err)
	}
	var lines []string
	for _, one := range f {
		lines = append(lines, one.in(path))
	}
	return errors.New("config: " + strings.Join(lines, "\n"))
}

// locate gives faults the lines that their paths have in a file.
func locate(data []byte, err error) error {
	var f Faults
	var root yaml.Node
	if !errors.As(err, &f) || yaml.Unmarshal(data, &root) != nil || len(root.Content) == 0 {
		return err
	}
	lines := map[string]int{}
	collectLines(root.Content[0], "", lines)
	for i := range f {
		for at := f[i].Path; at != "" && f[i].Line == 0; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
			f[i].Line = lines[at]
		}
	}
	return f
}

func collectLines(n *yaml.Node, at string, lines map[string]int) {
	lines[at] = n.Line
	switch n.Kind {
	case yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			child := join(at, n.Content[i].Value)
			collectLines(n.Content[i+1], child, lines)
			lines[child] = n.Content[i].Line
			lines[at+"["+n.Content[i].Value+"]"] = n.Content[i].Line // as maps are named
		}
	case yaml.SequenceNode:
		for i, c := range n.Content {
			collectLines(c, fmt.Sprintf("%s[%d]", at, i), lines)
		}
	}
}

func join(at, key string) string {
	if at == "" {
		return key
	}
	return at + "." + key
}

// decode reads YAML into v by v's JSON names. Its error is of type Faults, with paths below at.
func decode(data []byte, at string, v any) error {
	var root yaml.Node
	if err := yaml.Unmarshal(data, &root); err != nil {
		return syntaxFault(at, err)
	}
	if len(root.Content) == 0 {
		return nil // an empty file
	}
	var f Faults
	check(root.Content[0], reflect.TypeOf(v).Elem(), at, &f)
	if len(f) > 0 {
		return f
	}
	if err := k8s.UnmarshalStrict(data, v); err != nil {
		return Faults{{Path: at, Text: err.Error()}}
	}
	return nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)

func syntaxFault(at string, err error) error {
	m := yamlLine.FindStringSubmatch(err.Error())
	if m == nil {
		return Faults{{Path: at, Text: err.Error()}}
	}
	line, _ := strconv.Atoi(m[1])
	return Faults{{Path: at, Line: line, Text: "this is not YAML: " + m[2]}}
}

// check compares a YAML value with the Go type that it is for.
func check(n *yaml.Node, t reflect.Type, at string, f *Faults) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.Tag == "!!null" || t == reflect.TypeFor[Section]() || t.Kind() == reflect.Interface {
		return
	}
	if u, ok := reflect.New(t).Interface().(encoding.TextUnmarshaler); ok {
		checkText(n, u, at, f)
		return
	}
	switch t.Kind() {
	case reflect.Struct:
		checkStruct(n, t, at, f)
	case reflect.Map:
		if expect(n, yaml.MappingNode, "a mapping (key: value)", at, f) {
			for i := 0; i+1 < len(n.Content); i += 2 {
				check(n.Content[i+1], t.Elem(), at+"["+n.Content[i].Value+"]", f)
			}
		}
	case reflect.Slice:
		if expect(n, yaml.SequenceNode, "a list", at, f) {
			for i, c := range n.Content {
				check(c, t.Elem(), fmt.Sprintf("%s[%d]", at, i), f)
			}
		}
	default:
		checkScalar(n, t, at, f)
	}
}

func (f *Faults) at(n *yaml.Node, path, format string, args ...any) {
	*f = append(*f, Fault{Path: path, Line: n.Line, Text: fmt.Sprintf(format, args...)})
}

func expect(n *yaml.Node, kind yaml.Kind, what, at string, f *Faults) bool {
	if n.Kind != kind {
		f.at(n, at, "%s is expected here", what)
	}
	return n.Kind == kind
}

func checkText(n *yaml.Node, u encoding.TextUnmarshaler, at string, f *Faults) {
	if !expect(n, yaml.ScalarNode, "one value", at, f) {
		return
	}
	if err := u.UnmarshalText([]byte(n.Value)); err != nil {
		f.at(n, at, "%v", err)
	} else if n.Tag != "!!str" {
		f.at(n, at, "%s has to be written as text: %q", n.Value, n.Value)
	}
}

func checkScalar(n *yaml.Node, t reflect.Type, at string, f *Faults) {
	if !expect(n, yaml.ScalarNode, "one value", at, f) {
		return
	}
	want, ok := "text", n.Tag == "!!str"
	switch t.Kind() {
	case reflect.Bool:
		want, ok = "true or false", n.Tag == "!!bool"
	case reflect.Float64, reflect.Float32:
		want, ok = "a number", n.Tag == "!!float" || n.Tag == "!!int"
	case reflect.Int, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		want, ok = "a whole number", n.Tag == "!!int"
	}
	if !ok {
		f.at(n, at, "%q is not %s", n.Value, want)
	}
}

func checkStruct(n *yaml.Node, t reflect.Type, at string, f *Faults) {
	if !expect(n, yaml.MappingNode, "a mapping (key: value)", at, f) {
		return
	}
	fields := jsonFields(t)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		typ, ok := fields[key.Value]
		if !ok {
			f.at(key, join(at, key.Value), "there is no such key; %s", suggest(key.Value, slices.Sorted(maps.Keys(fields))))
			continue
		}
		check(n.Content[i+1], typ, join(at, key.Value), f)
	}
}

// jsonFields returns a struct's fields by their JSON names, those of embedded structs too.
func jsonFields(t reflect.Type) map[string]reflect.Type {
	out := map[string]reflect.Type{}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "" && field.Type.Kind() == reflect.Struct:
			maps.Copy(out, jsonFields(field.Type))
		case !field.IsExported() || name == "-":
		case name == "":
			out[field.Name] = field.Type
		default:
			out[name] = field.Type
		}
	}
	return out
}

// suggest says which key was probably meant, or all that there are.
func suggest(key string, known []string) string {
	best, least := "", 4
	for _, k := range known {
		if d := distance(strings.ToLower(key), strings.ToLower(k)); d < least && d < max(len(k), 3) {
			best, least = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	return "the keys here are " + strings.Join(known, ", ")
}

// distance is Levenshtein's: how many letters must be put in, left out or changed.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			next := min(row[j]+1, row[j+1]+1, diagonal+cost)
			diagonal, row[j+1] = row[j+1], next
		}
	}
	return row[len(b)]
}
