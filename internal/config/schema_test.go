package config

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/invopop/jsonschema"
	orderedmap "github.com/pb33f/ordered-map/v2"
	validator "github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

var update = flag.Bool("update", false, "rewrite config.schema.json and the reference of docs/configuration.md")

const (
	schemaFile = "config.schema.json"
	docFile    = "../../docs/configuration.md"
	sizeText   = `^([0-9]+(\.[0-9]+)? *(B|kB|MB|GB|KiB|MiB|GiB)?|off|.*\$\{.*)$`
	spanText   = `^(([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+|0|off|.*\$\{.*)$`
)

// reference stands beside every type that is not text: ${NAME} is text until it is expanded.
func reference(s *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "string", Pattern: `\$\{`}}}
}

func mapper(t reflect.Type) *jsonschema.Schema {
	switch {
	case t == typeSize:
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{
			{Type: "string", Pattern: sizeText},
			{Type: "integer", Minimum: "0"},
		}}
	case t == typeRate, t == typeNano, t == typeDecimal:
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "number", Minimum: "0"}, {Type: "string"}}}
	case t == typeDuration:
		return &jsonschema.Schema{Type: "string", Pattern: spanText}
	case t == typeSecret, t == typePrefix, t == typeTime:
		return &jsonschema.Schema{Type: "string"}
	case t.Kind() == reflect.Bool:
		return reference(&jsonschema.Schema{Type: "boolean"})
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return reference(&jsonschema.Schema{Type: "integer"})
	}
	return nil
}

func makeSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	r := &jsonschema.Reflector{
		Anonymous: true, DoNotReference: true, ExpandedStruct: true,
		FieldNameTag: "yaml", RequiredFromJSONSchemaTags: true, Mapper: mapper,
	}
	if err := r.AddGoComments("sluice/internal/config", "."); err != nil {
		t.Fatal(err)
	}
	// The library keys comments by the path it was given.
	for k, v := range r.CommentMap {
		r.CommentMap["sluice/internal/config."+k[strings.LastIndex(k, "/")+len("config.")+1:]] = v
	}
	s := r.Reflect(&Config{})
	s.Title, s.Description = "sluice.yaml", "Configuration of the Sluice gateway."
	finish(s, reflect.ValueOf(defaults()).Elem())
	return s
}

