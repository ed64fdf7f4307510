package quota

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

// A Request is what a call may cost at most, before it is made.
type Request struct {
	ID          string   // of the call, unique
	Model       string   // as the client says it
	InputTokens int64    // an upper bound: what budgets hold
	InputAbout  int64    // an estimate: what paces of tokens reserve, until it is known
	OutputLeast int64    // output tokens, of one choice, without which the call is not worth making
	OutputMost  int64    // of one choice: what the client allows, or the model can
	Choices     int64    // how many (n, best_of); 0: one
	FixedCost   llm.Nano // all that does not depend on the output, in the worst case: input, cache writes, images, tools
	Price       string   // the version of the price that FixedCost comes from: whoever writes the call down says so
	OutputRate  llm.Rate // dearest price of an output token, times the choices
	Unpriced    bool     // nobody knows what it costs
}

// A Grant is the right to make a call. Its methods may be called on the grant of a call without rules, too, and do
// nothing.
type Grant struct {
	l     *Limiter
	store Store // that granted it
	plan  *plan
	req   Request
	refs  []string  // of budgets
	few   [2]string // room for as many
	freed [1]Freed  // for Release

	at        time.Time
	released  atomic.Bool
	renewed   atomic.Int64 // when the hold was last known to live, by our clock
	lost      atomic.Bool  // it could not be renewed in time: others may have what it held
	maxOutput int64        // of one choice

	mu      sync.Mutex // guards what follows
	hold    Hold
	beyond  llm.Nano // held for attempts whose answers nobody gets
	allowed int64    // output tokens of all choices that are held
	next    int64    // tokens used at which to ask for more
}

// A Room is what is left of the limit that is nearest to being used up.
type Room struct {
	Limit, Left int64
	Reset       time.Duration // until it is whole again
}

// At is when the call was admitted, by the store's clock: in the periods of this time it counts. Zero: no rule holds.
func (g *Grant) At() time.Time { return g.at }

// Request is what was asked for.
func (g *Grant) Request() *Request { return &g.req }

// Holds tells whether a budget holds something for the call.
func (g *Grant) Holds() bool { return len(g.refs) > 0 }

// Limits tells whether any rule holds for the call.
func (g *Grant) Limits() bool { return g.l != nil }

// Requests is what is left of the paces of requests; its limit is 0 when there is none.
func (g *Grant) Requests() Room { return g.room(Requests) }

// Tokens is what is left of the paces of tokens.
func (g *Grant) Tokens() Room { return g.room(Tokens) }

// room is what is left of the nearest pace of a kind, as it was when the call was admitted.
func (g *Grant) room(k Kind) (nearest Room) {
	for i := range g.hold.Asks {
		if a := &g.hold.Asks[i]; a.Kind == k {
			nearest.meet(Room{Limit: a.N, Left: max(a.N-a.Used, 0), Reset: a.Reset})
		}
	}
	return nearest
}

// MaxOutput is how many output tokens of one choice are paid for, when that is less than the call asked for. A call that
// does not stream must not be allowed more; one that streams may ask for it on the way.
func (g *Grant) MaxOutput() (int64, bool) {
	return g.maxOutput, g.l != nil && g.maxOutput < g.req.OutputMost
}

// Counters are the budgets' counters that the call's settlement must reach. They go into the ledger's records.
func (g *Grant) Counters() []string { return g.refs }

// choices is how many answers there are.
func (r *Request) choices() int64 { return max(r.Choices, 1) }

