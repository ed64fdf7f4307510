package app

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"time"

	"sluice/internal/admin"
	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/config"
	"sluice/internal/directory"
	"sluice/internal/gateway"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/route"
	"sluice/internal/upstream"
	"sluice/internal/wire"
)

// running is this gateway as its operators' listener sees it.
type running struct{ *App }

// Upstreams is how the deployments fare.
func (a running) Upstreams() *admin.Upstreams {
	u := &admin.Upstreams{Replicas: a.fleet.Replicas(), Shared: "none", Deployments: a.fleet.Views()}
	if a.shared != nil {
		u.Shared = "ok"
		if !a.fleet.Linked() {
			u.Shared = "lost"
		}
		state := admin.Redis(a.shared.State())
		u.Redis = &state
	}
	return u
}

// Operate does an action with a deployment.
func (a running) Operate(deployment, action string) error {
	switch action {
	case "drain":
		return a.fleet.SetMode(deployment, upstream.Draining)
	case "disable":
		return a.fleet.SetMode(deployment, upstream.Disabled)
	case "enable":
		return a.fleet.SetMode(deployment, upstream.Active)
	case "reset":
		return a.fleet.Reset(deployment)
	}
	return llm.Errorf(llm.KindInvalid, "action: must be one of %v", admin.Actions)
}

// Configured finds a key of the configuration.
func (a running) Configured(key string) (public string, ok bool) {
	who := a.who(key)
	if who == nil {
		return "", false
	}
	return who.Public(), true
}

// Revoke refuses a key of the configuration on every replica from now on, whatever it says.
func (a running) Revoke(public string) error {
	err := a.revoked.Add(public)
	a.fleet.Revoke(public) // even if this replica will have forgotten it after a restart
	return err
}

// Prices are what each deployment costs now.
func (a running) Prices() *admin.Prices {
	a.mu.Lock()
	cfg, b := a.cfg, a.current
	a.mu.Unlock()
	out := &admin.Prices{At: time.Now().UTC(), Data: []admin.Price{}}
	for i := range cfg.Models {
		m, _ := cfg.Model(cfg.Models[i].Name)
		for _, d := range m.Places() {
			p := admin.Price{Model: m.Name, Deployment: d.Name, Provider: d.Provider, Upstream: d.Model, From: "none"}
			if price, ok := b.state.Price(&llm.Target{Provider: d.Provider, Model: d.Model}, out.At); ok {
				priced(&p, price)
			}
			out.Data = append(out.Data, p)
		}
	}
	return out
}

func priced(p *admin.Price, price *catalog.Price) {
	switch p.From = "table"; {
	case price.Guess:
		p.From = "guess"
	case price.Source == "":
		p.From = "own"
	}
	rates := func(r catalog.Rates) map[string]string {
		out := make(map[string]string)
		for name, rate := range r.All() {
			out[name] = llm.Nano(rate).String()
		}
		return out
	}
	p.Rates, p.Service, p.Source, p.Version = rates(price.Rates), price.Service, price.Source, price.Version
	for _, s := range price.Steps {
		p.Above = append(p.Above, admin.PriceAbove{Over: s.Over, Rates: rates(s.Rates)})
	}
	for tool, fee := range price.Fees {
		if p.Fees == nil {
			p.Fees = make(map[string]string)
		}
		p.Fees[tool] = fee.String()
	}
	if !price.Checked.IsZero() {
		p.Checked = price.Checked.Format(time.DateOnly)
	}
}

// MaxBody is the largest request that is taken.
func (a running) MaxBody() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return int64(a.cfg.Limits.Body)
}

// Explain plans a call.
func (a running) Explain(ctx context.Context, q *admin.Question, stored bool) (*route.Explanation, error) {
	a.mu.Lock()
	b := a.current
	a.mu.Unlock()
	if stored {
		who, err := a.people.who(ctx, q.Key)
		if err != nil {
			return nil, err
		}
		b = &built{state: b.state, callers: []*auth.Who{who}}
	}
	return b.explain(q)
}

