package gemini

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each pair is a Schema of Gemini's and the JSON Schema it means; "" where there is no way back.
func TestSchemas(t *testing.T) {
	for _, test := range []struct{ name, open, plain, back string }{
		{
			"types", `{"type":"OBJECT","properties":{"a":{"type":"STRING","format":"date-time"},"Type":{"type":"ARRAY","items":{"type":"NUMBER"}}},"required":["a"]}`,
			`{"type":"object","properties":{"a":{"type":"string","format":"date-time"},"Type":{"type":"array","items":{"type":"number"}}},"required":["a"]}`, "same",
		},
		{"nullable", `{"type":"STRING","nullable":true,"enum":["a","b"]}`, `{"type":["string","null"],"enum":["a","b",null]}`, "same"},
		{"any of", `{"anyOf":[{"type":"INTEGER"},{"type":"BOOLEAN"}],"description":"d"}`, `{"anyOf":[{"type":"integer"},{"type":"boolean"}],"description":"d"}`, "same"},
		{"quoted numbers", `{"type":"ARRAY","minItems":"1","maxItems":"3"}`, `{"type":"array","minItems":1,"maxItems":3}`, `{"type":"ARRAY","minItems":1,"maxItems":3}`},
		{"snake case", `{"type":"ARRAY","min_items":"1","any_of":[{}]}`, `{"type":"array","minItems":1,"anyOf":[{}]}`, `{"type":"ARRAY","minItems":1,"anyOf":[{}]}`},
		{"an enum's format", `{"type":"STRING","format":"enum","enum":["a"]}`, `{"type":"string","enum":["a"]}`, `{"type":"STRING","enum":["a"]}`},
		{"an example", `{"type":"STRING","example":"x"}`, `{"type":"string","examples":["x"]}`, "same"},
		{"an order", `{"type":"OBJECT","properties":{"a":{},"b":{},"c":{}},"propertyOrdering":["c","a"]}`, `{"type":"object","properties":{"c":{},"a":{},"b":{}}}`, `{"type":"OBJECT","properties":{"c":{},"a":{},"b":{}}}`},
		{"lower case and numbers", `{"type":"object","properties":{"a":{"type":1}}}`, `{"type":"object","properties":{"a":{"type":"string"}}}`, `{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}`},
		{"unspecified", `{"type":"TYPE_UNSPECIFIED","title":"t"}`, `{"title":"t"}`, `{"title":"t"}`},
		{"a keyword that Schema lacks", `{"type":"OBJECT","additionalProperties":false}`, `{"type":"object","additionalProperties":false}`, ""},
		{"a number in an enum", `{"type":"INTEGER","enum":[1]}`, `{"type":"integer","enum":[1]}`, ""},
		{"null in the middle", `{"enum":["a",null,"b"]}`, `{"enum":["a",null,"b"]}`, ""},
		{"no schema", `true`, `true`, ""},
		{"a default of null", `{"type":"STRING","nullable":true,"default":null}`, `{"type":["string","null"],"default":null}`, "same"},
	} {
		plain := fromOpenAPI([]byte(test.open))
		if diff := cmp.Diff(test.plain, string(plain)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.name, diff)
		}
		want := test.back
		if want == "same" {
			want = test.open
		}
		back, ok := toOpenAPI(plain)
		if ok != (want != "") {
			t.Errorf("%s: back %t: %s", test.name, ok, back)
		}
		if ok && canonical(t, want) != canonical(t, string(back)) {
			t.Errorf("%s, back:\ngot  %s\nwant %s", test.name, back, want)
		}
	}
	for _, plain := range []string{`{"type":["string","integer"]}`, `{"type":["null","string"]}`, `{"$ref":"#/a"}`, `{"type":"weird"}`, `{"items":true}`, `{"properties":{"a":{"oneOf":[]}}}`} {
		if out, ok := toOpenAPI([]byte(plain)); ok {
			t.Errorf("%s became %s", plain, out)
		}
	}
	deep := strings.Repeat(`{"items":`, 1000) + `{}` + strings.Repeat(`}`, 1000)
	if _, ok := toOpenAPI([]byte(deep)); ok {
		t.Error("a schema of 1000 levels passes")
	}
	if got := fromOpenAPI([]byte(deep)); len(got) != len(deep) {
		t.Errorf("%d of %d bytes of a deep schema", len(got), len(deep))
	}
}
