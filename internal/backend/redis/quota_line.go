package redis

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/redis/rueidis"
)

// A line puts into one write what callers ask at the same moment. The first of them lets all run that are ready to: those of them that
// ask, too, go with it. So nothing waits when there is nobody else, and under load a write, which is what a round trip costs most for,
// serves several.
type line struct {
	mu    sync.Mutex
	next  *batch    // that the first of it will write; nil: none is about to
	chans sync.Pool // of chan rueidis.RedisResult, empty
}

// A batch is what goes in one write.
type batch struct {
	cmds []rueidis.Completed
	done []chan rueidis.RedisResult // where the answers go, but for the first's
}

// do runs a command, and waits for its answer for so long at most. first says that the caller has written its batch: what fails a batch
// has failed once.
func (l *line) do(ctx context.Context, client rueidis.Client, timeout time.Duration, cmd rueidis.Completed) (r rueidis.RedisResult, first bool) {
	l.mu.Lock()
	if b := l.next; b != nil {
		done, ok := l.chans.Get().(chan rueidis.RedisResult)
		if !ok {
			done = make(chan rueidis.RedisResult, 1)
		}
		b.cmds, b.done = append(b.cmds, cmd), append(b.done, done)
		l.mu.Unlock()
		select {
		case r := <-done:
			l.chans.Put(done)
			return r, false
		case <-ctx.Done():
			return rueidis.NewErrorResult(context.Cause(ctx)), false
		}
	}
	b := &batch{cmds: append(make([]rueidis.Completed, 0, 8), cmd)}
	l.next = b
	l.mu.Unlock()
	runtime.Gosched()
	l.mu.Lock()
	l.next = nil
	l.mu.Unlock()
	if len(b.done) > 0 {
		ctx = context.WithoutCancel(ctx) // that this one's client leaves is not the others' business
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if len(b.done) == 0 {
		return client.Do(ctx, cmd), true
	}
	results := client.DoMulti(ctx, b.cmds...)
	for i, done := range b.done {
		done <- results[i+1]
	}
	return results[0], true
}
