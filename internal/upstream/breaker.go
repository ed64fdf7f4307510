package upstream

import (
	"cmp"
	"sync"
	"sync/atomic"
	"time"
)

// BreakerRules say when a breaker opens, for how long, and how it closes again (docs/routing.md). Zero members
// mean the defaults.
type BreakerRules struct {
	FailuresPercent int           // of the calls in the window, from which on it opens; 50
	Requests        int           // calls in the window below which that says nothing; 10
	Window          time.Duration // whole seconds; 10 s, and at most a minute
	ConnectErrors   int           // in a row; 5
	Open            time.Duration // at first, doubled each time in a row; 5 s
	OpenMax         time.Duration // 120 s
	Probe           time.Duration // between two probes while half-open; 5 s
	Successes       int           // probes that close it; 2
}

const (
	mostOpens = 10 // openings that are counted: more make no difference
	leastTrip = time.Second
)

func (r BreakerRules) orDefault() BreakerRules {
	r.FailuresPercent, r.Requests = cmp.Or(r.FailuresPercent, 50), cmp.Or(r.Requests, 10)
	r.Window, r.ConnectErrors = cmp.Or(min(r.Window, mostWindow), 10*time.Second), cmp.Or(r.ConnectErrors, 5)
	r.Open, r.OpenMax = cmp.Or(r.Open, 5*time.Second), cmp.Or(r.OpenMax, 120*time.Second)
	r.Probe, r.Successes = cmp.Or(r.Probe, 5*time.Second), cmp.Or(r.Successes, 2)
	r.OpenMax = max(r.OpenMax, r.Open)
	return r
}

var defaultRules = BreakerRules{}.orDefault()

// A phase is what a breaker does with calls.
type phase uint8

const (
	phaseClosed   phase = iota // lets all through
	phaseOpen                  // lets none through
	phaseHalfOpen              // lets a probe through now and then
)

func (p phase) String() string { return [...]string{"closed", "open", "half_open"}[p] }

// A permit is the right to probe a half-open breaker, given back with the outcome. 0: an ordinary call.
type permit uint32

// A breaker keeps calls from a deployment or credential that fails. It opens when half of at least ten
// requests in 10 s have failed, after five connect errors in a row, or at once when told (trip). It stays
// open for 5 s, twice as long for each opening that follows without a close between, 120 s at most. Then it
// is half-open: one probe per 5 s, and two that succeed close it. The zero breaker is closed.
//
// Each call that allow lets through ends with exactly one of succeed, fail, trip or cancel. Outcomes of
// calls that began before the breaker opened say nothing about what is to come, and are passed over.
type breaker struct {
	shut     atomic.Bool                  // open or half-open; changed under mu
	connects atomic.Int32                 // connect errors in a row
	window   window                       // requests and failures while closed
	rules    atomic.Pointer[BreakerRules] // nil: the defaults
	shared   bool                         // set before use: permits come from outside, by grant

	mu        sync.Mutex // guards the rest
	until     time.Time  // shut: open until then, half-open after
	opens     int        // openings since it was last closed, those by Retry-After apart
	given     permit     // the last permit given out
	void      permit     // permits up to this one belong to an earlier opening
	probed    time.Time  // when a probe was last let through
	granted   time.Time  // shared: a permit from outside is good until then
	successes int        // of this opening's probes
}

func (b *breaker) rule() *BreakerRules {
	if r := b.rules.Load(); r != nil {
		return r
	}
	return &defaultRules
}

