package quota

import (
	"strconv"
	"time"

	"sluice/internal/llm"
)

// A Standing is what somebody may consume and has consumed, as people are told.
type Standing struct {
	Limits  []LimitStanding  `json:"limits"`
	Budgets []BudgetStanding `json:"budgets"`
}

// A LimitStanding is one limit.
type LimitStanding struct {
	Rule   string   `json:"rule"`
	Whose  string   `json:"whose"` // key, user, team, project, org or gateway: who shares it
	Models []string `json:"models,omitzero"`
	Apart  []string `json:"apart,omitzero"` // what each has as much of: key, user, team, project, model
	Kind   string   `json:"kind"`           // requests, tokens or parallel
	Limit  int64    `json:"limit"`
	Per    string   `json:"per,omitzero"` // second, minute, hour or day
}

// A BudgetStanding is one budget, and what is left of it. Amounts are decimal dollars, or tokens.
type BudgetStanding struct {
	Rule      string    `json:"rule"`
	Whose     string    `json:"whose"`
	Models    []string  `json:"models,omitzero"`
	Apart     []string  `json:"apart,omitzero"` // what each has as much of
	Unit      string    `json:"unit"`           // usd or tokens
	Every     string    `json:"every"`
	Mode      string    `json:"mode"`
	From      time.Time `json:"from"`
	Until     time.Time `json:"until"` // when it is whole again, or in part if it is a rolling one
	Limit     string    `json:"limit"`
	Spent     string    `json:"spent,omitzero"` // left out, with held and remaining, where it is counted apart and nobody says of which
	Held      string    `json:"held,omitzero"`  // by requests under way
	Remaining string    `json:"remaining,omitzero"`
}

// Tell makes a Standing of what Status gives.
func Tell(list []Status) *Standing {
	s := &Standing{Limits: []LimitStanding{}, Budgets: []BudgetStanding{}}
	for i := range list {
		if l := &list[i]; l.Kind.Budget() {
			s.Budgets = append(s.Budgets, budgetOf(l))
		} else {
			s.Limits = append(s.Limits, limitOf(l))
		}
	}
	return s
}

func limitOf(s *Status) LimitStanding {
	l := LimitStanding{Rule: s.Rule, Whose: Whose(s.Subject), Models: s.Models, Apart: words(s.Apart), Limit: s.Limit}
	switch s.Kind {
	case Requests:
		l.Kind = "requests"
	case Tokens:
		l.Kind = "tokens"
	default:
		l.Kind = "parallel"
		return l
	}
	l.Per = SpanName(s.Per)
	return l
}

func budgetOf(s *Status) BudgetStanding {
	unit, say := "tokens", func(n int64) string { return strconv.FormatInt(n, 10) }
	if s.Kind == Money {
		unit, say = "usd", func(n int64) string { return llm.Nano(n).String() }
	}
	b := BudgetStanding{
		Rule: s.Rule, Whose: Whose(s.Subject), Models: s.Models, Apart: words(s.Apart), Unit: unit, Every: string(s.Period), Mode: string(s.Mode),
		From: s.From, Until: s.Until, Limit: say(s.Limit),
	}
	if s.Known {
		b.Spent, b.Held, b.Remaining = say(s.Spent), say(s.Held), say(max(s.Limit-s.Spent-s.Held, 0))
	}
	return b
}

func words(dims []llm.Dim) (out []string) {
	for _, d := range dims {
		out = append(out, string(d))
	}
	return out
}