// Progress keeps what the call has spent by now, for the next renewal: should this process die, so much stays counted.
func (g *Grant) Progress(money llm.Nano, tokens int64) {
	if g.l == nil || len(g.refs) == 0 {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for i := range g.hold.Asks {
		switch a := &g.hold.Asks[i]; a.Kind {
		case Money:
			a.Spent = max(a.Spent, int64(money))
		case TokenBudget:
			a.Spent = max(a.Spent, tokens)
		}
	}
}

// TopUp tells how many output tokens, of all choices together, the answer has by now. From three quarters of what is held
// on it asks for more. An error (of kind budget_exceeded) means that so much is not held: the answer must end before it. It
// costs next to nothing while there is enough.
func (g *Grant) TopUp(ctx context.Context, usedOutput int64) error {
	if g.l == nil {
		return nil
	}
	if g.lost.Load() && g.plan.blocks {
		return unavailable("the hold on the budget could not be renewed", nil)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if usedOutput < g.next {
		return nil
	}
	v, err := g.extend(ctx)
	if err == nil && v == nil {
		return nil
	}
	if usedOutput <= g.allowed { // try again half way to the end, and behind it
		g.next = usedOutput + max((g.allowed-usedOutput+1)/2, 1)
		return nil
	}
	g.next = usedOutput
	if err != nil {
		return unavailable("the budget could not be asked for more", err)
	}
	return v
}

// extend asks for more in every budget that refuses. It is called with the lock held: there is one ask at a time.
func (g *Grant) extend(ctx context.Context) (*llm.Error, error) {
	h := Hold{Org: g.hold.Org, ID: g.hold.ID}
	var index []int
	for i := range g.hold.Asks {
		a := g.hold.Asks[i]
		if a.Kind.Budget() && a.blocks() && a.Granted < plus(a.Fixed, a.Most) {
			a.Most = plus(a.Fixed, a.Most)
			a.Least = max(min(a.Least, a.Most-a.Granted), 1)
			h.Asks, index = append(h.Asks, a), append(index, i)
		}
	}
	if len(h.Asks) == 0 {
		g.allowed, g.next = math.MaxInt64, math.MaxInt64
		return nil, nil
	}
	v, err := g.store.Extend(ctx, &h)
	if err != nil {
		return nil, err
	}
	g.l.heard(h.Org, v.Epoch)
	switch v.Answer {
	case Granted:
		for j, i := range index {
			g.hold.Asks[i].Granted = h.Asks[j].Granted
		}
		g.count()
		return nil, nil
	case Refused:
		i := index[v.Ask]
		return g.l.refusal(g.plan, &h.Asks[v.Ask], i, g), nil
	}
	return unavailable("the budget is being counted anew", nil), nil
}

// Cover has budgets hold, beside what the answer may cost, so much in all for attempts of the call whose answers nobody gets. An
// error says that there is no room for it.
func (g *Grant) Cover(ctx context.Context, beyond llm.Nano) error {
	if g.l == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	more := int64(beyond - g.beyond)
	if more <= 0 {
		return nil
	}
	h := Hold{Org: g.hold.Org, ID: g.hold.ID}
	var index []int
	for i := range g.hold.Asks {
		if a := g.hold.Asks[i]; a.Kind == Money && a.blocks() {
			a.Least, a.Most = more, plus(a.Granted, more)
			h.Asks, index = append(h.Asks, a), append(index, i)
		}
	}
	if len(h.Asks) == 0 {
		return nil
	}
	v, err := g.store.Extend(ctx, &h)
	switch {
	case err != nil:
		return unavailable("the budget could not be asked for more", err)
	case v.Answer == Refused:
		return g.l.refusal(g.plan, &h.Asks[v.Ask], index[v.Ask], g)
	case v.Answer != Granted:
		return unavailable("the budget is being counted anew", nil)
	}
	g.beyond = beyond
	for j, i := range index {
		a := &g.hold.Asks[i]
		a.Granted, a.Fixed = h.Asks[j].Granted, plus(a.Fixed, more)
	}
	g.count()
	return nil
}

// count makes tokens of what is held: of each choice, and for TopUp of all.
func (g *Grant) count() (each int64) {
	each = g.req.OutputMost
	n := g.req.choices()
	for i := range g.hold.Asks {
		a := &g.hold.Asks[i]
		if !a.Kind.Budget() || !a.blocks() {
			continue
		}
		if a.Kind == Money {
			each = min(each, tokensFor(a.Granted-a.Fixed, g.req.OutputRate, g.req.OutputMost))
		} else {
			each = min(each, (a.Granted-a.Fixed)/n)
		}
	}
	g.allowed = times(each, n)
	g.next = g.allowed - g.allowed/4
	if each >= g.req.OutputMost {
		g.next = math.MaxInt64 // the upstream ends there
	}
	return each
}

// Release ends the call's share of parallel calls and counts the tokens that it used, input and output, instead of those
// it had reserved. It must be called before the client can know that the call has ended: then one that calls again at once
// finds its place free. It is idempotent, and does not wait for a store that replicas share. Budgets wait for the settlement.
func (g *Grant) Release(ctx context.Context, tokens int64) {
	if g.l == nil || g.released.Swap(true) {
		return
	}
	g.l.release(ctx, g, tokens)
}

// Cancel ends the grant of a call that was not made and will not be in the ledger. It is idempotent, and does nothing
// after Release.
func (g *Grant) Cancel(ctx context.Context) {
	if g.l == nil || g.released.Swap(true) {
		return
	}
	g.l.release(ctx, g, 0)
	if len(g.refs) > 0 {
		g.l.cancel(ctx, g)
	}
}
