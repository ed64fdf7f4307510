package cache

import (
	"sync"
	"time"
)

const (
	patience = 3 // failures in a row before a rest
	minRest  = time.Second
	maxRest  = time.Minute
)

// A breaker leaves something alone that fails: after some failures in a row nobody tries for a while, which doubles; then one does.
type breaker struct {
	mu     sync.Mutex // guards what follows
	failed int        // in a row
	until  time.Time  // nobody tries before
	last   time.Duration
	trying bool // one tries whether the rest is over
}

// enter says whether to try now. Each true is followed by one leave.
func (b *breaker) enter(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.failed < patience {
		return true
	}
	if now.Before(b.until) || b.trying {
		return false
	}
	b.trying = true
	return true
}

// leave says how a try ended.
func (b *breaker) leave(now time.Time, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trying = false
	if ok {
		b.failed, b.last = 0, 0
		return
	}
	b.failed++
	if b.failed >= patience && !now.Before(b.until) { // those that failed together rest once
		b.last = min(max(2*b.last, minRest), maxRest)
		b.until = now.Add(b.last)
	}
}

// open tells whether it is left alone now.
func (b *breaker) open(now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.failed >= patience && now.Before(b.until)
}