// Standing is how the limits and budgets of a stored key, or of what keys belong to, stand.
func (a running) Standing(ctx context.Context, kind directory.Kind, id, project string) (*quota.Standing, error) {
	who, err := a.subject(ctx, kind, id, project)
	if err != nil {
		return nil, err
	}
	list, err := a.money.limiter.Status(ctx, who)
	if err != nil {
		return nil, err
	}
	return quota.Tell(list), nil
}

// subject gives whoever has just the rules that hold for a key, or for all keys that belong to a team, a user, an organisation or a
// project of one. All but a key have no name, and no project or team but the one that is meant.
func (a running) subject(ctx context.Context, kind directory.Kind, id, project string) (*auth.Who, error) {
	if kind == directory.KindKey {
		return a.people.who(ctx, id)
	}
	who, err := a.people.owner(ctx, kind, id)
	if err != nil {
		return nil, err
	}
	who.Project = project
	a.bindCurrent(who)
	return who, nil
}

// explain plans a call without making it.
func (b *built) explain(q *admin.Question) (*route.Explanation, error) {
	who := b.who(q.Key)
	if who == nil {
		return nil, llm.Errorf(llm.KindNotFound, "key: there is no key %q; give its name or its public part", q.Key)
	}
	call, err := readQuestion(q)
	if err != nil {
		return nil, err
	}
	h := http.Header{}
	for name, v := range q.Headers {
		h.Set(name, v)
	}
	if err := who.Permits(call.Op); err != nil {
		return nil, err
	}
	ask, err := route.ReadAsk(h, who)
	if err != nil {
		return nil, err
	}
	e, err := b.state.Router.Explain(who, call, ask)
	if err != nil {
		return nil, err
	}
	e.Guards = b.state.Guards.Holding(who, call.Model)
	return e, nil
}

// who finds a key by its public part or its name.
func (b *built) who(name string) *auth.Who {
	i := slices.IndexFunc(b.callers, func(w *auth.Who) bool { return name != "" && (w.ID == name || w.Name == name) })
	if i < 0 {
		return nil
	}
	return b.callers[i]
}

func (a *App) who(name string) *auth.Who {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.current.who(name)
}

// Explain plans a call by a configuration alone: nothing is known of its deployments, and nobody is called.
// Where the configuration names no key, the call is the first key's.
func Explain(cfg *config.Config, q *admin.Question) (*route.Explanation, error) {
	providers := withMocks(cfg, "")
	prices, err := newPricing(cfg, providers)
	if err != nil {
		return nil, err
	}
	places := newPlaces(cfg, providers)
	chain, _, err := guards(cfg) // it asks nobody
	if err != nil {
		return nil, err
	}
	b := &built{state: &gateway.State{Guards: chain, Router: route.New(route.Options{Catalog: places.catalog(prices)})}}
	for i := range cfg.Keys {
		b.callers = append(b.callers, caller(&cfg.Keys[i]))
	}
	if len(b.callers) == 0 {
		b.callers = []*auth.Who{{Name: "first", Models: []string{"*"}}}
		q.Key = "first"
	}
	return b.explain(q)
}

// readQuestion reads the call in question as the gateway would read it.
func readQuestion(q *admin.Question) (call *llm.Call, err error) {
	path := cmp.Or(q.Path, "/v1/chat/completions")
	r, err := http.NewRequest(http.MethodPost, path, http.NoBody) //nolint:noctx // it is never sent
	if err != nil || r.URL.Host != "" {
		return nil, llm.Errorf(llm.KindInvalid, "path: must be one that takes calls, such as /v1/chat/completions")
	}
	err = llm.Errorf(llm.KindInvalid, "path: %s takes no calls; docs/api.md lists those that do", path)
	mux := http.NewServeMux()
	for _, e := range endpoints {
		mux.HandleFunc(e.Path, func(_ http.ResponseWriter, r *http.Request) {
			if f, ok := e.Format(r); ok {
				call, err = wire.ReadCall(f, r, q.Body, "explain")
			}
		})
	}
	mux.ServeHTTP(nowhere{}, r)
	return call, err
}

// nowhere takes what a mux answers to a path that it does not know.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}
