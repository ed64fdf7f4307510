// Package route decides where a call goes: an ordered list of targets, without any I/O. It knows who may
// use which model; it does not call anybody.
package route

import (
	"slices"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
)

// A Router plans calls by a catalog. It is immutable.
type Router struct{ catalog *catalog.Catalog }

// New makes a router.
func New(c *catalog.Catalog) *Router { return &Router{c} }

// Plan lists the targets of a call in the order in which they are to be tried. The key's right to the
// model is judged by the name that the client said, before anything is resolved.
func (r *Router) Plan(who *auth.Who, call *llm.Call) ([]llm.Target, error) {
	if !who.Allows(call.Model) {
		return nil, &llm.Error{Kind: llm.KindModelNotAllowed, Param: "model", Msg: "this key may not use the model " + call.Model}
	}
	t, ok := r.catalog.Resolve(call.Model)
	if !ok {
		return nil, &llm.Error{
			Kind: llm.KindModelNotFound, Param: "model",
			Msg: "there is no model " + call.Model + "; GET /v1/models lists those there are, and provider/model reaches any model of a configured provider",
		}
	}
	return []llm.Target{t}, nil
}

// Models lists the names that the key may use, sorted: those with an entry, and those that providers offer
// (by provider), bare where the bare name leads to the provider, else as provider/model.
func (r *Router) Models(who *auth.Who, offered map[string][]string) []string {
	names := slices.Clone(r.catalog.Names())
	for provider, models := range offered {
		for _, m := range models {
			if t, ok := r.catalog.Resolve(m); !ok || t.Provider != provider || t.Model != m {
				m = provider + "/" + m
			}
			names = append(names, m)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return !who.Allows(name) })
}

// Known tells whether a name means a model that the key may use.
func (r *Router) Known(who *auth.Who, name string) bool {
	_, ok := r.catalog.Resolve(name)
	return ok && who.Allows(name)
}
