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
	mu      sync.Mutex
	waiting []*asked // the first will write them
}

// An asked is a command and where its answer goes.
type asked struct {
	cmd  rueidis.Completed
	done chan rueidis.RedisResult // of others than the first
}

// do runs a command, and waits for its answer for so long at most.
func (l *line) do(ctx context.Context, client rueidis.Client, timeout time.Duration, cmd rueidis.Completed) rueidis.RedisResult {
	l.mu.Lock()
	if len(l.waiting) > 0 {
		a := &asked{cmd, make(chan rueidis.RedisResult, 1)}
		l.waiting = append(l.waiting, a)
		l.mu.Unlock()
		select {
		case r := <-a.done:
			return r
		case <-ctx.Done():
			return rueidis.NewErrorResult(context.Cause(ctx))
		}
	}
	l.waiting = append(l.waiting, &asked{cmd: cmd})
	l.mu.Unlock()
	runtime.Gosched()
	l.mu.Lock()
	all := l.waiting
	l.waiting = nil
	l.mu.Unlock()
	if len(all) > 1 {
		ctx = context.WithoutCancel(ctx) // that this one's client leaves is not the others' business
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if len(all) == 1 {
		return client.Do(ctx, cmd)
	}
	cmds := make([]rueidis.Completed, len(all))
	for i, a := range all {
		cmds[i] = a.cmd
	}
	results := client.DoMulti(ctx, cmds...)
	for i, a := range all[1:] {
		a.done <- results[i+1]
	}
	return results[0]
}
