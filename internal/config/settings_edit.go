package config

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v4"
)

// ErrNoPlace says that the document has not what an edit needs.
var ErrNoPlace = errors.New("the document has no such object")

// With is the document with an object in a place: instead of what is there, or at the end of its list. value is a JSON object; what
// it says of its name must be the place's. ErrNoPlace where the object that it would be a part of is not there.
func (s *Settings) With(p Place, value jsontext.Value) (*Settings, error) {
	n, err := fromJSON(value)
	if err != nil {
		return nil, err
	}
	if n.Kind != yaml.MappingNode {
		return nil, errors.New("must be an object")
	}
	if name := nameOf(n); name == "" {
		n.Content = append([]*yaml.Node{textNode("name"), textNode(p.Name)}, n.Content...)
	} else if name != p.Name {
		return nil, fmt.Errorf("says that the name is %q, but it is %q; to rename, create another and delete this one", clip(name), clip(p.Name))
	}
	out := s.edit(func(string, *yaml.Node) {})
	k, in := objects[p.Kind], out.root
	if k.of != "" {
		if in = out.node(Place{Kind: k.of, Name: p.Of}); in == nil {
			return nil, ErrNoPlace
		}
	}
	list := member(in, k.list)
	if list == nil || list.Kind != yaml.SequenceNode {
		list = &yaml.Node{Kind: yaml.SequenceNode}
		in.Content = append(dropMember(in.Content, k.list), textNode(k.list), list)
	}
	if i := find(list, p.Name); i >= 0 {
		list.Content[i] = n
	} else {
		list.Content = append(list.Content, n)
	}
	return out, nil
}

// NameIn is the name that the JSON of an object says; "": none.
func NameIn(value jsontext.Value) string {
	n, err := fromJSON(value)
	if err != nil {
		return ""
	}
	return nameOf(n)
}

// Without is the document without an object. ErrNoPlace.
func (s *Settings) Without(p Place) (*Settings, error) {
	if !s.Has(p) {
		return nil, ErrNoPlace
	}
	out := s.edit(func(string, *yaml.Node) {})
	list := out.list(p.Kind, p.Of)
	list.Content = slices.Delete(list.Content, find(list, p.Name), find(list, p.Name)+1)
	return out, nil
}

func dropMember(content []*yaml.Node, name string) []*yaml.Node {
	for i := 0; i+1 < len(content); i += 2 {
		if content[i].Value == name {
			return slices.Delete(content, i, i+2)
		}
	}
	return content
}

// Merge is the object of a place, changed as a JSON merge patch (RFC 7396) says. nil: there is none.
func (s *Settings) Merge(p Place, patch jsontext.Value) (jsontext.Value, error) {
	n := s.node(p)
	if n == nil {
		return nil, ErrNoPlace
	}
	with, err := fromJSON(patch)
	if err != nil {
		return nil, err
	}
	if with.Kind != yaml.MappingNode {
		return nil, errors.New("must be an object")
	}
	return toJSON(merged(copied(n), with)), nil
}

func merged(n, patch *yaml.Node) *yaml.Node {
	if patch.Kind != yaml.MappingNode {
		return patch
	}
	if n == nil || n.Kind != yaml.MappingNode {
		n = &yaml.Node{Kind: yaml.MappingNode}
	}
	for i := 0; i+1 < len(patch.Content); i += 2 {
		key, val := patch.Content[i], patch.Content[i+1]
		was := member(n, key.Value)
		switch {
		case isNull(val):
			n.Content = dropMember(n.Content, key.Value)
		case was == nil:
			n.Content = append(n.Content, key, merged(nil, val))
		default:
			n.Content[slices.Index(n.Content, was)] = merged(was, val)
		}
	}
	return n
}

// A FieldChange is how one member of an object differs. What secrets are is not said.
type FieldChange struct {
	Field  string `json:"field"`
	Before string `json:"before,omitzero"` // JSON; "": it was not there
	After  string `json:"after,omitzero"`
}

// An ObjectChange is how an object of a document differs.
type ObjectChange struct {
	Place
	What   string        `json:"what"` // added, changed, moved or removed
	Fields []FieldChange `json:"fields,omitzero"`
}

// DiffSettings tells how b differs from a, object by object. A secret that is given anew has changed.
func DiffSettings(a, b *Settings) (all []ObjectChange) {
	for _, kind := range settingsKinds {
		was, is := a.Places(kind, ""), b.Places(kind, "")
		for _, p := range was {
			switch {
			case !b.Has(p):
				all = append(all, ObjectChange{Place: p, What: "removed"})
			case !slices.Equal(a.Value(p, false), b.Value(p, false)):
				all = append(all, ObjectChange{Place: p, What: "changed", Fields: diffFields(flat(a, p), flat(b, p))})
			}
		}
		for _, p := range is {
			if !a.Has(p) {
				all = append(all, ObjectChange{Place: p, What: "added", Fields: diffFields(nil, flat(b, p))})
			}
		}
		stays := func(s *Settings) func(Place) bool { return func(p Place) bool { return !s.Has(p) } }
		was, is = slices.DeleteFunc(was, stays(b)), slices.DeleteFunc(is, stays(a))
		for i := range was {
			if was[i] != is[i] { // the first provider that fits a name is taken
				all = append(all, ObjectChange{Place: is[i], What: "moved"})
			}
		}
	}
	return all
}

func diffFields(a, b map[string]string) (all []FieldChange) {
	names := maps.Clone(a)
	if names == nil {
		names = map[string]string{}
	}
	maps.Copy(names, b)
	for _, name := range slices.Sorted(maps.Keys(names)) {
		if a[name] != b[name] {
			all = append(all, FieldChange{name, shownField(a[name]), shownField(b[name])})
		}
	}
	return all
}

// secretMark begins a secret's text in flat, which is told apart from others by it but never shown.
const secretMark = "\x00"

func shownField(s string) string {
	if strings.HasPrefix(s, secretMark) {
		return string(masked)
	}
	return s
}

// flat are the members of an object, each as JSON by its path.
func flat(s *Settings, p Place) map[string]string {
	n := copied(s.node(p))
	out := map[string]string{}
	eachSecret(n, objects[p.Kind].form, "", "", func(_, place string, n *yaml.Node) {
		if !refForm.MatchString(n.Value) {
			out[strings.TrimPrefix(place, "/")] = secretMark + n.Value
			n.Tag, n.Value = "!!null", ""
		}
	})
	flatten(n, "", out)
	return out
}

func flatten(n *yaml.Node, at string, out map[string]string) {
	under := func(name string) string {
		if at == "" {
			return name
		}
		return at + "/" + name
	}
	switch {
	case n.Kind == yaml.MappingNode:
		for i := 0; i+1 < len(n.Content); i += 2 {
			flatten(n.Content[i+1], under(n.Content[i].Value), out)
		}
	case n.Kind == yaml.SequenceNode && len(n.Content) > 0 && n.Content[0].Kind == yaml.MappingNode:
		for i, item := range n.Content {
			flatten(item, under(cmp.Or(nameOf(item), fmt.Sprint(i))), out)
		}
	case isNull(n):
	default:
		out[at] = string(toJSON(n))
	}
}
