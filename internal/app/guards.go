package app

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"strings"
	"time"

	"sluice/internal/alert"
	"sluice/internal/config"
	"sluice/internal/guard"
	"sluice/internal/guard/pii"
	"sluice/internal/guard/webhook"
	"sluice/internal/llm"
	"sluice/internal/upstream"
)

// guards makes the chain of a configuration; nil where nothing has a guard, and none can be asked for. The transports are to
// be closed with it.
func guards(cfg *config.Config) (*guard.Chain, []*upstream.Transport, error) {
	var list []guard.Options
	var transports []*upstream.Transport
	for i := range cfg.Guards {
		g := &cfg.Guards[i]
		o, err := guardOptions(g)
		if err != nil {
			return nil, nil, err
		}
		if g.Webhook.URL != "" {
			d, t, err := guardWebhook(g)
			if err != nil {
				return nil, nil, err
			}
			o.Detectors, transports = append(o.Detectors, d), append(transports, t)
		}
		list = append(list, o)
	}
	chain, err := guard.New(list, guardedModels(cfg))
	return chain, transports, err
}

// guardOptions are a guard with the detector that needs no network.
func guardOptions(g *config.Guard) (guard.Options, error) {
	mode, err := guard.ParseMode(g.Mode)
	answers, err2 := guard.ParseMode(g.Answers)
	if err := errors.Join(err, err2); err != nil {
		return guard.Options{}, err
	}
	o := guard.Options{
		Name: g.Name, Mode: mode, Answers: answers, Block: g.Block, Enforce: g.Enforce, Media: g.Media == "allow", Always: g.Always,
	}
	if g.Entities != nil && len(g.Entities) == 0 && len(g.Rules) == 0 && len(g.Deny) == 0 {
		return o, nil // the webhook alone
	}
	s, err := scanner(g)
	if err != nil {
		return o, err
	}
	o.Detectors = []guard.Detector{guard.Local(s, unwanted(g))}
	return o, nil
}

// unwanted tells which types do not count: those built in, where a guard wants none of them.
func unwanted(g *config.Guard) func(string) bool {
	if g.Entities == nil || len(g.Entities) > 0 {
		return nil
	}
	built := pii.Entities()
	return func(kind string) bool {
		return slices.Contains(built, pii.Entity(kind)) &&
			!slices.ContainsFunc(g.Rules, func(r config.GuardRule) bool { return r.Type == kind }) &&
			!slices.ContainsFunc(g.Deny, func(l config.GuardList) bool { return l.Type == kind })
	}
}

func scanner(g *config.Guard) (*pii.Scanner, error) {
	percent := func(n int) float32 { return float32(n) / 100 }
	o := pii.Options{Threshold: percent(g.Threshold), Allow: g.Allow}
	for _, e := range g.Entities {
		o.Entities = append(o.Entities, pii.Entity(e))
	}
	for _, t := range g.Thresholds {
		if o.Thresholds == nil {
			o.Thresholds = make(map[pii.Entity]float32)
		}
		o.Thresholds[pii.Entity(t.Type)] = percent(t.Percent)
	}
	for _, r := range g.Rules {
		o.Rules = append(o.Rules, pii.Rule{Name: r.Name, Entity: pii.Entity(r.Type), Pattern: r.Pattern, Score: percent(r.Score), Context: r.Context})
	}
	for _, l := range g.Deny {
		o.Deny = append(o.Deny, pii.List{Name: l.Name, Entity: pii.Entity(l.Type), Words: l.Words})
	}
	return pii.New(o)
}

func guardWebhook(g *config.Guard) (guard.Detector, *upstream.Transport, error) {
	w := &g.Webhook
	u, err := url.Parse(string(w.URL))
	if err != nil {
		return nil, nil, errors.New("a guard's webhook has a url that cannot be read") // it may hold a secret
	}
	t := upstream.NewTransport(upstream.TransportOptions{AllowPrivate: w.AllowPrivate})
	o := webhook.Options{
		URL: u, Form: webhook.Form(w.Form), Language: w.Language, Timeout: w.Timeout, Transport: t,
		Threshold: float64(cmp.Or(g.Threshold, 50)) / 100,
	}
	if w.Secret != "" {
		o.Sign = func(now time.Time, body []byte) string { return alert.Sign(w.Secret, now, body) }
	}
	return webhook.New(o), t, nil
}

// checkGuard tells what is wrong with a guard that only its detectors know.
func checkGuard(g *config.Guard) error {
	_, err := guardOptions(g)
	return err
}

// guardedModels tells which guards hold for a model, by the name that a client says: those of its entry, and where only entries
// with a * fit it, those of all that do.
func guardedModels(cfg *config.Config) func(string) []string {
	exact := make(map[string][]string)
	type glob struct {
		name   string
		guards []string
	}
	var globs []glob
	for i := range cfg.Models {
		name := cfg.Models[i].Name
		list := cfg.GuardsOf(name)
		if strings.Contains(name, "*") {
			if len(list) > 0 {
				globs = append(globs, glob{name, list})
			}
			continue
		}
		exact[name] = list
	}
	return func(model string) (all []string) {
		if list, ok := exact[model]; ok {
			return list
		}
		for _, g := range globs {
			if llm.Match(g.name, model) {
				all = append(all, g.guards...)
			}
		}
		return all
	}
}
