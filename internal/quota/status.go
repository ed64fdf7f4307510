package quota

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/auth"
	"sluice/internal/llm"
)

// A Status is what a caller has under one of its rules.
type Status struct {
	Kind    Kind
	Rule    string // its name
	Subject string // whom it counts for
	Models  []string
	Limit   int64         // requests, tokens, calls or nano-dollars
	Per     time.Duration // of a pace
	Apart   []llm.Dim     // what each has as much of

	// Of a budget:
	Known       bool // Spent and Held are: the caller has one value of all that is counted apart
	Period      llm.Period
	Mode        llm.BudgetMode
	From, Until time.Time // the period; of a rolling one, when its oldest part began and its newest ends
	Spent       int64
	Held        int64 // by calls under way
}

// Status lists all that a caller's rules say, and how its budgets stand. A caller without a name is no key, but what keys belong to.
// Rules that count apart what a caller has no one value of (a key of the models; a team of the keys and users) are told by their
// limits only. The store is asked once.
func (l *Limiter) Status(ctx context.Context, who *auth.Who) ([]Status, error) {
	var out []Status
	g := &Grant{l: l, plan: planFor(who, "", func(*llm.Rule) bool { return true }), hold: Hold{Org: who.Org}}
	g.hold.Asks = make([]Ask, len(g.plan.asks))
	g.fill(l.now())
	l.know(who.Org)
	levels, err := l.levels(ctx, g, who)
	if err != nil {
		return nil, err
	}
	for i := range g.plan.asks {
		p, a := &g.plan.asks[i], &g.hold.Asks[i]
		s := Status{Kind: p.Kind, Rule: p.rule.Name, Subject: p.subject, Models: p.rule.Models, Limit: p.N, Per: p.Per, Apart: p.rule.Per}
		if p.Kind.Budget() {
			s.Limit, s.Period, s.Mode, s.From, s.Until = a.Limit, p.budget.Every, p.budget.Mode, a.From, a.Until
			if a.Rolling {
				s.From = time.Unix(a.Oldest, 0).UTC()
			}
			var level Level
			level, s.Known = levels[a.Key]
			s.Held = level.Held
			for _, part := range level.Parts {
				if part.Start >= a.Oldest { // what has left a rolling period may still be kept
					s.Spent = plus(s.Spent, part.Amount)
				}
			}
		}
		out = append(out, s)
	}
	return out, nil
}

// levels reads the counters of a grant's budgets, by their names. What the store does not know yet the database does.
func (l *Limiter) levels(ctx context.Context, g *Grant, who *auth.Who) (map[string]Level, error) {
	out := make(map[string]Level)
	var counters []string
	queries := make(map[string]Query)
	for i := range g.plan.asks {
		p, a := &g.plan.asks[i], &g.hold.Asks[i]
		if p.Kind.Budget() && p.one(who) {
			counters = append(counters, a.Key)
			queries[a.Key] = p.ask(p.at(a.From))
		}
	}
	if len(counters) == 0 {
		return out, nil
	}
	levels, err := l.o.Store.Levels(ctx, g.hold.Org, counters)
	if err != nil {
		return nil, unavailable("what was spent under the budgets could not be read", err)
	}
	var cold []Query
	for _, level := range levels {
		if out[level.Counter] = level; level.Cold {
			cold = append(cold, queries[level.Counter])
		}
	}
	if len(cold) == 0 {
		return out, nil
	}
	if levels, err = l.spent(ctx, cold); err != nil {
		return nil, unavailable("what was spent under the budgets could not be read", err)
	}
	for _, level := range levels {
		level.Held = out[level.Counter].Held
		out[level.Counter] = level
	}
	return out, nil
}

// one tells whether a budget has one counter for a caller, rather than one for each of many values.
func (p *planned) one(who *auth.Who) bool {
	return !slices.ContainsFunc(p.rule.Per, func(d llm.Dim) bool {
		return d == llm.DimModel || p.query.Per[d] == "" && who.Public() == ""
	})
}

// A Name is what a budget's counter says of itself.
type Name struct {
	Org, Subject, Rule string
	From               time.Time // of a calendar period
	Tokens             bool      // it counts tokens, not money
}

// ParseName reads the name of a counter, as Crossing has it.
func ParseName(counter string) Name {
	parts := append(strings.Split(counter, "|"), "", "", "", "", "", "")
	n := Name{Org: unclean(parts[0]), Subject: unclean(parts[1]), Rule: unclean(parts[2]), Tokens: strings.HasPrefix(parts[4], "tokens:")}
	if from, _, ok := strings.Cut(parts[5], "-"); ok {
		if unix, err := strconv.ParseInt(from, 10, 64); err == nil {
			n.From = time.Unix(unix, 0).UTC()
		}
	}
	return n
}
