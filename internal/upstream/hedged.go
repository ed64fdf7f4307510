package upstream

import (
	"context"
	"sync"
	"time"

	"sluice/internal/llm"
)

// A racer is one of the calls of a hedged try.
type racer struct {
	cancel context.CancelFunc
	lease  *lease
	done   chan struct{} // closed when sent is there
	sent   sent
}

func (r *run) race(ctx context.Context, t *llm.Target, l *lease, hedge bool, finish chan<- *racer) *racer {
	ctx, cancel := context.WithCancel(ctx)
	x := &racer{cancel: cancel, lease: l, done: make(chan struct{}), sent: sent{target: t, hedge: hedge}}
	go func() {
		r.send(ctx, &x.sent, l)
		close(x.done)
		finish <- x
	}()
	return x
}

// hedged calls a target and, when it takes longer to begin than it nearly always does, a second one beside
// it; the first to begin wins and the other is cancelled. Whoever closes the winner waits for the loser: it
// reads the same request, whose bytes are given back afterwards.
func (r *run) hedged(ctx context.Context, t *llm.Target, l *lease) (class, *llm.Reply, error) {
	r.pool.fleet.hedges.request(time.Now())
	delay, ok := hedgeDelay(l.d.firsts.p95())
	if !ok {
		r.sent = sent{target: t}
		r.send(ctx, &r.sent, l)
		return r.note(&r.sent)
	}
	_, _ = r.call.Body.Payload() // decoded once, before two read it; what is wrong with it each of them tells
	finish := make(chan *racer, 2)
	first := r.race(ctx, t, l, false, finish)
	timer := time.NewTimer(delay)
	defer timer.Stop()
	var second *racer
	for running := 1; ; {
		select {
		case <-timer.C:
			if second = r.second(ctx, finish); second != nil {
				running++
			}
		case x := <-finish:
			running--
			if x.sent.reply == nil && running > 0 {
				_, _, _ = r.note(&x.sent) // the other one may still answer
				x.cancel()
				continue
			}
			c, reply, err := r.note(&x.sent)
			if reply == nil {
				x.cancel()
				return c, nil, err
			}
			loser := first
			if x == first {
				loser = second
			}
			reply.Stream = r.won(reply.Stream, x, loser)
			return c, reply, nil
		}
	}
}

// second starts the hedge: at the next best target, if the budget has one and not too many are slow.
func (r *run) second(ctx context.Context, finish chan<- *racer) *racer {
	p, now := r.pool, time.Now()
	if !r.more(ctx, 0) || storm(r.plan.Loads()) {
		return nil
	}
	t, bar, ok := r.plan.Next()
	if !ok || bar != llm.Free || !p.fleet.hedges.hedge(now) {
		return nil
	}
	if r.may != nil && r.may(ctx, &r.trace, true) != nil {
		return nil
	}
	l := new(lease)
	if ok, _ := l.enter(ctx, p.fleet, p.at(t), llm.Free, r.who, 0); !ok {
		return nil
	}
	return r.race(ctx, t, l, true, finish)
}

// won makes the end of the winner's stream the end of both calls.
func (r *run) won(s llm.Stream, winner, loser *racer) llm.Stream {
	end, told := winner.cancel, func() {}
	if loser != nil {
		select {
		case <-loser.done: // it failed before; that is in the trace
		default:
			loser.cancel()
			r.trace.Attempts++
			r.trace.Tries = append(r.trace.Tries, llm.Try{
				Provider: loser.sent.target.Provider, Model: loser.sent.target.Model, Outcome: "outrun", Took: time.Since(loser.lease.begun), Hedge: loser.sent.hedge,
				Left: true,
			})
			try := &r.trace.Tries[len(r.trace.Tries)-1]
			told = func() { try.Told, try.Left = loser.sent.told, loser.sent.left }
		}
		end = func() {
			<-loser.done
			if reply := loser.sent.reply; reply != nil { // both began at once
				loser.sent.told, loser.sent.left = reply.Stream.(*held).told(), true
				_ = reply.Close()
			}
			told()
			winner.cancel()
		}
	}
	return &raced{Stream: s, end: sync.OnceFunc(end)}
}

// raced is the winner's stream.
type raced struct {
	llm.Stream
	end func()
}

func (s *raced) Close() error {
	err := s.Stream.Close()
	s.end()
	return err
}
