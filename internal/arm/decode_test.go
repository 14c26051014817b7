package arm

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestDecodeNamesThePath(t *testing.T) {
	type subnet struct {
		Properties struct {
			AddressPrefix string            `json:"addressPrefix"`
			Ports         []Int             `json:"ports"`
			Open          Bool              `json:"open"`
			Labels        map[string]string `json:"labels"`
		} `json:"properties"`
	}
	type body struct {
		Properties struct {
			Subnets []subnet `json:"subnets"`
			Count   *int     `json:"count"`
		} `json:"properties"`
	}
	for _, c := range []struct{ in, target, text string }{
		{`{"properties":{"subnets":[{},{"properties":{"addressPrefix":7}}]}}`, "properties.subnets[1].properties.addressPrefix", "is a number where a string is expected"},
		{`{"properties":{"subnets":[{"properties":{"ports":[1,"2","hush"]}}]}}`, "properties.subnets[0].properties.ports[2]", "is a string where a whole number is expected"},
		{`{"properties":{"subnets":[{"properties":{"open":"hush"}}]}}`, "properties.subnets[0].properties.open", "is a string where a boolean"},
		{`{"properties":{"subnets":[{"properties":{"labels":{"a":"x","b":[]}}}]}}`, "properties.subnets[0].properties.labels.b", "is an array where a string"},
		{`{"properties":{"subnets":{}}}`, "properties.subnets", "is an object where an array"},
		{`{"properties":{"count":1.5,"subnets":[]}}`, "properties.count", "is a number where a whole number"},
		{`{"properties":[]}`, "properties", "is an array where an object"},
		{`[]`, "", "the content is an array where an object"},
		{`{"properties":`, "", "unexpected EOF"},
		{`{} x`, "", "something follows"},
	} {
		err := Decode([]byte(c.in), &body{})
		var e *Error
		if !errors.As(err, &e) || e.Code != "InvalidRequestContent" || e.Target != c.target || !strings.Contains(e.Message, c.text) {
			t.Errorf("%s: %v at %q, want %q at %q", c.in, err, e.Target, c.text, c.target)
		}
		if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: the message shows the value: %v", c.in, err)
		}
	}
	if err := Decode([]byte(`{"PROPERTIES":{"subnets":null,"count":3,"else":{}}}`), &body{}); err != nil {
		t.Error(err)
	}
}

func TestLenientValues(t *testing.T) {
	var v struct {
		B []Bool
		I []Int
		S []String
	}
	in := `{"b":[true,"true","False",null],"i":[5,"5",5.0,"-7",null],"s":["x",80,-1,null]}`
	if err := json.Unmarshal([]byte(in), &v); err != nil {
		t.Fatal(err)
	}
	out, _ := json.Marshal(v)
	if string(out) != `{"B":[true,true,false,false],"I":[5,5,5,-7,0],"S":["x","80","-1",""]}` {
		t.Errorf("%s", out)
	}
	for _, bad := range []string{`{"b":["yes"]}`, `{"b":[2]}`, `{"i":["1.5"]}`, `{"i":[1e300]}`, `{"i":[{}]}`, `{"i":[""]}`, `{"s":[true]}`, `{"s":[[]]}`} {
		if err := Decode([]byte(bad), &v); err == nil {
			t.Errorf("%s is taken", bad)
		}
	}
}

func TestMergePatch(t *testing.T) {
	for _, c := range []struct{ stored, patch, want string }{
		{`{"a":1,"b":{"c":2,"d":3}}`, `{"b":{"c":null,"e":4}}`, `{"a":1,"b":{"d":3,"e":4}}`},
		{`{"a":[1,2]}`, `{"a":[3]}`, `{"a":[3]}`},
		{`{"a":1}`, `{"a":{"x":null,"y":{"z":null}}}`, `{"a":{"y":{}}}`},
		{`{"a":{"x":1}}`, `{"a":null,"b":null}`, `{}`},
	} {
		stored, patch := map[string]any{}, map[string]any{}
		json.Unmarshal([]byte(c.stored), &stored)
		json.Unmarshal([]byte(c.patch), &patch)
		got, _ := json.Marshal(MergePatch(stored, patch))
		if string(got) != c.want {
			t.Errorf("%s + %s = %s, want %s", c.stored, c.patch, got, c.want)
		}
		if left, _ := json.Marshal(stored); string(left) != c.stored {
			t.Errorf("stored changed to %s", left)
		}
	}
}
