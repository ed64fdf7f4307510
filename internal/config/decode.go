package config

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"sluice/internal/llm"
)

// A decoder fills Go values from YAML nodes. The library's own decoder stops knowing columns and stops at
// the first unknown field of a level; this one remembers where each field stands, so that every problem,
// of form or of meaning, is told with its place.
type decoder struct {
	file     string
	opts     Options
	problems []Problem
	at       map[string]*yaml.Node // path -> the value's node
	bad      map[string]bool       // paths with a problem
	stored   map[string]storedAt   // paths of the store's objects: providers[3]
	places   map[string]string     // paths of the store's secrets -> their places
	allowed  []string              // what the store's secrets may refer to
	visited  int
	depth    int
}

func newDecoder(file string, opts Options) *decoder {
	return &decoder{
		file: file, opts: opts.orReal(), at: make(map[string]*yaml.Node), bad: make(map[string]bool),
		stored: make(map[string]storedAt), places: make(map[string]string),
	}
}

// Bounds against documents that grow through aliases.
const (
	maxNodes = 100_000
	maxDepth = 32
)

var (
	typeSize     = reflect.TypeFor[Size]()
	typeRate     = reflect.TypeFor[llm.Rate]()
	typeDecimal  = reflect.TypeFor[Decimal]()
	typeNano     = reflect.TypeFor[llm.Nano]()
	typeDuration = reflect.TypeFor[time.Duration]()
	typeTime     = reflect.TypeFor[time.Time]()
	typePrefix   = reflect.TypeFor[netip.Prefix]()
	typeSecret   = reflect.TypeFor[llm.Secret]()
)

func valueOf(c *Config) reflect.Value { return reflect.ValueOf(c).Elem() }

// note adds a problem at a node.
func (d *decoder) note(n *yaml.Node, path, format string, args ...any) {
	p := Problem{File: d.file, Path: path, Msg: fmt.Sprintf(format, args...)}
	if n != nil {
		p.Line, p.Col = n.Line, n.Column
	}
	if at, rest, ok := d.inStore(path); ok {
		p = Problem{File: at.place.String(), Path: rest, Msg: p.Msg}
	}
	d.problems = append(d.problems, p)
	d.bad[path] = true
}

// fail adds a problem with the field at a path, or with the nearest thing around it that was written. A
// field that already has one gets no second: what is checked then is not what was written.
func (d *decoder) fail(path, format string, args ...any) {
	if d.bad[path] {
		return
	}
	for at := path; ; {
		if n := d.at[at]; n != nil {
			d.note(n, path, format, args...)
			return
		}
		if at == "" {
			d.note(nil, path, format, args...)
			return
		}
		at = at[:max(strings.LastIndexAny(at, ".["), 0)]
	}
}

// said is a field's value as the document has it, quoted: what a reference expands to is never shown.
func (d *decoder) said(path string) string {
	if n := d.at[path]; n != nil {
		return strconv.Quote(clip(n.Value))
	}
	return `""`
}

// value decodes a node into v. Null is the same as not said.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string) {
	d.visited++
	d.depth++
	defer func() { d.depth-- }()
	if d.visited > maxNodes || d.depth > maxDepth {
		if d.visited <= maxNodes+1 { // said once
			d.note(n, path, "the document is nested too deeply or repeats itself without end")
			d.visited = maxNodes + 1
		}
		return
	}
	if n.Kind == yaml.AliasNode {
		d.value(n.Alias, v, path)
		return
	}
	d.at[path] = n
	if n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" {
		return
	}
	switch t := v.Type(); {
	case t == typeSize, t == typeRate, t == typeDecimal, t == typeNano, t == typeDuration, t == typeTime, t == typePrefix, t == typeSecret:
		d.scalar(n, v, path)
	case t.Kind() == reflect.Struct:
		d.object(n, v, path)
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			d.note(n, path, "is %s, must be a list: write each entry on a line of its own after \"- \"", describe(n))
			return
		}
		out := reflect.MakeSlice(t, len(n.Content), len(n.Content))
		for i, item := range n.Content {
			d.value(item, out.Index(i), path+"["+strconv.Itoa(i)+"]")
		}
		v.Set(out)
	case t.Kind() == reflect.Map:
		d.mapping(n, v, path)
	default:
		d.scalar(n, v, path)
	}
}

// object decodes a mapping into a struct.
func (d *decoder) object(n *yaml.Node, v reflect.Value, path string) {
	known := make(map[string]reflect.Value)
	for f, fv := range fields(v) {
		known[f.name] = fv
	}
	d.pairs(n, path, func(key, val *yaml.Node) {
		if fv, ok := known[key.Value]; ok {
			d.value(val, fv, join(path, key.Value))
			return
		}
		names := slices.Sorted(maps.Keys(known))
		if near := nearest(key.Value, names); near != "" {
			d.note(key, join(path, clip(key.Value)), "unknown field: did you mean %q?", near)
		} else {
			d.note(key, join(path, clip(key.Value)), "unknown field: here may stand %s", strings.Join(names, ", "))
		}
	})
}

// mapping decodes a mapping into a map of strings.
func (d *decoder) mapping(n *yaml.Node, v reflect.Value, path string) {
	out := reflect.MakeMap(v.Type())
	d.pairs(n, path, func(key, val *yaml.Node) {
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(val, elem, join(path, key.Value))
		out.SetMapIndex(reflect.ValueOf(key.Value), elem)
	})
	v.Set(out)
}

