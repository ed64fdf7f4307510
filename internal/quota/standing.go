package quota

import (
	"context"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// A Standing is how one of a caller's budgets fares.
type Standing struct {
	Subject     string
	Rule        *llm.Rule
	Budget      *llm.Budget
	From, Until time.Time // of the period; of a rolling one, when its oldest part begins and its newest ends
	Limit       int64     // nano-dollars or tokens, in this period
	Spent, Held int64     // settled, and held by calls under way
	Tokens      bool      // it counts tokens, not money
}

// Standings tells how the budgets fare that hold for a caller's calls of a model; those of rules that name no models hold
// for every one.
func (l *Limiter) Standings(ctx context.Context, who *auth.Who, model string) ([]Standing, error) {
	g := &Grant{l: l, plan: l.plans.of(who, model), hold: Hold{Org: who.Org}}
	g.hold.Asks = make([]Ask, len(g.plan.asks))
	now := l.now()
	g.fill(now)
	var names []string
	for i := range g.hold.Asks {
		if g.hold.Asks[i].Kind.Budget() {
			names = append(names, g.hold.Asks[i].Key)
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	levels, err := l.levels(ctx, g, names)
	if err != nil {
		return nil, unavailable("what was spent could not be read", err)
	}
	var out []Standing
	for i := range g.hold.Asks {
		p, a := &g.plan.asks[i], &g.hold.Asks[i]
		if !a.Kind.Budget() {
			continue
		}
		s := Standing{
			Subject: p.subject, Rule: p.rule, Budget: p.budget, From: a.From, Until: a.Until, Limit: a.Limit, Tokens: a.Kind == TokenBudget,
		}
		if a.Rolling {
			s.From = time.Unix(a.Oldest, 0).UTC()
		}
		level := levels[len(out)]
		s.Held = level.Held
		for _, part := range level.Parts {
			if part.Start >= a.Oldest {
				s.Spent = plus(s.Spent, part.Amount)
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// levels reads counters; those that the store does not know come from the database, and stay unknown to it.
func (l *Limiter) levels(ctx context.Context, g *Grant, names []string) ([]Level, error) {
	levels, err := l.o.Store.Levels(ctx, g.hold.Org, names)
	if err != nil {
		return nil, err
	}
	var qs []Query
	var cold []int
	j := 0
	for i := range g.plan.asks {
		p := &g.plan.asks[i]
		if !p.kind.Budget() {
			continue
		}
		if levels[j].Cold {
			qs, cold = append(qs, p.ask(p.at(g.hold.Asks[i].From))), append(cold, j)
		}
		j++
	}
	if len(qs) == 0 {
		return levels, nil
	}
	spent, err := l.spent(ctx, qs)
	if err != nil {
		return nil, err
	}
	for k, j := range cold {
		spent[k].Held = levels[j].Held
		levels[j] = spent[k]
	}
	return levels, nil
}