// finish adds what struct tags and defaults() say.
func finish(s *jsonschema.Schema, def reflect.Value) {
	for f, fv := range fields(def) {
		p, ok := s.Properties.Get(f.name)
		if !ok {
			panic("no schema for " + f.name)
		}
		p.Description = strings.ReplaceAll(p.Description, "\n", " ")
		if f.Tag.Get("required") != "" {
			s.Required = append(s.Required, f.name)
		}
		leaf := p
		if p.Items != nil {
			leaf = p.Items
		}
		for _, word := range strings.FieldsFunc(f.Tag.Get("enum"), func(r rune) bool { return r == ',' }) {
			leaf.Enum = append(leaf.Enum, word)
		}
		leaf.Pattern = strings.Join(slices.DeleteFunc([]string{leaf.Pattern, f.Tag.Get("pattern")}, func(s string) bool { return s == "" }), "")
		switch {
		case fv.Kind() == reflect.Struct && f.Type != typeTime:
			finish(p, fv)
		case fv.Kind() == reflect.Slice && fv.Type().Elem().Kind() == reflect.Struct && fv.Type().Elem() != typePrefix:
			finish(p.Items, reflect.New(fv.Type().Elem()).Elem())
		case isScalar(fv.Type()) && !fv.IsZero():
			p.Default = scalarText(fv)
			if fv.CanInt() && fv.Kind() == reflect.Int {
				p.Default = fv.Int()
			}
		}
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(makeSchema(t)); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(schemaFile, buf.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(buf.String(), string(Schema())); diff != "" {
		t.Errorf("%s is not what the types say; run go test ./internal/config -update (-types +file):\n%s", schemaFile, diff)
	}
}

func compiled(t *testing.T) *validator.Schema {
	t.Helper()
	doc, err := validator.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := validator.NewCompiler()
	if err := c.AddResource("config.json", doc); err != nil {
		t.Fatal(err)
	}
	return c.MustCompile("config.json")
}

// asJSON is a YAML document the way an editor's validator sees it.
func asJSON(t *testing.T, doc string) any {
	t.Helper()
	var v any
	if err := yaml.Load([]byte(doc), &v); err != nil {
		t.Fatal(err)
	}
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	out, err := validator.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Form is judged alike by the schema and by Parse.
func TestSchemaAgreesWithParse(t *testing.T) {
	s := compiled(t)
	for name, doc := range valid {
		if err := s.Validate(asJSON(t, doc)); err != nil {
			t.Errorf("%s: Parse takes it, the schema does not: %v", name, err)
		}
	}
	for name, doc := range map[string]string{
		"unknown field":  "lissten: ':1'\n",
		"bool":           "h2c: 3\n",
		"size":           "limits: {body: many}\n",
		"duration":       "limits: {drain: 10}\n",
		"list":           "keys: {a: b}\n",
		"enum":           "log: {level: loud}\n",
		"name of a key":  "keys: [{key: aaa}]\n",
		"provider name":  "providers: [{name: Open AI}]\n",
		"nested unknown": "providers: [{name: a, timeouts: {first_tokn: 3s}}]\n",
	} {
		if s.Validate(asJSON(t, doc)) == nil {
			t.Errorf("%s: the schema takes %q", name, doc)
		}
		if _, err := Parse("x", []byte(doc), Options{}); err == nil {
			t.Errorf("%s: Parse takes %q", name, doc)
		}
	}
}

const begin, end = "<!-- reference: made by go test ./internal/config -update -->\n", "<!-- end of reference -->\n"

// Every field of the schema stands in the reference, with its type, default, example and meaning.
func TestDocumentation(t *testing.T) {
	doc, err := os.ReadFile(docFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(doc), begin)
	old, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no marks for the reference: %q and %q", docFile, begin, end)
	}
	var b strings.Builder
	table(&b, makeSchema(t), reflect.ValueOf(defaults()).Elem(), "")
	if *update {
		if err := os.WriteFile(docFile, []byte(head+begin+b.String()+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(b.String(), old); diff != "" {
		t.Errorf("the reference is not what the types say; run go test ./internal/config -update (-types +file):\n%s", diff)
	}
	n := 0
	for _, path := range schemaPaths(t) {
		n++
		if !strings.Contains(string(doc), "`"+path+"`") {
			t.Errorf("%s says nothing of %s", docFile, path)
		}
	}
	if n < 50 {
		t.Errorf("the schema has %d fields: the walk lost some", n)
	}
}

// schemaPaths lists the leaves of the embedded schema.
func schemaPaths(t *testing.T) (paths []string) {
	t.Helper()
	var walk func(prefix string, s map[string]any)
	walk = func(prefix string, s map[string]any) {
		if items, ok := s["items"].(map[string]any); ok {
			if items["properties"] != nil {
				walk(prefix+"[]", items)
				return
			}
		}
		props, ok := s["properties"].(map[string]any)
		if !ok {
			paths = append(paths, prefix)
			return
		}
		for name, p := range props {
			walk(join(prefix, name), p.(map[string]any))
		}
	}
	var root map[string]any
	if err := json.Unmarshal(Schema(), &root); err != nil {
		t.Fatal(err)
	}
	walk("", root)
	return paths
}

func table(b *strings.Builder, s *jsonschema.Schema, def reflect.Value, prefix string) {
	fmt.Fprint(b, "| field | type | default | example | meaning |\n| --- | --- | --- | --- | --- |\n")
	type part struct {
		path string
		s    *jsonschema.Schema
		v    reflect.Value
	}
	var parts []part
	var rows func(s *jsonschema.Schema, v reflect.Value, prefix string)
	rows = func(s *jsonschema.Schema, v reflect.Value, prefix string) {
		for f, fv := range fields(v) {
			p, path := property(s.Properties, f.name), join(prefix, f.name)
			switch {
			case fv.Kind() == reflect.Struct && f.Type != typeTime && prefix != "":
				rows(p, fv, path)
			case fv.Kind() == reflect.Struct && f.Type != typeTime:
				parts = append(parts, part{path, p, fv})
			case fv.Kind() == reflect.Slice && fv.Type().Elem().Kind() == reflect.Struct && fv.Type().Elem() != typePrefix:
				parts = append(parts, part{path + "[]", p, reflect.New(fv.Type().Elem()).Elem()})
			default:
				row(b, path, f, fv, p.Description)
			}
		}
	}
	rows(s, def, prefix)
	for _, p := range parts {
		fmt.Fprintf(b, "\n### %s\n\n%s\n\n", strings.TrimSuffix(p.path, "[]"), p.s.Description)
		items := p.s
		if p.s.Items != nil {
			items = p.s.Items
		}
		table(b, items, p.v, p.path)
	}
}

func property(m *orderedmap.OrderedMap[string, *jsonschema.Schema], name string) *jsonschema.Schema {
	p, ok := m.Get(name)
	if !ok {
		panic("no schema for " + name)
	}
	return p
}

func row(b *strings.Builder, path string, f field, v reflect.Value, meaning string) {
	def := ""
	switch {
	case f.Tag.Get("required") != "":
		def = "required"
	case path == "keys[].models":
		def = "`[\"*\"]`"
	case path == "providers[].models":
		def = "the vendor's"
	case path == "keys[].endpoints":
		def = "all"
	case path == "providers[].kind":
		def = "the name"
	case strings.HasPrefix(path, "providers[].timeouts."):
		def = "that of `" + strings.TrimPrefix(path, "providers[].") + "`"
	case path == "models[].timeouts.first_token":
		def = "the provider's"
	case strings.HasPrefix(path, "models[].timeouts."):
		def = "the provider's"
	case v.Kind() == reflect.Bool:
		def = "`false`"
	case isScalar(v.Type()) && !v.IsZero():
		def = "`" + scalarText(v) + "`"
	case v.Kind() == reflect.Slice:
		def = "none"
	}
	example := f.Tag.Get("example")
	switch {
	case v.Kind() == reflect.Bool:
		example = "true"
	case v.Kind() == reflect.Slice:
		example = "[\"" + example + "\"]"
	}
	if example == "" {
		panic(path + " has no example")
	}
	if f.Tag.Get("restart") != "" {
		meaning += " *Needs a restart.*"
	}
	if f.Tag.Get("off") != "" {
		meaning += " May be `off`."
	}
	fmt.Fprintf(b, "| `%s` | %s | %s | `%s` | %s |\n", path, typeName(f.Type), def, example, strings.ReplaceAll(meaning, "|", "\\|"))
}

func typeName(t reflect.Type) string {
	switch {
	case t == typeSize:
		return "size"
	case t == typeDuration:
		return "duration"
	case t == typeTime:
		return "date"
	case t == typePrefix:
		return "address range"
	case t == typeSecret:
		return "secret"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int, t == typeDecimal:
		return "number"
	case t.Kind() == reflect.Slice:
		return "list of " + typeName(t.Elem())
	case t.Kind() == reflect.Map:
		return "mapping to " + typeName(t.Elem())
	}
	return "text"
}
