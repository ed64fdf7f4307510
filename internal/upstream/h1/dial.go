package h1

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"sluice/internal/llm"
)

func (c *Client) setProxy(u *url.URL) {
	if u.Scheme == "https" {
		c.proxyTLS = c.tlsFor(u.Hostname(), "http/1.1")
	}
	if u.User != nil {
		password, _ := u.User.Password()
		c.proxyAuth = "Basic " + base64.StdEncoding.EncodeToString([]byte(u.User.Username()+":"+password))
	}
}

func (c *Client) tlsFor(name string, protocols ...string) *tls.Config {
	cfg := c.o.TLS.Clone()
	cfg.ServerName, cfg.NextProtos = name, protocols
	return cfg
}

// connect makes a connection for an exchange. Whatever fails here, nothing of the request has been sent.
func (c *Client) connect(ctx context.Context, t *target) (*conn, error) {
	s, rw, err := c.dial(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", llm.ErrNotSent, err)
	}
	if t.secure && speaksHTTP2(rw) {
		c.park(t, rw)
		return nil, ErrHTTP2
	}
	return &conn{target: t, rw: rw, sock: s, abort: func() { _ = s.Close() }, idleFor: c.o.IdleTime}, nil
}

func speaksHTTP2(rw net.Conn) bool {
	tc, ok := rw.(*tls.Conn)
	return ok && tc.ConnectionState().NegotiatedProtocol == "h2"
}

// park leaves a connection for DialTLS, and the target to HTTP/2 from now on.
func (c *Client) park(t *target, rw net.Conn) {
	c.mu.Lock()
	before := t.parked
	t.parked, t.http2 = rw, true
	c.mu.Unlock()
	if before != nil {
		_ = before.Close()
	}
}

// DialTLS makes a connection to a target that was said to speak HTTP/2, for the client that does; it has
// the form of http.Transport.DialTLSContext. The first time it is the connection on which that came out.
// Should the target no longer choose HTTP/2, requests come back to this client after this one.
func (c *Client) DialTLS(ctx context.Context, _, addr string) (net.Conn, error) {
	t := c.secureAt(addr)
	if t == nil {
		return nil, fmt.Errorf("%w: %s is not known", llm.ErrNotSent, addr)
	}
	c.mu.Lock()
	rw := t.parked
	t.parked = nil
	c.mu.Unlock()
	if rw != nil {
		return rw, nil
	}
	_, rw, err := c.dial(ctx, t)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", llm.ErrNotSent, err)
	}
	c.mu.Lock()
	t.http2 = speaksHTTP2(rw)
	c.mu.Unlock()
	return rw, nil
}

func (c *Client) secureAt(addr string) *target {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.targets {
		if t.secure && t.addr == addr {
			return t
		}
	}
	return nil
}

// dialed is what became of a dial.
type dialed struct {
	s   *sock
	rw  net.Conn
	err error
}

// dial connects on a goroutine of its own, which it waits for. What connecting needs of the stack is far more than
// what a call needs, and the stack of a stream that stays open for minutes would keep it: 16 KB instead of 8.
func (c *Client) dial(ctx context.Context, t *target) (*sock, net.Conn, error) {
	done := make(chan dialed, 1)
	go func() {
		s, rw, err := c.open(ctx, t)
		done <- dialed{s, rw, err}
	}()
	d := <-done // the context ends it
	return d.s, d.rw, d.err
}

// open connects to the target: through the proxy if there is one, and with TLS if it is secure.
func (c *Client) open(ctx context.Context, t *target) (*sock, net.Conn, error) {
	addr := t.addr
	if c.o.Proxy != nil {
		var err error
		if addr, err = hostPort(c.o.Proxy); err != nil {
			return nil, nil, fmt.Errorf("proxy: %w", err)
		}
	}
	nc, err := c.o.Dial(ctx, "tcp", addr)
	if err != nil {
		return nil, nil, err
	}
	s := newSock(nc)
	rw, err := c.secure(ctx, t, s)
	if err != nil {
		_ = nc.Close()
		return nil, nil, err
	}
	return s, rw, nil
}

// secure lays over a socket what the target needs.
func (c *Client) secure(ctx context.Context, t *target, s *sock) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.Handshake)
	defer cancel()
	rw, below := s.Conn, net.Conn(s) // in clear there is nothing between us and the socket
	if c.proxyTLS != nil {
		tc := tls.Client(s, c.proxyTLS)
		if err := tc.HandshakeContext(ctx); err != nil {
			return nil, fmt.Errorf("TLS with the proxy: %w", err)
		}
		rw, below = tc, tc
	}
	if !t.secure {
		return rw, nil
	}
	if c.o.Proxy != nil {
		if err := c.tunnel(ctx, below, t.addr); err != nil {
			return nil, err
		}
	}
	tc := tls.Client(below, t.tls)
	if err := tc.HandshakeContext(ctx); err != nil {
		return nil, fmt.Errorf("TLS: %w", err)
	}
	return tc, nil
}

// tunnel asks the proxy for a connection to addr.
func (c *Client) tunnel(ctx context.Context, rw net.Conn, addr string) error {
	stop := context.AfterFunc(ctx, func() { _ = rw.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	b := append([]byte("CONNECT "), addr...)
	b = field(append(b, " HTTP/1.1\r\n"...), "Host", addr)
	if c.proxyAuth != "" {
		b = field(b, "Proxy-Authorization", c.proxyAuth)
	}
	if _, err := rw.Write(append(b, "\r\n"...)); err != nil {
		return fmt.Errorf("CONNECT: %w", err)
	}
	status, err := readTunnel(rw)
	switch {
	case !stop():
		return fmt.Errorf("CONNECT: %w", context.Cause(ctx))
	case err != nil:
		return fmt.Errorf("CONNECT: %w", err)
	case status < 200 || status > 299:
		return fmt.Errorf("the proxy answered CONNECT with status %d", status)
	}
	return nil
}

// readTunnel reads the answer to CONNECT, which has no body if it is a yes. Whoever is at the other end
// speaks second, so nothing can have come behind it.
func readTunnel(rw net.Conn) (status int, err error) {
	b, n, line := make([]byte, 4<<10), 0, 0
	for {
		end, next, err := headEnd(b[:n], line)
		if err != nil {
			return 0, err
		}
		if line = next; end > 0 {
			h, err := parseHead(b[:end])
			if err != nil {
				return 0, err
			}
			if h.status >= 200 {
				if end < n && h.status < 300 {
					return 0, errors.New("bytes follow the proxy's answer")
				}
				return h.status, nil
			}
			n, line = copy(b, b[end:n]), 0
			continue
		}
		if n == len(b) {
			return 0, errHeadSize
		}
		m, err := rw.Read(b[n:])
		if n += m; err != nil && m == 0 {
			return 0, unexpected(err)
		}
	}
}
