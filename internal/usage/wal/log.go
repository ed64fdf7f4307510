// Package wal is a write-ahead log on a local disk: records with positions 1, 2, 3 and so on, that outlive the
// process once they are appended, and the machine a few milliseconds later. Readers follow it in order. It does
// not know what its records mean.
//
// A record is appended by copying it into a mapped file: no system call, and nothing to wait for. The files are
// filled with zeros beforehand, so that a full disk shows in the background, where there is somebody to tell,
// and while there is still room for the records that were promised it.
package wal

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

// ErrLocked says that another process uses the log.
var ErrLocked = errors.New("another process uses this log")

// ErrFull says that there is no room: the disk is full, or the records that readers have not passed fill what
// the log may take.
var ErrFull = errors.New("no room in the log")

// Options say how a log works. The zero Options are good.
type Options struct {
	Segment int           // bytes of a file; 0: 16 MiB
	Spool   int64         // most bytes of all files; 0: 1 GiB
	Sync    time.Duration // from an append to when it is on the disk, at most, but for the disk's own time; 0: 5 ms
	Log     *slog.Logger  // nil: nothing is said
	// Disk is called around every operation on the disk off the path of a call ("make", "sync", "remove"), so
	// that tests can let it fail or take long. nil: the operation alone.
	Disk func(op string, do func() error) error
}

// A Log is open in one process only. Its methods may be called from many goroutines.
type Log struct {
	dir     string
	o       Options
	most    int // bytes of a payload
	lock    *os.File
	born    uint64
	damage  []Damage
	pending atomic.Bool // something is appended that nobody has been woken for

	appended, synced atomic.Uint64 // positions
	failures         atomic.Int64  // of the disk

	flushing sync.Mutex // held while files are flushed or removed; taken before mu
	syncer   *syncer    // used by who holds flushing

	mu       sync.Mutex // guards what follows, and the segments' fields
	made     sync.Cond  // a segment was made, or could not be
	replica  string
	segments []*segment // the oldest first; the last is written to
	spares   []*segment
	files    uint64 // number of the next file
	next     uint64 // position of the next record
	after    uint64 // position of the last record
	promised int    // bytes of records that are still to come
	making   bool   // the maker is at work or about to be
	trouble  error  // why the last segment could not be made
	readers  []*Reader
	seen     map[string]bool // damages that readers met
	closed   bool
	head     [recordHeader]byte // of the record being appended

	kickFlush, kickMake chan struct{}
	stop                chan struct{}
	work                sync.WaitGroup
}

// jump is how many positions are left out after a torn tail: those that were lost with it may have been seen
// by readers, and must not be given to other records.
const jump = 1 << 20

// Open opens the log in a folder, which is made when it is not there. What is wrong with it is logged, kept
// in Damage and copied to the folder quarantine; the log is usable nonetheless. An error means that it is not:
// ErrLocked, or a folder that cannot be used.
func Open(dir string, o Options) (*Log, error) {
	o.Segment = or(o.Segment, 16<<20)
	o.Spool = max(or(o.Spool, 1<<30), 2*int64(o.Segment))
	o.Sync = or(o.Sync, 5*time.Millisecond)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Disk == nil {
		o.Disk = func(_ string, do func() error) error { return do() }
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	l := &Log{
		dir: dir, o: o, most: min(maxRecord, o.Segment/8), seen: map[string]bool{},
		kickFlush: make(chan struct{}, 1), kickMake: make(chan struct{}, 1), stop: make(chan struct{}),
	}
	l.made.L = &l.mu
	var err error
	if l.lock, err = lock(filepath.Join(dir, "lock")); err != nil {
		return nil, fmt.Errorf("open the log: %w", err)
	}
	if l.replica, err = identity(dir); err == nil {
		err = l.recover()
	}
	if err != nil {
		l.unmap()
		l.lock.Close()
		return nil, fmt.Errorf("open the log: %w", err)
	}
	l.syncer = newSyncer()
	l.flush()
	l.making = l.wanted()
	l.work.Go(l.flusher)
	l.work.Go(l.maker)
	return l, nil
}

func or[T comparable](v, other T) T {
	var none T
	if v == none {
		return other
	}
	return v
}

// Replica is the random name of this log, which is kept with it.
func (l *Log) Replica() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.replica
}

// Born is the last position of the process before this one.
func (l *Log) Born() uint64 { return l.born }

// Last is the position of the last record.
func (l *Log) Last() uint64 { return l.appended.Load() }

// Synced is the position up to which everything is on the disk, and which readers see.
func (l *Log) Synced() uint64 { return l.synced.Load() }

// Size is how many bytes the files take that hold records which some reader has not passed, or were begun since.
func (l *Log) Size() (n int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.segments {
		n += int64(len(s.mem))
	}
	return n
}

// Failures is how often the disk could not do what it was told.
func (l *Log) Failures() int64 { return l.failures.Load() }

// Damage is what was wrong with the log when it was opened.
func (l *Log) Damage() []Damage { return l.damage }

// Room tells whether a record of so many bytes could be appended now.
func (l *Log) Room(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.making || l.fits(sizeOf(n))
}

