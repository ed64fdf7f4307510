package wire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"sync"
	"time"

	"sluice/internal/llm"
)

// WriteLimits bound the writing of a stream.
type WriteLimits struct {
	KeepAlive time.Duration // silence after which something meaningless is sent; 0: never
	Stall     time.Duration // how long a client may refuse to read; 0: for ever
}

// Written is what was sent to a client.
type Written struct {
	Bytes  int64
	Frames int64
	Began  time.Time // when the first byte of the answer was handed to the connection; zero: never
}

// WriteReply sends a reply to the client in f's format, streamed if the call asked for it. An error it
// returns has already been told to the client, if Began is set; else nothing was written yet.
func WriteReply(ctx context.Context, w http.ResponseWriter, f Format, call *llm.Call, reply *llm.Reply, raw bool, lim WriteLimits) (Written, error) {
	if call.Stream {
		if enc := f.Writer(call); enc != nil {
			s := &stream{w: w, rc: http.NewResponseController(w), enc: enc, call: call, lim: lim, may: raw && enc.Verbatim()}
			err := s.run(ctx, reply)
			return s.out, err
		}
	}
	return writeWhole(w, f, call, reply, raw)
}

// shortBody fits into the buffer in which net/http keeps what it has not sent. When the call ends there, it tells the length itself,
// for less than a header costs.
const shortBody = 2048

// writeWhole sends an answer that is not streamed.
func writeWhole(w http.ResponseWriter, f Format, call *llm.Call, reply *llm.Reply, raw bool) (Written, error) {
	body, err := wholeBody(f, call, reply, raw)
	if err != nil {
		return Written{}, err
	}
	h := w.Header()
	h["Content-Type"] = jsonType
	if len(body) > shortBody {
		h["Content-Length"] = []string{strconv.Itoa(len(body))}
	}
	out := Written{Began: time.Now(), Frames: 1}
	w.WriteHeader(http.StatusOK)
	n, err := w.Write(body)
	out.Bytes = int64(n)
	if err != nil {
		return out, clientGone(err)
	}
	return out, nil
}

// wholeBody is an answer in f's format: as it came where it may pass, else made of all that is said.
func wholeBody(f Format, call *llm.Call, reply *llm.Reply, raw bool) ([]byte, error) {
	ev, err := reply.Next()
	if raw && err == nil && ev.Raw != nil && ev.Format == f.Format() {
		return ev.Raw, nil // valid until the next Next: an answer in raw mode is one event
	}
	answer := new(llm.Answer)
	for ; err == nil; ev, err = reply.Next() {
		answer.Add(ev)
	}
	if err != io.EOF {
		return nil, err
	}
	return f.Answer(call, answer)
}

var (
	jsonType    = []string{"application/json"}
	problemType = []string{"application/problem+json"}
	noStore     = []string{"no-store"}
	noBuffering = []string{"no"}
)

// A stream sends one streamed answer. Two parties write to the client: the loop that reads the upstream,
// and the timer that keeps a silent connection alive; mu lets one of them at a time.
type stream struct {
	w    http.ResponseWriter
	rc   *http.ResponseController
	enc  Writer
	call *llm.Call
	lim  WriteLimits
	may  bool // frames of the client's format may pass verbatim

	mu       sync.Mutex // guards what follows, and w
	buf      []byte
	out      Written
	last     time.Time // of the last write
	deadline time.Time // of writes, as set on the connection
	opened   bool      // the head is out
	raw      bool      // frames passed verbatim: enc knows nothing of them
	broken   error     // the client is gone
	ended    bool
}

// A Panic is one that was met on the path of a call, with where it was.
type Panic struct {
	Value any
	Stack []byte
}

func (p *Panic) Error() string { return fmt.Sprintf("panic: %v", p.Value) }

func (s *stream) run(ctx context.Context, reply *llm.Reply) (err error) {
	defer func() {
		if p := recover(); p != nil { // half an answer is out, and must not end as if well
			err = s.fail(&Panic{p, debug.Stack()})
		}
	}()
	h := s.w.Header()
	h["Content-Type"] = []string{s.enc.ContentType()}
	h["Cache-Control"] = noStore
	h["X-Accel-Buffering"] = noBuffering // nginx in front must not hold frames back
	s.last = time.Now()
	if s.lim.KeepAlive > 0 {
		defer newKeepAlive(s).stop()
	}
	for {
		ev, err := reply.Next()
		switch {
		case err == io.EOF:
			return s.end()
		case err != nil:
			if ClientLeft(ctx) {
				return clientGone(err)
			}
			return s.fail(err)
		}
		if err := s.event(ev); err != nil {
			return err
		}
	}
}

