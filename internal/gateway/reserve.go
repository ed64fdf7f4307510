package gateway

import (
	"context"
	"math"
	"net/http"
	"strconv"
	"time"

	"sluice/internal/auth"
	"sluice/internal/cache"
	"sluice/internal/catalog"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/route"
	"sluice/internal/upstream"
	"sluice/internal/usage"
	"sluice/internal/wire"
)

const (
	// mostOutput stands for what nobody bounds: no model writes so much.
	mostOutput = 1 << 20
	// mostWindow is the context of a model whose own is not known.
	mostWindow = 2 << 20
	// mostRuns is how often a tool that runs at the vendor is taken to run at most, where the request does not bound it.
	mostRuns = 50
)

// reserve takes room under every rule that holds for the call, for the most that it can cost wherever the plan may
// lead. Nothing is computed for a caller without rules.
func (s *State) reserve(ctx context.Context, who *auth.Who, call *llm.Call, raw []byte, plan *route.Plan) (*quota.Grant, error) {
	r := quota.Request{ID: call.ID, Model: call.Model}
	if len(who.Rules) > 0 && call.Op != llm.OpCount {
		s.bound(&r, who, call, raw, plan)
	}
	grant, err := s.Limiter.Reserve(ctx, who, r)
	if err == nil && s.NoLedger && grant.Holds() {
		grant.Cancel(ctx)
		return nil, llm.Errorf(llm.KindBudgetUnknown, "a budget holds for this call, and the ledger that would settle it is off")
	}
	return grant, err
}

// bound fills in what the call may cost.
func (s *State) bound(r *quota.Request, who *auth.Who, call *llm.Call, raw []byte, plan *route.Plan) {
	size := wire.SizeOf(raw, call.Body.Texts)
	b := catalog.Bounds{Input: size.Most, Output: call.MaxOutput, Answers: max(call.Choices, 1), Media: true, Cache1h: size.Hour}
	if size.Tier {
		b.Tier = "auto" // the dearest
	}
	r.InputTokens, r.InputAbout, r.Choices = size.Most, size.About, b.Answers
	now := time.Now()
	var last llm.Target
	plan.Targets(func(t *llm.Target) bool {
		if t.Provider == last.Provider && t.Model == last.Model {
			return true // another credential of the same
		}
		last = *t
		price, ok := s.Price(t, now)
		if !ok {
			r.Unpriced = true
			r.OutputMost = mostOutput
			return true
		}
		at := b
		if size.Open {
			at.Input = max(b.Input, window(price))
			at.Calls = runs(price, raw)
		}
		w := price.Worst(at)
		r.InputTokens = max(r.InputTokens, at.Input)
		if fixed := w.Upto(0); fixed > r.FixedCost || r.Price == "" {
			r.FixedCost, r.Price = fixed, price.Version
		}
		r.OutputRate = max(r.OutputRate, w.Rate)
		r.OutputMost = max(r.OutputMost, min(w.Output/b.Answers, mostOutput))
		return true
	})
	if call.MaxOutput > 0 {
		r.OutputMost = min(max(r.OutputMost, 1), call.MaxOutput)
	}
	if call.Op == llm.OpEmbed {
		r.OutputMost = 0
	}
	r.OutputRate = llm.Rate(min(int64(r.OutputRate), math.MaxInt64/b.Answers) * b.Answers)
	r.OutputLeast = min(r.OutputMost, s.Outputs.Expect(who.Public(), call.Model))
}

func window(p *catalog.Price) int64 {
	if p.Window > 0 {
		return p.Window
	}
	return mostWindow
}

// clamp lets the upstream write no more than is paid for. A stream asks for more on the way instead.
func clamp(w http.ResponseWriter, call *llm.Call, grant *quota.Grant) error {
	n, less := grant.MaxOutput()
	if !less || call.Stream || call.Op != llm.OpChat {
		return nil
	}
	p, err := call.Body.Edit()
	if err != nil {
		return err
	}
	if chat, ok := p.(*llm.Chat); ok {
		chat.MaxOutput = &n
		w.Header()["X-Sluice-Max-Output"] = []string{strconv.FormatInt(n, 10)}
	}
	return nil
}

// hold is what the ledger must know of a call before it is made, so that it can be accounted for whatever happens.
func hold(who *auth.Who, grant *quota.Grant, visit *cache.Visit) usage.Hold {
	r := grant.Request()
	if visit.Answered() { // it costs nothing
		return usage.Hold{Charged: grant.At(), Price: r.Price, Counters: grant.Counters(), Tags: who.Labels}
	}
	return usage.Hold{Charged: grant.At(), Input: r.InputTokens, InputCost: r.FixedCost, Price: r.Price, Counters: grant.Counters(), Tags: who.Labels}
}

// hooks tie an answer to its grant while it is read.
func hooks(ctx context.Context, w http.ResponseWriter, call *llm.Call, grant *quota.Grant, entry *usage.Entry) usage.Hooks {
	var h usage.Hooks
	switch {
	case !call.Stream: // its cost is known before it is given on
		h.Mark = func(m *usage.Mark) {
			if m.PriceVersion != "" && !m.Estimated { // what is estimated may be counted before it is written down
				w.Header()["X-Sluice-Cost"] = []string{string(m.Costs.Total().Append(make([]byte, 0, 24)))}
			}
		}
	case grant.Holds() && entry.Cache == "":
		h.Output = func(tokens int64) error { return grant.TopUp(ctx, tokens) }
		h.Mark = func(m *usage.Mark) { grant.Progress(m.Costs.Total(), m.Tokens()) }
	}
	if grant.Limits() {
		h.End = func(tokens int64) { grant.Release(ctx, tokens) } // before the client can know that it has ended
	}
	return h
}

// settle ends a call's share of its limits. Its budgets are settled by the ledger, in order.
func (s *State) settle(ctx context.Context, grant *quota.Grant, entry *usage.Entry, err error) {
	if !entry.Begun() {
		grant.Cancel(ctx)
		return
	}
	grant.Release(ctx, entry.Tokens())
	if u := &entry.Usage; u.Output.Known && err == nil && entry.Op == llm.OpChat && entry.Cache == "" && grant.Limits() {
		s.Outputs.Learn(entry.Key, entry.Model, u.Output.N)
	}
}

// pays has a budget cover, before each further attempt, what those before it have cost; and before a hedge, what one of both may.
func pays(grant *quota.Grant, entry *usage.Entry) upstream.Allow {
	if !grant.Holds() {
		return nil
	}
	return func(ctx context.Context, t *llm.Trace, beside bool) error {
		beyond := entry.Wasted(t)
		if r := grant.Request(); beside {
			beyond = beyond.Plus(r.FixedCost).Plus(r.OutputRate.Cost(r.OutputLeast))
		}
		return grant.Cover(ctx, beyond)
	}
}
