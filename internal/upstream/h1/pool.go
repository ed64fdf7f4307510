package h1

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"
)

// An origin is how an address names a target.
type origin struct{ scheme, host string }

// A target is a server that connections are made to and kept for.
type target struct {
	host   string // as Host says it
	addr   string // with the port
	secure bool
	tls    *tls.Config

	// Guarded by the client's mu.
	free   []*conn // idle; the last one was used last
	http2  bool    // it has chosen HTTP/2
	parked net.Conn
}

// target finds the target of an address. How many there are is up to the configuration, never to a client.
func (c *Client) target(u *url.URL) (*target, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := origin{u.Scheme, u.Host}
	if t := c.targets[key]; t != nil {
		return t, nil
	}
	t := &target{host: u.Host, secure: u.Scheme == "https"}
	if !t.secure && u.Scheme != "http" {
		return nil, fmt.Errorf("scheme %q cannot be spoken", u.Scheme)
	}
	for _, ch := range []byte(u.Host) {
		if ch <= ' ' || ch >= 0x7f {
			return nil, errors.New("the address has a host that is not ASCII: write it as IDNA does (xn--)")
		}
	}
	var err error
	if t.addr, err = hostPort(u); err != nil {
		return nil, err
	}
	if t.secure {
		t.tls = c.tlsFor(u.Hostname(), "h2", "http/1.1")
	}
	c.targets[key] = t
	return t, nil
}

func hostPort(u *url.URL) (string, error) {
	host, port := u.Hostname(), u.Port()
	if host == "" {
		return "", errors.New("the address has no host")
	}
	if port == "" {
		port = "80"
		if u.Scheme == "https" {
			port = "443"
		}
	}
	return net.JoinHostPort(host, port), nil
}

// idle takes a connection that can be used again; nil if there is none.
func (c *Client) idle(t *target, now time.Time) (*conn, error) {
	for {
		c.mu.Lock()
		if t.http2 {
			c.mu.Unlock()
			return nil, ErrHTTP2
		}
		last := len(t.free) - 1
		if last < 0 {
			c.mu.Unlock()
			return nil, nil
		}
		cn := t.free[last]
		t.free[last] = nil
		t.free = t.free[:last]
		c.mu.Unlock()
		if now.Before(cn.until) && cn.alive() {
			return cn, nil
		}
		cn.abort()
	}
}

// put keeps a connection for the next exchange.
func (c *Client) put(cn *conn) {
	cn.until = time.Now().Add(cn.idleFor)
	c.mu.Lock()
	t := cn.target
	full := len(t.free) >= c.o.MaxIdle || t.http2 || c.closed
	if !full {
		t.free = append(t.free, cn)
		if c.timer == nil {
			c.timer = time.AfterFunc(cn.idleFor, c.sweep)
		}
	}
	c.mu.Unlock()
	if full {
		cn.abort()
	}
}

// sweep closes what has been idle for too long. One timer serves all connections, and rests when there are none.
func (c *Client) sweep() {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	next := time.Duration(0)
	for _, t := range c.targets {
		kept := t.free[:0]
		for _, cn := range t.free {
			left := cn.until.Sub(now)
			if left <= 0 {
				cn.abort()
				continue
			}
			kept = append(kept, cn)
			if next == 0 || left < next {
				next = left
			}
		}
		clear(t.free[len(kept):])
		t.free = kept
	}
	if next == 0 {
		c.timer = nil
		return
	}
	c.timer.Reset(next)
}

// CloseIdle closes the connections that nobody uses, and keeps none from now on: exchanges under way end on theirs,
// and new ones may still be made.
func (c *Client) CloseIdle() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for _, t := range c.targets {
		for _, cn := range t.free {
			cn.abort()
		}
		t.free = nil
		if t.parked != nil {
			_ = t.parked.Close()
			t.parked = nil
		}
	}
	if c.timer != nil && c.timer.Stop() {
		c.timer = nil
	}
}
