package config

import (
	"reflect"

	"github.com/go-json-experiment/json/jsontext"
)

// An Object is one object of the configuration file, as JSON with *** for every secret.
type Object struct {
	Place
	Value jsontext.Value
}

// FileObjects are the objects of a kind that the configuration file has.
func (c *Config) FileObjects(kind, of string) (all []Object) {
	add := func(name string, v any) {
		all = append(all, Object{Place{kind, of, name}, toJSON(node(reflect.ValueOf(v)))})
	}
	switch kind {
	case KindProvider:
		for _, p := range c.Providers {
			if !p.Stored {
				add(p.Name, p)
			}
		}
	case KindCredential:
		if p := c.provider(of); p != nil && !p.Stored {
			for _, s := range p.Credentials {
				add(s.Name, s)
			}
		}
	case KindModel:
		for _, m := range c.Models {
			if !m.Stored {
				add(m.Name, m)
			}
		}
	case KindDeployment:
		if m, ok := c.entry(of); ok && !m.Stored {
			for _, d := range m.Deployments {
				add(d.Name, d)
			}
		}
	case KindPrice:
		for _, p := range c.ModelPrices {
			if !p.Stored {
				add(p.Name, p)
			}
		}
	case KindGuard:
		for _, g := range c.Guards {
			if !g.Stored {
				add(g.Name, g)
			}
		}
	case KindRule:
		for _, r := range c.Rules {
			if !r.Stored {
				add(r.Name, r)
			}
		}
	}
	return all
}

// FileHas tells whether the configuration file has an object.
func (c *Config) FileHas(p Place) bool {
	for _, o := range c.FileObjects(p.Kind, p.Of) {
		if o.Name == p.Name {
			return true
		}
	}
	return false
}
