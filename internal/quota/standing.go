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
	Kind   string   `json:"kind"` // requests, tokens or parallel
	Limit  int64    `json:"limit"`
	Per    string   `json:"per,omitzero"` // second, minute, hour or day
}

// A BudgetStanding is one budget, and what is left of it. Amounts are decimal dollars, or tokens.
type BudgetStanding struct {
	Rule      string    `json:"rule"`
	Whose     string    `json:"whose"`
	Models    []string  `json:"models,omitzero"`
	Unit      string    `json:"unit"` // usd or tokens
	Every     string    `json:"every"`
	Mode      string    `json:"mode"`
	From      time.Time `json:"from"`
	Until     time.Time `json:"until"`
	Limit     string    `json:"limit"`
	Spent     string    `json:"spent"`
	Held      string    `json:"held"` // by requests under way
	Remaining string    `json:"remaining"`
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
	l := LimitStanding{Rule: s.Rule, Whose: Whose(s.Subject), Models: s.Models, Limit: s.Limit}
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
	return BudgetStanding{
		Rule: s.Rule, Whose: Whose(s.Subject), Models: s.Models, Unit: unit, Every: string(s.Period), Mode: string(s.Mode),
		From: s.From, Until: s.Until, Limit: say(s.Limit), Spent: say(s.Spent), Held: say(s.Held), Remaining: say(max(s.Limit-s.Spent-s.Held, 0)),
	}
}
