package gemini

import (
	"bytes"
	"io"
	"math/bits"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/wire"
)

// ReadStream reads a streamed answer, server-sent events or a JSON array: the first byte tells. Formats
// without streams have none.
func (f *Format) ReadStream(body io.ReadCloser, raw bool) llm.Stream {
	if f.op != llm.OpChat {
		return nil
	}
	return &stream{format: f, body: body, raw: raw}
}

// A stream reads chunks from whichever source there is.
type stream struct {
	format *Format
	body   io.ReadCloser
	raw    bool

	mu     sync.Mutex // held by Next; what follows belongs to it
	src    source
	ev     llm.Event
	usage  llm.Usage
	read   reading
	begun  bool // the head was given out
	output bool // real output was seen
	seen   glance
	calls  llm.Runs // of searches, that were told last
	err    error    // what ended the stream
}

// A source cuts a body into chunks.
type source interface {
	// next gives the data of the next chunk (nil when the frame has none) and the frame with its
	// delimiters. Both are valid until the next call.
	next() (data, frame []byte, err error)
	elements() bool // frames are elements of a JSON array
	buffered() bool
	release()
}

// Next gives the next event.
func (s *stream) Next() (*llm.Event, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.err == nil {
		if err := s.step(); err != nil {
			s.end(err)
			break
		}
		if s.ev.Raw != nil {
			return &s.ev, nil
		}
	}
	return nil, s.err
}

// end keeps how the stream ended, and frees what it held.
func (s *stream) end(err error) {
	s.err = err
	if s.src != nil {
		s.src.release()
		s.src = nil
	}
}

// Close ends the stream. Closing the body first frees a Next that waits for it.
func (s *stream) Close() error {
	err := s.body.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.end(&llm.Error{Kind: llm.KindClientGone, Msg: "the stream was closed"})
	}
	return err
}

// step reads one frame into ev.
func (s *stream) step() error {
	if s.src == nil {
		src, err := newSource(s.body)
		if err != nil {
			return s.ended(err)
		}
		s.src = src
	}
	data, frame, err := s.src.next()
	if err != nil {
		return s.ended(err)
	}
	s.ev = llm.Event{Raw: frame, Format: llm.GeminiGenerate, Element: s.src.elements()}
	if string(data) == "[DONE]" { // what servers that also speak another API end with; Google's clients choke on it
		s.ev.Raw = nil
		return nil
	}
	if len(data) == 0 { // a comment
		return nil
	}
	var g glance
	switch ok := g.read(data); {
	case g.failed:
		return s.format.failure(data)
	case !ok:
		return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream sent a frame that is no JSON object"}
	}
	s.seen.seen, s.seen.finished = s.seen.seen|g.seen, s.seen.finished|g.finished
	s.seen.blocked = s.seen.blocked || g.blocked
	s.ev.More = s.src.buffered()
	if s.raw {
		s.passed(&g)
	} else if err := s.read.chunk(&s.ev, data); err != nil {
		return err
	}
	s.searched(g.queries)
	return nil
}

// searched notes the queries of a search, which more than one chunk may repeat.
func (s *stream) searched(queries int64) {
	if queries > s.seen.queries {
		s.seen.queries, s.calls = queries, searches(queries)
		if s.ev.Usage == nil {
			s.ev.Usage = new(llm.Usage)
		}
		s.ev.Usage.Runs = s.calls
	}
}

// passed fills the event of a frame that goes on undecoded, without allocating after the first.
func (s *stream) passed(g *glance) {
	if !s.begun && (g.id != nil || g.model != nil) {
		s.begun = true
		s.ev.Head = &llm.Head{ID: string(g.id), Model: string(g.model)}
	}
	for left := g.finished; left != 0; left &= left - 1 {
		s.ev.Delta = append(s.ev.Delta, llm.Delta{Choice: bits.TrailingZeros64(left), Stop: llm.StopOther})
	}
	s.output = s.output || g.output
	s.ev.Output, s.ev.Size = s.output, g.size
	if g.metered {
		s.usage.Merge(&g.usage)
		s.ev.Usage = &s.usage
	}
}

// ended says whether the end of the body is the end of the answer: every candidate has said why it ended,
// or the prompt was refused.
func (s *stream) ended(err error) error {
	if err == io.EOF && (s.seen.blocked || s.seen.seen != 0 && s.seen.seen == s.seen.finished) {
		return io.EOF
	}
	return wire.Broken(err)
}

// newSource looks at the first byte that is no space. An object alone is an array of one without brackets.
func newSource(body io.Reader) (source, error) {
	head := make([]byte, 0, 64)
	for len(head) < cap(head) {
		n, err := body.Read(head[len(head):cap(head)])
		head = head[:len(head)+n]
		first := bytes.TrimLeft(head, " \t\r\n\ufeff")
		if len(first) > 0 && first[0] < 0x80 {
			rest := &headed{head: head, rest: body, err: err}
			if first[0] == '[' || first[0] == '{' {
				return &elements{src: rest}, nil
			}
			return &frames{r: sse.NewReader(rest, 0)}, nil
		}
		if err != nil {
			return nil, err
		}
	}
	return &frames{r: sse.NewReader(&headed{head: head, rest: body}, 0)}, nil
}

