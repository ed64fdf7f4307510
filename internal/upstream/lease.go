package upstream

import (
	"context"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

// A lease is the right to call a deployment once: a place among its calls in flight, and what its breaker and
// its credential's let through. It ends once, with what came of the call.
type lease struct {
	fleet *Fleet
	d     *deployment
	own   permit // of the deployment's breaker
	cred  permit // of the credential's
	slot  slot
	begun time.Time
	ended atomic.Bool // the place is given back
	known atomic.Bool // the breakers have been told
}

// enter fills a zero lease, or one that could not be had, with the right to call a deployment. how is what the plan
// found in the way: Full: wait in its line; Open: its breaker is open, and this is the one call that it gets
// all the same. False without an error: the deployment cannot be called now.
func (l *lease) enter(ctx context.Context, f *Fleet, d *deployment, how llm.Bar, who string, wait time.Duration) (ok bool, err error) {
	now := time.Now()
	if d.word() != Active {
		return false, nil
	}
	ask := (*breaker).allow
	if how == llm.Open {
		ask = (*breaker).resort
	}
	own, cred := permit(0), permit(0)
	if ok, cred = ask(&d.cred.breaker, now); !ok {
		return false, nil
	}
	if ok, own = ask(&d.breaker, now); !ok {
		d.cred.breaker.cancel(cred)
		return false, nil
	}
	var s slot
	if how != llm.Full {
		s, ok = d.queue.try()
	} else {
		ctx, stop := context.WithTimeoutCause(ctx, wait, errQueueWait)
		defer stop()
		s, err = d.queue.acquire(ctx, who)
		ok, now = err == nil, time.Now()
	}
	if !ok {
		d.breaker.cancel(own)
		d.cred.breaker.cancel(cred)
		return false, err
	}
	l.fleet, l.d, l.own, l.cred, l.slot, l.begun = f, d, own, cred, s, now
	d.tracker.try(l.begun)
	return true, nil
}

// cancel says that the call's outcome tells nothing about the deployment.
func (l *lease) cancel() {
	if l.known.CompareAndSwap(false, true) {
		l.d.breaker.cancel(l.own)
		l.d.cred.breaker.cancel(l.cred)
	}
}

// accept says that the call began to answer, first after it was sent.
func (l *lease) accept(first time.Duration) {
	if !l.known.CompareAndSwap(false, true) {
		return
	}
	now := l.begun.Add(first)
	d := l.d
	probed := d.breaker.succeed(now, l.own)
	if l.cred != 0 { // a credential is refused or is not, so that ordinary calls are not counted for it
		d.cred.breaker.succeed(now, l.cred)
	}
	d.tracker.succeed()
	if l.own != 0 {
		if p, _, _ := d.breaker.state(now); p == phaseClosed {
			l.fleet.closed(d)
		} else if probed {
			l.fleet.tell(Notice{Deployment: d.key, Probed: true})
		}
	}
	if l.cred != 0 && d.cred.told.Load() {
		if p, _, _ := d.cred.breaker.state(now); p == phaseClosed && d.cred.told.CompareAndSwap(true, false) {
			l.fleet.notify(Change{Deployment: d.cred.key, Event: "credential_accepted"})
		}
	}
}

// broke says that an answer that had begun did not come to its end.
func (l *lease) broke(err error) {
	now := time.Now()
	if c := classify(err); c.speaksAgainst() {
		l.d.breaker.broke(now)
		l.d.tracker.fail()
		l.note(now, c, err)
		l.fleet.opened(l.d, now, c)
	}
}

// refuse says how the call failed, before any of its answer was given out.
func (l *lease) refuse(c class, err *llm.Error) {
	if !c.speaksAgainst() {
		l.cancel()
		return
	}
	if !l.known.CompareAndSwap(false, true) {
		return
	}
	now := time.Now()
	d := l.d
	l.note(now, c, err)
	d.tracker.fail()
	if c == classCredential {
		d.breaker.cancel(l.own) // it says nothing about the deployment
		d.cred.breaker.trip(now, 0, l.cred)
		if d.cred.told.CompareAndSwap(false, true) {
			_, until, _ := d.cred.breaker.state(now)
			l.fleet.notify(Change{Deployment: d.cred.key, Event: "credential_refused", Until: until})
		}
		return
	}
	d.cred.breaker.cancel(l.cred)
	switch {
	case c == classForbidden:
		d.breaker.trip(now, 0, l.own)
	case c == classLimited && err.RetryAfter > 0:
		d.breaker.trip(now, err.RetryAfter, l.own)
	default:
		d.breaker.fail(now, c, l.own)
	}
	l.fleet.opened(d, now, c)
}

func (l *lease) note(now time.Time, c class, err error) {
	l.d.mishap.Store(&Mishap{At: now.UTC(), Class: c.String(), Kind: llm.AsError(err).Kind})
}

// end gives the place back. It may be called more than once.
func (l *lease) end() {
	if l.ended.CompareAndSwap(false, true) {
		l.cancel()
		l.slot.release()
	}
}

// measure notes how long the answer took to begin, and what the vendor said of its rate limits.
func (l *lease) measure(stream bool, tokens int64, q *llm.Quota) {
	now := time.Now()
	took := now.Sub(l.begun)
	if stream {
		l.d.firsts.observe(took)
	} else {
		took = normalise(took, tokens)
	}
	l.d.tracker.observe(took)
	if q.At.IsZero() {
		return
	}
	if until, closed := throttle(*q, l.d.queue.inFlight(), now); closed {
		l.d.throttled.Store(until.UnixNano())
	}
}
