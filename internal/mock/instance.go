package mock

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// schema is the part of JSON Schema (and of Gemini's, with upper-case types) that models are asked to fill.
type schema struct {
	Type     jsontext.Value    `json:"type"`
	Enum     []jsontext.Value  `json:"enum"`
	Const    jsontext.Value    `json:"const"`
	Props    jsontext.Value    `json:"properties"`
	Required []string          `json:"required"`
	Items    *schema           `json:"items"`
	Prefix   []*schema         `json:"prefixItems"`
	MinItems int               `json:"minItems"`
	Min      *float64          `json:"minimum"`
	ExMin    *float64          `json:"exclusiveMinimum"`
	Max      *float64          `json:"maximum"`
	ExMax    *float64          `json:"exclusiveMaximum"`
	Multiple float64           `json:"multipleOf"`
	MinLen   int               `json:"minLength"`
	MaxLen   *int              `json:"maxLength"`
	Format   string            `json:"format"`
	AnyOf    []*schema         `json:"anyOf"`
	OneOf    []*schema         `json:"oneOf"`
	AllOf    []*schema         `json:"allOf"`
	Ref      string            `json:"$ref"`
	Defs     map[string]schema `json:"$defs"`
	OldDefs  map[string]schema `json:"definitions"`
}

// instance writes a JSON value that fits the schema raw; without one, an object with an answer. It handles what tools and
// output formats use, not conditions, patterns or dependencies.
func instance(raw jsontext.Value, seed uint64) string {
	if len(raw) == 0 || raw.Kind() != '{' {
		return `{"answer":"yes"}`
	}
	var s schema
	if err := json.Unmarshal(raw, &s, json.MatchCaseInsensitiveNames(true)); err != nil {
		return `{}`
	}
	f := filler{root: &s, seed: seed, left: maxValues}
	return string(encode(f.value(&s, "value", 0)))
}

type filler struct {
	root *schema
	seed uint64
	left int
}

// Limits that end schemas which contain themselves, once or many times.
const (
	maxNesting = 12
	maxValues  = 10_000
)

func (f *filler) value(s *schema, name string, depth int) any {
	if f.left--; depth > maxNesting || f.left < 0 {
		return nil
	}
	if s.Ref != "" {
		return f.value(f.resolve(s.Ref), name, depth+1)
	}
	switch {
	case len(s.Const) > 0:
		return s.Const
	case len(s.Enum) > 0:
		return s.Enum[f.seed%uint64(len(s.Enum))]
	}
	if branch := slices.Concat(s.AnyOf, s.OneOf); len(branch) > 0 {
		for _, b := range branch {
			if typeOf(b) != "null" {
				return f.value(b, name, depth+1)
			}
		}
		return nil
	}
	switch typeOf(s) {
	case "object":
		return f.object(s, depth)
	case "array":
		var items list
		for _, p := range s.Prefix {
			items = append(items, f.value(p, name, depth+1))
		}
		for s.Items != nil && len(items) < max(1, s.MinItems) && f.left > 0 {
			items = append(items, f.value(s.Items, name, depth+1))
		}
		if items == nil {
			items = list{}
		}
		return items
	case "integer", "number":
		return f.number(s)
	case "boolean":
		return f.seed%2 == 0
	case "null":
		return nil
	default:
		return f.text(s, name)
	}
}

func (f *filler) resolve(ref string) *schema {
	name := ref[strings.LastIndexByte(ref, '/')+1:]
	for _, defs := range []map[string]schema{f.root.Defs, f.root.OldDefs} {
		if d, ok := defs[name]; ok {
			return &d
		}
	}
	if ref == "#" {
		return f.root
	}
	return &schema{}
}

// typeOf is the schema's first type that is not null, or what its members imply.
func typeOf(s *schema) string {
	var one string
	var many []string
	switch s.Type.Kind() {
	case '"':
		_ = json.Unmarshal(s.Type, &one)
	case '[':
		_ = json.Unmarshal(s.Type, &many)
		for _, t := range many {
			if one = t; t != "null" {
				break
			}
		}
	}
	if one == "" && (len(s.Props) > 0 || len(s.AllOf) > 0) {
		one = "object"
	}
	return strings.ToLower(one)
}

// object fills the required properties, or all where none is required, in the schema's order.
func (f *filler) object(s *schema, depth int) any {
	out := obj{}
	for _, of := range append([]*schema{s}, s.AllOf...) {
		if of.Ref != "" {
			of = f.resolve(of.Ref)
		}
		dec := jsontext.NewDecoder(strings.NewReader(string(of.Props)))
		if _, err := dec.ReadToken(); err != nil {
			continue
		}
		for dec.PeekKind() == '"' {
			name, err := dec.ReadToken()
			if err != nil {
				break
			}
			key := name.String()
			var p schema
			if err := json.UnmarshalDecode(dec, &p, json.MatchCaseInsensitiveNames(true)); err != nil {
				break
			}
			if len(s.Required) == 0 || slices.Contains(of.Required, key) || slices.Contains(s.Required, key) {
				out = append(out, key, f.value(&p, key, depth+1))
			}
		}
	}
	return out
}

func (f *filler) number(s *schema) any {
	n := float64(1 + f.seed%5)
	low, high := bound(s.Min, s.ExMin, 1), bound(s.Max, s.ExMax, -1)
	if low != nil {
		n = max(n, *low)
	}
	if high != nil {
		n = min(n, *high)
	}
	if s.Multiple > 0 {
		n = float64(int64(n/s.Multiple)) * s.Multiple
		if low != nil && n < *low {
			n += s.Multiple
		}
	}
	if typeOf(s) == "integer" {
		return int64(n)
	}
	return n
}

// bound is the inclusive bound nearest to both; an exclusive one is passed by one.
func bound(in, ex *float64, step float64) *float64 {
	if ex != nil {
		v := *ex + step
		return &v
	}
	return in
}

func (f *filler) text(s *schema, name string) string {
	known := map[string]string{
		"date": "2026-01-02", "date-time": "2026-01-02T03:04:05Z", "time": "03:04:05Z", "email": "a@example.com",
		"uri": "https://example.com/", "uuid": "00000000-0000-4000-8000-000000000000", "ipv4": "192.0.2.1", "duration": "PT1M",
		"hostname": "example.com", "ipv6": "2001:db8::1",
	}
	if v, ok := known[s.Format]; ok {
		return v
	}
	v := cmp.Or(name, "text")
	if f.seed > 0 {
		v = fmt.Sprintf("%s %d", v, f.seed)
	}
	v += strings.Repeat(".", max(0, s.MinLen-len(v)))
	if s.MaxLen != nil && len(v) > *s.MaxLen {
		v = v[:*s.MaxLen]
	}
	return v
}
