package app

import (
	"fmt"
	"time"

	"sluice/internal/catalog"
	"sluice/internal/config"
	"sluice/internal/llm"
	"sluice/internal/usage"
)

// mockPrice lets people try budgets without a provider.
var mockPrice = catalog.Price{
	Kinds: mocks, Models: []string{"*"}, Rates: catalog.Rates{Input: llm.Rate(llm.Dollar), Output: 2 * llm.Rate(llm.Dollar)}, Window: 1 << 20, MaxOutput: 1 << 16,
}

// A pricing knows what each target costs.
type pricing struct {
	own    *catalog.Prices // those of deployments whose entry names one, and model_prices, by provider instead of kind
	prices *catalog.Prices
	kinds  map[string]string // of providers, by name
}

// newPricing reads the prices that a configuration and its data directory name.
func newPricing(cfg *config.Config, providers []config.Provider) (*pricing, error) {
	kept, err := KeptPrices(cfg)
	if err != nil {
		return nil, fmt.Errorf("prices: %w", err)
	}
	o := catalog.Options{Layers: [][]catalog.Price{catalog.Embedded(), kept}}
	if cfg.Prices.File != "" {
		list, _, err := ReadPrices(cfg.Prices.File)
		if err != nil {
			return nil, fmt.Errorf("prices.file: %w", err)
		}
		o.Layers = append(o.Layers, list)
	}
	if u := cfg.Prices.Unknown; u != (config.Price{}) {
		o.Unknown = &catalog.Price{Rates: catalog.Rates{Input: u.Input, Output: u.Output}}
	}
	p := &pricing{kinds: make(map[string]string), prices: catalog.NewPrices(o)}
	for i := range providers {
		p.kinds[providers[i].Name] = kindOf(&providers[i])
	}
	own := []catalog.Price{mockPrice}
	for _, entry := range cfg.Models {
		m, ok := cfg.Model(entry.Name)
		if !ok {
			continue
		}
		for _, d := range m.Places() {
			if d.Price != (config.Price{}) {
				own = append(own, catalog.Price{
					Kinds: []string{d.Provider}, Models: []string{d.Model}, Window: int64(m.ContextWindow),
					Rates: catalog.Rates{Input: d.Price.Input, Output: d.Price.Output},
				})
			}
		}
	}
	p.own = catalog.NewPrices(catalog.Options{Layers: [][]catalog.Price{modelPrices(cfg), own}})
	return p, nil
}

// modelPrices are the prices that a configuration names by provider.
func modelPrices(cfg *config.Config) (list []catalog.Price) {
	for i := range cfg.ModelPrices {
		p := &cfg.ModelPrices[i]
		list = append(list, catalog.Price{
			Kinds: []string{p.Provider}, Models: p.Models, From: p.From,
			Rates: catalog.Rates{Input: p.Input, CacheRead: p.CacheRead, CacheWrite: p.CacheWrite, CacheWrite1h: p.CacheWrite1h, Output: p.Output, Reasoning: p.Reasoning},
		})
	}
	return list
}

// price is what a target costs for calls that begin at a time.
func (p *pricing) price(t *llm.Target, at time.Time) (*catalog.Price, bool) {
	if price, ok := p.own.Find(t.Provider, t.Model, at); ok {
		return price, true
	}
	return p.prices.Find(p.kinds[t.Provider], t.Model, at)
}

// fill gives the deployments of a configuration that name no price that of the table, for the strategy cost.
func (p *pricing) fill(groups []catalog.Group, at time.Time) {
	for i := range groups {
		list := groups[i].Deployments
		for j := range list {
			p.own.Fill(&list[j], list[j].Provider, at)
			p.prices.Fill(&list[j], p.kinds[list[j].Provider], at)
		}
	}
}

// mark prices what a call has consumed.
func (p *pricing) mark(m *usage.Mark, at time.Time) {
	price, ok := p.price(&llm.Target{Provider: m.Provider, Model: m.Upmodel}, at)
	if !ok {
		return
	}
	c := price.Cost(&m.Usage)
	m.PriceVersion = price.Version
	m.Costs = usage.Costs{
		Input: c.Input, CacheRead: c.CacheRead, CacheWrite: c.CacheWrite, CacheWrite1h: c.CacheWrite1h,
		Output: c.Output, Reasoning: c.Reasoning, Audio: c.AudioInput.Plus(c.AudioOutput), Image: c.ImageInput.Plus(c.ImageOutput), Tools: c.Tools,
	}
}
