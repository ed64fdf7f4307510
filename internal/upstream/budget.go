package upstream

import (
	"sync"
	"time"
)

const (
	retryPercent = 20                 // of the requests
	retryLeast   = 10 * windowSeconds // retries in a window that are allowed however few the requests are: 10/s
)

// A budget bounds the retries of one upstream, so that an outage does not multiply the load that may have
// caused it: in every 10 s at most 20 % of the requests, or 100 where that is more. The zero budget is ready.
type budget struct {
	mu     sync.Mutex // makes asking and taking one step
	window window
}

// request counts a call's first attempt.
func (b *budget) request(now time.Time) { b.window.add(now, 1, 0) }

// retry takes one retry from the budget, if there is one.
func (b *budget) retry(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.window.allows(now, retryPercent, retryLeast) {
		return false
	}
	b.window.add(now, 0, 1)
	return true
}
