// Package catalog knows which models there are, by which names, and where each is served. It does not know
// who may use them or which of several targets is better.
package catalog

import (
	"slices"
	"strings"

	"sluice/internal/llm"
)

// A Model is a name that clients may use.
type Model struct {
	Name   string
	Target llm.Target
}

// A Provider serves models by its own names, beside those that have an entry.
type Provider struct {
	Name   string
	Owns   []string   // globs of bare model names that mean this provider
	Target llm.Target // what its targets have in common; Model is left empty
}

// A Catalog resolves names. It is immutable.
type Catalog struct {
	models    map[string]llm.Target
	names     []string // of models, sorted
	providers []Provider
}

// New makes a catalog. Earlier providers win where two own a name.
func New(models []Model, providers []Provider) *Catalog {
	c := &Catalog{models: make(map[string]llm.Target, len(models)), providers: providers}
	for _, m := range models {
		c.models[m.Name] = m.Target
		c.names = append(c.names, m.Name)
	}
	slices.Sort(c.names)
	return c
}

// Names lists the models that have an entry, sorted.
func (c *Catalog) Names() []string { return c.names }

// Resolve finds where a model is served: by its entry, as provider/model, or by a provider that owns the
// bare name. Only a provider's configured name is looked at, so nothing in a request can name a host.
func (c *Catalog) Resolve(name string) (llm.Target, bool) {
	if t, ok := c.models[name]; ok {
		return t, true
	}
	prefix, rest, slash := strings.Cut(name, "/")
	for i := range c.providers {
		if p := &c.providers[i]; slash && p.Name == prefix {
			return p.at(rest), true
		}
	}
	for i := range c.providers {
		p := &c.providers[i]
		for _, glob := range p.Owns {
			if llm.Match(glob, name) {
				return p.at(name), true
			}
		}
	}
	return llm.Target{}, false
}

func (p *Provider) at(model string) llm.Target {
	t := p.Target
	t.Provider, t.Model = p.Name, model
	return t
}
