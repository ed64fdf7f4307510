// Package route decides where a call goes: which deployments, in which order, without any I/O. It knows who
// may use which model and how one of several deployments is chosen; it does not call anybody.
package route

import (
	"slices"
	"strings"
	"sync"
	"time"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
)

// Options are what a router is made of.
type Options struct {
	Catalog *catalog.Catalog
	// Load says what is known of a target's deployment now; its argument is zero before. Nil: nothing is.
	Load func(t *llm.Target, now time.Time, l *llm.Load)
	// Gauge is where what Load says of a target's deployment is kept, for a look at many; with nil members where there is no
	// one place. Nil: there is none for any.
	Gauge func(t *llm.Target) llm.Gauge
	// Replicas is how many processes share the deployments. Nil: this one alone.
	Replicas func() int
}

// A Router plans calls by a catalog.
type Router struct {
	catalog  *catalog.Catalog
	load     func(t *llm.Target, now time.Time, l *llm.Load)
	replicas func() int
	sticky   *stickyTable
	panels   map[*catalog.Group]*panel // of large groups
	plans    sync.Pool
}

// New makes a router.
func New(o Options) *Router {
	r := &Router{catalog: o.Catalog, load: o.Load, replicas: o.Replicas, sticky: newStickyTable()}
	if r.load == nil {
		r.load = func(*llm.Target, time.Time, *llm.Load) {}
	}
	if r.replicas == nil {
		r.replicas = func() int { return 1 }
	}
	if o.Gauge != nil {
		r.panels = panels(o.Catalog, o.Gauge)
	}
	return r
}

// Plan finds the deployments that may serve a call. The key's right to the model is judged by the name that
// the client said, before anything is resolved; the models that it falls back to are part of what the
// operator made of that name. Release the plan when the call is over.
func (r *Router) Plan(who *auth.Who, call *llm.Call, ask Ask) (*Plan, error) {
	p, err := r.plan(who, call, ask)
	if err == nil && len(who.Tags)+len(ask.Tags) > 0 {
		if err = p.tagged(); err != nil {
			p.Release()
			return nil, err
		}
	}
	return p, err
}

// plan is Plan, whether or not any deployment has the tags that the call wants.
func (r *Router) plan(who *auth.Who, call *llm.Call, ask Ask) (*Plan, error) {
	if !who.Allows(call.Model) {
		return nil, &llm.Error{Kind: llm.KindModelNotAllowed, Param: "model", Msg: "this key may not use the model " + call.Model}
	}
	p, _ := r.plans.Get().(*Plan)
	if p == nil {
		p = new(Plan)
	}
	g, ok := r.catalog.ResolveIn(&p.own, call.Model)
	if !ok {
		return nil, &llm.Error{
			Kind: llm.KindModelNotFound, Param: "model",
			Msg: "there is no model " + call.Model + "; GET /v1/models lists those there are, and provider/model reaches any model of a configured provider",
		}
	}
	if _, ok := Strategies[ask.Strategy]; !ok && ask.Strategy != "" {
		return nil, llm.Errorf(llm.KindInvalid, "%s: there is no strategy %q; there are %s", StrategyHeader, ask.Strategy, strings.Join(Names(), ", "))
	}
	p.router, p.who, p.call, p.ask, p.main, p.now = r, who, call, ask, g, time.Now()
	p.begin(g)
	if p.tooLong() {
		p.Fall(llm.FallContext)
	}
	return p, nil
}

// Names lists the strategies, sorted.
func Names() []string {
	names := make([]string, 0, len(Strategies))
	for name := range Strategies {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Models lists the names that the key may use, sorted: those with an entry, and those that providers offer
// (by provider), bare where the bare name leads to the provider, else as provider/model.
func (r *Router) Models(who *auth.Who, offered map[string][]string) []string {
	names := slices.Clone(r.catalog.Names())
	for provider, models := range offered {
		for _, m := range models {
			if g, ok := r.catalog.Resolve(m); !ok || !leadsTo(g, provider, m) {
				m = provider + "/" + m
			}
			names = append(names, m)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return !who.Allows(name) })
}

func leadsTo(g *catalog.Group, provider, model string) bool {
	return slices.ContainsFunc(g.Deployments, func(d catalog.Deployment) bool { return d.Provider == provider && d.Model == model })
}

// Known tells whether a name means a model that the key may use.
func (r *Router) Known(who *auth.Who, name string) bool {
	_, ok := r.catalog.Resolve(name)
	return ok && who.Allows(name)
}
