package upstream

import (
	linked "container/list" // list is a provider's models here
	"context"
	"sync"
	"sync/atomic"

	"sluice/internal/llm"
)

var (
	// errQueueFull refuses a call at once; another target may have room.
	errQueueFull = &llm.Error{Kind: llm.KindOverloaded, Msg: "too many calls wait for the upstream"}
	// errQueueWait is the cause for a context that bounds the wait (context.WithTimeoutCause).
	errQueueWait = &llm.Error{Kind: llm.KindOverloaded, Msg: "the upstream had no room in time"}
)

// A queue bounds the calls under way at one deployment. Those that find no room wait: each key in a line of
// its own, in order of arrival, and a slot that becomes free goes straight to the first of the key whose
// turn it is, so that one key with many calls cannot keep another waiting. When too many wait, a call of the
// longest line makes room for one of a shorter.
//
// The zero queue has no limit; it counts only.
type queue struct {
	mu      sync.Mutex // guards what follows
	limit   int        // calls under way at most, over all replicas; 0: no limit
	most    int        // waiters at most
	waiting int
	turns   linked.List      // of *line: who is next; none is empty
	lines   map[string]*line // by key

	// What every call needs stands at the end (deployment says why).
	calls llm.Calls   // under way; changed under mu, own ones only while there is a limit
	open  atomic.Bool // there is no limit and nobody waits: the lock is not needed
}

// A line is one key's waiters.
type line struct {
	key     string
	turn    *linked.Element // in turns
	waiters linked.List     // of *waiter
}

// A waiter is a call that waits for a slot.
type waiter struct {
	line  *line
	place *linked.Element // in line.waiters; nil: no longer there
	err   error           // why it was sent away; set before done is closed
	done  chan struct{}   // closed when it has a slot or was sent away
}

// A slot is the right to call. Its holder releases it; releasing it again does nothing.
type slot struct{ queue *queue }

func (s *slot) release() {
	if s.queue != nil {
		s.queue.release()
		s.queue = nil
	}
}

// acquire gives a slot, and waits for one as long as ctx allows. Errors are errQueueFull and ctx's cause.
// It allocates only when it has to wait.
func (q *queue) acquire(ctx context.Context, key string) (slot, error) {
	w, err := q.join(key)
	if err != nil {
		return slot{}, err
	}
	if w == nil {
		return slot{q}, nil
	}
	select {
	case <-w.done:
		if w.err != nil {
			return slot{}, w.err
		}
		return slot{q}, nil
	case <-ctx.Done():
		q.leave(w)
		return slot{}, context.Cause(ctx)
	}
}

// try gives a slot if one is free.
func (q *queue) try() (slot, bool) {
	if q.open.Load() {
		q.calls.InFlight.Add(1)
		return slot{q}, true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.room() {
		return slot{}, false
	}
	q.calls.InFlight.Add(1)
	return slot{q}, true
}

// load counts the calls under way here and elsewhere, and tells whether a call would have to wait now.
func (q *queue) load() (own, others int32, full bool) {
	own, others = q.calls.InFlight.Load(), q.calls.Others.Load()
	return own, others, !q.open.Load() && q.full()
}

// bound is how many calls may be under way over all replicas; 0: any number.
func (q *queue) bound() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.limit
}

// length counts the calls that wait.
func (q *queue) length() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.waiting
}

// inFlight counts the calls under way.
func (q *queue) inFlight() int { return int(q.calls.InFlight.Load()) }

// full says that a call would have to wait now.
func (q *queue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.room()
}

// setLimit says how many calls may be under way over all replicas (0: any number) and how many may wait here.
// Calls under way beyond a lower limit are left alone; waiters beyond a lower bound, too.
func (q *queue) setLimit(limit, most int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.limit, q.most = limit, most
	q.serve()
	q.open.Store(limit <= 0)
}

// setOthers says how many calls the other replicas have under way. One slot is always ours: replicas that
// each think that the others have them all would call nobody.
func (q *queue) setOthers(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls.Others.Store(int32(n))
	q.serve()
}

func (q *queue) room() bool {
	return q.limit <= 0 || int(q.calls.InFlight.Load()) < max(q.limit-int(q.calls.Others.Load()), 1)
}

// join takes a slot (no waiter, no error), or a place in the line of key.
func (q *queue) join(key string) (*waiter, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.room() { // then nobody waits
		q.calls.InFlight.Add(1)
		return nil, nil
	}
	if q.waiting >= q.most && !q.shorten(key) {
		return nil, errQueueFull
	}
	l := q.lines[key]
	if l == nil {
		l = &line{key: key}
		l.turn = q.turns.PushBack(l)
		if q.lines == nil {
			q.lines = make(map[string]*line)
		}
		q.lines[key] = l
	}
	w := &waiter{line: l, done: make(chan struct{})}
	w.place = l.waiters.PushBack(w)
	q.waiting++
	return w, nil
}

// shorten sends the last of the longest line away, if that line is longer than key's will be.
func (q *queue) shorten(key string) bool {
	var longest *line
	for _, l := range q.lines {
		if longest == nil || l.waiters.Len() > longest.waiters.Len() {
			longest = l
		}
	}
	own := 0
	if l := q.lines[key]; l != nil {
		own = l.waiters.Len()
	}
	if longest == nil || longest.waiters.Len() <= own+1 {
		return false
	}
	w := longest.waiters.Back().Value.(*waiter)
	q.remove(w)
	w.err = errQueueFull
	close(w.done)
	return true
}

// leave ends a wait that nobody is interested in any more. A slot that has come meanwhile goes on to the next.
func (q *queue) leave(w *waiter) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case w.place != nil:
		q.remove(w)
	case w.err == nil:
		q.calls.InFlight.Add(-1)
		q.serve()
	}
}

func (q *queue) release() {
	if q.open.Load() {
		q.calls.InFlight.Add(-1)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.calls.InFlight.Add(-1)
	q.serve()
}

// serve gives free slots to those whose turn it is.
func (q *queue) serve() {
	for q.waiting > 0 && q.room() {
		l := q.turns.Front().Value.(*line)
		q.turns.MoveToBack(l.turn)
		w := l.waiters.Front().Value.(*waiter)
		q.remove(w)
		q.calls.InFlight.Add(1)
		close(w.done)
	}
}

// remove takes a waiter out of its line, and the line away with its last.
func (q *queue) remove(w *waiter) {
	w.line.waiters.Remove(w.place)
	w.place = nil
	q.waiting--
	if w.line.waiters.Len() == 0 {
		q.turns.Remove(w.line.turn)
		delete(q.lines, w.line.key)
	}
}
