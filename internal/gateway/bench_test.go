package gateway

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/usage"
)

// sink is a store that takes rows and keeps none.
type sink struct{ usage.Store }

func (sink) Join(context.Context, string) (usage.Standing, error)               { return usage.Standing{}, nil }
func (sink) Ship(context.Context, *usage.Batch) error                           { return nil }
func (sink) Shipped(context.Context, string) (uint64, error)                    { return 0, nil }
func (sink) Prepare(context.Context, time.Time) error                           { return nil }
func (sink) Claim(context.Context, string, time.Duration) ([]usage.Open, error) { return nil, nil }

// BenchmarkServe is a small call between net/http's server and the provider: alone, with the ledger, and with limits
// and budgets, too. What the database does with the rows is not in it.
func BenchmarkServe(b *testing.B) {
	rules := []*llm.Rule{
		{Name: "pace", Requests: []llm.Pace{{N: 1e9, Per: time.Minute}}, Tokens: []llm.Pace{{N: 1e12, Per: time.Minute}}, Parallel: 1e6},
		{Name: "month", Budgets: []llm.Budget{{Money: 1e6 * llm.Dollar, Every: llm.Monthly, Mode: llm.Hard}, {Tokens: 1e12, Every: llm.Daily, Mode: llm.Hard}}},
	}
	for _, c := range []struct {
		name   string
		rules  []*llm.Rule
		ledger bool
	}{{"plain", nil, false}, {"ledger", nil, true}, {"rules", rules, true}} {
		b.Run(c.name, func(b *testing.B) {
			h := till(c.rules...)
			h.up.reply = func(context.Context, *llm.Attempt) (llm.Stream, error) {
				return &one{ev: llm.Event{Raw: []byte(whole), Format: llm.OpenAIChat, Output: true, Usage: &llm.Usage{Input: llm.Tokens(10), Output: llm.Tokens(5)}}}, nil
			}
			price := &catalog.Price{Rates: catalog.Rates{Input: 1e9, Output: 2e9}, MaxOutput: 5000, Version: "v"}
			h.state.Price = func(*llm.Target, time.Time) (*catalog.Price, bool) { return price, true }
			o := usage.Options{Price: func(m *usage.Mark, _ time.Time) {
				m.Costs.Input, m.PriceVersion = price.Cost(&m.Usage).Input, price.Version
			}}
			if c.ledger {
				j, err := usage.OpenJournal(usage.JournalOptions{
					Dir: b.TempDir(), Store: sink{}, Settle: func(ctx context.Context, s *usage.Settlements) error { return settle(ctx, h.state.Limiter, s) },
				})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = j.Close(context.Background()) }()
				o.Journal = j
			}
			h.state.Ledger = usage.New(o)
			who, err := h.state.Auth.Identify(httptest.NewRequest(http.MethodPost, "/", nil))
			if err != nil {
				b.Fatal(err)
			}
			h.state.Auth = identify(func(*http.Request) (*auth.Who, error) { return who, nil })
			ctx, cancel := context.WithCancel(b.Context())
			defer cancel()
			r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", nil)
			w, body := &nowhere{make(http.Header)}, new(again)
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				h.up.asked = h.up.asked[:0]
				body.Reset(ask)
				r.Body, r.ContentLength = body, int64(len(ask))
				h.ServeHTTP(w, r)
			}
		})
	}
}

// settle tells a limiter what calls have cost, as the program does.
func settle(ctx context.Context, l *quota.Limiter, s *usage.Settlements) error {
	list := make([]quota.Settlement, len(s.List))
	for i := range s.List {
		f := &s.List[i]
		list[i] = quota.Settlement{ID: f.ID, Position: f.Position, Counters: f.Counters, Money: f.Cost, Tokens: f.Tokens}
	}
	return l.Settle(ctx, list)
}
