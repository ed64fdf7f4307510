package redis

import (
	"sync"
	"time"
)

const (
	patience = 3 // failures in a row before a rest
	minRest  = 100 * time.Millisecond
	maxRest  = time.Second
)

// A rest is the store's own breaker: after some failures in a row nobody tries for a moment, which doubles up to a
// second; then one does.
type rest struct {
	mu     sync.Mutex
	failed int           // in a row
	until  time.Time     // nobody tries before
	last   time.Duration // length of the last rest
	trying bool          // one tries whether the rest is over
}

// enter says whether to try now. Each true is followed by one leave.
func (r *rest) enter(now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed < patience {
		return true
	}
	if now.Before(r.until) || r.trying {
		return false
	}
	r.trying = true
	return true
}

// calm says that the last call went well.
func (r *rest) calm() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed == 0
}

// leave says how a try ended.
func (r *rest) leave(now time.Time, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.trying = false
	if ok {
		r.failed, r.last = 0, 0
		return
	}
	r.failed++
	if r.failed >= patience && !now.Before(r.until) { // those that failed together rest once
		r.last = min(max(2*r.last, minRest), maxRest)
		r.until = now.Add(r.last)
	}
}
