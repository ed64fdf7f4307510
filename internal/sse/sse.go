// Package sse reads server-sent events without copying them. It keeps the bytes of every frame exactly as
// they came, so that a stream can be passed on unchanged while it is being read.
// Grammar: https://html.spec.whatwg.org/multipage/server-sent-events.html
package sse

import (
	"bytes"
	"errors"
	"io"
	"sync"
)

// MaxFrame is the default bound of one frame, in bytes.
const MaxFrame = 16 << 20

// ErrTooLong says that a frame is over the bound.
var ErrTooLong = errors.New("sse: frame too long")

// A Frame is what stands between two blank lines. It is valid until the next call of Next.
type Frame struct {
	Raw     []byte // the bytes as they came, with comments and the blank line that ends the frame
	Event   []byte // value of the last event field; nil when there is none
	Data    []byte // the data fields joined by newlines; nil when there is none (a comment, say)
	Partial bool   // the stream ended without a blank line after this frame
}

// Object tells whether the data begins and ends as a JSON object does: a test cheap enough for every frame
// that shows a garbled one without reading it.
func (f *Frame) Object() bool {
	d := f.Data
	return len(d) > 1 && d[0] == '{' && d[len(d)-1] == '}'
}

// A Reader reads frames. It is not safe for concurrent use.
type Reader struct {
	src    io.Reader
	buf    []byte
	start  int // first byte not yet given out
	line   int // start of the line being looked at
	scan   int // bytes before this offset hold no end of the current line
	end    int // end of what was read
	max    int
	begun  bool   // the byte order mark is behind us
	afterC bool   // the byte before line was a CR: an LF here belongs to it
	fast   bool   // the last read nearly filled the buffer: more was waiting
	joined []byte // data of a frame with several data lines
	err    error
}

// A stream begins with a buffer that a slow one never outgrows: open streams are many, and mostly wait. One
// that fills it gets a larger one, so that fewer reads and flushes do.
const (
	bufSize  = 1 << 10
	fastSize = 4 << 10
)

var bufs = sync.Pool{New: func() any { return new([bufSize]byte) }}

// NewReader reads frames from src. max bounds one frame; 0 means MaxFrame. Call Release when done.
func NewReader(src io.Reader, maxFrame int) *Reader {
	if maxFrame <= 0 {
		maxFrame = MaxFrame
	}
	return &Reader{src: src, max: maxFrame, buf: bufs.Get().(*[bufSize]byte)[:]}
}

// Release gives the buffer back. The reader and its last frame must not be used afterwards.
func (r *Reader) Release() {
	if len(r.buf) == bufSize {
		bufs.Put((*[bufSize]byte)(r.buf))
	}
	r.buf, r.err = nil, io.ErrClosedPipe
	r.start, r.line, r.scan, r.end = 0, 0, 0, 0
}

// Next returns the next frame. At the end it returns io.EOF, or the error of the source, after what came
// before it.
func (r *Reader) Next() (Frame, error) {
	for {
		if end := r.frameEnd(); end > 0 {
			raw := r.buf[r.start:end]
			r.start = end
			return r.parse(raw), nil
		}
		if r.err != nil {
			if r.start < r.end && r.err == io.EOF {
				raw := r.buf[r.start:r.end]
				r.start, r.line, r.scan = r.end, r.end, r.end
				f := r.parse(raw)
				f.Partial = true
				return f, nil
			}
			return Frame{}, r.err
		}
		r.fill()
	}
}

// Buffered says that another whole frame can be had without reading from the source.
func (r *Reader) Buffered() bool {
	rest := r.buf[r.start:r.end]
	return len(rest) > 1 &&
		(bytes.Contains(rest, []byte("\n\n")) || bytes.Contains(rest, []byte("\n\r\n")) || bytes.Contains(rest, []byte("\r\r")))
}

// frameEnd gives the offset behind the first blank line, or 0 when it has not come yet. A blank line
// before any field (servers send extra ones) is a frame of its own, without data.
func (r *Reader) frameEnd() int {
	for r.scan < r.end {
		if r.afterC {
			r.afterC = false
			if r.buf[r.scan] == '\n' { // the second half of a CRLF
				r.scan++
				r.line = r.scan
				continue
			}
		}
		rest := r.buf[r.scan:r.end]
		i := bytes.IndexByte(rest, '\n')
		if i < 0 {
			i = len(rest)
		}
		if c := bytes.IndexByte(rest[:i], '\r'); c >= 0 {
			i = c
		}
		if i == len(rest) {
			r.scan = r.end
			return 0
		}
		at := r.scan + i
		blank := at == r.line
		next := at + 1
		if r.buf[at] == '\r' {
			if next < r.end && r.buf[next] == '\n' {
				next++
			} else {
				r.afterC = next == r.end
			}
		}
		r.line, r.scan = next, next
		if blank {
			return next
		}
	}
	return 0
}

// parse reads the fields of a whole frame.
func (r *Reader) parse(raw []byte) Frame {
	f := Frame{Raw: raw}
	if !r.begun {
		r.begun = true
		raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	}
	several := false
	for len(raw) > 0 {
		i := bytes.IndexByte(raw, '\n')
		if i < 0 {
			i = len(raw)
		}
		if c := bytes.IndexByte(raw[:i], '\r'); c >= 0 {
			i = c
		}
		line := raw[:i]
		raw = raw[min(i+1, len(raw)):]
		name, value, _ := bytes.Cut(line, []byte(":"))
		if len(value) > 0 && value[0] == ' ' {
			value = value[1:]
		}
		switch string(name) {
		case "data":
			switch {
			case f.Data == nil:
				f.Data = value
				if value == nil {
					f.Data = []byte{}
				}
			case !several:
				several = true
				r.joined = append(r.joined[:0], f.Data...)
				fallthrough
			default:
				r.joined = append(append(r.joined, '\n'), value...)
				f.Data = r.joined
			}
		case "event":
			f.Event = value
		}
	}
	return f
}

// fill reads more, making room first.
func (r *Reader) fill() {
	if r.start > 0 {
		n := copy(r.buf, r.buf[r.start:r.end])
		r.line, r.scan, r.end, r.start = r.line-r.start, r.scan-r.start, n, 0
		if n == 0 && len(r.buf) > 16*fastSize { // one large frame must not pin its memory for the whole stream
			r.buf = make([]byte, fastSize)
		}
	}
	if r.end == len(r.buf) || r.fast && len(r.buf) < fastSize {
		if len(r.buf) >= r.max {
			r.err = ErrTooLong
			return
		}
		grown := make([]byte, min(max(2*len(r.buf), fastSize), r.max))
		copy(grown, r.buf[:r.end])
		if len(r.buf) == bufSize {
			bufs.Put((*[bufSize]byte)(r.buf))
		}
		r.buf = grown
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.fast = r.end > len(r.buf)*7/8 // not quite full: what frames the transfer was taken out
		r.err = err
		if n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}
