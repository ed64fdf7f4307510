package upstream

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"sluice/internal/llm"
)

var (
	errFirst = &llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "the upstream did not begin to answer in time"}
	errIdle  = &llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "the upstream fell silent"}
	errTotal = &llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "the upstream did not finish in time"}
)

// A watch is the context of an attempt, which it ends when the attempt takes too long. It looks at the clock when its
// timer fires instead of resetting the timer for each frame. Time in which we wait for a slow client does not
// count as the upstream's silence.
//
// It is a context itself because every call makes one: context.WithCancelCause with an AfterFunc below it allocates
// eight times more.
type watch struct {
	context.Context // the call's; its end is the attempt's, too
	start           time.Time
	t               llm.Timeouts
	since           atomic.Int64 // when the wait for the upstream began, in ns after start; -1: nobody waits
	begun           atomic.Bool  // the first output is there

	mu     sync.Mutex // guards the rest
	timer  *time.Timer
	unlink func() bool   // ends the look at the call's context
	why    error         // why the context ended; nil: it has not
	done   chan struct{} // Done's; nil: nobody has asked
	hooks  *hook         // to be run at the end
}

// A hook is a func that runs when a watch ends.
type hook struct {
	watch *watch
	run   func()
	next  *hook
}

// begin starts the clock of a zero watch, which shows now.
func (w *watch) begin(ctx context.Context, now time.Time, t llm.Timeouts) {
	w.Context, w.start, w.t = ctx, now, t
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer = time.AfterFunc(min(t.FirstToken, t.Total), w.tick)
	w.unlink = context.AfterFunc(ctx, w.ended)
}

// ended follows the call's context.
func (w *watch) ended() { w.end(context.Cause(w.Context)) }

// end ends the context, once.
func (w *watch) end(why error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why != nil {
		return
	}
	w.why = why
	if w.done != nil {
		close(w.done)
	}
	for ; w.hooks != nil; w.hooks = w.hooks.next {
		go w.hooks.run()
	}
}

// Done implements context.Context.
func (w *watch) Done() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done == nil {
		if w.done = make(chan struct{}); w.why != nil {
			close(w.done)
		}
	}
	return w.done
}

// Err implements context.Context. It is why the context ended, and not context.Canceled in all cases: context.Cause asks
// for it where the call's own context goes on.
func (w *watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why != nil {
		return w.why
	}
	return w.Context.Err() // which may have ended a moment ago
}

// AfterFunc runs f on a goroutine of its own when the context ends; package context uses it for contexts that are made of
// this one, and h1 for its connections. stop tells whether it has kept f from running.
func (w *watch) AfterFunc(f func()) (stop func() bool) {
	h := &hook{watch: w, run: f}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why != nil {
		go f()
	} else {
		h.next, w.hooks = w.hooks, h
	}
	return h.stop
}

func (h *hook) stop() bool {
	w := h.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := &w.hooks; *at != nil; at = &(*at).next {
		if *at == h {
			*at = h.next
			return true
		}
	}
	return false
}

func (w *watch) wait()  { w.since.Store(int64(time.Since(w.start))) }
func (w *watch) ready() { w.since.Store(-1) }

// first says that the first output is there: from now on silence counts, not the wait for the beginning.
func (w *watch) first() {
	if w.t.Idle >= w.t.Total { // the total's timer is the only one needed, and set already
		w.begun.Store(true)
		return
	}
	w.begun.Store(true)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why == nil {
		w.timer.Reset(min(w.t.Idle, w.t.Total-time.Since(w.start)))
	}
}

func (w *watch) tick() {
	now := time.Since(w.start)
	next := w.t.Total
	switch since := time.Duration(w.since.Load()); {
	case now >= w.t.Total:
		w.end(errTotal)
		return
	case !w.begun.Load():
		if now >= w.t.FirstToken {
			w.end(errFirst)
			return
		}
		next = min(next, w.t.FirstToken)
	case since < 0: // nobody waits: look again after one more idle time
		next = min(next, now+w.t.Idle)
	case now-since >= w.t.Idle:
		w.end(errIdle)
		return
	default:
		next = min(next, since+w.t.Idle)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.why == nil {
		w.timer.Reset(next - now)
	}
}

// stop ends the context and the clock.
func (w *watch) stop() {
	w.end(context.Canceled)
	w.timer.Stop()
	w.unlink()
}
