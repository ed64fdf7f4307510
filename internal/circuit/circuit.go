// Package circuit leaves alone what fails: after some failures in a row nobody tries for a while, which doubles; then one does. It has no
// clock and does not know what is tried. The breaker of upstreams is package upstream's own: it counts shares of failures, and its probes
// are the replicas' in common.
package circuit

import (
	"sync"
	"time"
)

// A Breaker is closed at first, and lets everybody try. Its exported fields are set before its first use, and it is not copied after that.
//
// Each try that Allow lets through ends with exactly one of Succeed, Fail and Cancel.
type Breaker struct {
	After   int           // so many failures in a row open it; at least 1
	Rest    time.Duration // how long it is open at first; twice as long each time that who tries then fails
	MaxRest time.Duration // how long at most; 0: always Rest

	mu     sync.Mutex    // guards what follows
	failed int           // in a row
	until  time.Time     // nobody tries before
	last   time.Duration // the last rest's length
	trying bool          // half-open: one finds out whether the rest is over
}

// Allow says whether to try now.
func (b *Breaker) Allow(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed < b.After {
		return true
	}
	if b.trying || now.Before(b.until) {
		return false
	}
	b.trying = true
	return true
}

// Succeed ends a try that went well, and closes the breaker.
func (b *Breaker) Succeed() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.failed, b.last, b.trying = 0, 0, false
}

// Fail ends a try that failed. Those that began together and fail together rest once.
func (b *Breaker) Fail(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	if b.failed++; b.failed >= b.After && !now.Before(b.until) {
		b.last = max(b.Rest, min(2*b.last, b.MaxRest))
		b.until = now.Add(b.last)
	}
}

// Cancel ends a try of which nothing came to be known, as when the caller went away: it counts as neither.
func (b *Breaker) Cancel() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
}

// Open tells whether nobody may try now.
func (b *Breaker) Open(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed >= b.After && now.Before(b.until)
}

// Calm tells whether nothing has failed since the last success.
func (b *Breaker) Calm() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed == 0
}