// headed gives what was read to look at it before the rest.
type headed struct {
	head []byte
	rest io.Reader
	err  error // that came with head
}

func (h *headed) Read(p []byte) (int, error) {
	if len(h.head) > 0 {
		n := copy(p, h.head)
		h.head = h.head[n:]
		return n, nil
	}
	if h.err != nil {
		return 0, h.err
	}
	return h.rest.Read(p)
}

// frames is a body of server-sent events.
type frames struct{ r *sse.Reader }

func (f *frames) next() (data, frame []byte, err error) {
	fr, err := f.r.Next()
	if err != nil {
		return nil, nil, err
	}
	switch {
	case !fr.Partial, len(bytes.TrimSpace(fr.Raw)) == 0:
		return fr.Data, fr.Raw, nil
	case len(fr.Data) == 0: // half a comment
		return nil, nil, io.EOF
	case !jsontext.Value(fr.Data).IsValid():
		return nil, nil, io.ErrUnexpectedEOF // cut within a frame
	}
	// Whole but for its blank line.
	return fr.Data, append(bytes.TrimRight(bytes.Clone(fr.Raw), crlf), endTag...), nil
}

func (*frames) elements() bool   { return false }
func (f *frames) buffered() bool { return f.r.Buffered() }
func (f *frames) release()       { f.r.Release() }

// elements is a body that is a JSON array, read as it grows.
type elements struct {
	src   io.Reader
	buf   []byte // what is not given out yet
	start int    // of the element being read
	scan  int    // bytes before this one were looked at
	given int    // bytes to forget: they were given out
	err   error

	depth  int  // of the element being read; 0: between elements
	str    bool // in a string
	escape bool // behind a backslash
	opened bool // the array has begun
	closed bool // and ended
}

const firstBuffer = 4 << 10

func (e *elements) next() (data, frame []byte, err error) {
	for {
		if data, err = e.element(); data != nil || err != nil {
			return data, e.give(), err
		}
		switch {
		case e.err == nil:
			if err := e.fill(); err != nil {
				return nil, nil, err
			}
		case e.err != io.EOF:
			return nil, nil, e.err
		case e.depth > 0:
			return nil, nil, io.ErrUnexpectedEOF
		case e.given < len(e.buf): // the closing bracket
			return nil, e.give(), nil
		default:
			return nil, nil, io.EOF
		}
	}
}

// give gives all that was looked at.
func (e *elements) give() []byte {
	frame := e.buf[e.given:e.scan]
	e.given = e.scan
	return frame
}

// element gives the next element when all of it has come.
func (e *elements) element() ([]byte, error) {
	for ; e.scan < len(e.buf); e.scan++ {
		c := e.buf[e.scan]
		switch {
		case e.depth > 0:
			if e.inside(c) {
				e.scan++
				return e.buf[e.start:e.scan], nil
			}
		case c == ' ', c == '\t', c == '\r', c == '\n', c == ',', c == 0xef, c == 0xbb, c == 0xbf:
		case c == '{' && !e.closed:
			e.start, e.depth = e.scan, 1
		case c == '[' && !e.opened:
			e.opened = true
		case c == ']' && e.opened && !e.closed:
			e.closed = true
		default:
			return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer is not an array of objects"}
		}
	}
	return nil, nil
}

// inside takes a byte of an element and says whether it was the last.
func (e *elements) inside(c byte) bool {
	switch {
	case e.escape:
		e.escape = false
	case e.str:
		e.escape = c == '\\'
		e.str = c != '"'
	case c == '"':
		e.str = true
	case c == '{', c == '[':
		e.depth++
	case c == '}', c == ']':
		e.depth--
		return e.depth == 0
	}
	return false
}

// fill reads more behind what is not given out yet.
func (e *elements) fill() error {
	if e.given > 0 {
		n := copy(e.buf, e.buf[e.given:])
		e.buf, e.start, e.scan, e.given = e.buf[:n], e.start-e.given, e.scan-e.given, 0
	}
	if len(e.buf) == cap(e.buf) {
		if len(e.buf) >= sse.MaxFrame {
			return sse.ErrTooLong
		}
		grown := make([]byte, len(e.buf), min(max(2*cap(e.buf), firstBuffer), sse.MaxFrame))
		copy(grown, e.buf)
		e.buf = grown
	}
	for range 100 {
		n, err := e.src.Read(e.buf[len(e.buf):cap(e.buf)])
		e.buf = e.buf[:len(e.buf)+n]
		e.err = err
		if n > 0 || err != nil {
			return nil
		}
	}
	return io.ErrNoProgress
}

// buffered looks ahead on a copy: half an element must not hold back what was given out.
func (e *elements) buffered() bool {
	ahead := *e
	data, _ := ahead.element()
	return data != nil
}

func (*elements) elements() bool { return true }
func (e *elements) release()     { e.buf = nil }
