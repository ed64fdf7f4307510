package upstream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"sluice/internal/llm"
)

// A run is one call on its way through the targets of its plan.
type run struct {
	pool  *Pool
	call  *llm.Call
	plan  Plan
	who   string // whose turn it is in a waiting line
	raw   bool
	may   Allow
	trace llm.Trace

	err    error     // the last failure that says something to the client
	failed time.Time // when the first failure was; zero: none yet
	rounds int       // backoffs so far
	again  []int     // slots that were tried a second time
	spare  *spare    // the target to come back to when no other is left
	busy   string    // the provider that said last that it is called too often

	first lease      // of the first try
	sent  sent       // how the last one went
	tries [1]llm.Try // where the trace begins
}

// A spare is a target that may be tried once more, after a wait.
type spare struct {
	target *llm.Target
	wait   time.Duration
}

// Do calls the targets of a plan until one answers. It returns when the first real output is there, so that
// every failure before it can still be told by a status line, or be mended by another target. who is the
// key that waits in a line; raw: nobody downstream needs the meaning; may: nil allows all. What the trace says of a hedge's
// loser stands once the reply is closed.
func (p *Pool) Do(ctx context.Context, call *llm.Call, plan Plan, who string, raw bool, may Allow) (*llm.Reply, *llm.Trace, error) {
	r := &run{pool: p, call: call, plan: plan, who: who, raw: raw, may: may}
	r.trace.Tries = r.tries[:0]
	start := time.Now()
	reply, err := r.do(ctx)
	r.trace.Waited = time.Since(start)
	r.trace.Fallback, r.trace.Why = plan.Fallback()
	if reply != nil {
		plan.Took(&reply.Target)
	}
	return reply, &r.trace, err
}

func (r *run) do(ctx context.Context) (*llm.Reply, error) {
	for {
		t, bar, ok := r.plan.Next()
		if !ok {
			if why, falls := r.falls(); falls && r.plan.Fall(why) {
				continue
			}
			break
		}
		if t.Provider == r.busy { // another credential there, but not in haste
			wait, _ := backoff(r.rounds, 0, jitter())
			if !r.more(ctx, wait) {
				break
			}
			if !r.sleep(ctx, wait) {
				return nil, cancelledError(ctx)
			}
		}
		reply, done, err := r.visit(ctx, t, bar)
		if done {
			return reply, err
		}
		if !r.more(ctx, 0) {
			return nil, r.verdict(time.Time{}, false)
		}
	}
	return r.last(ctx)
}

// visit tries a target, twice where that is worth it. done: the call is over, with a reply or an error that
// no other target would mend.
func (r *run) visit(ctx context.Context, t *llm.Target, bar llm.Bar) (reply *llm.Reply, done bool, err error) {
	r.pool.at(t).budget.request(time.Now())
	for {
		c, reply, err := r.try(ctx, t, bar)
		switch {
		case reply != nil:
			return reply, true, nil
		case err == nil: // it cannot be called now
			return nil, false, nil
		}
		switch c {
		case classTransient: // once more, after a moment
			wait, same := backoff(r.rounds, retryAfter(err), jitter())
			if !same {
				return nil, false, nil
			}
			// One that asks for time gets it while others are asked; and the last attempt is for a target that has not
			// failed yet. This one's turn comes when there is no other.
			if retryAfter(err) > 0 || r.trace.Attempts == r.pool.Attempts-1 {
				r.keep(t, wait)
				return nil, false, nil
			}
			if !r.more(ctx, wait) || !r.twice(t) {
				return nil, false, nil
			}
			if !r.sleep(ctx, wait) {
				return nil, true, cancelledError(ctx)
			}
			bar = llm.Free
			continue
		case classConnect: // another target at once; this one again when there is no other
			wait, _ := backoff(r.rounds, 0, jitter())
			r.keep(t, wait)
		case classLimited: // the next one; this one again, when its time has come and there is no other
			r.busy = t.Provider
			if wait, same := backoff(r.rounds, retryAfter(err), jitter()); same {
				r.keep(t, wait)
			}
		case classCredential, classForbidden, classUnsupported, classContext, classContent:
		default:
			return nil, true, err
		}
		if c == classContext || c == classContent { // the same at every deployment of the model
			why, _ := r.falls()
			if !r.plan.Fall(why) {
				return nil, true, err
			}
		}
		return nil, false, nil
	}
}

// last does what is left when the plan has no more targets: the one that may be tried once more, or, when
// nothing could be called at all, the one whose breaker has been open for longest.
func (r *run) last(ctx context.Context) (*llm.Reply, error) {
	if s := r.spare; s != nil && r.more(ctx, s.wait) && r.twice(s.target) {
		if !r.sleep(ctx, s.wait) {
			return nil, cancelledError(ctx)
		}
		_, reply, _ := r.try(ctx, s.target, llm.Free)
		if reply != nil {
			return reply, nil
		}
	}
	t, until, ok := r.plan.Resort()
	if ok && r.trace.Attempts == 0 && r.err == nil {
		if _, reply, _ := r.try(ctx, t, llm.Open); reply != nil {
			return reply, nil
		}
	}
	var l llm.Load
	if ok {
		r.pool.at(t).load(time.Now(), &l)
	}
	return nil, r.verdict(until, l.Bar == llm.Credential)
}

