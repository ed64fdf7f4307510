package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/route"
	"sluice/internal/usage"
)

// till is a house whose caller has rules, and whose model costs a dollar for a thousand tokens read or written.
func till(rules ...*llm.Rule) *house {
	h := newHouse(answers(whole))
	who := &auth.Who{Name: "ci", Org: "default", Models: []string{"m*"}}
	for _, r := range rules {
		who.Rules = append(who.Rules, llm.Bound{Subject: "key:ci", Rule: r})
	}
	h.state.Auth = identify(func(*http.Request) (*auth.Who, error) { return who, nil })
	h.state.Limiter = quota.New(quota.Options{
		Store: quota.NewMemory(nil), Replica: "r",
		Spent: func(_ context.Context, qs []quota.Query) ([]quota.Level, error) {
			levels := make([]quota.Level, len(qs))
			for i := range qs {
				levels[i].Counter = qs[i].Counter
			}
			return levels, nil
		},
	})
	h.state.Price = func(t *llm.Target, _ time.Time) (*catalog.Price, bool) {
		price := &catalog.Price{Rates: catalog.Rates{Input: llm.Rate(1000 * llm.Dollar), Output: llm.Rate(1000 * llm.Dollar)}, MaxOutput: 5000}
		return price, t.Provider == "p"
	}
	return h
}

func dollars(n llm.Nano) *llm.Rule {
	return &llm.Rule{Name: "month", Budgets: []llm.Budget{{Money: n * llm.Dollar, Every: llm.Monthly, Mode: llm.Hard}}}
}

func asked(text string) client { return client{body: &body{Reader: strings.NewReader(text)}} }

func TestReserve(t *testing.T) {
	for _, c := range []struct {
		name    string
		rules   []*llm.Rule
		body    string
		calls   int
		status  int      // of the last
		kind    llm.Kind // recorded of the last
		headers map[string]string
		asked   int
	}{
		{name: "no rules", body: ask, calls: 3, status: 200, asked: 3, headers: map[string]string{"X-Ratelimit-Limit-Requests": "", "Retry-After": ""}},
		{
			name: "requests left", rules: []*llm.Rule{{Name: "r", Requests: []llm.Pace{{N: 2, Per: time.Hour}}}}, body: ask, calls: 1, status: 200, asked: 1,
			headers: map[string]string{"X-Ratelimit-Limit-Requests": "2", "X-Ratelimit-Remaining-Requests": "1", "X-Ratelimit-Limit-Tokens": ""},
		},
		{
			name: "requests used up", rules: []*llm.Rule{{Name: "r", Requests: []llm.Pace{{N: 2, Per: time.Hour}}}}, body: ask, calls: 3, status: 429, asked: 2,
			kind:    llm.KindRateLimited,
			headers: map[string]string{"X-Ratelimit-Limit-Requests": "2", "X-Ratelimit-Remaining-Requests": "0"},
		},
		{
			name: "of two limits the nearer", body: ask, calls: 1, status: 200, asked: 1,
			rules: []*llm.Rule{
				{Name: "a", Requests: []llm.Pace{{N: 1000, Per: time.Hour}}, Tokens: []llm.Pace{{N: 1e6, Per: time.Minute}}},
				{Name: "b", Requests: []llm.Pace{{N: 5, Per: time.Hour}}},
			},
			headers: map[string]string{"X-Ratelimit-Limit-Requests": "5", "X-Ratelimit-Remaining-Requests": "4", "X-Ratelimit-Limit-Tokens": "1000000"},
		},
		{name: "parallel, one after the other", rules: []*llm.Rule{{Name: "p", Parallel: 1}}, body: ask, calls: 5, status: 200, asked: 5},
		{name: "another model's rule", rules: []*llm.Rule{{Name: "r", Models: []string{"x*"}, Requests: []llm.Pace{{N: 1, Per: time.Hour}}}}, body: ask, calls: 3, status: 200, asked: 3},
		{name: "money", rules: []*llm.Rule{dollars(1000)}, body: ask, calls: 3, status: 200, asked: 3},
		{
			// The input may have 1,080 tokens, so $1.08 of $3 is held, and of the rest at least what 1,024 tokens cost.
			name: "no room", rules: []*llm.Rule{dollars(2)}, body: ask, calls: 1, status: 429, kind: llm.KindBudget,
		},
		{
			name: "no price", rules: []*llm.Rule{dollars(1000)}, body: strings.Replace(ask, `"m"`, `"m-lost"`, 1), calls: 1, status: 403, kind: llm.KindUnpriced,
		},
		{name: "no price, but a soft limit on tokens", rules: []*llm.Rule{{Name: "t", Budgets: []llm.Budget{{Tokens: 1, Every: llm.Daily, Mode: llm.Soft}}}}, body: ask, calls: 2, status: 200, asked: 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := till(c.rules...)
			var code int
			var header http.Header
			for range c.calls {
				rec := h.serve(t, asked(c.body))
				code, header = rec.Code, rec.Header()
			}
			e := h.entries[len(h.entries)-1]
			if code != c.status || len(h.up.asked) != c.asked {
				t.Errorf("status %d, %d calls, want %d and %d: %v", code, len(h.up.asked), c.status, c.asked, e.Err)
			}
			if c.kind != "" && llm.AsError(e.Err).Kind != c.kind {
				t.Errorf("recorded as %v, want %s", e.Err, c.kind)
			}
			for name, want := range c.headers {
				if got := header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
		})
	}
}

