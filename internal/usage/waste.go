package usage

import "sluice/internal/llm"

// A waste is what attempts have used whose answers nobody got: a hedge's loser, one that failed after it had begun.
type waste struct {
	tokens    int64
	cost      llm.Nano
	price     string // a version of a price; "": none of them had one
	estimated bool
}

// Wasted is what the attempts of a call have cost so far whose answers nobody got.
func (e *Entry) Wasted(t *llm.Trace) llm.Nano {
	w := e.wasted(t.Tries)
	return w.cost
}

// wasted adds up attempts. What an upstream told of its answer counts; where we ended it before it told anything, its input
// does, as it was sent and may have been read. One that failed by itself and told nothing is taken to cost nothing.
func (e *Entry) wasted(tries []llm.Try) (w waste) {
	for i := range tries {
		t := &tries[i]
		if t.Told == nil && !t.Left || e.Op == llm.OpCount {
			continue
		}
		m := Mark{Provider: t.Provider, Upmodel: t.Model}
		if t.Told != nil {
			m.Usage = *t.Told
		}
		if !m.Usage.Input.Known {
			m.Usage.Input, w.estimated = llm.Tokens(e.guessInput()), true
		}
		e.ledger.price(&m, e.Start)
		w.tokens += m.Tokens()
		w.cost = w.cost.Plus(m.Costs.Total())
		if m.PriceVersion != "" {
			w.price = m.PriceVersion
		}
	}
	return w
}

// lost reckons, at the end of a call, what was wasted. The attempt that a client did not wait for is the call's own: there is
// no other that it could be told apart from.
func (e *Entry) lost() {
	if e.trace == nil {
		return
	}
	tries := e.trace.Tries
	if n := len(tries); n > 0 && e.meter.Stream == nil && e.clientLeft() {
		e.Usage.Merge(tries[n-1].Told)
		tries = tries[:n-1]
	}
	e.waste = e.wasted(tries)
}

// clientLeft tells whether the call ended because its client did.
func (e *Entry) clientLeft() bool {
	return e.Err != nil && llm.AsError(e.Err).Kind == llm.KindClientGone
}