// event sends one event and flushes unless another one waits.
func (s *stream) event(ev *llm.Event) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	frame := ev.Raw
	switch {
	case ev.Asked && !s.call.WantUsage:
		return nil // the client did not ask for this frame
	case s.may && ev.Raw != nil && !ev.Element && ev.Format == s.call.Format:
		s.raw = true
		s.enc.Passed(ev)
	default:
		var err error
		if s.buf, err = s.enc.Event(s.buf[:0], ev); err != nil {
			return s.failLocked(err)
		}
		frame = s.buf
	}
	if len(frame) == 0 {
		return nil
	}
	s.out.Frames++
	if err := s.write(frame); err != nil {
		return err
	}
	if ev.More {
		return nil
	}
	return s.flush()
}

func (s *stream) end() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if !s.raw {
		s.buf = s.enc.End(s.buf[:0])
		if err := s.write(s.buf); err != nil {
			return err
		}
	}
	return s.flush()
}

// fail ends a started answer as a failure in the client's own format: the official SDKs raise on it. When a budget
// is used up, what has come is good, and ends like an answer that was too long.
func (s *stream) fail(err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.failLocked(err)
}

func (s *stream) failLocked(err error) error {
	s.ended = true
	if e := llm.AsError(err); e.Kind == llm.KindBudget {
		s.buf = s.enc.Cut(s.buf[:0], e, s.call.ID)
	} else {
		s.buf = s.enc.Fail(s.buf[:0], e, s.call.ID, s.raw)
	}
	if s.write(s.buf) == nil {
		_ = s.flush()
	}
	return err
}

// write and flush need mu.
func (s *stream) write(b []byte) error {
	if s.broken != nil {
		return s.broken
	}
	now := time.Now()
	if s.out.Began.IsZero() {
		s.out.Began = now
	}
	s.last = now
	// One deadline serves many writes: it is moved when a quarter of it is used up.
	if s.lim.Stall > 0 && s.deadline.Sub(now) < s.lim.Stall*3/4 {
		s.deadline = now.Add(s.lim.Stall)
		_ = s.rc.SetWriteDeadline(s.deadline)
	}
	n, err := s.w.Write(b)
	s.out.Bytes += int64(n)
	if err != nil {
		s.broken = clientGone(err)
	}
	return s.broken
}

// flush hands over what was written.
func (s *stream) flush() error {
	if s.broken != nil {
		return s.broken
	}
	flush := s.rc.Flush
	if !s.opened {
		flush, s.opened = s.flushHead, true
	}
	if err := flush(); err != nil {
		s.broken = clientGone(err)
	}
	return s.broken
}

// flushHead is the first flush. net/http writes the head then, for which it needs much stack.
func (s *stream) flushHead() (err error) {
	Apart(func() { err = s.rc.Flush() })
	return err
}

// ClientLeft tells whether a call's context ended because the client went, not because we end the call.
func ClientLeft(ctx context.Context) bool {
	var ours *llm.Error
	return ctx.Err() != nil && !errors.As(context.Cause(ctx), &ours)
}

func clientGone(err error) error {
	var e *llm.Error
	if errors.As(err, &e) && e.Kind == llm.KindClientGone {
		return err
	}
	return &llm.Error{Kind: llm.KindClientGone, Msg: "the client closed the connection or stopped reading", Err: err}
}

// keepAlive sends a ping when the stream has been silent. Its timer looks at the clock of the last write
// instead of being reset by every frame.
type keepAlive struct {
	s     *stream
	mu    sync.Mutex // guards timer and done against a tick that runs while the stream ends
	timer *time.Timer
	done  bool
}

func newKeepAlive(s *stream) *keepAlive {
	k := &keepAlive{s: s}
	k.mu.Lock() // the first tick must see timer
	defer k.mu.Unlock()
	k.timer = time.AfterFunc(s.lim.KeepAlive, k.tick)
	return k
}

func (k *keepAlive) tick() {
	s := k.s
	s.mu.Lock()
	silent := time.Since(s.last)
	if silent >= s.lim.KeepAlive && !s.ended {
		if s.buf = s.enc.Ping(s.buf[:0]); s.write(s.buf) == nil {
			_ = s.flush()
		}
		silent = 0
	}
	s.mu.Unlock()
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.done {
		k.timer.Reset(s.lim.KeepAlive - silent)
	}
}

// stop ends the pings. A tick that runs is waited for: the connection is not ours after the handler returns.
func (k *keepAlive) stop() {
	k.s.mu.Lock()
	k.s.ended = true
	k.s.mu.Unlock()
	k.mu.Lock()
	k.done = true
	k.timer.Stop()
	k.mu.Unlock()
}

// WriteError tells a client of a failure before the first byte of an answer.
func WriteError(w http.ResponseWriter, f Format, err error, requestID string) (status int) {
	e := llm.AsError(err)
	status, body := f.Error(e, requestID)
	h := w.Header()
	h["Content-Type"] = problemType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["Cache-Control"] = noStore
	if wait := e.RetryAfter; wait > 0 || status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable {
		seconds := max(1, int64((wait+time.Second-1)/time.Second))
		h["Retry-After"] = []string{strconv.FormatInt(seconds, 10)}
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
	return status
}
