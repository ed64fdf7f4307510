package control

import (
	"context"
	"fmt"
	"slices"
	"time"

	"sluice/internal/directory"
	"sluice/internal/llm"
	"sluice/internal/rules"
)

// Override asks for another amount of one budget, for the period that runs and those that follow it.
type Override struct {
	Rule    string `json:"rule"`             // its name
	Budget  int    `json:"budget,omitzero"`  // which of the rule's budgets, from 0
	Dollars string `json:"dollars,omitzero"` // one of these two, as the budget has it
	Tokens  int64  `json:"tokens,omitzero"`
	Periods int    `json:"periods"` // 1: the running one only
}

// maxPeriods bounds how long another amount may hold.
const maxPeriods = 1000

var rollingSpans = map[llm.Period]time.Duration{
	llm.RollHour: time.Hour, llm.RollDay: 24 * time.Hour, llm.RollWeek: 7 * 24 * time.Hour, llm.RollMonth: 30 * 24 * time.Hour,
}

func (t *table[T, P]) override(ctx context.Context, a Actor, ref string, in Override) (*T, error) {
	return t.update(ctx, a, "override", ref, 0, true, func(_ context.Context, v *T) error {
		s := &P(v).Base().Spec
		i := slices.IndexFunc(s.Rules, func(r llm.Rule) bool { return r.Name == in.Rule })
		var p problems
		switch {
		case i < 0:
			p.add("/rule", "there is no rule %q", clip(in.Rule))
		case in.Budget < 0 || in.Budget >= len(s.Rules[i].Budgets):
			p.add("/budget", "the rule has %d budgets; the first is 0", len(s.Rules[i].Budgets))
		}
		if in.Periods < 1 || in.Periods > maxPeriods {
			p.add("/periods", "must be from 1, the running period only, to %d", maxPeriods)
		}
		if len(p) > 0 {
			return p.err()
		}
		return t.c.overrideBudget(s, i, in)
	})
}

// overrideBudget adds the override to the spec. The rules are read once more as people write them: what is wrong
// with the amount is told as it would be there.
func (c *Control) overrideBudget(s *directory.Spec, rule int, in Override) error {
	now := c.now()
	b := &s.Rules[rule].Budgets[in.Budget]
	from, until := c.o.Period(b.Every, b.Zone, now)
	if span, rolling := rollingSpans[b.Every]; rolling {
		until = from.Add(time.Duration(in.Periods) * span)
	} else {
		for range in.Periods - 1 {
			_, until = c.o.Period(b.Every, b.Zone, until)
		}
	}
	list := rules.WriteAll(s.Rules)
	w := &list[rule].Budgets[in.Budget]
	w.Overrides = slices.DeleteFunc(w.Overrides, func(o rules.Override) bool { // they can count no more
		end, err := time.Parse(time.RFC3339, o.Until)
		return err == nil && !end.After(from)
	})
	w.Overrides = append(w.Overrides, rules.Override{From: from.UTC().Format(time.RFC3339), Until: until.UTC().Format(time.RFC3339), Dollars: in.Dollars, Tokens: in.Tokens})
	var wrong []llm.Problem
	s.Rules, wrong = rules.Read(list)
	var p problems
	for _, q := range wrong {
		at := fmt.Sprintf("/%d/budgets/%d/overrides/%d", rule, in.Budget, len(w.Overrides)-1)
		if len(q.At) >= len(at) && q.At[:len(at)] == at {
			q.At = q.At[len(at):]
		}
		p = append(p, q)
	}
	return p.err()
}

func (t *table[T, P]) setDisabled(ctx context.Context, a Actor, ref string, disabled bool) (*T, error) {
	act := "enable"
	if disabled {
		act = "disable"
	}
	return t.update(ctx, a, act, ref, 0, false, func(_ context.Context, v *T) error {
		P(v).Base().Spec.Disabled = disabled
		return nil
	})
}
