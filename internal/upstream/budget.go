package upstream

import (
	"cmp"
	"sync"
	"time"
)

// BudgetRules bound the second tries at a provider. Zero members mean the defaults.
type BudgetRules struct {
	Percent int // of its requests; 20
	Floor   int // a second, however few the requests are; 10
}

func (r BudgetRules) orDefault() BudgetRules {
	return BudgetRules{cmp.Or(r.Percent, 20), cmp.Or(r.Floor, 10)}
}

// A budget bounds the calls that an upstream gets on top of those that clients make, so that an outage does
// not multiply the load that may have caused it: in every 10 s the retries are at most 20 % of the requests,
// or 100 where that is more. Hedges have a budget of their own, of 5 %. The zero budget is ready.
type budget struct {
	mu     sync.Mutex // makes asking and taking one step
	window window     // requests, and what is taken
}

// request counts a call's first attempt.
func (b *budget) request(now time.Time) { b.window.add(now, 1, 0) }

// retry takes one retry, if there is one to be had.
func (b *budget) retry(now time.Time, r BudgetRules) bool {
	return b.take(now, uint64(r.Percent), uint64(r.Floor)*windowSeconds)
}

// hedge takes one hedge, if there is one to be had.
func (b *budget) hedge(now time.Time) bool { return b.take(now, hedgePercent, 0) }

func (b *budget) take(now time.Time, percent, least uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.window.allows(now, percent, least) {
		return false
	}
	b.window.add(now, 0, 1)
	return true
}
