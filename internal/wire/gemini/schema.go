package gemini

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// Gemini has two ways to give a schema: its own Schema, a subset of OpenAPI's with types in upper case
// ("parameters", "responseSchema"), and JSON Schema ("parametersJsonSchema", "responseJsonSchema"). The hub
// has JSON Schema. What a Gemini client sent as a Schema goes back as one, if it can be said so; what came
// from any other client stays JSON Schema, which loses nothing.

const maxSchemaDepth = 64

// A schema is an object of keywords, in the order they came.
type schema []keyword

type keyword struct {
	name  string
	value jsontext.Value
}

func readSchema(raw []byte) (schema, bool) {
	p := peeker{b: raw}
	if p.next() != '{' {
		return nil, false
	}
	var s schema
	for p.object() {
		name, err := jsontext.AppendUnquote(nil, quoted(p.key()))
		v := p.value()
		if err != nil || p.bad {
			return nil, false
		}
		s = append(s, keyword{string(name), v})
	}
	return s, p.done()
}

func (s schema) get(name string) jsontext.Value {
	for _, k := range s {
		if k.name == name {
			return k.value
		}
	}
	return nil
}

// fromOpenAPI gives the JSON Schema of a Schema. What is no schema is given back as it is.
func fromOpenAPI(raw []byte) llm.Raw {
	var t text
	openToJSON(&t, raw, 0)
	return llm.Raw(t)
}

func openToJSON(t *text, raw []byte, depth int) {
	s, ok := readSchema(raw)
	if !ok || depth > maxSchemaDepth {
		t.raw(raw)
		return
	}
	for i := range s {
		s[i].name = camel(s[i].name)
	}
	nullable := string(s.get("nullable")) == "true"
	t.open('{')
	for _, k := range s {
		if isNull(k.value) && k.name != "default" && k.name != "example" {
			continue
		}
		switch k.name {
		case "nullable", "propertyOrdering":
		case "type":
			openType(t, k.value, nullable)
		case "format":
			if string(k.value) != `"enum"` { // says only that enum is there
				t.keyword(k)
			}
		case "enum":
			t.name("enum")
			if nullable {
				t.raw(withNull(k.value))
			} else {
				t.raw(k.value)
			}
		case "example":
			t.name("examples")
			t.open('[')
			t.raw(k.value)
			t.close(']')
		case "items":
			t.name(k.name)
			openToJSON(t, k.value, depth+1)
		case "anyOf":
			t.name(k.name)
			each(t, k.value, func(v []byte) { openToJSON(t, v, depth+1) })
		case "properties":
			openProperties(t, k.value, s.get("propertyOrdering"), depth)
		case "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties":
			t.name(k.name)
			t.raw(unquoted(k.value)) // 64 bits are quoted in protobuf JSON
		default:
			t.keyword(k)
		}
	}
	t.close('}')
}

func (t *text) keyword(k keyword) {
	t.member(k.name)
	t.raw(k.value)
}

// camel writes the names of Schema's members in their camelCase form.
func camel(name string) string {
	switch {
	case !strings.Contains(name, "_"):
		return name
	case name == "any_of":
		return "anyOf"
	}
	for _, c := range []string{"propertyOrdering", "minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"} {
		if snake(c) == name {
			return c
		}
	}
	return name
}

func openType(t *text, v []byte, nullable bool) {
	name := strings.ToLower(word(v, schemaTypes))
	if v[0] == '[' { // not in the documents, but it is JSON Schema already
		t.name("type")
		t.raw(v)
		return
	}
	if name == "" || name == "type_unspecified" {
		return
	}
	t.name("type")
	if nullable && name != "null" {
		t.open('[')
		t.string(name)
		t.string("null")
		t.close(']')
		return
	}
	t.string(name)
}

// openProperties writes the properties in the order that the schema asks for.
func openProperties(t *text, raw, ordering []byte, depth int) {
	t.name("properties")
	props, ok := readSchema(raw)
	if !ok {
		t.raw(raw)
		return
	}
	var order []string
	_ = json.Unmarshal(ordering, &order) // absent, or a list of strings by the shape
	rank := func(k keyword) int {
		if i := slices.Index(order, k.name); i >= 0 {
			return i
		}
		return len(order)
	}
	slices.SortStableFunc(props, func(a, b keyword) int { return rank(a) - rank(b) })
	t.open('{')
	for _, k := range props {
		t.member(k.name)
		openToJSON(t, k.value, depth+1)
	}
	t.close('}')
}

