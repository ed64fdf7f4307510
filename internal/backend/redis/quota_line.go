package redis

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

const (
	mostAtOnce = 16     // scripts in one write
	mostWrites = 4      // under way at a time
	mostTurns  = 10_000 // that wait; Redis could not answer more of them in a second
)

// A line is where callers wait for their turn to have a script run. What they ask goes in few writes, each with what several ask, of
// which few are under way: under load one round trip serves many, and a burst waits here and not in Redis. So each write has as much to
// wait for as Redis can do in a moment, and one that is not answered in time says that Redis is silent, not that there is a queue.
// Who comes while nobody waits is asked for at once.
type line struct {
	s    *Store
	used sync.Pool // of *turn, that had their answer

	mu      sync.Mutex // guards what follows
	turns   []*turn    // in their order
	senders int
	gathers bool      // one of them is about to take turns
	heard   int64     // batches that were answered
	failed  time.Time // when one last was not
}

// A turn is a caller that waits.
type turn struct {
	ask   ask
	since time.Time
	gone  atomic.Bool
	done  chan rueidis.RedisResult // has room for one
}

// An ask is what a caller has run.
type ask struct {
	script     *script
	whole      bool // the script itself is sent: Redis does not have it
	keys, args []string
}

// do has a script run and waits for the answer: as long as the context lives, and Options.Wait at most for its turn and again for the answer.
func (l *line) do(ctx context.Context, a ask) rueidis.RedisResult {
	t, ok := l.used.Get().(*turn)
	if !ok {
		t = &turn{done: make(chan rueidis.RedisResult, 1)}
	}
	t.ask, t.since = a, time.Now()
	if err := l.join(ctx, t); err != nil {
		return rueidis.NewErrorResult(err)
	}
	select {
	case r := <-t.done:
		t.ask = ask{}
		l.used.Put(t)
		return r
	case <-ctx.Done():
		t.gone.Store(true)
		return rueidis.NewErrorResult(context.Cause(ctx))
	}
}

// join adds a turn, and sees to it that somebody will take it.
func (l *line) join(ctx context.Context, t *turn) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.turns) >= mostTurns {
		return errBusy
	}
	if !l.gathers && l.senders < mostWrites {
		ctx := context.WithoutCancel(ctx) // that this one's client leaves is not the others' business
		if err := l.s.own(func() { l.send(ctx) }); err != nil {
			return err
		}
		l.senders++
		l.gathers = true
	}
	l.turns = append(l.turns, t)
	return nil
}

// send asks until nobody waits.
func (l *line) send(ctx context.Context) {
	runtime.Gosched() // who is ready to ask goes with it
	for b := l.take(); b != nil && l.ask(ctx, b); b = l.take() {
		continue
	}
}

// A batch is what goes in one write.
type batch struct {
	turns []*turn // until they have been told
	asks  []ask
	sent  time.Time
	ended bool // its callers have been told; line.mu guards it
}

// take gives who is next, or nil: the sender ends. Who has waited too long is told so, and everybody while Redis is left alone.
func (l *line) take() *batch {
	now := time.Now()
	var err error
	if l.s.rest.Open(now) {
		err = ErrResting
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gathers = false
	var b *batch
	n := 0
	for ; n < len(l.turns) && (b == nil || len(b.turns) < mostAtOnce); n++ {
		switch t := l.turns[n]; {
		case t.gone.Load():
		case err != nil:
			t.done <- rueidis.NewErrorResult(err)
		case now.Sub(t.since) >= l.s.opts.Wait:
			t.done <- rueidis.NewErrorResult(errSlow)
		default:
			if b == nil {
				size := min(len(l.turns)-n, mostAtOnce)
				b = &batch{turns: make([]*turn, 0, size), asks: make([]ask, 0, size)}
			}
			b.turns, b.asks = append(b.turns, t), append(b.asks, t.ask)
		}
	}
	if l.turns = slices.Delete(l.turns, 0, n); b == nil {
		l.senders--
	}
	return b
}

// ask sends a batch and tells everybody the answer. Redis may take its time for it while it answers others; when it is silent nobody
// waits any longer. false: another sender has taken this one's place.
func (l *line) ask(ctx context.Context, b *batch) bool {
	w := &watch{line: l, batch: b, calm: l.s.rest.Calm(), most: l.s.opts.Wait}
	if !w.calm {
		w.most = l.s.opts.Dial + l.s.opts.Timeout
	}
	asking, cancel := context.WithCancel(ctx)
	defer cancel()
	b.sent = time.Now()
	w.begin(func() { w.look(ctx, cancel) })
	results, err := l.run(asking, b.asks)
	l.end(b, results, err)
	return w.end()
}

// run runs scripts, in one write.
func (l *line) run(ctx context.Context, asks []ask) ([]rueidis.RedisResult, error) {
	client, err := l.s.connected(ctx)
	if err != nil {
		return nil, err
	}
	cmds := make([]rueidis.Completed, len(asks))
	for i, a := range asks {
		n := int64(len(a.keys))
		if a.whole {
			cmds[i] = client.B().Eval().Script(a.script.source).Numkeys(n).Key(a.keys...).Arg(a.args...).Build()
		} else {
			cmds[i] = client.B().Evalsha().Sha1(a.script.sha).Numkeys(n).Key(a.keys...).Arg(a.args...).Build()
		}
	}
	return client.DoMulti(ctx, cmds...), nil
}

// end tells the callers of a batch how it went, and the breaker, once.
func (l *line) end(b *batch, results []rueidis.RedisResult, err error) {
	if err == nil {
		err = failure(results)
	}
	if !l.ends(b, err) {
		return
	}
	for i, t := range b.turns {
		if results != nil {
			t.done <- results[i]
		} else {
			t.done <- rueidis.NewErrorResult(err)
		}
	}
}

// ends is said once for each batch. What several were under way for fails once.
func (l *line) ends(b *batch, err error) bool {
	now := time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	if b.ended {
		return false
	}
	b.ended = true
	if err == nil {
		l.heard++
		l.s.outcome(nil, now)
	} else if b.sent.After(l.failed) {
		l.failed = now
		l.s.outcome(err, now)
	}
	return true
}

// failure is the error of a batch of which nothing went well. That a server does not have a script is no failure.
func failure(results []rueidis.RedisResult) error {
	var first error
	for i := range results {
		err := results[i].Error()
		if err == nil || isNoScript(err) {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	return first
}

func isNoScript(err error) bool {
	e, ok := rueidis.IsRedisErr(err)
	return ok && e.IsNoScript()
}
