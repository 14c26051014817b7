package template

import (
	"strings"
	"testing"
)

// documented are templates that show what a page of Microsoft's documentation says, by the page. want lists the outputs
// and, for those that ask by "resources", the names of what is deployed.
var documented = []struct{ page, name, sections, given, want string }{
	// Variables
	{"variables", "of variables and parameters", `"parameters": {"prefix": {"type": "string", "maxLength": 11}},
		"variables": {"name": "[concat(toLower(parameters('prefix')), uniqueString('x'))]", "plain": "text", "deep": {"of": ["[variables('plain')]", {"n": 1}]}},
		"resources": [], "outputs": {"a": {"type": "bool", "value": "[startsWith(variables('name'), 'team')]"}, "b": {"type": "object", "value": "[variables('deep')]"}}`,
		`{"prefix": {"value": "TEAM"}}`, `a=true b={"of":["text",{"n":1}]}`},
	{"variables", "configurations by environment", `"parameters": {"env": {"type": "string", "allowedValues": ["test", "prod"]}},
		"variables": {"settings": {"test": {"size": "small", "count": 1}, "prod": {"size": "large", "count": 4}}},
		"resources": [], "outputs": {"size": {"type": "string", "value": "[variables('settings')[parameters('env')].size]"}, "count": {"type": "int", "value": "[variables('settings')[parameters('env')].count]"}}`,
		`{"env": {"value": "prod"}}`, `size="large" count=4`},
	// Variable iteration
	{"copy-variables", "arrays, of strings and of objects", `"parameters": {"n": {"type": "int", "defaultValue": 3}},
		"variables": {"copy": [{"name": "strings", "count": "[parameters('n')]", "input": "[concat('item', copyIndex('strings', 1))]"},
			{"name": "objects", "count": "[parameters('n')]", "input": {"name": "[concat('disk', copyIndex('objects', 1))]", "lun": "[copyIndex('objects')]"}}]},
		"resources": [], "outputs": {"s": {"type": "array", "value": "[variables('strings')]"}, "o": {"type": "array", "value": "[variables('objects')]"}}`,
		"", `s=["item1","item2","item3"] o=[{"name":"disk1","lun":0},{"name":"disk2","lun":1},{"name":"disk3","lun":2}]`},
	{"copy-variables", "inside of an object, beside members", `"variables": {"set": {"kind": "data", "copy": [{"name": "disks", "count": 2, "input": {"lun": "[copyIndex('disks')]"}}, {"name": "names", "count": 2, "input": "[string(copyIndex('names', 5))]"}]}},
		"resources": [], "outputs": {"o": {"type": "object", "value": "[variables('set')]"}}`, "", `o={"kind":"data","disks":[{"lun":0},{"lun":1}],"names":["5","6"]}`},
	{"copy-variables", "none at all", `"variables": {"copy": [{"name": "none", "count": 0, "input": "[div(1, 0)]"}]}, "resources": [], "outputs": {"o": {"type": "array", "value": "[variables('none')]"}}`, "", `o=[]`},
	{"copy-variables", "turned into an object", `"variables": {"copy": [{"name": "pairs", "count": 2, "input": "[createObject(concat('k', copyIndex('pairs')), copyIndex('pairs'))]"}], "one": "[union(variables('pairs')[0], variables('pairs')[1])]"},
		"resources": [], "outputs": {"o": {"type": "object", "value": "[variables('one')]"}}`, "", `o={"k0":0,"k1":1}`},
	// Output iteration
	{"copy-outputs", "over a count and over an array", `"parameters": {"names": {"type": "array", "defaultValue": ["east", "west"]}}, "resources": [], "outputs": {
		"n": {"type": "array", "copy": {"count": 3, "input": "[copyIndex(1)]"}},
		"o": {"type": "array", "copy": {"count": "[length(parameters('names'))]", "input": {"name": "[parameters('names')[copyIndex()]]", "at": "[copyIndex()]"}}}}`,
		"", `n=[1,2,3] o=[{"name":"east","at":0},{"name":"west","at":1}]`},
	// Outputs
	{"outputs", "of each type, some on a condition", `"parameters": {"new": {"type": "string", "defaultValue": "no"}}, "resources": [], "outputs": {
		"s": {"type": "string", "value": "x"}, "b": {"type": "bool", "value": true}, "i": {"type": "int", "value": 4}, "a": {"type": "array", "value": [1, "[add(1, 1)]"]},
		"none": {"condition": "[equals(parameters('new'), 'yes')]", "type": "string", "value": "[div(1, 0)]"}, "some": {"condition": true, "type": "string", "value": "here"}}`,
		"", `s="x" b=true i=4 a=[1,2] some="here"`},
	// Parameters
	{"parameters", "objects, and defaults of other parameters", `"parameters": {"net": {"type": "object", "defaultValue": {"name": "v", "subnets": [{"name": "first", "prefix": "10.0.0.0/24"}]}},
		"site": {"type": "string", "defaultValue": "[concat('site', uniqueString(resourceGroup().id))]"}, "host": {"type": "string", "defaultValue": "[concat(parameters('site'), '-host')]"}},
		"resources": [], "outputs": {"p": {"type": "string", "value": "[parameters('net').subnets[0].prefix]"}, "same": {"type": "bool", "value": "[equals(parameters('host'), concat(parameters('site'), '-host'))]"}}`,
		"", `p="10.0.0.0/24" same=true`},
	{"parameters", "names in any case", `"parameters": {"Name": {"type": "STRING"}}, "variables": {"Len": "[length(parameters('NAME'))]"}, "resources": [], "outputs": {"o": {"type": "Int", "value": "[variables('len')]"}}`,
		`{"name": {"value": "abc"}}`, `o=3`},
	{"data-types", "objects in several forms", `"variables": {"a": {"x": {"y": "z"}}}, "resources": [], "outputs": {"dot": {"type": "string", "value": "[variables('a').x.y]"}, "index": {"type": "string", "value": "[variables('a')['x']['y']]"},
		"mixed": {"type": "string", "value": "[variables('a')['x'].y]"}, "made": {"type": "object", "value": "[createObject('id', 2, 'yes', true())]"}}`, "", `dot="z" index="z" mixed="z" made={"id":2,"yes":true}`},
	{"data-types", "strings over several lines", "\"variables\": {\"v\": \"[\n  concat('a',\n    'b')\n]\"}, \"resources\": [], \"outputs\": {\"o\": {\"type\": \"string\", \"value\": \"[variables('v')]\"}}", "", `o="ab"`},
	// Expressions
	{"template-expressions", "escapes", `"variables": {"bracket": "[[test value]", "half": "[test] value", "quotes": "[concat('it''s \"so\"')]", "json": "[json('{\"a\": [1, {\"b\": null}]}')]", "made": "[concat('[', 'x', ']')]"},
		"resources": [], "outputs": {"a": {"type": "string", "value": "[variables('bracket')]"}, "b": {"type": "string", "value": "[variables('half')]"}, "c": {"type": "string", "value": "[variables('quotes')]"}, "d": {"type": "object", "value": "[variables('json')]"}, "e": {"type": "string", "value": "[variables('made')]"}}`,
		"", `a="[test value]" b="[test] value" c="it's \"so\"" d={"a":[1,{"b":null}]} e="[x]"`},
	{"template-expressions", "null leaves a member without a value", `"variables": {"v": {"x": "[null()]", "y": "[json('null')]"}}, "resources": [], "outputs": {"o": {"type": "object", "value": "[variables('v')]"}}`, "", `o={"x":null,"y":null}`},
	{"template-expressions", "keys may be expressions", `"variables": {"v": {"[concat('a')]": 1}}, "resources": [], "outputs": {"o": {"type": "object", "value": "[variables('v')]"}}`, "", `o={"a":1}`},
	// User-defined functions
	{"user-defined-functions", "with parameters, called in an expression", `"functions": [{"namespace": "team", "members": {"name": {"parameters": [{"name": "prefix", "type": "string"}, {"name": "n", "type": "int"}],
		"output": {"type": "string", "value": "[concat(toLower(parameters('prefix')), '-', parameters('n'))]"}}, "one": {"output": {"type": "int", "value": "[1]"}}}}],
		"resources": [], "outputs": {"o": {"type": "string", "value": "[toUpper(team.name('Sto', add(team.one(), 1)))]"}}`, "", `o="STO-2"`},
	{"user-defined-functions", "that call each other", `"functions": [{"namespace": "a", "members": {"twice": {"parameters": [{"name": "n", "type": "int"}], "output": {"type": "int", "value": "[mul(2, parameters('n'))]"}},
		"four": {"parameters": [{"name": "n", "type": "int"}], "output": {"type": "int", "value": "[a.twice(a.twice(parameters('n')))]"}}}}], "resources": [], "outputs": {"o": {"type": "int", "value": "[a.four(3)]"}}`, "", `o=12`},
	{"user-defined-functions", "that read variables, in languageVersion 2.0", `"languageVersion": "2.0", "variables": {"bar": "abc"}, "functions": [{"namespace": "__bicep", "members": {"baz": {"parameters": [], "output": {"type": "string", "value": "baz"}},
		"all": {"parameters": [{"name": "v", "type": "string"}], "output": {"type": "string", "value": "[format('{0}-{1}-{2}', variables('bar'), parameters('v'), __bicep.baz())]"}}}}], "resources": {}, "outputs": {"o": {"type": "string", "value": "[__bicep.all('def')]"}}`, "", `o="abc-def-baz"`},
	// Definitions
	{"definitions", "a definition with a default value", `"languageVersion": "2.0", "definitions": {"size": {"type": "string", "defaultValue": "Standard_DS1_v2"}}, "parameters": {"p": {"$ref": "#/definitions/size"}}, "resources": {},
		"outputs": {"o": {"$ref": "#/definitions/size", "value": "[parameters('p')]"}}`, "", `o="Standard_DS1_v2"`},
	// Resource iteration
	{"copy-resources", "a count in quotes", `"resources": [` + res("A.B/c", "p", "") + "," + res("A.B/c/d", "[concat('p', '/', 'q', copyIndex())]", `, "copy": {"name": "l", "count": "3"}, "dependsOn": ["p"]`) + `]`, "", `resources=p,p/q0,p/q1,p/q2`},
	{"copy-resources", "named by the turn, from an offset", `"resources": [` + res("A.B/c", "[concat('s', copyIndex(1))]", `, "copy": {"name": "l", "count": 3}`) + `]`, "", `resources=s1,s2,s3`},
	{"copy-resources", "over an array", `"parameters": {"names": {"type": "array"}}, "resources": [` + res("A.B/c", "[concat('s', parameters('names')[copyIndex()])]", `, "copy": {"name": "l", "count": "[length(parameters('names'))]"}`) + `]`,
		`{"names": {"value": ["contoso", "fabrikam"]}}`, `resources=scontoso,sfabrikam`},
	{"copy-resources", "over a range with gaps", `"resources": [` + res("A.B/c", "[concat('s', range(1, 2)[copyIndex()], padLeft(copyIndex(), 2, '0'))]", `, "copy": {"name": "l", "count": "[length(range(1, 2))]"}`) + `]`, "", `resources=s100,s201`},
	{"copy-resources", "children of each turn", `"resources": [` + res("A.B/c", "[concat('p', copyIndex())]", `, "copy": {"name": "l", "count": 2}`) + "," +
		res("A.B/c/d", "[concat('p', copyIndex(), '/child')]", `, "copy": {"name": "m", "count": 2}, "dependsOn": ["l"]`) + `]`, "", `resources=p0,p1,p0/child,p1/child`},
	{"copy-resources", "none, and who depends on them", `"resources": [` + res("A.B/c", "[concat('p', copyIndex())]", `, "copy": {"name": "l", "count": 0}`) + "," + res("A.B/d", "q", `, "dependsOn": ["l"]`) + `]`, "", `resources=q`},
	{"copy-resources", "none, by a symbolic name", `"languageVersion": "2.0", "resources": {"many": ` + res("A.B/c", "[concat('p', copyIndex())]", `, "copy": {"name": "l", "count": 0}`) + `, "one": ` + res("A.B/d", "q", `, "dependsOn": ["many"], "properties": {"n": "[length(references('many'))]"}`) + `}`, "", `resources=q`},
	{"copy-resources", "none", `"resources": [` + res("A.B/c", "[concat('p', copyIndex())]", `, "copy": {"name": "l", "count": 0}`) + `]`, "", `resources=`},
	{"copy-properties", "of different lengths", `"resources": [` + res("A.B/c", "vm", `, "properties": {"copy": [{"name": "disks", "count": 2, "input": {"lun": "[copyIndex('disks')]"}}, {"name": "nics", "count": 1, "input": {"id": "[copyIndex('nics', 7)]"}}], "size": 1}`) + `],
		"outputs": {}`, "", `resources=vm`},
	// Conditions
	{"conditional-resource-deployment", "a name that is there only on the condition", `"languageVersion": "2.0", "parameters": {"key": {"type": "string", "nullable": true}}, "resources": {
		"vault": {"condition": "[not(empty(parameters('key')))]", "existing": true, "type": "A.B/c", "apiVersion": "1", "name": "[last(split(parameters('key'), '/'))]", "subscriptionId": "[split(parameters('key'), '/')[2]]"},
		"s": {"type": "A.B/d", "apiVersion": "1", "name": "s", "dependsOn": ["vault"]}}`, "", `resources=s`},
	{"copy-resources", "after a loop without turns, by each of its names", `"languageVersion": "2.0", "resources": {
		"many": {"copy": {"name": "loop", "count": "[length(createArray())]"}, "type": "A.B/c", "apiVersion": "1", "name": "[concat('p', copyIndex())]"},
		"s": {"type": "A.B/d", "apiVersion": "1", "name": "s", "dependsOn": ["many"]}, "t": {"type": "A.B/d", "apiVersion": "1", "name": "t", "dependsOn": ["loop", "s"]}},
		"outputs": {}`, "", `resources=s,t`},
	{"conditional-resource-deployment", "new or existing", `"parameters": {"which": {"type": "string", "allowedValues": ["new", "existing"]}}, "resources": [` +
		res("A.B/c", "s", `, "condition": "[equals(parameters('which'), 'new')]"`) + "," + res("A.B/d", "t", `, "dependsOn": ["s"]`) + `]`, `{"which": {"value": "existing"}}`, `resources=t`},
	// Order
	{"resource-dependency", "children and parents in each other", `"resources": [` + res("A.B/c", "p", `, "resources": [`+res("d", "q", `, "dependsOn": ["p"], "resources": [`+res("e", "r", `, "dependsOn": ["q"]`)+`]`)+`]`) + `]`, "", `resources=p,p/q,p/q/r`},
	{"child-resource-name-type", "outside of the parent", `"resources": [` + res("A.B/c", "p", "") + "," + res("A.B/c/d", "[concat('p', '/q')]", `, "dependsOn": ["[resourceId('A.B/c', 'p')]"]`) + `]`, "", `resources=p,p/q`},
	// Lambdas
	{"template-functions-lambda", "all at once", `"variables": {"dogs": [{"name": "Evie", "age": 5, "likes": ["ball"]}, {"name": "Casper", "age": 3, "likes": ["dogs"]}, {"name": "Indy", "age": 2, "likes": ["butter"]}],
		"ages": "[map(variables('dogs'), lambda('d', lambdaVariables('d').age))]", "copy": [{"name": "loop", "count": "[length(range(0, 5))]", "input": "[range(0, 5)[copyIndex('loop')]]"}]},
		"resources": [], "outputs": {"old": {"type": "array", "value": "[map(filter(variables('dogs'), lambda('d', greaterOrEquals(lambdaVariables('d').age, 3))), lambda('d', lambdaVariables('d').name))]"},
		"loop": {"type": "array", "value": "[filter(variables('loop'), lambda('i', greater(lambdaVariables('i'), 2)))]"},
		"hi": {"type": "array", "value": "[map(range(0, 2), lambda('i', createObject('i', lambdaVariables('i'), 'hi', format('Ahoy, {0}!', variables('dogs')[lambdaVariables('i')].name))))]"},
		"sum": {"type": "int", "value": "[reduce(variables('ages'), 1, lambda('cur', 'next', add(lambdaVariables('cur'), lambdaVariables('next'))))]"},
		"one": {"type": "object", "value": "[reduce(createArray(createObject('foo', 123), createObject('bar', 456)), createObject(), lambda('c', 'n', union(lambdaVariables('c'), lambdaVariables('n'))))]"},
		"sorted": {"type": "array", "value": "[map(sort(variables('dogs'), lambda('a', 'b', less(lambdaVariables('a').age, lambdaVariables('b').age))), lambda('d', lambdaVariables('d').name))]"},
		"by": {"type": "object", "value": "[toObject(variables('dogs'), lambda('e', lambdaVariables('e').name), lambda('e', lambdaVariables('e').age))]"}}`, "",
		`old=["Evie","Casper"] loop=[3,4] hi=[{"i":0,"hi":"Ahoy, Evie!"},{"i":1,"hi":"Ahoy, Casper!"}] sum=11 one={"foo":123,"bar":456} sorted=["Indy","Casper","Evie"] by={"Evie":5,"Casper":3,"Indy":2}`},
	// Addresses
	{"template-functions-cidr", "in loops", `"resources": [], "outputs": {
		"subnets": {"type": "array", "copy": {"count": "[length(range(0, 3))]", "input": "[cidrSubnet('10.144.0.0/20', 24, range(0, 3)[copyIndex()])]"}},
		"subnets6": {"type": "array", "copy": {"count": 3, "input": "[cidrSubnet('fdad:3236:5555::/48', 52, range(0, 3)[copyIndex()])]"}},
		"hosts": {"type": "array", "copy": {"count": 2, "input": "[cidrHost('10.144.3.0/24', copyIndex())]"}},
		"hosts6": {"type": "array", "copy": {"count": 2, "input": "[cidrHost('fdad:3236:5555:3000::/52', copyIndex())]"}}, "v6": {"type": "object", "value": "[parseCidr('fdad:3236:5555::/48')]"}}`, "",
		`subnets=["10.144.0.0/24","10.144.1.0/24","10.144.2.0/24"] subnets6=["fdad:3236:5555::/52","fdad:3236:5555:1000::/52","fdad:3236:5555:2000::/52"] hosts=["10.144.3.1","10.144.3.2"] hosts6=["fdad:3236:5555:3000::1","fdad:3236:5555:3000::2"] v6={"network":"fdad:3236:5555::","netmask":"ffff:ffff:ffff::","firstUsable":"fdad:3236:5555::","lastUsable":"fdad:3236:5555:ffff:ffff:ffff:ffff:ffff","cidr":48}`},
	// Objects
	{"template-functions-object", "items, to loop over an object", `"variables": {"set": {"item002": {"on": false, "n": 2}, "item001": {"on": true, "n": 1}}}, "resources": [], "outputs": {
		"all": {"type": "array", "copy": {"count": "[length(items(variables('set')))]", "input": {"k": "[items(variables('set'))[copyIndex()].key]", "n": "[items(variables('set'))[copyIndex()].value.n]"}}},
		"on": {"type": "array", "value": "[map(filter(items(variables('set')), lambda('e', lambdaVariables('e').value.on)), lambda('e', lambdaVariables('e').key))]"}}`, "",
		`all=[{"k":"item001","n":1},{"k":"item002","n":2}] on=["item001"]`},
	{"template-functions-object", "merged deeply, arrays replaced", `"parameters": {"a": {"type": "object", "defaultValue": {"property": {"one": "a", "two": "b", "three": "c1"}, "nested": {"number": [1, 2], "x": {"k": 1}}}},
		"b": {"type": "object", "defaultValue": {"property": {"three": "c2", "four": "d"}, "nested": {"number": [3], "x": {"l": 2}}}}}, "resources": [], "outputs": {"o": {"type": "object", "value": "[union(parameters('a'), parameters('b'))]"}}`, "",
		`o={"property":{"one":"a","two":"b","three":"c2","four":"d"},"nested":{"number":[3],"x":{"k":1,"l":2}}}`},
	// Syntax
	{"syntax", "comments, metadata, api profile", `"metadata": {"comments": "of the template", "any": [1]}, /* a block
		comment */ "apiProfile": "2018-06-01-profile", "resources": [ // one
		{"comments": "x", "type": "A.B/c", "name": "n", "metadata": {"y": 1}, "location": "l"},]`, "", `resources=n`},
}

func TestDocumented(t *testing.T) {
	for _, c := range documented {
		t.Run(c.page+"/"+c.name, func(t *testing.T) {
			p := mustExpand(t, header(c.sections), c.given)
			outs, failed := p.Outputs(nil)
			if failed != nil {
				t.Fatal(failed)
			}
			var got []string
			for _, o := range outs {
				got = append(got, o.Name+"="+string(o.Value.AppendJSON(nil)))
			}
			if strings.HasPrefix(c.want, "resources=") {
				var deployed []string
				for _, r := range p.Resources {
					if !r.Skipped {
						deployed = append(deployed, r.Name)
					}
				}
				got = append(got, "resources="+strings.Join(deployed, ","))
			}
			if s := strings.Join(got, " "); s != c.want {
				t.Errorf("got  %s\nwant %s", s, c.want)
			}
		})
	}
}
