package template

import (
	"strings"
	"testing"
)

// The cases are the examples of Microsoft's pages "ARM template functions": each is an expression and what it gives, as
// JSON. Where a page shows a function with parameters the values are written into the expression.
var functionCases = []struct{ name, expression, want string }{
	// array functions
	{"array of int", "[array(1)]", `[1]`},
	{"array of string", "[array('efgh')]", `["efgh"]`},
	{"array of object", "[array(json('{\"a\":\"b\",\"c\":\"d\"}'))]", `[{"a":"b","c":"d"}]`},
	{"concat arrays", "[concat(createArray('1-1','1-2'), createArray('2-1'))]", `["1-1","1-2","2-1"]`},
	{"concat strings", "[concat('prefix', '-', 5, true())]", `"prefix-5True"`},
	{"contains string", "[contains('OneTwoThree', 'e')]", `true`},
	{"contains string in another case", "[contains('OneTwoThree', 'z')]", `false`},
	{"contains key", "[contains(json('{\"one\":\"a\"}'), 'ONE')]", `true`},
	{"contains element", "[contains(createArray('one','two'), 'two')]", `true`},
	{"contains number", "[contains(createArray(1,2), 3)]", `false`},
	{"createArray", "[createArray(1, 'a', createArray())]", `[1,"a",[]]`},
	{"empty array", "[empty(createArray())]", `true`},
	{"empty object", "[empty(json('{}'))]", `true`},
	{"empty string", "[empty('')]", `true`},
	{"empty null", "[empty(null())]", `true`},
	{"first of array", "[first(createArray('one','two'))]", `"one"`},
	{"first of string", "[first('One Two')]", `"O"`},
	{"first of nothing", "[first(createArray())]", `null`},
	{"last of array", "[last(createArray('one','two'))]", `"two"`},
	{"last of string", "[last('One Two Three')]", `"e"`},
	{"indexOf array", "[indexOf(createArray('one','two','three'), 'two')]", `1`},
	{"lastIndexOf array", "[lastIndexOf(createArray(1,2,1), 1)]", `2`},
	{"intersection of arrays", "[intersection(createArray('one','two','three'), createArray('two','three'))]", `["two","three"]`},
	{"intersection of objects", "[intersection(json('{\"one\":\"a\",\"two\":\"b\",\"three\":\"c\"}'), json('{\"one\":\"a\",\"two\":\"z\",\"three\":\"c\"}'))]", `{"one":"a","three":"c"}`},
	{"length of array", "[length(createArray('one','two','three'))]", `3`},
	{"length of string", "[length('One Two Three')]", `13`},
	{"length of object", "[length(json('{\"a\":1,\"b\":2}'))]", `2`},
	{"max of array", "[max(createArray(0,3,2,5,4))]", `5`},
	{"max of ints", "[max(0,3,2,5,4)]", `5`},
	{"min of array", "[min(createArray(0,3,2,5,4))]", `0`},
	{"range", "[range(5,3)]", `[5,6,7]`},
	{"skip array", "[skip(createArray('one','two','three'), 2)]", `["three"]`},
	{"skip string", "[skip('one two three', 4)]", `"two three"`},
	{"skip negative", "[skip('abc', -1)]", `"abc"`},
	{"take array", "[take(createArray('one','two','three'), 2)]", `["one","two"]`},
	{"take string", "[take('one two three', 2)]", `"on"`},
	{"take too many", "[take('abc', 9)]", `"abc"`},
	{"union of arrays", "[union(createArray('one','two','three'), createArray('three','four'))]", `["one","two","three","four"]`},
	{"union of objects", "[union(json('{\"one\":\"a\",\"two\":\"b\",\"three\":\"c1\"}'), json('{\"three\":\"c2\",\"four\":\"d\",\"five\":\"e\"}'))]", `{"one":"a","two":"b","three":"c2","four":"d","five":"e"}`},
	{"union is deep for objects", "[union(json('{\"p\":{\"a\":1,\"b\":[1]}}'), json('{\"p\":{\"b\":[2],\"c\":3}}'))]", `{"p":{"a":1,"b":[2],"c":3}}`},
	{"tryGet member", "[tryGet(json('{\"a\":{\"b\":[1,2]}}'), 'a', 'b', 1)]", `2`},
	{"tryGet nothing", "[tryGet(json('{\"a\":{}}'), 'a', 'x', 'y')]", `null`},
	{"flatten", "[flatten(createArray(createArray(1,2), createArray(3)))]", `[1,2,3]`},
	{"indexFromEnd", "[indexFromEnd(createArray('a','b','c'), 1)]", `"c"`},
	{"indexFromEnd of the first", "[indexFromEnd(createArray('a','b','c'), 3)]", `"a"`},
	{"tryIndexFromEnd of nothing", "[tryIndexFromEnd(createArray('a'), 2)]", `null`},
	{"tryGet of null", "[tryGet(null(), 'a')]", `null`},
	{"distinct", "[distinct(createArray('a','b','a','c','b'))]", `["a","b","c"]`},
	{"distinct objects", "[distinct(createArray(json('{\"a\":1}'), json('{\"a\":1}'), json('{\"b\":2}')))]", `[{"a":1},{"b":2}]`},
	{"lastIndexOf nothing", "[lastIndexOf(createArray(1), 2)]", `-1`},
	{"concat of three arrays", "[concat(createArray(1), createArray(), createArray('a', createArray(2)))]", `[1,"a",[2]]`},
	{"contains, numbers in text", "[contains('a1b', 1)]", `true`},
	{"intersection of three", "[intersection(createArray(1,2,3), createArray(3,2), createArray(2,9))]", `[2]`},
	{"union of three, in order", "[union(createArray(3,1), createArray(1,2), createArray(0,3))]", `[3,1,2,0]`},
	{"min of one", "[min(createArray(7))]", `7`},
	{"range of none", "[range(4,0)]", `[]`},
	{"take negative", "[take(createArray(1), -1)]", `[]`},
	{"skip all", "[skip(createArray(1,2), 5)]", `[]`},
	// comparison
	{"coalesce", "[coalesce(null(), json('null'), 'default')]", `"default"`},
	{"equals ints", "[equals(1,2)]", `false`},
	{"equals strings", "[equals('a','a')]", `true`},
	{"equals is exact", "[equals('a','A')]", `false`},
	{"equals arrays", "[equals(createArray('a','b'), createArray('a','b'))]", `true`},
	{"equals objects", "[equals(json('{\"a\":1,\"b\":2}'), json('{\"b\":2,\"a\":1}'))]", `true`},
	{"less", "[less(1,2)]", `true`},
	{"less strings", "[less('b','a')]", `false`},
	{"less, capitals last", "[less('A','a')]", `false`},
	{"greater, capitals last", "[greater('A','a')]", `true`},
	{"less, letters first", "[less('a','B')]", `true`},
	{"coalesce of nulls", "[coalesce(null(), null())]", `null`},
	{"coalesce, an object", "[coalesce(null(), json('{\"a\":1}')).a]", `1`},
	{"equals of different kinds", "[equals('1', 1)]", `false`},
	{"equals of nulls", "[equals(null(), json('null'))]", `true`},
	{"equals of nested", "[equals(json('{\"a\":[1,{\"b\":2}]}'), json('{\"a\":[1,{\"b\":2}]}'))]", `true`},
	{"lessOrEquals", "[lessOrEquals(2,2)]", `true`},
	{"greater", "[greater('b','a')]", `true`},
	{"greaterOrEquals", "[greaterOrEquals(1,2)]", `false`},
	// dates
	{"dateTimeAdd years", "[dateTimeAdd('2020-04-07 14:53:14Z', 'P3Y')]", `"4/7/2023 2:53:14 PM"`},
	{"dateTimeAdd minus days", "[dateTimeAdd('2020-04-07 14:53:14Z', '-P9D')]", `"3/29/2020 2:53:14 PM"`},
	{"dateTimeAdd hour", "[dateTimeAdd('2020-04-07 14:53:14Z', 'PT1H')]", `"4/7/2020 3:53:14 PM"`},
	{"dateTimeAdd with format", "[dateTimeAdd('2020-04-07 14:53:14Z', 'PT1H30M', 'yyyy-MM-ddTHH:mm:ssZ')]", `"2020-04-07T16:23:14Z"`},
	{"dateTimeAdd in the base's form", "[dateTimeAdd('20200407T145314Z', 'P1M')]", `"20200507T145314Z"`},
	{"dateTimeAdd at the month's end", "[dateTimeAdd('2024-01-31T00:00:00Z', 'P1M')]", `"2024-02-29T00:00:00Z"`},
	{"a date of one form", "[dateTimeAdd('2019-03-04T17:53:18Z', 'P1D', 'd')]", `"03/05/2019"`},
	{"a date in words", "[dateTimeAdd('2019-03-04T17:53:18Z', 'P1D', 'F')]", `"Tuesday, 05 March 2019 17:53:18"`},
	{"a time of one form", "[dateTimeAdd('2019-03-04T17:53:18Z', 'PT10M', 't')]", `"18:03"`},
	{"a date of its own form", "[dateTimeAdd('2019-03-04T17:53:18Z', 'P1D', 'M d')]", `"3 5"`},
	{"dateTimeFromEpoch", "[dateTimeFromEpoch(1683040573)]", `"2023-05-02T15:16:13Z"`},
	{"dateTimeToEpoch", "[dateTimeToEpoch('2023-05-02T15:16:13Z')]", `1683040573`},
	// deployment
	{"deployment", "[deployment().name]", `"main"`},
	{"environment", "[environment().suffixes.storage]", `"core.lido.example"`},
	// lambdas
	{"filter", "[filter(createArray(1,2,3,4,5), lambda('x', greater(lambdaVariables('x'), 3)))]", `[4,5]`},
	{"filter with index", "[filter(createArray('a','b','c'), lambda('x','i', equals(mod(lambdaVariables('i'), 2), 0)))]", `["a","c"]`},
	{"map", "[map(createArray('Evie','Casper'), lambda('dog', format('Hello, {0}!', lambdaVariables('dog'))))]", `["Hello, Evie!","Hello, Casper!"]`},
	{"map nested", "[map(range(0,2), lambda('i', map(range(0,2), lambda('j', add(lambdaVariables('i'), lambdaVariables('j'))))))]", `[[0,1],[1,2]]`},
	{"mapValues", "[mapValues(json('{\"a\":1,\"b\":2}'), lambda('v', mul(lambdaVariables('v'), 10)))]", `{"a":10,"b":20}`},
	{"reduce", "[reduce(createArray(5,3,2,8), 0, lambda('a','b', add(lambdaVariables('a'), lambdaVariables('b'))))]", `18`},
	{"sort", "[sort(createArray(8,3,10,-13,5), lambda('x','y', less(lambdaVariables('x'), lambdaVariables('y'))))]", `[-13,3,5,8,10]`},
	{"toObject", "[toObject(createArray('a','b'), lambda('x', lambdaVariables('x')), lambda('x', toUpper(lambdaVariables('x'))))]", `{"a":"A","b":"B"}`},
	{"toObject of entries", "[toObject(createArray(createObject('n','x','v',1)), lambda('e', lambdaVariables('e').n))]", `{"x":{"n":"x","v":1}}`},
	{"groupBy", "[groupBy(createArray('foo','bar','baz'), lambda('x', substring(lambdaVariables('x'), 0, 1)))]", `{"f":["foo"],"b":["bar","baz"]}`},
	// logical
	{"and", "[and(bool('true'), bool('false'))]", `false`},
	{"and stops", "[and(false(), equals(1, div(1, 0)))]", `false`},
	{"or stops", "[or(true(), equals(1, div(1, 0)))]", `true`},
	{"not", "[not(true())]", `false`},
	{"bool of string", "[bool('true')]", `true`},
	{"bool of int", "[bool(0)]", `false`},
	{"if", "[if(equals('a', 'a'), 'yes', 'no')]", `"yes"`},
	{"if is lazy", "[if(true(), 'yes', div(1, 0))]", `"yes"`},
	{"if with null", "[if(equals('a', 'b'), 'yes', json('null'))]", `null`},
	// numeric
	{"add", "[add(5,3)]", `8`},
	{"sub", "[sub(7,3)]", `4`},
	{"mul", "[mul(5,3)]", `15`},
	{"div", "[div(8,3)]", `2`},
	{"mod", "[mod(7,3)]", `1`},
	{"int", "[int('4')]", `4`},
	{"int of number", "[int(-4)]", `-4`},
	{"float", "[float('3.5')]", `3.5`},
	// objects
	{"createObject", "[createObject('intProp', 1, 'objectProp', createObject('key1', 'value1'))]", `{"intProp":1,"objectProp":{"key1":"value1"}}`},
	{"items in order", "[items(json('{\"item002\":{\"n\":2},\"item001\":{\"n\":1}}'))]", `[{"key":"item001","value":{"n":1}},{"key":"item002","value":{"n":2}}]`},
	{"items in order, whatever their case", "[map(items(json('{\"gKey\":1,\"aKey\":2,\"1Key\":3,\"GKey\":4,\"AKey\":5,\"4Key\":6}')), lambda('i', lambdaVariables('i').key))]", `["1Key","4Key","aKey","AKey","gKey","GKey"]`},
	{"objectKeys", "[objectKeys(json('{\"a\":1,\"b\":2}'))]", `["a","b"]`},
	{"shallowMerge", "[shallowMerge(createArray(json('{\"a\":{\"x\":1}}'), json('{\"a\":{\"y\":2}}')))]", `{"a":{"y":2}}`},
	{"json array", "[json('[1,2,3]')]", `[1,2,3]`},
	{"json null", "[json('null')]", `null`},
	{"property of json", "[json('{\"a\":{\"b\":[10,20]}}').a.b[1]]", `20`},
	{"property by index", "[json('{\"a b\":1}')['a b']]", `1`},
	// strings
	{"base64", "[base64('one, two, three')]", `"b25lLCB0d28sIHRocmVl"`},
	{"base64ToString", "[base64ToString('b25lLCB0d28sIHRocmVl')]", `"one, two, three"`},
	{"base64ToJson", "[base64ToJson(base64('{''one'': ''a'', ''two'': ''b''}'))]", `{"one":"a","two":"b"}`},
	{"dataUri", "[dataUri('Hello')]", `"data:text/plain;charset=utf8;base64,SGVsbG8="`},
	{"parseUri", "[parseUri('https://store.example.org:8080/templates/nested.json?st=2025-05-09')]", `{"scheme":"https","host":"store.example.org","port":8080,"path":"/templates/nested.json","query":"?st=2025-05-09"}`},
	{"parseUri without a port", "[parseUri('http://example.org').port]", `null`},
	{"buildUri", "[buildUri(json('{\"scheme\":\"https\",\"host\":\"store.example.org\",\"port\":8080,\"path\":\"/templates/nested.json\",\"query\":\"?st=2025\"}'))]", `"https://store.example.org:8080/templates/nested.json?st=2025"`},
	{"buildUri of the least", "[buildUri(createObject('scheme', 'https', 'host', 'example.org'))]", `"https://example.org/"`},
	{"like", "[like('abcdef', 'a*c*')]", `true`},
	{"like exactly", "[like('abc', 'ABC')]", `true`},
	{"like, at the end", "[like('abcabc', '*abc')]", `true`},
	{"like, in between", "[like('aXbYa', 'a*b*a')]", `true`},
	{"like nothing", "[like('', '***')]", `true`},
	{"like not", "[like('a', 'b')]", `false`},
	{"like, no overlap", "[like('aba', 'ab*ba')]", `false`},
	{"dataUriToString", "[dataUriToString('data:;base64,SGVsbG8sIFdvcmxkIQ==')]", `"Hello, World!"`},
	{"endsWith", "[endsWith('abcdef', 'F')]", `true`},
	{"startsWith", "[startsWith('abcdef', 'AB')]", `true`},
	{"startsWith not", "[startsWith('abcdef', 'e')]", `false`},
	{"format", "[format('{0}, {1}. Formatted number: {2:N0}', 'Hello', 'User', 8175133)]", `"Hello, User. Formatted number: 8,175,133"`},
	{"format padded", "[format('{0:000}-{1,4}-{{x}}', 7, 'ab')]", `"007-  ab-{x}"`},
	{"indexOf", "[indexOf('abcdef', 'CD')]", `2`},
	{"indexOf nothing", "[indexOf('abcdef', 'z')]", `-1`},
	{"lastIndexOf", "[lastIndexOf('test', 't')]", `3`},
	{"join", "[join(createArray('one','two','three'), ',')]", `"one,two,three"`},
	{"padLeft", "[padLeft('123', 10, '0')]", `"0000000123"`},
	{"padLeft of int", "[padLeft(7, 3, '0')]", `"007"`},
	{"replace", "[replace('123-123-1234', '-', '')]", `"1231231234"`},
	{"split", "[split('one,two,three', ',')]", `["one","two","three"]`},
	{"split by several", "[split('one;two,three', createArray(',', ';'))]", `["one","two","three"]`},
	{"string of object", "[string(json('{\"a\":10,\"b\":\"Example Text\"}'))]", `"{\"a\":10,\"b\":\"Example Text\"}"`},
	{"string of array", "[string(createArray('a','b','c'))]", `"[\"a\",\"b\",\"c\"]"`},
	{"string of int", "[string(5)]", `"5"`},
	{"substring", "[substring('one two three', 4, 3)]", `"two"`},
	{"substring to the end", "[substring('one two', 4)]", `"two"`},
	{"toLower", "[toLower('One Two Three')]", `"one two three"`},
	{"toUpper", "[toUpper('One Two Three')]", `"ONE TWO THREE"`},
	{"trim", "[trim('    one two three   ')]", `"one two three"`},
	{"uri", "[uri('http://contoso.com/resources/', 'nested/azuredeploy.json')]", `"http://contoso.com/resources/nested/azuredeploy.json"`},
	{"uri without slash", "[uri('http://contoso.org/firstpath', 'myscript.sh')]", `"http://contoso.org/myscript.sh"`},
	{"uri of file", "[uri('http://contoso.org/firstpath/azuredeploy.json', 'myscript.sh')]", `"http://contoso.org/firstpath/myscript.sh"`},
	{"uri in its usual form", "[uri('HTTP://Contoso.ORG:80/First/', 'a b')]", `"http://contoso.org/First/a%20b"`},
	{"uri with a port of its own", "[uri('https://contoso.org:8443/x', '../y')]", `"https://contoso.org:8443/y"`},
	{"dataUri of a number", "[dataUri(100)]", `"data:application/json;charset=utf8;base64,MTAw"`},
	{"uriComponent", "[uriComponent('http://contoso.com/resources/nested/azuredeploy.json')]", `"http%3A%2F%2Fcontoso.com%2Fresources%2Fnested%2Fazuredeploy.json"`},
	{"uriComponentToString", "[uriComponentToString('http%3A%2F%2Fcontoso.com%2Fa%20b')]", `"http://contoso.com/a b"`},
	{"doubled quotes", "[concat('it''s')]", `"it's"`},
	// cidr
	{"parseCidr", "[parseCidr('10.144.0.0/20')]", `{"network":"10.144.0.0","netmask":"255.255.240.0","broadcast":"10.144.15.255","firstUsable":"10.144.0.1","lastUsable":"10.144.15.254","cidr":20}`},
	{"parseCidr v6", "[parseCidr('fdad:3236:5555::/48').lastUsable]", `"fdad:3236:5555:ffff:ffff:ffff:ffff:ffff"`},
	{"cidrSubnet", "[cidrSubnet('10.144.0.0/20', 24, 3)]", `"10.144.3.0/24"`},
	{"cidrSubnet v6", "[cidrSubnet('fdad:3236:5555::/48', 52, 1)]", `"fdad:3236:5555:1000::/52"`},
	{"cidrHost", "[cidrHost('10.144.3.0/24', 4)]", `"10.144.3.5"`},
	// resources and scopes
	{"resourceId", "[resourceId('Microsoft.Network/virtualNetworks', 'n')]", `"` + testGroup + `/providers/Microsoft.Network/virtualNetworks/n"`},
	{"resourceId of child", "[resourceId('Microsoft.Sql/servers/databases', 's', 'd')]", `"` + testGroup + `/providers/Microsoft.Sql/servers/s/databases/d"`},
	{"resourceId in group", "[resourceId('other', 'Microsoft.Storage/storageAccounts', 's')]", `"/subscriptions/` + testSub + `/resourceGroups/other/providers/Microsoft.Storage/storageAccounts/s"`},
	{"resourceId in subscription", "[resourceId('sub', 'other', 'Microsoft.Storage/storageAccounts', 's')]", `"/subscriptions/sub/resourceGroups/other/providers/Microsoft.Storage/storageAccounts/s"`},
	{"subscriptionResourceId", "[subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'r')]", `"/subscriptions/` + testSub + `/providers/Microsoft.Authorization/roleDefinitions/r"`},
	{"tenantResourceId", "[tenantResourceId('Microsoft.Authorization/roleDefinitions', 'r')]", `"/providers/Microsoft.Authorization/roleDefinitions/r"`},
	{"extensionResourceId", "[extensionResourceId('/a/b', 'Microsoft.Authorization/locks', 'l')]", `"/a/b/providers/Microsoft.Authorization/locks/l"`},
	{"resourceGroup", "[resourceGroup().location]", `"local"`},
	{"subscription", "[subscription().subscriptionId]", `"` + testSub + `"`},
	{"providers", "[providers('Microsoft.Compute', 'virtualMachineScaleSets').apiVersions[0]]", `"2022-11-01"`},
	{"toLogicalZones", "[toLogicalZones('s', 'local', createArray('local-az1'))]", `[]`},
	{"toLogicalZone", "[toLogicalZone('s', 'local', 'local-az1')]", `""`},
	{"toPhysicalZones", "[toPhysicalZones('s', 'local', createArray('1', '2'))]", `[]`},
	{"tenant", "[tenant().displayName]", `"lido"`},
	{"guid", "[equals(guid('a', 'b'), guid('a-b'))]", `true`},
	{"guid's form", "[length(guid('a'))]", `36`},
	{"any", "[any(createArray(1))]", `[1]`},
	{"format, fixed digits", "[format('{0:D5}|{1:F2}|{2:X}|{3,6}|{4,-6}|', 42, 3, 255, 'ab', 'cd')]", `"00042|3.00|FF|    ab|cd    |"`},
	{"format, objects and arrays in single quotes", "[format('>{0}<>{1}<', createArray(true(), 2893, 'abc'), createObject('a', 'b', '!c', 2))]", `">[true,2893,'abc']<>{'a':'b','!c':2}<"`},
	{"format, single quotes inside of them", "[format('{0}', createObject('it''s', '\"x\"'))]", `"{'it\\'s':'\"x\"'}"`},
	{"format, a date's text is left alone", "[format('{0}', '2020-01-01T00:00:00Z')]", `"2020-01-01T00:00:00Z"`},
	{"format, booleans and nothing", "[format('{0} {1}', true(), null())]", `"True "`},
	{"string of a boolean", "[string(true())]", `"True"`},
	{"string of null", "[string(null())]", `""`},
	{"bool of a number in words", "[bool('1')]", `true`},
	{"int of a fraction's text", "[add(int('7'), -2)]", `5`},
	{"nested indices", "[createArray(createArray(1, 2), createArray(3))[0][1]]", `2`},
	{"a member by a made name", "[createObject('ab', 1)[concat('a', 'b')]]", `1`},
	{"a member in another case", "[createObject('Ab', 1).aB]", `1`},
	{"blanks and line breaks", "[  concat ( 'a' ,\n 'b' )  ]", `"ab"`},
	{"toPhysicalZone", "[toPhysicalZone('s', 'local', '1')]", `""`},
	{"managementGroupResourceId", "[managementGroupResourceId('m', 'Microsoft.Authorization/policyDefinitions', 'p')]", `"/providers/Microsoft.Management/managementGroups/m/providers/Microsoft.Authorization/policyDefinitions/p"`},
	{"subscriptionResourceId of another", "[subscriptionResourceId('s', 'Microsoft.Authorization/roleDefinitions', 'r')]", `"/subscriptions/s/providers/Microsoft.Authorization/roleDefinitions/r"`},
	{"pickZones", "[pickZones('Microsoft.Compute', 'virtualMachines', 'local')]", `[]`},
	// text that is no expression
	{"escaped", "[[not an expression]", `"[not an expression]"`},
	{"open bracket only", "[not closed", `"[not closed"`},
	{"text", "text", `"text"`},
}

