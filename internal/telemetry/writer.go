// Package telemetry tells operators what happens: log lines through a writer that never blocks a call, one
// line per call, metrics, and the handler of the operators' listener. It records no content and no secret.
package telemetry

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// A Writer takes log lines without ever waiting for the disk or the pipe behind it. Lines are collected
// and written in batches; what does not fit into the buffer is dropped, counted, and told of in the log
// once there is room again.
type Writer struct {
	out     io.Writer
	most    int
	dropped atomic.Int64

	mu     sync.Mutex // guards what follows
	buf    []byte     // lines that wait
	going  int        // bytes on their way to out
	lost   int64      // dropped and not yet told of
	closed bool

	kick chan struct{} // the buffer is no longer empty
	full chan struct{} // half of the buffer is used: do not wait for more
	stop chan struct{}
	done chan struct{}
}

// batch is how long lines wait for company: one system call then serves many calls.
const batch = 50 * time.Millisecond

// NewWriter writes to out, holding at most so many bytes back. Close it to get the rest written.
func NewWriter(out io.Writer, most int) *Writer {
	w := &Writer{
		out: out, most: most,
		kick: make(chan struct{}, 1), full: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
	go w.drain()
	return w
}

// Write takes one line whole or drops it whole. It never fails.
func (w *Writer) Write(line []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch before := len(w.buf); {
	case w.closed || before+w.going+len(line) > w.most:
		w.lose(1)
	default:
		w.buf = append(w.buf, line...)
		if before == 0 {
			signal(w.kick)
		}
		if before < w.most/2 && len(w.buf) >= w.most/2 {
			signal(w.full)
		}
	}
	return len(line), nil
}

// lose counts lines that are gone. w.mu is held.
func (w *Writer) lose(lines int) {
	w.lost += int64(lines)
	w.dropped.Add(int64(lines))
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Dropped is how many lines were lost so far.
func (w *Writer) Dropped() int64 { return w.dropped.Load() }

// drain writes batches until the writer is closed. A failing output loses the batch; the count of it is
// told once the output works again.
func (w *Writer) drain() {
	defer close(w.done)
	var spare []byte
	timer := time.NewTimer(0)
	defer timer.Stop()
	for last := false; !last; {
		select {
		case <-w.kick:
			timer.Reset(batch)
			select {
			case <-timer.C:
			case <-w.full:
			case <-w.stop:
			}
		case <-w.stop:
			last = true
		}
		w.mu.Lock()
		lines := w.buf
		w.buf = spare[:0]
		lost := w.lost
		w.lost, w.going = 0, len(lines)
		w.mu.Unlock()
		if lost > 0 {
			lines = fmt.Appendf(lines, "{\"time\":%q,\"level\":\"WARN\",\"msg\":\"log lines dropped\",\"dropped\":%d}\n", time.Now().UTC().Format(time.RFC3339Nano), lost)
		}
		mask(lines)
		w.write(lines, lost)
		if spare = lines; cap(spare) > 1<<20 { // one burst must not pin its memory
			spare = nil
		}
	}
}

// write hands a batch on; lost is how many lines the batch tells of as dropped.
func (w *Writer) write(lines []byte, lost int64) {
	var n int
	var err error
	if len(lines) > 0 {
		n, err = w.out.Write(lines)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.going = 0
	if err == nil {
		return
	}
	gone := bytes.Count(lines[min(max(n, 0), len(lines)):], []byte("\n"))
	if lost > 0 { // the line that told of them is gone, too; they are told of again, and counted once
		gone--
		w.lost += lost
	}
	w.lose(gone)
}

// Close writes what waits and stops. It gives up on an output that does not take it within a second.
func (w *Writer) Close() error {
	w.mu.Lock()
	already := w.closed
	w.closed = true
	w.mu.Unlock()
	if !already {
		close(w.stop)
	}
	select {
	case <-w.done:
		return nil
	case <-time.After(time.Second):
		return fmt.Errorf("the log's output did not take the last lines")
	}
}
