package h1

import (
	"net"
	"syscall"
	"time"
)

// A conn is a connection to a target. One exchange at a time uses it.
type conn struct {
	target  *target
	rw      net.Conn // what is spoken over: the socket, or TLS over it
	sock    *sock
	one     [1]byte       // alive's
	abort   func()        // closes the socket, without a word and without waiting
	idleFor time.Duration // how long it may be idle
	until   time.Time     // when it has been idle for too long
}

// alive tells whether an idle connection can be used: the peer has not closed it and has not said anything,
// which would be taken for the answer to the next request.
func (c *conn) alive() bool {
	from := c.rw
	if from == c.sock.Conn {
		from = c.sock // in clear, what is spoken over is the socket itself
	}
	c.sock.probing = true
	n, err := from.Read(c.one[:])
	c.sock.probing = false
	return n == 0 && err == errNothing //nolint:errorlint // TLS hands it on as it is
}

// A sock is a connection that can be asked for what has already come. Over TLS an idle connection may have
// records to read that say nothing (session tickets), or half a one, so the question goes through TLS and
// changes only how the socket is read below it.
type sock struct {
	net.Conn
	raw     syscall.RawConn // nil: it cannot be asked
	probing bool            // Read does not wait; set while nobody else uses the connection

	try func(fd uintptr) bool // tryRead's, made once
	p   []byte
	n   int
	err error
}

func newSock(c net.Conn) *sock {
	s := &sock{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		s.raw, _ = sc.SyscallConn()
	}
	s.try = func(fd uintptr) bool {
		s.n, s.err = readNow(fd, s.p)
		return true
	}
	return s
}

func (s *sock) Read(p []byte) (int, error) {
	if !s.probing {
		return s.Conn.Read(p)
	}
	if s.raw == nil {
		return 0, errNothing
	}
	s.p = p
	err := s.raw.Read(s.try)
	s.p = nil
	if err != nil {
		return 0, err
	}
	return s.n, s.err
}

// errNothing says that nothing has come. TLS forgets an error that is temporary.
var errNothing error = nothing{}

type nothing struct{}

func (nothing) Error() string { return "nothing to read" }

// Timeout and Temporary implement net.Error.
func (nothing) Timeout() bool   { return true }
func (nothing) Temporary() bool { return true }