// pairs calls f with each member of a mapping whose key is a string that has not been seen in it.
func (d *decoder) pairs(n *yaml.Node, path string, f func(key, val *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.note(n, path, "is %s, must be a mapping of names to values", describe(n))
		return
	}
	first := make(map[string]int)
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, val := n.Content[i], n.Content[i+1]
		switch {
		case key.Kind == yaml.ScalarNode && key.ShortTag() == "!!merge":
			d.note(key, path, "merge keys (<<) are not supported: write the fields out, or give a whole value by an alias")
		case key.Kind != yaml.ScalarNode:
			d.note(key, path, "a field's name must be plain text")
		case first[key.Value] != 0:
			d.note(key, join(path, clip(key.Value)), "said twice, first on line %d: remove one", first[key.Value])
		default:
			first[key.Value] = key.Line
			f(key, val)
		}
	}
}

// scalar decodes one value. References are expanded only here, after the document's structure is known,
// so that nothing they hold can become structure.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.ScalarNode {
		d.note(n, path, "is %s, must be %s", describe(n), want(v.Type()))
		return
	}
	text, expanded, err := d.expand(n, v.Type(), path)
	if err != nil {
		d.note(n, path, "%s", err)
		return
	}
	if tag := n.ShortTag(); !expanded && !fits(tag, v.Type()) {
		cure := ""
		if v.Kind() == reflect.String && v.Type() != typeSecret {
			cure = fmt.Sprintf(": write %q, in quotes", clip(n.Value))
		}
		d.note(n, path, "is %s, must be %s%s", describe(n), want(v.Type()), cure)
		return
	}
	if err := set(v, text); err != nil {
		d.note(n, path, "%s", err)
	}
}

// fits says whether a plain or quoted scalar of a YAML tag may stand for a type.
func fits(tag string, t reflect.Type) bool {
	switch {
	case t == typeTime:
		return tag == "!!str" || tag == "!!timestamp"
	case t == typeSize, t == typeRate, t == typeDecimal, t == typeNano, t == typeDuration:
		return tag == "!!str" || tag == "!!int" || tag == "!!float"
	case t == typePrefix, t.Kind() == reflect.String:
		return tag == "!!str"
	case t.Kind() == reflect.Bool:
		return tag == "!!bool"
	}
	return tag == "!!int"
}

// set parses text into v. Its errors never repeat the text: it may come from a reference.
func set(v reflect.Value, text string) error {
	switch t := v.Type(); {
	case t == typeSize:
		n, err := ParseSize(text)
		v.SetInt(int64(n))
		return err
	case t == typeRate:
		n, err := parseRate(text)
		v.SetInt(int64(n))
		return err
	case t == typeDecimal:
		n, err := parseDecimal(text)
		v.SetInt(int64(n))
		return err
	case t == typeNano:
		n, err := llm.ParseNano(text)
		if err != nil || n <= 0 {
			return errors.New("must be US dollars above 0, such as 500 or 0.25, with at most nine decimals")
		}
		v.SetInt(int64(n))
	case t == typeDuration:
		n, err := parseDuration(text)
		v.SetInt(int64(n))
		return err
	case t == typeTime:
		at, err := parseTime(text)
		v.Set(reflect.ValueOf(at))
		return err
	case t == typePrefix:
		p, err := netip.ParsePrefix(text)
		if err != nil || p != p.Masked() {
			return fmt.Errorf("must be an address range such as 10.0.0.0/8 or fd00::/8, with no bits set after the prefix")
		}
		v.Set(reflect.ValueOf(p))
	case t.Kind() == reflect.String:
		v.SetString(text)
	case t.Kind() == reflect.Bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("must be true or false")
		}
		v.SetBool(text == "true")
	default:
		bits := 32
		if t.Kind() == reflect.Int64 {
			bits = 64
		}
		n, err := strconv.ParseInt(text, 10, bits)
		if err != nil {
			return fmt.Errorf("must be a whole number")
		}
		v.SetInt(n)
	}
	return nil
}

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.ShortTag() {
	case "!!str":
		return "text"
	case "!!int", "!!float":
		return "a number"
	case "!!bool":
		return "a truth value"
	case "!!timestamp":
		return "a date"
	}
	return "a value of type " + clip(n.ShortTag())
}

func want(t reflect.Type) string {
	switch {
	case t == typeSize:
		return "a size such as 32MiB"
	case t == typeRate, t == typeNano:
		return "an amount of US dollars such as 0.15"
	case t == typeDecimal:
		return "a number such as 0.3"
	case t == typeDuration:
		return "a duration such as 30s or 1m30s"
	case t == typeTime:
		return "a date such as 2030-01-31"
	case t == typePrefix:
		return "an address range such as 10.0.0.0/8"
	case t.Kind() == reflect.Bool:
		return "true or false"
	case t.Kind() == reflect.Int, t.Kind() == reflect.Int64:
		return "a whole number"
	}
	return "text"
}

// A field is one named place of a struct.
type field struct {
	name string
	reflect.StructField
}

// fields ranges over a struct's named fields and those of the structs that it embeds.
func fields(v reflect.Value) func(yield func(field, reflect.Value) bool) {
	return func(yield func(field, reflect.Value) bool) { eachField(v, yield) }
}

func eachField(v reflect.Value, yield func(field, reflect.Value) bool) bool {
	for i := range v.NumField() {
		sf := v.Type().Field(i)
		name, opts, _ := strings.Cut(sf.Tag.Get("yaml"), ",")
		switch {
		case opts == "inline":
			if !eachField(v.Field(i), yield) {
				return false
			}
		case name != "" && name != "-":
			if !yield(field{name, sf}, v.Field(i)) {
				return false
			}
		}
	}
	return true
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// clip keeps a foreign piece of text short in messages.
func clip(s string) string {
	if r := []rune(s); len(r) > 64 {
		return string(r[:64]) + "..."
	}
	return s
}
