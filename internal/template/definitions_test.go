package template

import (
	"strings"
	"testing"
)

// definitionCases are what Microsoft's page "Type definitions in ARM templates" says that each constraint accepts and
// rejects, and what follows from it. Values are split by " | ".
var definitionCases = []struct{ name, definition, accepts, rejects string }{
	{"plain types", `{"type": "string"}`, `"a" | ""`, `1 | true | null | {} | []`},
	{"int", `{"type": "int"}`, `1 | -5`, `"1" | 1.5 | true`},
	{"bool", `{"type": "bool"}`, `true | false`, `"true" | 1`},
	{"object", `{"type": "object"}`, `{} | {"a": 1}`, `[] | "x"`},
	{"array", `{"type": "array"}`, `[] | [1, "a"]`, `{} | "x"`},
	{"allowed values", `{"type": "string", "allowedValues": ["one", "two"]}`, `"one" | "two"`, `"three"`},
	{"allowed values of an array", `{"type": "array", "allowedValues": ["one", "two"]}`, `["one"] | ["two", "one"] | []`, `["three"] | ["one", "three"]`},
	{"length of a string", `{"type": "string", "minLength": 3, "maxLength": 5}`, `"abc" | "abcde"`, `"ab" | "abcdef"`},
	{"length of an array", `{"type": "array", "minLength": 1, "maxLength": 2}`, `[1] | [1, 2]`, `[] | [1, 2, 3]`},
	{"range of an integer", `{"type": "int", "minValue": 1, "maxValue": 12}`, `1 | 12`, `0 | 13`},
	{"properties", `{"type": "object", "properties": {"foo": {"type": "string", "minLength": 3}, "bar": {"type": "int", "minValue": 0}}}`,
		`{"foo": "string", "bar": 1} | {"foo": "string", "bar": 1, "more": []}`, `{"foo": "string", "bar": -1} | {"foo": "", "bar": 1} | {"foo": "string"} | {"bar": 1} | {}`},
	{"nullable properties", `{"type": "object", "properties": {"foo": {"type": "string", "minLength": 3, "nullable": true}, "bar": {"type": "int", "nullable": true}}}`,
		`{} | {"foo": null} | {"foo": "abc"} | {"bar": 2, "foo": null}`, `{"foo": "ab"} | {"bar": "2"}`},
	{"a type for other properties", `{"type": "object", "properties": {"foo": {"type": "string", "nullable": true}}, "additionalProperties": {"type": "string"}}`,
		`{"fizz": "buzz", "foo": "bar"} | {}`, `{"property": 1}`},
	{"no other properties", `{"type": "object", "properties": {"foo": {"type": "string"}, "bar": {"type": "int"}}, "additionalProperties": false}`,
		`{"foo": "string", "bar": 1}`, `{"foo": "string", "bar": 1, "fizz": "buzz"}`},
	{"any other properties", `{"type": "object", "properties": {"foo": {"type": "string"}}, "additionalProperties": true}`, `{"foo": "string", "fizz": [1]}`, `{"fizz": 1}`},
	{"tagged union", `{"type": "object", "discriminator": {"propertyName": "type", "mapping": {
		"ints": {"type": "object", "additionalProperties": {"type": "int"}}, "strings": {"type": "object", "additionalProperties": {"type": "string"}}}}}`,
		`{"type": "ints", "foo": 1, "bar": 2} | {"type": "strings", "fizz": "buzz", "pop": "goes"}`, `{"type": "ints", "fizz": "buzz"} | {"type": "none"} | {}`},
	{"tagged union with the tag among the properties", `{"type": "object", "discriminator": {"propertyName": "kind", "mapping": {
		"cat": {"type": "object", "properties": {"kind": {"type": "string", "allowedValues": ["cat"]}, "lives": {"type": "int"}}}}}}`,
		`{"kind": "cat", "lives": 9}`, `{"kind": "cat"} | {"kind": "dog", "lives": 1}`},
	{"prefix items", `{"type": "array", "prefixItems": [{"type": "int"}, {"type": "bool"}]}`, `[1, true] | [1, true, 1] | [1, false, "foo", "bar"]`, `[1, "string"] | [1] | []`},
	{"items after prefix items", `{"type": "array", "prefixItems": [{"type": "int"}, {"type": "bool"}], "items": {"type": "int"}}`, `[1, true, 1] | [1, true, 1, 1]`, `[1, true, "foo"]`},
	{"items", `{"type": "array", "items": {"type": "int"}}`, `[1, 2] | [1] | []`, `["foo"] | [1, null]`},
	{"no more items", `{"type": "array", "prefixItems": [{"type": "int"}, {"type": "bool"}], "items": false}`, `[1, true]`, `[1, true, 1] | [1, true, false, "foo"]`},
	{"any more items", `{"type": "array", "prefixItems": [{"type": "int"}], "items": true}`, `[1] | [1, "a", null]`, `["a"]`},
	{"nullable", `{"type": "int", "nullable": true, "minValue": 2}`, `null | 2`, `1 | "2"`},
	{"of another definition", `{"$ref": "#/definitions/natural"}`, `1 | 7`, `0 | "1"`},
	{"of another definition, and narrower", `{"$ref": "#/definitions/natural", "maxValue": 5}`, `1 | 5`, `0`},
	{"of itself", `{"type": "object", "properties": {"value": {"type": "int"}, "next": {"$ref": "#/definitions/it", "nullable": true}}}`,
		`{"value": 1} | {"value": 1, "next": {"value": 2, "next": {"value": 3}}}`, `{"value": 1, "next": {"value": "2"}} | {"value": 1, "next": {}}`},
	{"literal", `{"type": "int", "allowedValues": [10]}`, `10`, `11`},
	{"members in any case", `{"type": "object", "properties": {"Foo": {"type": "int"}}, "additionalProperties": false}`, `{"foo": 1} | {"FOO": 1}`, `{"foo": "1"}`},
	{"secure object", `{"type": "secureObject", "properties": {"password": {"type": "securestring"}}}`, `{"password": "x"}`, `{"password": 1} | {}`},
}

func TestDefinitions(t *testing.T) {
	for _, c := range definitionCases {
		t.Run(c.name, func(t *testing.T) {
			text := header(`"languageVersion": "2.0", "definitions": {"natural": {"type": "int", "minValue": 1}, "it": ` + c.definition + `},
				"parameters": {"p": {"$ref": "#/definitions/it"}}, "resources": {}, "outputs": {"o": {"$ref": "#/definitions/it", "value": "[parameters('p')]"}}`)
			for value := range strings.SplitSeq(c.accepts, " | ") {
				if _, err := expand(t, text, `{"p": {"value": `+value+`}}`); err != nil {
					t.Errorf("%s is refused: %v", value, err)
				}
			}
			for value := range strings.SplitSeq(c.rejects, " | ") {
				_, err := expand(t, text, `{"p": {"value": `+value+`}}`)
				if err == nil {
					t.Errorf("%s is accepted", value)
				} else if !contains(err.Error(), "'p'") {
					t.Errorf("%s: the error does not name the parameter: %v", value, err)
				}
			}
		})
	}
}