// Append appends a record and gives its position. After that, nothing that happens to the process loses it.
// keep is how many bytes of later records this one promises room for, and free how many of those that earlier
// ones promised are not needed any more, this record included: it takes their place. It fails with ErrFull or
// when the record is too long. It does not keep payload.
func (l *Log) Append(payload []byte, keep, free int) (uint64, error) {
	if len(payload) > l.most {
		return 0, fmt.Errorf("a record of %d bytes is longer than the log's %d", len(payload), l.most)
	}
	checksum := crc32.Checksum(payload, castagnoli)
	size := sizeOf(len(payload))
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed {
		var s *segment
		if l.fits(size + keep - free) {
			s = l.room(size)
		}
		if s == nil {
			if !l.making {
				return 0, l.full()
			}
			l.made.Wait()
			continue
		}
		off, pos := int(s.end.Load()), l.next
		putRecordHeader(l.head[:], checksum, len(payload), pos, s.salt)
		if err := s.put(off, l.head[:], payload); err != nil {
			l.fail("append", err)
			s.sealed = true
			continue
		}
		s.end.Store(int64(off + size))
		s.last, l.after, l.next = pos, pos, pos+1
		l.promised += keep - free
		l.appended.Store(pos)
		if keep > free && !l.making && l.trouble == nil && l.wanted() {
			l.making = true
			kick(l.kickMake)
		}
		if l.pending.CompareAndSwap(false, true) {
			kick(l.kickFlush)
		}
		return pos, nil
	}
	return 0, os.ErrClosed
}

func (l *Log) full() error {
	if l.trouble != nil {
		return fmt.Errorf("%w: %w", ErrFull, l.trouble)
	}
	return ErrFull
}

// fail counts and tells what the disk could not do.
func (l *Log) fail(op string, err error) {
	l.failures.Add(1)
	l.o.Log.Error("ledger disk", "op", op, "error", err)
}

// fits tells whether so many bytes fit beside what is promised.
func (l *Log) fits(n int) bool {
	if spare := len(l.spares); spare > 0 {
		return l.promised+n <= spare*(l.o.Segment-firstRecord-l.waste())
	}
	return l.promised+n <= l.rest()
}

// waste is how much of a segment's end may stay unused.
func (l *Log) waste() int { return sizeOf(l.most) }

// rest is how much of the last segment is free.
func (l *Log) rest() int {
	if len(l.segments) == 0 {
		return 0
	}
	s := l.segments[len(l.segments)-1]
	if s.sealed {
		return 0
	}
	return len(s.mem) - int(s.end.Load())
}

// room gives the segment that the next record goes to, nil if there is none.
func (l *Log) room(size int) *segment {
	if size <= l.rest() {
		return l.segments[len(l.segments)-1]
	}
	for len(l.spares) > 0 {
		s := l.spares[0]
		l.spares = l.spares[1:]
		s.header = header{salt: salt(), base: l.next, after: l.after}
		b := s.encode()
		if err := s.put(0, b, b); err != nil {
			l.fail("begin a segment", err)
			s.sealed = true // and has no records: it is removed when its turn comes
		}
		if n := len(l.segments); n > 0 {
			l.segments[n-1].sealed = true
		}
		s.last = l.next - 1
		s.end.Store(firstRecord)
		l.segments = append(l.segments, s)
		l.making = l.making || l.wanted()
		kick(l.kickMake)
		if !s.sealed {
			return s
		}
	}
	return nil
}

// salt is what nobody can guess.
func salt() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:])
}

// Sync puts on the disk what is appended. Readers see it then.
func (l *Log) Sync() { l.flush() }

// flusher flushes a while after something was appended.
func (l *Log) flusher() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-l.kickFlush:
		}
		timer.Reset(l.o.Sync)
		select {
		case <-l.stop:
			return
		case <-timer.C:
		}
		l.flush()
	}
}

// flush puts on the disk what is appended, and wakes the readers. When the disk cannot do it, they are woken
// all the same: the records are safe from everything but a power cut, and safer still where readers take them.
func (l *Log) flush() {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	l.pending.Store(false)
	type piece struct {
		*segment
		from, to int
	}
	var pieces []piece
	l.mu.Lock()
	target := l.next - 1
	for _, s := range l.segments {
		if end := int(s.end.Load()); s.flushed < end {
			pieces = append(pieces, piece{s, s.flushed, end})
		}
	}
	l.mu.Unlock()
	for _, p := range pieces {
		if err := l.o.Disk("sync", func() error { return p.sync(l.syncer, p.from, p.to) }); err != nil {
			l.fail("sync", err)
			continue
		}
		l.mu.Lock()
		p.flushed = p.to
		l.mu.Unlock()
	}
	l.synced.Store(target)
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.readers {
		kick(r.wake)
	}
}

func kick(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Close puts everything on the disk and lets go of the log. Its readers must have ended.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.made.Broadcast()
	l.mu.Unlock()
	close(l.stop)
	l.work.Wait()
	l.flush()
	l.syncer.close()
	l.unmap()
	return l.lock.Close()
}

func (l *Log) unmap() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range append(l.segments, l.spares...) {
		if err := s.close(); err != nil {
			l.fail("unmap", err)
		}
	}
	l.segments, l.spares = nil, nil
}
