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
	quota.Standing
	Today myUsage `json:"today"` // since midnight UTC; of this key alone
	Month myUsage `json:"month"` // since the first, UTC
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
		Models: who.Models, Standing: *quota.Tell(list),
	}
	if !who.Expires.IsZero() {
		out.Expires = &who.Expires
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
