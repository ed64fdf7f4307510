package route

import (
	"slices"
	"strings"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
)

// An Explanation is the plan of a call, told without calling anybody.
type Explanation struct {
	Model    string      `json:"model"`
	Strategy string      `json:"strategy"`
	Fallback string      `json:"fallback,omitempty"` // the model that it falls back to at once, and why
	Choices  []Choice    `json:"choices"`            // in the order in which they would be tried
	Refused  []Choice    `json:"refused,omitempty"`  // those that would not be called, and why
	Guards   []string    `json:"guards,omitempty"`   // that the call must pass
	Models   []Alternate `json:"fallbacks,omitempty"`
}

// A Choice is one deployment in an explanation.
type Choice struct {
	Model      string  `json:"model"` // whose deployment it is: the one asked for, or one that it falls back to
	Deployment string  `json:"deployment"`
	Provider   string  `json:"provider"`
	Upstream   string  `json:"upstream_model"`
	Credential string  `json:"credential,omitempty"`
	Tier       int     `json:"tier"`
	Weight     int     `json:"weight"`
	State      string  `json:"state"`
	InFlight   int32   `json:"in_flight"`
	Others     int32   `json:"in_flight_others"`
	LatencyMs  float64 `json:"latency_ms,omitempty"`
	Failing    float64 `json:"failing"`
	NanoUSD    int64   `json:"expected_nano_usd,omitempty"`
	Why        string  `json:"why,omitempty"` // of one refused
}

// An Alternate is a model that a call may fall back to.
type Alternate struct {
	Why    string   `json:"why"`
	Models []string `json:"models"`
}

// Explain plans a call and tells the plan. The order is the one that this call would have met; the next one's
// may differ, as strategies take turns.
func (r *Router) Explain(who *auth.Who, call *llm.Call, ask Ask) (*Explanation, error) {
	p, err := r.plan(who, call, ask)
	if err != nil {
		return nil, err
	}
	defer p.Release()
	e := &Explanation{Model: call.Model, Strategy: p.name, Choices: []Choice{}}
	if name, why := p.Fallback(); name != "" {
		e.Fallback = name + " (" + why.String() + ")"
	}
	for why, models := range p.main.Lists {
		if len(models) > 0 && !ask.NoFallback {
			e.Models = append(e.Models, Alternate{llm.Fall(why).String(), models})
		}
	}
	for {
		g, named := p.group, []int{}
		for {
			if _, _, ok := p.Next(); !ok {
				break
			}
			i := p.given[len(p.given)-1]
			named = append(named, i)
			e.Choices = append(e.Choices, p.choice(g, i))
		}
		for i := range g.Deployments {
			if !slices.Contains(named, i) {
				c := p.choice(g, i)
				c.Why = p.why(&g.Deployments[i], c.State)
				e.Refused = append(e.Refused, c)
			}
		}
		if !p.Fall(llm.FallGeneral) {
			return e, nil
		}
	}
}

func (p *Plan) choice(g *catalog.Group, i int) Choice {
	d := &g.Deployments[i]
	var l llm.Load
	p.router.load(&d.Target, p.now, &l)
	return Choice{
		Model: g.Name, Deployment: d.Name, Provider: d.Provider, Upstream: d.Model, Credential: d.Credential, Tier: d.Tier, Weight: d.Weight,
		State: l.Bar.String(), InFlight: l.InFlight, Others: l.Others, LatencyMs: float64(l.Latency.Microseconds()) / 1000,
		Failing: float64(l.Failing), NanoUSD: max(price(d, p.call), 0),
	}
}

// why says why a deployment would not be called.
func (p *Plan) why(d *catalog.Deployment, state string) string {
	var lacks []string
	for _, tag := range slices.Concat(p.who.Tags, p.ask.Tags) {
		if !slices.Contains(d.Tags, tag) {
			lacks = append(lacks, tag)
		}
	}
	if len(lacks) > 0 {
		return "it lacks the tags " + strings.Join(lacks, ", ")
	}
	return state
}
