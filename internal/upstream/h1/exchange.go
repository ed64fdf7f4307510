package h1

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"time"

	"sluice/internal/llm"
)

// An exchange is one request and its answer, on one connection. It is the answer's body, too.
type exchange struct {
	resp    llm.Response
	client  *Client
	conn    *conn
	stop    func() bool   // ends the watch over the call's context; false: it has fired
	sent    chan struct{} // closed when a large request is out; nil: it is out already
	sendErr error         // how that went; read after sent
	heard   bool          // a byte of an answer has come

	mu      sync.Mutex // held while the body is read or closed; guards the rest
	buf     *buffer    // what came with the head; nil once it is used up
	rest    []byte     // of buf, not yet read
	chunked bool
	left    int64 // of a body whose length is known; -1: it ends with the connection
	chunks  chunked
	keep    bool  // the connection can be used again when the body has been read
	err     error // how the body ended

	end  sync.Mutex // guards over
	over bool       // the connection is no longer ours
}

// A buffer holds the head of an answer while it comes. Nearly all fit, and a large one gets another.
type buffer [2 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// How long is waited for what should be there already.
const (
	drainBytes = 4 << 10
	drainTime  = 20 * time.Millisecond
)

var errClosed = errors.New("read of a closed answer")

// sendFailed bounds the wait for an answer that came before the peer closed: it is here, or never comes.
func (x *exchange) sendFailed() {
	x.sendErr = errors.New("the request was not taken whole")
	_ = x.conn.rw.SetReadDeadline(time.Now().Add(drainTime))
}

// receive reads the head of the answer, past the interim ones.
func (x *exchange) receive() error {
	x.buf = buffers.Get().(*buffer)
	b, n, line, total := x.buf[:], 0, 0, 0
	for {
		end, next, err := headEnd(b[:n], line)
		if err != nil {
			return err
		}
		if line = next; end == 0 {
			if total+n >= maxHead {
				return errHeadSize
			}
			if n == len(b) {
				b = append(b, make([]byte, min(len(b), maxHead-n))...)
			}
			m, err := x.conn.rw.Read(b[n:])
			if n += m; m > 0 {
				x.heard = true
			} else if err != nil {
				return unexpected(err)
			}
			continue
		}
		h, err := parseHead(b[:end])
		if err != nil {
			return err
		}
		if h.status >= 200 {
			x.begin(&h, b[end:n])
			return nil
		}
		if h.status == http.StatusSwitchingProtocols {
			return errors.New("the upstream changed the protocol, which was not asked for")
		}
		total += end
		n, line = copy(b, b[end:n]), 0
	}
}

// begin prepares to read the body.
func (x *exchange) begin(h *head, rest []byte) {
	x.resp.Status, x.resp.Header, x.resp.Spare = h.status, h.header, release
	x.rest, x.chunked, x.left = rest, h.chunked, h.length
	x.keep = !h.close && (x.sent != nil || x.sendErr == nil)
	if h.idle > 0 {
		x.conn.idleFor = min(x.client.o.IdleTime, h.idle-min(h.idle, time.Second))
	}
	if h.status == http.StatusNoContent || h.status == http.StatusNotModified {
		x.keep = x.keep && !h.chunked && h.length <= 0 // there is no body, whatever it says
		x.chunked, x.left = false, 0
	}
	if x.left >= 0 && int64(len(rest)) > x.left {
		x.rest, x.keep = rest[:x.left], false
	}
	if x.left < 0 && !x.chunked {
		x.keep = false
	}
	if x.left == 0 && !x.chunked {
		x.err = io.EOF
		x.finish()
	}
}

// Read implements io.Reader. The end is told together with the last bytes, and the connection is free then.
func (x *exchange) Read(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return 0, x.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	n, err := x.read(p)
	if err != nil {
		x.err = err
		x.finish()
	}
	return n, err
}

func (x *exchange) read(p []byte) (int, error) {
	if x.chunked {
		return x.readChunks(p)
	}
	if x.left > 0 {
		p = p[:min(int64(len(p)), x.left)]
	}
	n, err := x.receiveBody(p)
	if x.left < 0 {
		return n, err // an end of the connection is the body's
	}
	if x.left -= int64(n); x.left == 0 {
		return n, io.EOF
	}
	return n, unexpected(err)
}

// readChunks reads into p, and takes the framing out where it stands.
func (x *exchange) readChunks(p []byte) (int, error) {
	for {
		m, readErr := x.receiveBody(p)
		n, err := x.chunks.decode(p[:m])
		switch {
		case errors.Is(err, errAfter):
			x.keep = false
			fallthrough
		case err == nil && x.chunks.state == chunksEnd:
			if len(x.rest) > 0 {
				x.keep = false
			}
			return n, io.EOF
		case err != nil:
			return n, err
		case n > 0 || readErr != nil:
			return n, unexpected(readErr)
		}
	}
}

// receiveBody reads what came with the head, then from the connection.
func (x *exchange) receiveBody(p []byte) (int, error) {
	if x.buf == nil {
		return x.conn.rw.Read(p)
	}
	n := copy(p, x.rest)
	if x.rest = x.rest[n:]; len(x.rest) == 0 {
		x.dropBuffer()
	}
	if n == 0 {
		return x.conn.rw.Read(p)
	}
	return n, nil
}

func (x *exchange) dropBuffer() {
	if x.buf != nil {
		buffers.Put(x.buf)
		x.buf, x.rest = nil, nil
	}
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Close implements io.Closer. It may be called while another goroutine reads, which then ends. A stream is
// read to its format's own end, which comes before the body's: the few bytes left, mostly here already, are
// read to keep the connection, but not waited for long.
func (x *exchange) Close() error {
	if !x.mu.TryLock() {
		x.abort()
		x.mu.Lock()
	}
	defer x.mu.Unlock()
	x.resp.DropHeader()
	if x.err != nil {
		return nil
	}
	if x.keep {
		x.err = x.drain()
	}
	if x.err == nil {
		x.err = errClosed
	}
	x.finish()
	return nil
}

func (x *exchange) drain() error {
	_ = x.conn.rw.SetReadDeadline(time.Now().Add(drainTime))
	b := buffers.Get().(*buffer)
	defer buffers.Put(b)
	for most := drainBytes; most > 0; {
		n, err := x.read(b[:])
		if err == io.EOF {
			_ = x.conn.rw.SetReadDeadline(time.Time{})
		}
		if err != nil {
			return err
		}
		most -= n
	}
	return errClosed
}

// abort closes the connection unless it is another's by now.
func (x *exchange) abort() {
	x.end.Lock()
	defer x.end.Unlock()
	if !x.over {
		x.over = true
		x.conn.abort()
	}
}

// finish parts from the connection: it is kept for another exchange if all about it is certain, else closed.
// When it returns, nothing reads the request's bytes any more.
func (x *exchange) finish() {
	x.dropBuffer()
	cn := x.conn
	keep := x.err == io.EOF && x.keep && x.wasSent()
	keep = x.stop() && keep
	x.end.Lock()
	keep = keep && !x.over
	x.over, x.conn = true, nil
	x.end.Unlock()
	if keep {
		x.client.put(cn)
		return
	}
	cn.abort()
	if x.sent != nil {
		<-x.sent
	}
}

// wasSent tells whether the whole request is out. An answer may overtake the news that it is.
func (x *exchange) wasSent() bool {
	if x.sent == nil {
		return true
	}
	timer := time.NewTimer(drainTime)
	defer timer.Stop()
	select {
	case <-x.sent:
		return x.sendErr == nil
	case <-timer.C:
		return false
	}
}
