package bench

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// client is one keep-alive HTTP/1.1 connection that sends the same bytes again and again. net/http's client costs more
// CPU a call than the gateways that are measured: on the same core as the upstream it would be the bottleneck.
type client struct {
	addr    string
	timeout time.Duration
	mu      sync.Mutex // guards conn against interrupt
	conn    net.Conn
	ended   bool

	buf        []byte // what was read and not yet used is buf[from:to]
	from, to   int
	body       []byte // of the last answer
	firstByte  time.Time
	lastRead   time.Time
	onGap      func(time.Duration) // between two reads of a streamed body; may be nil
	keep       bool                // store the body; else it is only counted
	onFirst    func()              // the body has begun; may be nil
	bodyLength int
}

// head is what a client needs of a response's head.
type head struct {
	status  int
	length  int // -1: unknown
	chunked bool
	close   bool
}

var errProtocol = errors.New("the answer is not HTTP")

// do sends request and reads the whole answer; an error leaves the connection closed.
func (c *client) do(request []byte) (h head, err error) {
	defer func() {
		if err != nil || h.close {
			c.close()
		}
	}()
	if c.conn == nil {
		if err := c.dial(); err != nil {
			return h, err
		}
	}
	if err := c.conn.SetDeadline(time.Now().Add(c.timeout)); err != nil {
		return h, err
	}
	if _, err := c.conn.Write(request); err != nil {
		return h, fmt.Errorf("send: %w", err)
	}
	c.body, c.bodyLength, c.firstByte, c.lastRead = c.body[:0], 0, time.Time{}, time.Time{}
	if h, err = c.readHead(); err != nil {
		return h, fmt.Errorf("read head: %w", err)
	}
	switch {
	case h.chunked:
		err = c.readChunks()
	case h.length >= 0:
		err = c.take(h.length)
	default:
		err = c.readToEnd()
	}
	if err != nil {
		return h, fmt.Errorf("read body after %d bytes: %w", c.bodyLength, err)
	}
	return h, nil
}

func (c *client) dial() error {
	conn, err := net.DialTimeout("tcp", c.addr, c.timeout)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		_ = conn.Close()
		return net.ErrClosed
	}
	c.conn, c.from, c.to = conn, 0, 0
	if c.buf == nil {
		c.buf = make([]byte, 16<<10)
	}
	return nil
}

// interrupt ends the call that runs, and all to come, from another goroutine.
func (c *client) interrupt() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended = true; c.conn != nil {
		_ = c.conn.Close()
	}
}

func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// fill reads once; what is left moves to the front of a full buffer.
func (c *client) fill() error {
	if c.from == c.to {
		c.from, c.to = 0, 0
	}
	if c.to == len(c.buf) {
		if c.from == 0 {
			return fmt.Errorf("%w: a line of more than %d bytes", errProtocol, len(c.buf))
		}
		c.to = copy(c.buf, c.buf[c.from:c.to])
		c.from = 0
	}
	n, err := c.conn.Read(c.buf[c.to:])
	c.to += n
	if n > 0 {
		return nil
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// line returns the next line without its end; valid until the next fill.
func (c *client) line() ([]byte, error) {
	for {
		if i := bytes.IndexByte(c.buf[c.from:c.to], '\n'); i >= 0 {
			l := c.buf[c.from : c.from+i]
			c.from += i + 1
			return bytes.TrimSuffix(l, []byte("\r")), nil
		}
		if err := c.fill(); err != nil {
			return nil, err
		}
	}
}

func (c *client) readHead() (head, error) {
	h := head{length: -1}
	l, err := c.line()
	if err != nil {
		return h, err
	}
	if len(l) < 12 || !bytes.HasPrefix(l, []byte("HTTP/1.")) {
		return h, errProtocol
	}
	if h.status, err = strconv.Atoi(string(l[9:12])); err != nil {
		return h, errProtocol
	}
	for {
		l, err := c.line()
		if err != nil {
			return h, err
		}
		if len(l) == 0 {
			break
		}
		name, value, _ := bytes.Cut(l, []byte(":"))
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if h.length, err = strconv.Atoi(string(value)); err != nil || h.length < 0 {
				return h, errProtocol
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			h.chunked = bytes.EqualFold(value, []byte("chunked"))
		case bytes.EqualFold(name, []byte("Connection")):
			h.close = bytes.EqualFold(value, []byte("close"))
		}
	}
	if h.status < 200 {
		return c.readHead()
	}
	if h.status == 204 || h.status == 304 {
		h.length, h.chunked = 0, false
	}
	h.close = h.close || !h.chunked && h.length < 0
	return h, nil
}

// readChunks reads a chunked body; the time of each chunk is the time at which its first byte could be read.
func (c *client) readChunks() error {
	for {
		l, err := c.line()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(l, []byte(";"))
		n, err := strconv.ParseUint(string(size), 16, 31)
		if err != nil {
			return fmt.Errorf("%w: chunk of size %q", errProtocol, size)
		}
		if n == 0 {
			for { // trailers
				if l, err = c.line(); err != nil || len(l) == 0 {
					return err
				}
			}
		}
		if err := c.take(int(n)); err != nil {
			return err
		}
		if l, err = c.line(); err != nil || len(l) > 0 {
			return errors.Join(err, boundary(l))
		}
	}
}

func boundary(l []byte) error {
	if len(l) > 0 {
		return fmt.Errorf("%w: no line end after a chunk", errProtocol)
	}
	return nil
}

// take moves n bytes of body out of the connection.
func (c *client) take(n int) error {
	for n > 0 {
		if c.from == c.to {
			if err := c.fill(); err != nil {
				return err
			}
			c.arrived()
		} else if c.firstByte.IsZero() {
			c.arrived()
		}
		m := min(n, c.to-c.from)
		if c.keep {
			c.body = append(c.body, c.buf[c.from:c.from+m]...)
		}
		c.from += m
		c.bodyLength += m
		n -= m
	}
	return nil
}

func (c *client) readToEnd() error {
	for {
		if err := c.take(max(1, c.to-c.from)); err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return nil
			}
			return err
		}
	}
}

// arrived notes the time of bytes of a body.
func (c *client) arrived() {
	now := time.Now()
	if c.firstByte.IsZero() {
		c.firstByte = now
		if c.onFirst != nil {
			c.onFirst()
		}
	} else if c.onGap != nil {
		c.onGap(now.Sub(c.lastRead))
	}
	c.lastRead = now
}