func TestFunctions(t *testing.T) {
	for _, c := range functionCases {
		t.Run(c.name, func(t *testing.T) {
			v, err := evaluate(t, c.expression, "")
			if err != nil {
				t.Fatalf("%s: %v", c.expression, err)
			}
			if got := string(v.AppendJSON(nil)); got != c.want {
				t.Errorf("%s\n got %s\nwant %s", c.expression, got, c.want)
			}
		})
	}
}

// TestUniqueString holds the hash to values that others got from Azure and published.
func TestUniqueString(t *testing.T) {
	for text, want := range map[string]string{
		"test":        "rbgf3xv4ufgzg",
		"hello-world": "a7wkljktk6wne",
		"abc":         "cgtzqvhu4i23s",
		"foo-bar-baz": "xzi4ioaxtmth4",
		"/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/my-rg":                                   "bmg7c6xu4tw46",
		"/subscriptions/12345678-1234-1234-1234-123456789012/resourceGroups/my-rg-Microsoft.Storage/storageAccounts": "z22rah77jfqry",
	} {
		if got := uniqueString(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

func TestFunctionErrors(t *testing.T) {
	for _, c := range []struct{ expression, want string }{
		{"[nonsense()]", "is not valid"},
		{"[toLower()]", "requires exactly 1"},
		{"[toLower('a','b')]", "requires exactly 1"},
		{"[toLower(1)]", "of type 'String'. The provided value is of type 'Integer'"},
		{"[substring('abc', 2, 5)]", "within the string"},
		{"[div(1, 0)]", "no result"},
		{"[add(9223372036854775807, 1)]", "no result"},
		{"[createArray(1)[3]]", "out of bounds"},
		{"[json('{\"a\":1}').b]", "available properties are 'a'"},
		{"[parameters('x')]", "parameter 'x' is not found"},
		{"[variables('x')]", "variable 'x' is not found"},
		{"[utcNow()]", "default value"},
		{"[copyIndex()]", "copy specified"},
		{"[concat('a', ]", "not valid"},
		{"[concat('a]", "not valid"},
		{"[concat('a') 'b']", "not valid"},
		{"[1 + 1]", "not valid"},
		{"[]", "not valid"},
		{"[if('a', 1, 2)]", "Boolean"},
		{"[resourceId('Microsoft.Network/virtualNetworks/subnets', 'a')]", "requires '2' resource name"},
		{"[json('{')]", "not valid JSON"},
		{"[int('x')]", "cannot be converted"},
		{"[range(0, 10001)]", "count"},
		{"[cidrHost('10.0.0.0/30', 5)]", "no usable address"},
		{"[createObject('a')]", "even number"},
		{"[fail('so it is')]", "so it is"},
		{"[format('{1}', 'a')]", "no argument"},
		{"[lambdaVariables('x')]", "not found"},
		{"[map(createArray(1), 5)]", "lambda"},
	} {
		v, err := evaluate(t, c.expression, "")
		if err == nil {
			t.Errorf("%s gives %s, want an error", c.expression, v.AppendJSON(nil))
		} else if !contains(err.Error(), c.want) {
			t.Errorf("%s: %v\nwant %q", c.expression, err, c.want)
		}
	}
}

// TestEveryFunction: each function that Microsoft's page "ARM template functions" or the bicep compiler's list of functions
// names is there, and has a case above or is tested with resources.
func TestEveryFunction(t *testing.T) {
	const named = `array concat contains createArray distinct empty first flatten indexFromEnd indexOf intersection last lastIndexOf length max min
		range skip take tryGet tryIndexFromEnd union cidrHost cidrSubnet parseCidr coalesce equals greater greaterOrEquals less lessOrEquals
		dateTimeAdd dateTimeFromEpoch dateTimeToEpoch utcNow deployer deployment environment parameters variables filter groupBy map mapValues
		reduce sort toObject lambda lambdaVariables and bool false if not or true add copyIndex div float int mod mul sub createObject items json
		null objectKeys shallowMerge extensionResourceId listKeys listSecrets listAccountSas list pickZones providers reference references
		resourceId subscriptionResourceId managementGroupResourceId tenantResourceId toLogicalZone toLogicalZones toPhysicalZone toPhysicalZones
		managementGroup resourceGroup subscription tenant base64 base64ToJson base64ToString buildUri dataUri dataUriToString endsWith format
		guid join like newGuid padLeft parseUri replace split startsWith string substring toLower toUpper trim uniqueString uri uriComponent
		uriComponentToString any fail`
	all := functionTable()
	for name := range strings.FieldsSeq(named) {
		if all[strings.ToLower(name)] == nil && !strings.HasPrefix(name, "list") && !strings.HasPrefix(name, "lambda") {
			t.Errorf("there is no function %s", name)
		}
	}
	tested := "parameters variables copyindex lambdavariables utcnow newguid reference references list listkeys deployer managementgroup any fail uniquestring guid tenant lambda null true"
	for _, c := range functionCases {
		tested += " " + strings.ToLower(c.expression)
	}
	for name := range all {
		if !strings.Contains(tested, name+"(") && !strings.Contains(" "+tested+" ", " "+name+" ") && name != "list*" {
			t.Errorf("no case calls %s", name)
		}
	}
}
