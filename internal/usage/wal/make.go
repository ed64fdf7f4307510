package wal

import (
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// wanted tells whether another spare should be made: there is one at least, and room for twice what is promised,
// but never more than the log may take.
func (l *Log) wanted() bool {
	usable := l.o.Segment - firstRecord - l.waste()
	if len(l.spares) > 0 && len(l.spares)*usable >= 2*l.promised {
		return false
	}
	return int64(len(l.segments)+len(l.spares)+1)*int64(l.o.Segment) <= l.o.Spool
}

// maker makes spares and removes segments that all readers have passed.
func (l *Log) maker() {
	const again = 250 * time.Millisecond // after the disk was full
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		l.remove()
		l.mu.Lock()
		l.making = l.wanted()
		making, seq := l.making, l.files
		l.mu.Unlock()
		if making {
			s, err := l.make(seq)
			l.take(s, err)
			if err == nil {
				continue
			}
			timer.Reset(again)
		}
		select {
		case <-l.stop:
			return
		case <-l.kickMake:
		case <-timer.C:
		}
	}
}

// take takes over a segment that was made, or the reason why it was not.
func (l *Log) take(s *segment, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		if l.trouble == nil {
			l.fail("make a segment", err)
		}
		l.trouble = err
	} else {
		l.trouble = nil
		l.files = s.seq + 1
		l.spares = append(l.spares, s)
	}
	l.making = err == nil && l.wanted()
	l.made.Broadcast()
}

// make makes a file full of zeros, and maps it.
func (l *Log) make(seq uint64) (s *segment, err error) {
	path := filepath.Join(l.dir, fileName(seq))
	err = l.o.Disk("make", func() error {
		temp := filepath.Join(l.dir, spareName)
		if err := writeZeros(temp, l.o.Segment); err != nil {
			_ = os.Remove(temp) // it may be what the disk is full of
			return err
		}
		if err := os.Rename(temp, path); err != nil {
			return err
		}
		return syncDir(l.dir)
	})
	if err != nil {
		return nil, err
	}
	r, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	return &segment{path: path, seq: seq, region: r}, nil
}

// writeZeros makes a file whose blocks exist.
func writeZeros(path string, size int) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	zeros := make([]byte, 256<<10)
	for size > 0 && err == nil {
		var n int
		n, err = f.Write(zeros[:min(size, len(zeros))])
		size -= n
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// syncDir makes new names in a folder last.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !os.IsPermission(err) { // Windows does not let folders be synced
		return err
	}
	return nil
}

// remove removes the segments that all readers have passed, but for the last.
func (l *Log) remove() {
	l.flushing.Lock()
	defer l.flushing.Unlock()
	for {
		l.mu.Lock()
		var s *segment
		if l.passed() {
			s = l.segments[0]
			l.segments = l.segments[1:]
		}
		l.mu.Unlock()
		if s == nil {
			return
		}
		if err := s.close(); err != nil {
			l.fail("unmap", err)
		}
		if err := l.o.Disk("remove", func() error { return os.Remove(s.path) }); err != nil {
			l.fail("remove", err)
		}
	}
}

// passed tells whether the oldest segment can go.
func (l *Log) passed() bool {
	if len(l.segments) < 2 || len(l.readers) == 0 {
		return false
	}
	for _, r := range l.readers {
		if r.done < l.segments[0].last {
			return false
		}
	}
	return true
}

func fileName(seq uint64) string { return fmt.Sprintf("%016d%s", seq, suffix) }
