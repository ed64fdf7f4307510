package gateway

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/auth"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/usage"
	"sluice/internal/wire"
)

// me is what a key may know of itself: what it may consume, what it has, and what it has consumed.
type me struct {
	Key          string     `json:"key"` // the public part, or its name
	Name         string     `json:"name"`
	Organisation string     `json:"organisation"`
	Team         string     `json:"team,omitzero"`
	User         string     `json:"user,omitzero"`
	Project      string     `json:"project,omitzero"`
	Expires      *time.Time `json:"expires,omitzero"`
	Models       []string   `json:"models"`
	Limits       []myLimit  `json:"limits"`
	Budgets      []myBudget `json:"budgets"`
	Today        myUsage    `json:"today"` // since midnight UTC; of this key alone
	Month        myUsage    `json:"month"` // since the first, UTC
}

type myLimit struct {
	Rule   string   `json:"rule"`
	Whose  string   `json:"whose"` // key, user, team, project, org or gateway: who shares it
	Models []string `json:"models,omitzero"`
	Kind   string   `json:"kind"` // requests, tokens or parallel
	Limit  int64    `json:"limit"`
	Per    string   `json:"per,omitzero"` // second, minute, hour or day
}

type myBudget struct {
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

type myUsage struct {
	Requests     int64  `json:"requests"`
	InputTokens  int64  `json:"input_tokens"`
	OutputTokens int64  `json:"output_tokens"`
	Cost         string `json:"cost_usd"`
}

// Totals sums what a key has used since a time.
type Totals func(ctx context.Context, who *auth.Who, since time.Time) (usage.Totals, error)

// me answers GET /v1/usage/me.
func (g *Gateway) me(w http.ResponseWriter, r *http.Request) {
	id := newID()
	w.Header()["X-Request-Id"] = []string{id}
	f := g.errors(r.URL.Path)
	body, err := g.tellMe(r)
	if err != nil {
		wire.WriteError(w, f, err, id)
		return
	}
	h := w.Header()
	h["Content-Type"], h["Cache-Control"] = []string{"application/json"}, []string{"no-store"}
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(http.StatusOK)
	_, _ = w.Write(body)
}

func (g *Gateway) tellMe(r *http.Request) ([]byte, error) {
	s := g.state.Load()
	if s == nil {
		return nil, llm.Errorf(llm.KindOverloaded, "the gateway is starting")
	}
	who, err := s.Auth.Identify(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	list, err := s.Limiter.Status(ctx, who)
	if err != nil {
		return nil, err
	}
	out := me{
		Key: who.Public(), Name: who.Name, Organisation: who.Org, Team: who.Team, User: who.User, Project: who.Project,
		Models: who.Models, Limits: []myLimit{}, Budgets: []myBudget{},
	}
	if !who.Expires.IsZero() {
		out.Expires = &who.Expires
	}
	for i := range list {
		if l := &list[i]; l.Kind.Budget() {
			out.Budgets = append(out.Budgets, budgetOf(l))
		} else {
			out.Limits = append(out.Limits, limitOf(l))
		}
	}
	now := time.Now().UTC()
	for _, t := range []struct {
		of    *myUsage
		since time.Time
	}{
		{&out.Today, now.Truncate(24 * time.Hour)},
		{&out.Month, time.Date(now.Year(), now.Month(), 1, 0, 0, 0, 0, time.UTC)},
	} {
		sum, err := s.Totals(ctx, who, t.since)
		if err != nil {
			return nil, &llm.Error{Kind: llm.KindOverloaded, Msg: "what was used cannot be read at the moment", RetryAfter: time.Second, Err: err}
		}
		*t.of = myUsage{sum.Calls, sum.Input, sum.Output, sum.Cost.String()}
	}
	return json.Marshal(out)
}

func limitOf(s *quota.Status) myLimit {
	l := myLimit{Rule: s.Rule, Whose: quota.Whose(s.Subject), Models: s.Models, Limit: s.Limit}
	switch s.Kind {
	case quota.Requests:
		l.Kind = "requests"
	case quota.Tokens:
		l.Kind = "tokens"
	default:
		l.Kind = "parallel"
		return l
	}
	l.Per = quota.SpanName(s.Per)
	return l
}

func budgetOf(s *quota.Status) myBudget {
	unit, say := "tokens", func(n int64) string { return strconv.FormatInt(n, 10) }
	if s.Kind == quota.Money {
		unit, say = "usd", func(n int64) string { return llm.Nano(n).String() }
	}
	return myBudget{
		Rule: s.Rule, Whose: quota.Whose(s.Subject), Models: s.Models, Unit: unit, Every: string(s.Period), Mode: string(s.Mode),
		From: s.From, Until: s.Until, Limit: say(s.Limit), Spent: say(s.Spent), Held: say(s.Held), Remaining: say(max(s.Limit-s.Spent-s.Held, 0)),
	}
}
