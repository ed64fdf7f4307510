package wal

import (
	"fmt"
	"runtime/debug"
)

// A Reader follows a log. It is used by one goroutine.
type Reader struct {
	log  *Log
	wake chan struct{}
	next uint64 // the position wanted
	seg  *segment
	off  int
	done uint64 // everything up to here may be removed; guarded by the log
}

// Reader makes a reader of what comes after a position. The log keeps everything that the reader has not
// declared done.
func (l *Log) Reader(after uint64) *Reader {
	r := &Reader{log: l, wake: make(chan struct{}, 1), next: after + 1, done: after}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers = append(l.readers, r)
	return r
}

// Next gives the next record that is on the disk; ok is false when there is none yet. The payload is valid
// until it is Done.
func (r *Reader) Next() (pos uint64, payload []byte, ok bool) {
	synced := r.log.synced.Load()
	if r.next > synced {
		return 0, nil, false
	}
	pos, payload, ok, err := r.read()
	for err != nil { // the rest of the segment cannot be read
		r.log.met(r.seg, Damage{Offset: r.off, After: r.next - 1, Tail: true, Cause: err})
		r.off = int(r.seg.end.Load())
		pos, payload, ok, err = r.read()
	}
	if !ok {
		r.next = synced + 1 // what is missing before it does not come any more
	}
	return pos, payload, ok
}

// Passed is the position up to which the reader was given everything.
func (r *Reader) Passed() uint64 { return r.next - 1 }

func (r *Reader) read() (pos uint64, payload []byte, ok bool, err error) {
	defer caught(&err, debug.SetPanicOnFault(true))
	for {
		if r.seg == nil || r.off >= int(r.seg.end.Load()) {
			if !r.locate() {
				return 0, nil, false, nil
			}
		}
		mem := r.seg.mem[:r.seg.end.Load()]
		pos, payload, ok = parse(mem[r.off:], r.seg.salt)
		if !ok {
			var at int
			if at, pos, payload, ok = find(mem, r.off, r.seg.salt, r.next-1); !ok {
				r.log.met(r.seg, Damage{Offset: r.off, Bytes: len(mem) - r.off, After: r.next - 1, Tail: true})
				r.off = len(mem)
				continue
			}
			r.log.met(r.seg, Damage{Offset: r.off, Bytes: at - r.off, After: r.next - 1, Before: pos})
			r.off = at
		}
		r.off += sizeOf(len(payload))
		if pos < r.next {
			continue // before where the reader begins
		}
		r.next = pos + 1
		return pos, payload, true, nil
	}
}

// locate goes to the segment that holds the position wanted, or the first one after it.
func (r *Reader) locate() bool {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		if s.last >= r.next && s.last >= s.base && s != r.seg {
			r.seg, r.off = s, firstRecord
			r.next = max(r.next, s.base)
			return true
		}
	}
	return false
}

// Wait gives a channel on which something is sent after more has come to be read.
func (r *Reader) Wait() <-chan struct{} { return r.wake }

// Seek goes to what comes after a position, or to the oldest record that is kept. It gives the position after
// which it really goes on.
func (r *Reader) Seek(after uint64) uint64 {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) > 0 {
		after = max(after, l.segments[0].base-1)
	}
	r.next, r.seg, r.done = after+1, nil, after
	return after
}

// Done says that the reader needs nothing up to a position any more.
func (r *Reader) Done(pos uint64) {
	l := r.log
	l.mu.Lock()
	defer l.mu.Unlock()
	r.done = max(r.done, pos)
	if l.passed() {
		kick(l.kickMake)
	}
}

// met keeps a damage that a reader came upon and that was not there when the log was opened.
func (l *Log) met(s *segment, d Damage) {
	d.File = s.path
	key := fmt.Sprint(d.File, d.Offset)
	l.mu.Lock()
	known := l.seen[key]
	l.seen[key] = true
	l.mu.Unlock()
	if !known {
		l.report(d)
	}
}