// verdict is what the client is told when nothing answered. until is when a deployment may be called again by
// itself; refused: what bars them is that their credentials were refused.
func (r *run) verdict(until time.Time, refused bool) error {
	if r.err != nil {
		return r.err
	}
	e := &llm.Error{Kind: llm.KindNoUpstream, Msg: "no upstream of the model can be called now", RetryAfter: time.Second}
	if refused {
		e.Kind, e.Msg = llm.KindUpstreamCreds, "the model's upstreams have refused the gateway's credentials"
	}
	if !until.IsZero() {
		e.RetryAfter = max(time.Second, time.Until(until).Round(time.Second))
	}
	return e
}

// more tells whether another try may begin after a wait: attempts are left, the time for retries is not
// over, and the client's deadline leaves some for an answer.
func (r *run) more(ctx context.Context, wait time.Duration) bool {
	if ctx.Err() != nil || r.trace.Attempts >= r.pool.Attempts {
		return false
	}
	now := time.Now()
	if !r.failed.IsZero() && now.Add(wait).Sub(r.failed) > r.pool.Within {
		return false
	}
	end, bounded := ctx.Deadline()
	return !bounded || now.Add(wait).Before(end)
}

// twice takes a second try at a target from its provider's budget. Each target gets one.
func (r *run) twice(t *llm.Target) bool {
	if slices.Contains(r.again, t.Slot) || !r.pool.at(t).budget.retry(time.Now(), r.pool.Budget) {
		return false
	}
	r.again = append(r.again, t.Slot)
	return true
}

// keep makes a target the one to come back to; the one with the shortest wait is kept.
func (r *run) keep(t *llm.Target, wait time.Duration) {
	if r.spare == nil || wait < r.spare.wait {
		r.spare = &spare{t, wait}
	}
}

func (r *run) sleep(ctx context.Context, d time.Duration) bool {
	r.rounds++
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// falls says which list of other models the last failure leads to.
func (r *run) falls() (llm.Fall, bool) {
	if r.err == nil {
		return llm.FallGeneral, true // all deployments were barred
	}
	switch classify(r.err) {
	case classContext:
		return llm.FallContext, true
	case classContent:
		return llm.FallContent, true
	case classCredential, classForbidden, classLimited, classTransient, classConnect, classUnsupported:
		return llm.FallGeneral, true
	}
	return 0, false
}

// try makes one upstream call, or two where the call hedges. Without a reply or an error the target cannot be
// called now.
func (r *run) try(ctx context.Context, t *llm.Target, bar llm.Bar) (class, *llm.Reply, error) {
	p := r.pool
	if r.may != nil && len(r.trace.Tries) > 0 && r.may(ctx, &r.trace, false) != nil {
		return classFinal, nil, r.err // why the one before failed says more
	}
	l := &r.first
	if l.d != nil {
		l = new(lease)
	}
	ok, err := l.enter(ctx, p.fleet, p.at(t), bar, r.who, p.QueueWait)
	if !ok {
		if err != nil && ctx.Err() != nil {
			return classGone, nil, cancelledError(ctx)
		}
		if err != nil && r.err == nil {
			r.err = err // the line was full or too slow; another target may be free
		}
		return classNone, nil, nil
	}
	if r.plan.Hedges() && r.call.Stream {
		return r.hedged(ctx, t, l)
	}
	r.sent = sent{target: t}
	r.send(ctx, &r.sent, l)
	return r.note(&r.sent)
}

// A sent is how one upstream call went.
type sent struct {
	target *llm.Target
	hedge  bool
	took   time.Duration
	class  class
	reply  *llm.Reply
	err    error
	told   *llm.Usage // of an answer that is not given on; nil: nothing
	left   bool       // we went away before it began, and it was sent
}

// send makes one upstream call under a lease and reads ahead. It ends the lease, unless there is a reply,
// whose end does.
func (r *run) send(ctx context.Context, s *sent, l *lease) {
	at := &r.pool.slots[s.target.Slot]
	if at.provider == nil {
		l.end()
		s.class, s.err = classFinal, fmt.Errorf("no provider %q in the pool", s.target.Provider)
		return
	}
	s.reply, s.err = r.attempt(ctx, at, s, l)
	s.took = time.Since(l.begun)
	if s.err == nil {
		l.accept(s.took)
		return
	}
	if ctx.Err() != nil { // whatever came of it came of our leaving
		s.left = !notSent(s.err)
		s.err = cancelledError(ctx)
	}
	s.class = classify(s.err)
	l.refuse(s.class, llm.AsError(s.err))
	l.end()
}

// note enters a call in the trace.
func (r *run) note(s *sent) (class, *llm.Reply, error) {
	if s.class != classUnsupported { // nothing was sent
		r.trace.Attempts++
	}
	outcome := "ok"
	if s.err != nil {
		outcome = s.class.String()
	}
	r.trace.Tries = append(r.trace.Tries, llm.Try{Provider: s.target.Provider, Model: s.target.Model, Outcome: outcome, Took: s.took, Hedge: s.hedge, Told: s.told, Left: s.left})
	r.trace.Target = s.target
	if s.err != nil {
		if r.failed.IsZero() {
			r.failed = time.Now()
		}
		if s.class != classUnsupported || r.err == nil {
			r.err = s.err
		}
	}
	return s.class, s.reply, s.err
}

func retryAfter(err error) time.Duration {
	var e *llm.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// cancelledError says why the call was ended from our side.
func cancelledError(ctx context.Context) error {
	e, _ := cancelled(ctx, ctx.Err())
	return e
}
