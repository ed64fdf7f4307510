package config

import (
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sluice/internal/llm"
)

// storedAt says what of the store stands at a path of the whole document.
type storedAt struct{ place Place }

// withSettings is the document's tree with the store's objects behind those that it has itself.
func (d *decoder) withSettings(root *yaml.Node) *yaml.Node {
	s := d.opts.Settings
	if s == nil || root != nil && root.Kind != yaml.MappingNode && !isNull(root) {
		return root
	}
	out := &yaml.Node{Kind: yaml.MappingNode}
	if root != nil && root.Kind == yaml.MappingNode {
		*out = *root
		out.Content = slices.Clone(root.Content)
	}
	for _, item := range followed(member(member(out, "secrets"), "references")) {
		d.allowed = append(d.allowed, item.Value)
	}
	for _, kind := range settingsKinds {
		list, name := s.list(kind, ""), objects[kind].list
		if list == nil || len(list.Content) == 0 {
			continue
		}
		own := member(out, name)
		if own != nil && !isNull(own) && followed(own) == nil && len(resolve(own).Content) > 0 {
			continue // no list, which is said when it is decoded
		}
		whole := &yaml.Node{Kind: yaml.SequenceNode, Content: slices.Clone(followed(own))}
		if own != nil {
			whole.Line, whole.Column = own.Line, own.Column
		}
		for _, n := range list.Content {
			at, p := index(name, len(whole.Content)), Place{Kind: kind, Name: nameOf(n)}
			d.stored[at] = storedAt{p}
			eachSecret(n, objects[kind].form, at, p.String(), func(path, place string, _ *yaml.Node) { d.places[path] = place })
			whole.Content = append(whole.Content, n)
		}
		if own == nil {
			out.Content = append(out.Content, textNode(name), whole)
		} else {
			out.Content[slices.Index(out.Content, own)] = whole
		}
	}
	return out
}

// resolve is what an alias stands for, or the node itself.
func resolve(n *yaml.Node) *yaml.Node {
	for n != nil && n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// followed are the items of a list, also where an alias stands for it.
func followed(n *yaml.Node) []*yaml.Node {
	if n = resolve(n); n == nil || n.Kind != yaml.SequenceNode {
		return nil
	}
	return n.Content
}

// inStore tells whether a path is one of the store's object, which one, and where in it the path is.
func (d *decoder) inStore(path string) (at storedAt, rest string, ok bool) {
	if len(d.stored) == 0 {
		return at, "", false
	}
	i := strings.IndexByte(path, ']') + 1
	at, ok = d.stored[path[:i]]
	return at, strings.TrimPrefix(path[i:], "."), ok
}

// markStored marks the store's objects.
func (d *decoder) markStored(c *Config) {
	stored := func(list string, i int) bool { _, _, ok := d.inStore(index(list, i)); return ok }
	for i := range c.Providers {
		c.Providers[i].Stored = stored("providers", i)
	}
	for i := range c.Models {
		c.Models[i].Stored = stored("models", i)
	}
	for i := range c.Rules {
		c.Rules[i].Stored = stored("rules", i)
	}
	for i := range c.Guards {
		c.Guards[i].Stored = stored("guards", i)
	}
	for i := range c.ModelPrices {
		c.ModelPrices[i].Stored = stored("model_prices", i)
	}
}

// absent adds a problem with a name that the document should have, unless the store's objects may have it.
func (d *decoder) absent(path, format string, args ...any) {
	if !d.opts.Open {
		d.fail(path, format, args...)
	}
}

// storedReference is what a reference in one of the store's objects stands for. There it must be a whole secret: whoever may set an
// object must not learn what this machine's files and environment hold.
func (d *decoder) storedReference(text string, t reflect.Type, path string) (string, error) {
	ref := strings.TrimSuffix(strings.TrimPrefix(text, "${"), "}")
	switch id := SealedID(text); {
	case t != typeSecret:
		return "", errors.New("holds a reference (${...}), which only secrets may")
	case id != "":
		if d.opts.Sealed == nil || d.places[path] == "" {
			return "", errors.New("refers to a sealed value, which cannot be opened here")
		}
		return d.opts.Sealed(d.places[path], id)
	case !IsReference(text):
		return "", errors.New("must be a secret itself or one whole reference: ${NAME}, ${file:/path} or ${vault:MOUNT/PATH#FIELD}")
	case !slices.ContainsFunc(d.allowed, func(glob string) bool { return llm.Match(glob, ref) }):
		return "", fmt.Errorf("refers to %s, which secrets.references of the configuration file does not allow: add it there, or give the secret itself", clip(ref))
	}
	return d.reference(ref)
}
