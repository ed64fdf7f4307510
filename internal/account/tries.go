package account

import (
	"net/netip"
	"time"
)

// Tries are how often somebody failed to show that they are who they say.
type Tries struct {
	Count int       // since the last time that they succeeded, or that they left it for a while
	Last  time.Time // when they tried last
	Until time.Time // before this nobody is let in; zero: not locked
}

const (
	forgetTries  = 24 * time.Hour // after which failures do not count any more
	maxLock      = 15 * time.Minute
	firstLock    = time.Second
	freeAccount  = 5  // tries before an account is locked for the first time
	freeAddress  = 20 // before an address is: many people may have one
	mostFailures = 100_000
)

// Locked tells whether nobody is let in now.
func (t Tries) Locked(now time.Time) bool { return now.Before(t.Until) }

// Next counts one more try. The lock doubles with each after the free ones: 1 s, 2 s, ... 15 min. A try while it is
// locked counts for nothing, so that nobody can keep somebody else out for ever by trying on.
func (t Tries) Next(now time.Time, free int) Tries {
	if t.Locked(now) {
		return t
	}
	if now.Sub(t.Last) > forgetTries {
		t.Count = 0
	}
	t.Count, t.Last, t.Until = t.Count+1, now, time.Time{}
	if over := t.Count - free; over >= 0 {
		lock := maxLock
		if over < 10 {
			lock = min(maxLock, firstLock<<over)
		}
		t.Until = now.Add(lock)
	}
	return t
}

// network is what is counted as one address: of IPv6, where everybody has 2^64 of them, a /64.
func network(a netip.Addr) netip.Prefix {
	a = a.Unmap().WithZone("")
	bits := 32
	if a.Is6() {
		bits = 64
	}
	p, _ := a.Prefix(bits) // of the zero address: the zero prefix
	return p
}