// allow asks for a call to be let through. A permit other than 0 makes it a probe.
func (b *breaker) allow(now time.Time) (bool, permit) {
	if !b.shut.Load() {
		return true, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.shut.Load() {
		return true, 0
	}
	if ok, _ := b.probe(now); !ok {
		return false, 0
	}
	b.given++
	b.probed = now
	return true, b.given
}

// resort asks for the one call that may be made though the breaker is open, because there is nowhere else to
// go: one in the time of a probe, so that an upstream that is well again is found soon, however long the
// breaker has been told to stay open.
func (b *breaker) resort(now time.Time) (bool, permit) {
	if !b.shut.Load() {
		return true, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.shut.Load() {
		return true, 0
	}
	if now.Before(b.probed.Add(b.rule().Probe)) {
		return false, 0
	}
	b.given++
	b.probed = now
	return true, b.given
}

// ready says what allow would, without taking a permit, and if that is no, when to ask again at the
// earliest: now, when only a permit from outside is missing.
func (b *breaker) ready(now time.Time) (ok bool, at time.Time) {
	if !b.shut.Load() {
		return true, time.Time{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.probe(now)
}

// probe says whether a breaker that is shut has a permit to give, or when it may have one.
func (b *breaker) probe(now time.Time) (bool, time.Time) {
	at := b.until
	if next := b.probed.Add(b.rule().Probe); next.After(at) {
		at = next
	}
	if now.Before(at) {
		return false, at
	}
	if b.shared && !now.Before(b.granted) {
		return false, now
	}
	return true, at
}

// wants says that a permit from outside would be used: the breaker is shared and could let a probe through.
func (b *breaker) wants(now time.Time) bool {
	if !b.shared || !b.shut.Load() {
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	ok, at := b.probe(now)
	return !ok && !at.After(now)
}

// grant gives a shared breaker the cluster's permit. Its owner grants it, too, when the cluster cannot be
// asked. A permit that nobody has used after 5 s is gone, for then the cluster has a new one.
func (b *breaker) grant(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.granted = now.Add(b.rule().Probe)
}

// succeed says that a call went well, and tells whether it counted as a probe.
func (b *breaker) succeed(now time.Time, p permit) (probed bool) {
	if !b.shut.Load() {
		b.window.add(now, 1, 0)
		if b.connects.Load() != 0 {
			b.connects.Store(0)
		}
		return false
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.probing(p) {
		return false
	}
	if b.successes++; b.successes >= b.rule().Successes {
		b.close()
	}
	return true
}

// credit counts a probe that went well on another replica. Who makes the last one closes the breaker, and says so.
func (b *breaker) credit(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut.Load() && !now.Before(b.until) {
		b.successes = min(b.successes+1, b.rule().Successes-1)
	}
}

// fail says that a call failed in a way that speaks against the target.
func (b *breaker) fail(now time.Time, c class, p permit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut.Load() {
		if b.probing(p) {
			b.reopen(now)
		}
		return
	}
	b.window.add(now, 1, 1)
	if c == classConnect {
		b.connects.Add(1)
	} else {
		b.connects.Store(0)
	}
	b.judge(now)
}

// broke says that a call failed that had been said to go well: its answer broke off.
func (b *breaker) broke(now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.shut.Load() {
		b.window.add(now, 0, 1)
		b.judge(now)
	}
}

// judge opens the breaker if the failures are too many.
func (b *breaker) judge(now time.Time) {
	r := b.rule()
	all, failed := b.window.sum(now, uint64(r.Window/time.Second))
	if int(b.connects.Load()) >= r.ConnectErrors || all >= uint64(r.Requests) && 100*failed >= uint64(r.FailuresPercent)*all {
		b.reopen(now)
	}
}

// trip opens the breaker at once: for exactly d, within 1 to 120 s, when the upstream has said how long it
// wants to be left alone; d 0: for as long as a failure would (a refused credential).
func (b *breaker) trip(now time.Time, d time.Duration, p permit) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case d > 0:
		b.open(now.Add(min(max(d, leastTrip), b.rule().OpenMax)))
	case !b.shut.Load() || b.probing(p):
		b.reopen(now)
	}
}

// cancel says that a call's outcome tells nothing, and gives its permit back.
func (b *breaker) cancel(p permit) {
	if p == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if p == b.given { // an older one's time has passed
		b.probed = time.Time{}
	}
}

// force opens the breaker because another replica has opened its own. It may be told again and again.
func (b *breaker) force(now, until time.Time, opens int) {
	left := min(until.Sub(now), b.rule().OpenMax)
	if left <= 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open(now.Add(left)) // by this process's monotonic clock
	b.opens = max(b.opens, min(opens, mostOpens))
}

// suspect makes a closed breaker half-open: another replica opened it, its time is over, and nobody has seen
// the target well since.
func (b *breaker) suspect(until time.Time, opens int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.shut.Load() {
		b.open(until)
		b.opens = max(b.opens, min(opens, mostOpens))
	}
}

// reset closes the breaker and forgets all that speaks against the target.
func (b *breaker) reset() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.close()
	b.granted = time.Time{}
}

// state is what to tell of the breaker. until is zero when it is closed; opens does not count openings by
// Retry-After.
func (b *breaker) state(now time.Time) (p phase, until time.Time, opens int) {
	if !b.shut.Load() {
		return phaseClosed, time.Time{}, 0
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.shut.Load():
		return phaseClosed, time.Time{}, 0
	case now.Before(b.until):
		return phaseOpen, b.until, b.opens
	}
	return phaseHalfOpen, b.until, b.opens
}

// probing says that p is a permit of this opening.
func (b *breaker) probing(p permit) bool { return p > b.void }

// reopen opens for twice as long as the last time.
func (b *breaker) reopen(now time.Time) {
	b.opens = min(b.opens+1, mostOpens)
	b.open(now.Add(min(b.rule().Open<<(b.opens-1), b.rule().OpenMax)))
}

// open opens until then, or longer if it is open for longer.
func (b *breaker) open(until time.Time) {
	if !b.shut.Load() || until.After(b.until) {
		b.until = until
	}
	b.void, b.successes = b.given, 0
	b.shut.Store(true)
}

func (b *breaker) close() {
	b.void, b.successes, b.opens = b.given, 0, 0
	b.connects.Store(0)
	b.window.clear()
	b.shut.Store(false)
}
