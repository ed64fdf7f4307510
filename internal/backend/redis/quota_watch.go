package redis

import (
	"context"
	"runtime"
	"time"
)

// looks is how often one looks, in the time that Redis may be silent, whether it is. Time that this process had no turn itself so
// counts for one look, and not against Redis: with hundreds of calls to run, its answers lie in the socket for a while.
const looks = 5

// A watch is for Redis being silent while a batch is under way.
type watch struct {
	line  *line
	batch *batch
	calm  bool          // nothing has failed before. Otherwise a connection may have to be made first, which serves the next ones
	most  time.Duration // for the batch

	timer    *time.Timer // line.mu guards it, and what follows
	heard    int64       // as line.heard at the last look
	quiet    int         // looks without any answer
	over     bool
	relieved bool // by another sender
}

func (w *watch) begin(look func()) {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	w.heard = w.line.heard
	w.timer = time.AfterFunc(w.step(), look)
}

func (w *watch) step() time.Duration { return w.line.s.opts.Timeout / looks }

// end ends the watch, and tells whether the sender goes on.
func (w *watch) end() bool {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	w.over = true
	w.timer.Stop()
	return !w.relieved
}

// look ends the batch of a Redis that is silent, and looks again later at one that is not.
func (w *watch) look(ctx context.Context, cancel context.CancelFunc) {
	runtime.Gosched() // who reads answers may be waiting for its turn, too
	late := time.Since(w.batch.sent) >= w.most
	silent := w.silent() || late
	if silent {
		w.line.end(w.batch, nil, errSlow)
	}
	if late || silent && w.calm {
		cancel()
		return
	}
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	if w.over {
		return
	}
	if silent && !w.relieved {
		w.relieved = true
		if w.line.s.own(func() { w.line.send(ctx) }) != nil {
			w.line.senders--
		}
	}
	w.timer.Reset(w.step())
}

// silent tells whether nothing came for as many looks as Redis has.
func (w *watch) silent() bool {
	w.line.mu.Lock()
	defer w.line.mu.Unlock()
	w.quiet++
	if w.heard != w.line.heard {
		w.heard, w.quiet = w.line.heard, 0
	}
	return w.quiet >= looks
}
