package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"regexp"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v4"
)

// Settings is a document of the objects that are kept in the store beside those of the file: the lists providers, models, rules,
// model_prices and guards, as sluice.yaml has them, and nothing else. It is immutable. Whether it makes sense only Parse knows, with the file's document.
type Settings struct{ root *yaml.Node } // plain: mappings, lists and scalars, without aliases and comments

// The kinds of objects.
const (
	KindProvider   = "provider"
	KindCredential = "credential" // of a provider
	KindModel      = "model"      // a group, a route or an alias
	KindDeployment = "deployment" // of a model
	KindRule       = "rule"
	KindPrice      = "model_price"
	KindGuard      = "guard"
)

// A Place names an object of a document.
type Place struct {
	Kind string `json:"kind"`
	Of   string `json:"of,omitzero"` // of a credential: the provider's name; of a deployment: the model's
	Name string `json:"name"`
}

// objects says where the objects of each kind stand: in a list of the document, or in one of another object.
var objects = map[string]struct {
	of   string // the kind whose part it is
	list string
	form reflect.Type
}{
	KindProvider:   {"", "providers", reflect.TypeFor[Provider]()},
	KindCredential: {KindProvider, "credentials", reflect.TypeFor[Credential]()},
	KindModel:      {"", "models", reflect.TypeFor[Model]()},
	KindDeployment: {KindModel, "deployments", reflect.TypeFor[Deployment]()},
	KindRule:       {"", "rules", reflect.TypeFor[SharedRule]()},
	KindPrice:      {"", "model_prices", reflect.TypeFor[ModelPrice]()},
	KindGuard:      {"", "guards", reflect.TypeFor[Guard]()},
}

// settingsKinds are those with a list of their own, in the order of the document.
var settingsKinds = []string{KindProvider, KindModel, KindRule, KindPrice, KindGuard}

// String is the place as problems and records name it: providers/openai/credentials/team-a.
func (p Place) String() string {
	k := objects[p.Kind]
	if k.of != "" {
		return Place{Kind: k.of, Name: p.Of}.String() + "/" + k.list + "/" + p.Name
	}
	return k.list + "/" + p.Name
}

// Owner is the object that it is a part of, if it is one.
func (p Place) Owner() (Place, bool) {
	k := objects[p.Kind]
	return Place{Kind: k.of, Name: p.Of}, k.of != ""
}

// Known tells whether there are objects of the place's kind, and whether it says what it must.
func (p Place) Known() bool {
	k, ok := objects[p.Kind]
	return ok && p.Name != "" && (k.of != "") == (p.Of != "")
}

// ParseSettings reads a document, which may be YAML or JSON. It is held to its outer form only: lists of objects with names, in
// which no name stands twice. name stands for it in errors, which are an *Error.
func ParseSettings(name string, data []byte) (*Settings, error) {
	d := &decoder{file: name, at: make(map[string]*yaml.Node), bad: make(map[string]bool)}
	root := &yaml.Node{Kind: yaml.MappingNode}
	if n := d.read(data); n != nil {
		root = d.plain(n, "")
	}
	if len(d.problems) == 0 && len(root.Content) > 0 {
		d.outerForm(root)
	}
	if len(d.problems) > 0 {
		return nil, &Error{Problems: d.problems}
	}
	return &Settings{root}, nil
}

// outerForm checks that the document has lists of objects with names.
func (d *decoder) outerForm(root *yaml.Node) {
	d.pairs(root, "", func(key, val *yaml.Node) {
		kind := slices.IndexFunc(settingsKinds, func(k string) bool { return objects[k].list == key.Value })
		switch {
		case kind < 0:
			d.note(key, clip(key.Value), "cannot be set here: there are providers, models, rules, model_prices and guards; all else is the file's")
		case isNull(val):
		case val.Kind != yaml.SequenceNode:
			d.note(val, key.Value, "is %s, must be a list", describe(val))
		default:
			seen := map[string]bool{}
			for i, item := range val.Content {
				name := nameOf(item)
				switch at := index(key.Value, i); {
				case item.Kind != yaml.MappingNode || name == "":
					d.note(item, at, "must be a mapping with a name")
				case seen[name]:
					d.note(item, at+".name", "%q is the name of another: take another name", clip(name))
				}
				seen[name] = true
			}
		}
	})
}