// TestClamp: near the end of a budget, the upstream of a call that does not stream may write no more than is held, so that
// it cannot slip past; a stream is as it was.
func TestClamp(t *testing.T) {
	for _, c := range []struct {
		name, body string
		limit      llm.Nano
		least      int64 // what the upstream may write at least and
		most       int64 // at most; 0: it was not told
	}{
		{"room enough", strings.Replace(ask, "{", `{"max_tokens":2000,`, 1), 1000, 2000, 2000},
		{"little room", strings.Replace(ask, "{", `{"max_tokens":4000,`, 1), 10, 2000, 2500},
		{"little room, nothing said", ask, 10, 2000, 2500},
		{"little room, streamed", askStream, 10, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := till(dollars(c.limit))
			var told int64
			h.up.reply = func(_ context.Context, a *llm.Attempt) (llm.Stream, error) {
				p, err := a.Body.Payload()
				if err != nil {
					return nil, err
				}
				if n := p.(*llm.Chat).MaxOutput; n != nil {
					told = *n
				}
				return &script{frames: []string{whole}, err: io.EOF}, nil
			}
			rec := h.serve(t, asked(c.body))
			if rec.Code != 200 || told < c.least || told > c.most {
				t.Errorf("status %d, the upstream may write %d, want from %d to %d", rec.Code, told, c.least, c.most)
			}
			clamped := rec.Header().Get("X-Sluice-Max-Output") != ""
			if want := told != 0 && c.limit == 10; clamped != want {
				t.Errorf("the client was told so: %v, want %v", clamped, want)
			}
		})
	}
}

// TestBoundPrice: what a call may cost names the price that says so; an end that nobody saw is charged by it.
func TestBoundPrice(t *testing.T) {
	h := till()
	h.state.Price = func(*llm.Target, time.Time) (*catalog.Price, bool) {
		return &catalog.Price{Version: "v7", Rates: catalog.Rates{Input: llm.Rate(llm.Dollar)}}, true
	}
	who, call := &auth.Who{Models: []string{"m*"}}, &llm.Call{Model: "m", Op: llm.OpChat}
	plan, err := h.state.Router.Plan(who, call, route.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	defer plan.Release()
	var r quota.Request
	h.state.bound(&r, who, call, []byte(ask), plan)
	if r.Price != "v7" || r.FixedCost == 0 {
		t.Errorf("a cost of %v by the price %q", r.FixedCost, r.Price)
	}
}

// TestCostHeader: a client is told a cost when that is what the ledger will say, and not while the tokens are to be counted.
func TestCostHeader(t *testing.T) {
	for _, estimated := range []bool{false, true} {
		rec := httptest.NewRecorder()
		m := usage.Mark{PriceVersion: "v", Costs: usage.Costs{Output: llm.Dollar}, Estimated: estimated}
		hooks(t.Context(), rec, &llm.Call{}, new(quota.Grant), new(usage.Entry)).Mark(&m)
		if got := rec.Header().Get("X-Sluice-Cost"); (got == "1") == estimated {
			t.Errorf("estimated %v: told %q", estimated, got)
		}
	}
}
