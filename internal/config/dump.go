package config

import (
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

// Masked writes the configuration as a document with every default filled in and *** for every secret.
func (c *Config) Masked() []byte {
	out, err := yaml.Dump(node(reflect.ValueOf(c).Elem()), yaml.WithLineWidth(-1))
	if err != nil { // the tree holds scalars, lists and mappings of our own making
		return fmt.Appendf(nil, "# %s\n", err)
	}
	return out
}

// node makes a tree of a value, leaving out what is empty.
func node(v reflect.Value) *yaml.Node {
	switch {
	case isScalar(v.Type()):
		return scalarNode(v)
	case v.Kind() == reflect.Struct:
		n := &yaml.Node{Kind: yaml.MappingNode}
		for f, fv := range fields(v) {
			if val := node(fv); !fv.IsZero() && (fv.Kind() != reflect.Struct || isScalar(fv.Type()) || len(val.Content) > 0) {
				n.Content = append(n.Content, textNode(f.name), val)
			}
		}
		return n
	case v.Kind() == reflect.Slice:
		n := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range v.Len() {
			n.Content = append(n.Content, node(v.Index(i)))
		}
		return n
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	for _, name := range sortedKeys(v) {
		n.Content = append(n.Content, textNode(name), node(v.MapIndex(reflect.ValueOf(name))))
	}
	return n
}

func isScalar(t reflect.Type) bool {
	return t == typeTime || t == typePrefix || t.Kind() != reflect.Struct && t.Kind() != reflect.Slice && t.Kind() != reflect.Map
}

func scalarNode(v reflect.Value) *yaml.Node {
	switch v.Kind() {
	case reflect.Bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: scalarText(v)}
	case reflect.Int, reflect.Int64:
		if v.Type() != reflect.TypeFor[int]() && v.Type() != reflect.TypeFor[int64]() {
			break // a size, a duration or an amount
		}
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: scalarText(v)}
	}
	text := scalarText(v)
	if v.Type() == reflect.TypeFor[string]() {
		text = strings.ReplaceAll(text, "${", "$${") // what is written here can be read again
	}
	return textNode(text)
}

func textNode(s string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
}

// scalarText is a scalar as a document would have it.
func scalarText(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case Size:
		return x.String()
	case Decimal:
		return x.String()
	case llm.Rate:
		return llm.Nano(x).String()
	case llm.Nano:
		return x.String()
	case time.Duration:
		return durationText(x)
	case time.Time:
		return x.Format(time.RFC3339)
	case netip.Prefix:
		return x.String()
	case llm.Secret:
		return x.String()
	}
	return fmt.Sprint(v.Interface())
}

func sortedKeys(m reflect.Value) []string {
	names := make([]string, 0, m.Len())
	for _, k := range m.MapKeys() {
		names = append(names, k.String())
	}
	slices.Sort(names)
	return names
}

// Diff tells in lines for people how b differs from a. Secrets are said to have changed, not how. A line
// of a field that only a new process takes over says so.
func Diff(a, b *Config) []string {
	var d differ
	d.structs("", reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem())
	return d.lines
}

type differ struct{ lines []string }

func (d *differ) add(path, note, format string, args ...any) {
	d.lines = append(d.lines, path+": "+fmt.Sprintf(format, args...)+note)
}

func (d *differ) structs(prefix string, a, b reflect.Value) {
	if k, ok := a.Interface().(Key); ok && k.Sum != b.Interface().(Key).Sum {
		d.add(prefix, "", "another key")
	}
	others := make(map[string]reflect.Value)
	for f, fv := range fields(b) {
		others[f.name] = fv
	}
	for f, av := range fields(a) {
		note := ""
		if f.Tag.Get("restart") != "" {
			note = " (needs a restart)"
		}
		d.value(join(prefix, f.name), note, av, others[f.name])
	}
}

func (d *differ) value(path, note string, a, b reflect.Value) {
	switch t := a.Type(); {
	case isScalar(t):
		d.scalar(path, note, a, b)
	case t.Kind() == reflect.Struct:
		d.structs(path, a, b)
	case t.Kind() == reflect.Map:
		d.named(path, note, mapItems(a), mapItems(b))
	case t.Elem().Kind() == reflect.Struct && t.Elem() != typePrefix:
		before := len(d.lines)
		d.named(path, note, listItems(a), listItems(b))
		if x, y := listNames(a), listNames(b); len(d.lines) == before && !slices.Equal(x, y) {
			d.add(path, note, "in another order: %s -> %s", bracket(x), bracket(y))
		}
	default:
		if !slices.Equal(list(a), list(b)) || a.IsNil() != b.IsNil() {
			d.add(path, note, "%s -> %s", listed(a), listed(b))
		}
	}
}

func (d *differ) scalar(path, note string, a, b reflect.Value) {
	switch {
	case a.Equal(b):
	case a.Type() != typeSecret:
		d.add(path, note, "%s -> %s", quoted(a), quoted(b))
	case a.IsZero():
		d.add(path, note, "set")
	case b.IsZero():
		d.add(path, note, "removed")
	default:
		d.add(path, note, "changed")
	}
}

// named compares lists whose entries have names: an entry that moved has not changed.
func (d *differ) named(path, note string, a, b map[string]reflect.Value) {
	all := maps.Clone(a)
	maps.Copy(all, b)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		av, inA := a[name]
		bv, inB := b[name]
		switch at := join(path, name); {
		case !inA:
			d.add(at, note, "added")
		case !inB:
			d.add(at, note, "removed")
		default:
			d.value(at, note, av, bv)
		}
	}
}

func mapItems(m reflect.Value) map[string]reflect.Value {
	items := make(map[string]reflect.Value, m.Len())
	for _, k := range m.MapKeys() {
		items[k.String()] = m.MapIndex(k)
	}
	return items
}

func listItems(l reflect.Value) map[string]reflect.Value {
	items := make(map[string]reflect.Value, l.Len())
	for i := range l.Len() {
		items[l.Index(i).FieldByName("Name").String()] = l.Index(i)
	}
	return items
}

func listNames(l reflect.Value) []string {
	names := make([]string, l.Len())
	for i := range names {
		names[i] = l.Index(i).FieldByName("Name").String()
	}
	return names
}

func list(l reflect.Value) []string {
	texts := make([]string, l.Len())
	for i := range texts {
		texts[i] = scalarText(l.Index(i))
	}
	return texts
}

func listed(l reflect.Value) string {
	if l.IsNil() {
		return "the default"
	}
	return bracket(list(l))
}

func bracket(texts []string) string { return "[" + strings.Join(texts, ", ") + "]" }

func quoted(v reflect.Value) string {
	if v.Kind() == reflect.String {
		return strconv.Quote(v.String())
	}
	if v.Kind() == reflect.Struct && v.IsZero() {
		return "nothing"
	}
	return scalarText(v)
}