func each(t *text, list []byte, f func(v []byte)) {
	p := peeker{b: list}
	if p.next() != '[' {
		t.raw(list)
		return
	}
	t.open('[')
	for p.array() {
		if v := p.value(); v != nil {
			f(v)
		}
	}
	t.close(']')
}

func withNull(list []byte) []byte {
	p := peeker{b: list}
	var t text
	t.open('[')
	for p.array() {
		v := p.value()
		if isNull(v) {
			return list
		}
		t.raw(v)
	}
	t.raw([]byte("null"))
	t.close(']')
	return t
}

func unquoted(v []byte) []byte {
	if len(v) > 2 && v[0] == '"' {
		if _, err := strconv.ParseInt(string(v[1:len(v)-1]), 10, 64); err == nil {
			return v[1 : len(v)-1]
		}
	}
	return v
}

// toOpenAPI gives the Schema of a JSON Schema; ok is false when it has a keyword that Schema lacks.
func toOpenAPI(raw []byte) (out llm.Raw, ok bool) {
	var t text
	ok = jsonToOpen(&t, raw, 0)
	return llm.Raw(t), ok
}

func jsonToOpen(t *text, raw []byte, depth int) bool {
	s, ok := readSchema(raw)
	if !ok || depth > maxSchemaDepth {
		return false
	}
	kind, nullable, ok := openKind(s.get("type"))
	if !ok {
		return false
	}
	t.open('{')
	for _, k := range s {
		switch k.name {
		case "type":
			t.str("type", kind)
			if nullable {
				t.name("nullable")
				t.bool(true)
			}
		case "enum":
			list, ok := openEnumeration(k.value, nullable)
			if !ok {
				return false
			}
			t.name("enum")
			t.raw(list)
		case "examples":
			if !t.example(k.value) {
				return false
			}
		case "items", "anyOf", "properties":
			if !jsonChildrenToOpen(t, k, depth+1) {
				return false
			}
		case "description", "title", "format", "required", "minimum", "maximum", "minItems", "maxItems",
			"minLength", "maxLength", "minProperties", "maxProperties", "pattern", "default":
			t.keyword(k)
		default:
			return false
		}
	}
	t.close('}')
	return true
}

// jsonChildrenToOpen writes a keyword that holds schemas.
func jsonChildrenToOpen(t *text, k keyword, depth int) bool {
	t.name(k.name)
	switch k.name {
	case "items":
		return jsonToOpen(t, k.value, depth)
	case "anyOf":
		all := true
		each(t, k.value, func(v []byte) { all = all && jsonToOpen(t, v, depth) })
		return all
	}
	props, ok := readSchema(k.value)
	if !ok {
		return false
	}
	t.open('{')
	for _, q := range props {
		t.member(q.name)
		if !jsonToOpen(t, q.value, depth) {
			return false
		}
	}
	t.close('}')
	return true
}

// example writes the one example that a Schema can have.
func (t *text) example(list []byte) bool {
	p := peeker{b: list}
	if !p.array() {
		return false
	}
	v := p.value()
	if p.array() || p.bad {
		return false
	}
	t.name("example")
	t.raw(v)
	return true
}

// openKind is the type of a Schema: one, or one and null.
func openKind(v jsontext.Value) (kind string, nullable, ok bool) {
	switch v.Kind() {
	case 0:
		return "", false, true
	case '"':
		kind = strings.ToUpper(word(v, nil))
	case '[':
		var list []string
		if json.Unmarshal(v, &list) != nil || len(list) != 2 || list[1] != "null" {
			return "", false, false
		}
		kind, nullable = strings.ToUpper(list[0]), true
	}
	return kind, nullable, kind != "" && kind != schemaTypes[0] && slices.Contains(schemaTypes, kind)
}

// openEnumeration takes strings only, as Schema does, and the null that stands for nullable.
func openEnumeration(v []byte, nullable bool) ([]byte, bool) {
	var list []*string
	if json.Unmarshal(v, &list) != nil {
		return nil, false
	}
	var t text
	t.open('[')
	for i, s := range list {
		switch {
		case s != nil:
			t.string(*s)
		case !nullable || i != len(list)-1:
			return nil, false
		}
	}
	t.close(']')
	return t, true
}
