package app

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"sluice/internal/catalog"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/upstream"
)

// A places lists the deployments of a configuration and gives each its slot.
type places struct {
	cfg       *config.Config
	providers []config.Provider
	list      []upstream.Deployment
	slots     map[string]int // by key
}

func newPlaces(cfg *config.Config, providers []config.Provider) *places {
	return &places{cfg: cfg, providers: providers, slots: make(map[string]int)}
}

// packed lays the names of each provider's credentials side by side, and the secrets, too. A call reads one of each, and of
// hundreds that the reading of a file has strewn over the heap all would come from memory.
func packed(providers []config.Provider) []config.Provider {
	out := slices.Clone(providers)
	for i := range out {
		list := slices.Clone(out[i].Credentials)
		pack(list, func(c *config.Credential) *string { return &c.Name })
		pack(list, func(c *config.Credential) *llm.Secret { return &c.APIKey })
		out[i].Credentials = list
	}
	return out
}

func pack[S ~string](list []config.Credential, member func(*config.Credential) *S) {
	var all strings.Builder
	for i := range list {
		all.WriteString(string(*member(&list[i])))
	}
	rest := S(all.String())
	for i := range list {
		at := member(&list[i])
		*at, rest = rest[:len(*at)], rest[len(*at):]
	}
}

// catalog is what the configuration's names mean.
func (p *places) catalog(prices *pricing) *catalog.Catalog {
	groups := p.groups()
	prices.fill(groups, time.Now())
	return catalog.New(groups, p.serving())
}

func (p *places) provider(name string) *config.Provider {
	if i := slices.IndexFunc(p.providers, func(c config.Provider) bool { return c.Name == name }); i >= 0 {
		return &p.providers[i]
	}
	return nil
}

// slot finds a deployment's place in the pool. Models that only a * reaches share one: clients choose their
// names, and what is kept must be bounded.
func (p *places) slot(d upstream.Deployment) int {
	if strings.Contains(d.Model, "*") {
		d.Model = ""
	}
	key := d.Key()
	i, ok := p.slots[key]
	if !ok {
		i = len(p.list)
		p.list, p.slots[key] = append(p.list, d), i
	}
	if most := p.list[i].MaxInFlight; d.MaxInFlight > 0 && (most == 0 || d.MaxInFlight < most) {
		p.list[i].MaxInFlight = d.MaxInFlight // named twice: the stricter limit holds
	}
	return i
}

// serving are the providers as the catalog knows them, with a target for each credential.
func (p *places) serving() []catalog.Provider {
	var out []catalog.Provider
	for i := range p.providers {
		c := &p.providers[i]
		s := catalog.Provider{Name: c.Name, Owns: owned(c)}
		for _, cred := range c.Secrets() {
			s.Targets = append(s.Targets, llm.Target{
				Provider: c.Name, Credential: cred.Name, Timeouts: p.cfg.Wait(c, nil),
				Slot: p.slot(upstream.Deployment{Provider: c.Name, Credential: cred.Name}),
			})
		}
		out = append(out, s)
	}
	return out
}

// groups are the entries of models, and the models of the built-in upstream by name.
func (p *places) groups() []catalog.Group {
	var out []catalog.Group
	for _, entry := range p.cfg.Models {
		m, ok := p.cfg.Model(entry.Name)
		if !ok {
			continue // config has refused it
		}
		g := catalog.Group{
			Name: entry.Name, Strategy: m.Strategy, Hedge: m.Hedge, Window: int64(m.ContextWindow), Cache: m.Cache,
			Lists: [llm.FallCount][]string{llm.FallGeneral: m.Fallback, llm.FallContext: m.FallbackContext, llm.FallContent: m.FallbackContent},
		}
		for _, place := range m.Places() {
			g.Deployments = append(g.Deployments, p.deployments(&m, &place)...)
		}
		out = append(out, g)
	}
	if p.cfg.Mock.Enabled {
		for _, provider := range mocks {
			for _, name := range mockModels {
				d := catalog.Deployment{Name: provider + "/" + name, Weight: 1, Target: llm.Target{
					Provider: provider, Model: name, Slot: p.slot(upstream.Deployment{Provider: provider, Model: name}),
				}}
				out = append(out, catalog.Group{Name: d.Name, Deployments: []catalog.Deployment{d}})
			}
		}
	}
	return out
}

// deployments makes one of a place for each credential that it may be called with.
func (p *places) deployments(m *config.Model, place *config.Deployment) []catalog.Deployment {
	c := p.provider(place.Provider)
	if c == nil {
		return nil // config has refused it
	}
	var out []catalog.Deployment
	for _, cred := range c.Secrets() {
		if place.Credential != "" && cred.Name != place.Credential {
			continue
		}
		name := place.Name
		if place.Credential == "" && cred.Name != "" {
			name += "#" + cred.Name
		}
		out = append(out, catalog.Deployment{
			Name: name, Weight: cmp.Or(place.Weight, 1), Tier: place.Tier, Tags: place.Tags,
			Input: place.Price.Input, Output: place.Price.Output,
			Target: llm.Target{
				Provider: place.Provider, Model: place.Model, Credential: cred.Name, Lenient: m.Lenient, Timeouts: p.cfg.Wait(c, m),
				Slot: p.slot(upstream.Deployment{Provider: place.Provider, Model: place.Model, Credential: cred.Name, MaxInFlight: place.MaxInFlight}),
			},
		})
	}
	return out
}