// plain copies a tree without comments, styles and aliases, and refuses what a document of values has no use for.
func (d *decoder) plain(n *yaml.Node, path string) *yaml.Node {
	d.visited++
	d.depth++
	defer func() { d.depth-- }()
	out := &yaml.Node{Kind: n.Kind, Line: n.Line, Column: n.Column}
	if d.visited > maxNodes || d.depth > maxDepth {
		if d.visited <= maxNodes+1 {
			d.note(n, path, "the document is nested too deeply or repeats itself without end")
			d.visited = maxNodes + 1
		}
		return out
	}
	switch n.Kind {
	case yaml.AliasNode:
		return d.plain(n.Alias, path)
	case yaml.MappingNode:
		d.pairs(n, path, func(key, val *yaml.Node) {
			out.Content = append(out.Content, textNode(key.Value), d.plain(val, join(path, key.Value)))
		})
	case yaml.SequenceNode:
		for i, item := range n.Content {
			out.Content = append(out.Content, d.plain(item, index(path, i)))
		}
	default:
		out.Tag, out.Value = n.ShortTag(), n.Value
	}
	return out
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null" }

// member is a mapping's value of a name; nil: it has none.
func member(n *yaml.Node, name string) *yaml.Node {
	if n == nil || n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

func said(n *yaml.Node, name string) string {
	if m := member(n, name); m != nil && m.Kind == yaml.ScalarNode && !isNull(m) {
		return m.Value
	}
	return ""
}

// nameOf is the name by which an entry of a list is known. A deployment without one has that which Parse gives it.
func nameOf(n *yaml.Node) string {
	name := said(n, "name")
	if p := said(n, "provider"); name == "" && p != "" {
		if name = p + "/" + said(n, "model"); said(n, "credential") != "" {
			name += "#" + said(n, "credential")
		}
	}
	return name
}

// Text is the document as it is kept, and as ParseSettings reads it.
func (s *Settings) Text() []byte {
	if s == nil || len(s.root.Content) == 0 {
		return []byte("{}\n")
	}
	out, err := yaml.Dump(copied(s.root), yaml.WithLineWidth(-1)) // it writes into what it is given
	if err != nil {                                               // the tree holds scalars, lists and mappings of our own making
		return fmt.Appendf(nil, "# %s\n", err)
	}
	return out
}

// list is the list that the objects of a kind stand in; nil: there is none.
func (s *Settings) list(kind, of string) *yaml.Node {
	if s == nil {
		return nil
	}
	k, in := objects[kind], s.root
	if k.of != "" {
		in = s.node(Place{Kind: k.of, Name: of})
	}
	if l := member(in, k.list); l != nil && l.Kind == yaml.SequenceNode {
		return l
	}
	return nil
}

func (s *Settings) node(p Place) *yaml.Node {
	if l := s.list(p.Kind, p.Of); l != nil {
		if i := find(l, p.Name); i >= 0 {
			return l.Content[i]
		}
	}
	return nil
}

func find(list *yaml.Node, name string) int {
	return slices.IndexFunc(list.Content, func(n *yaml.Node) bool { return nameOf(n) == name })
}

// Has tells whether the document has an object.
func (s *Settings) Has(p Place) bool { return s.node(p) != nil }

// Places names the objects of a kind, in the order of the document.
func (s *Settings) Places(kind, of string) (all []Place) {
	if l := s.list(kind, of); l != nil {
		for _, n := range l.Content {
			all = append(all, Place{kind, of, nameOf(n)})
		}
	}
	return all
}

// Value is an object as JSON, as the document has it; nil: there is none. With masked, *** stands for every secret that
// is not a reference to one.
func (s *Settings) Value(p Place, masked bool) jsontext.Value {
	n := s.node(p)
	if n == nil {
		return nil
	}
	if masked {
		n = copied(n)
		eachSecret(n, objects[p.Kind].form, "", "", func(_, _ string, n *yaml.Node) { mask(n) })
	}
	return toJSON(n)
}

// Tag tells two versions of an object apart; "": there is none.
func (s *Settings) Tag(p Place) string {
	v := s.Value(p, false)
	if v == nil {
		return ""
	}
	sum := sha256.Sum256(v)
	return hex.EncodeToString(sum[:12])
}

// Masked is the document with *** for every secret that is not a reference to one.
func (s *Settings) Masked() *Settings {
	return s.edit(func(_ string, n *yaml.Node) { mask(n) })
}

func mask(n *yaml.Node) {
	if n.Value != "" && !refForm.MatchString(n.Value) {
		n.Tag, n.Value = "!!str", string(masked)
	}
}

// refForm is a whole text that is a reference to a secret which is not in the store.
var refForm = regexp.MustCompile(`^\$\{(file:[^{}]+|vault:[^{}]+|[A-Za-z_][A-Za-z0-9_]*)\}$`)

// sealedForm is a whole text that is a reference to a sealed value.
var sealedForm = regexp.MustCompile(`^\$\{sealed:([a-z0-9]+)\}$`)

// SealedID is the id of the sealed value that a text refers to; "": it does not.
func SealedID(text string) string {
	if m := sealedForm.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// SealedRef is the text that refers to a sealed value.
func SealedRef(id string) string { return "${sealed:" + id + "}" }

// IsReference tells whether a text is a reference to a secret that is kept elsewhere, and nothing else.
func IsReference(text string) bool { return refForm.MatchString(text) }

// Secrets are the texts of all members that hold secrets, by their places: providers/openai/api_key.
func (s *Settings) Secrets() map[string]string {
	all := map[string]string{}
	s.edit(func(place string, n *yaml.Node) { all[place] = n.Value })
	return all
}

// WithSecrets is the document with other texts in the members that hold secrets.
func (s *Settings) WithSecrets(texts map[string]string) *Settings {
	return s.edit(func(place string, n *yaml.Node) {
		if text, ok := texts[place]; ok {
			n.Tag, n.Value = "!!str", text
		}
	})
}

// edit gives a copy of which do has seen all members that hold secrets.
func (s *Settings) edit(do func(place string, n *yaml.Node)) *Settings {
	if s == nil {
		return &Settings{&yaml.Node{Kind: yaml.MappingNode}}
	}
	out := &Settings{copied(s.root)}
	for _, kind := range settingsKinds {
		if l := out.list(kind, ""); l != nil {
			for _, n := range l.Content {
				eachSecret(n, objects[kind].form, "", Place{Kind: kind, Name: nameOf(n)}.String(), func(_, place string, n *yaml.Node) { do(place, n) })
			}
		}
	}
	return out
}

// eachSecret calls do with each scalar that a type has a secret for, with its path and its place.
func eachSecret(n *yaml.Node, t reflect.Type, path, place string, do func(path, place string, n *yaml.Node)) {
	switch {
	case t == typeSecret:
		if n.Kind == yaml.ScalarNode && !isNull(n) {
			do(path, place, n)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Map:
		for i := 0; i+1 < len(n.Content); i += 2 {
			key := n.Content[i].Value
			eachSecret(n.Content[i+1], t.Elem(), join(path, key), place+"/"+key, do)
		}
	case n.Kind == yaml.MappingNode && t.Kind() == reflect.Struct:
		for f := range fields(reflect.New(t).Elem()) {
			if m := member(n, f.name); m != nil {
				eachSecret(m, f.Type, join(path, f.name), place+"/"+f.name, do)
			}
		}
	case n.Kind == yaml.SequenceNode && t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		for i, item := range n.Content {
			eachSecret(item, t.Elem(), index(path, i), place+"/"+nameOf(item), do)
		}
	}
}

func copied(n *yaml.Node) *yaml.Node {
	out := *n
	out.Content = make([]*yaml.Node, len(n.Content))
	for i, c := range n.Content {
		out.Content[i] = copied(c)
	}
	return &out
}
