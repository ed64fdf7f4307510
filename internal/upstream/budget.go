package upstream

import (
	"sync"
	"time"
)

const (
	retryPercent = 20                 // of the requests
	retryLeast   = 10 * windowSeconds // retries in a window that are allowed however few the requests are: 10/s
)

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
func (b *budget) retry(now time.Time) bool { return b.take(now, retryPercent, retryLeast) }

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
