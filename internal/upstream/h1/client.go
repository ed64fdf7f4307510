// Package h1 is a client for upstreams that speak HTTP/1.1, in clear and over TLS, directly and through http
// and https proxies. It does one exchange at a time on a connection, starts no goroutine for a call or a
// connection (but for one that sends a large body), and holds no buffer while a connection is idle or an
// answer's body is awaited. Where the end of a message could be read in two ways it refuses the answer or
// closes the connection. It does not know formats, kinds of errors, or when a call should be tried again:
// that is upstream's.
//
// Syntax: RFC 9112, and RFC 9110 for fields.
package h1

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"sluice/internal/llm"
)

// Options make a client. Only Dial is needed.
type Options struct {
	// Dial makes a connection. It bounds its own time, and refuses the addresses that may not be reached.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// TLS is what connections to upstreams and https proxies have in common; the server's name and the
	// protocols that are offered are set for each. Nil: the defaults of crypto/tls.
	TLS *tls.Config
	// Handshake bounds a TLS handshake, and the time a proxy takes to answer CONNECT. Default 5 s.
	Handshake time.Duration
	// Proxy is an http or https proxy. Its user is sent to it as basic authorization.
	Proxy *url.URL
	// MaxIdle bounds the idle connections to one target. Default 512.
	MaxIdle int
	// IdleTime is how long a connection may be idle, unless its server has named a shorter time. Default 90 s.
	IdleTime time.Duration
}

// A Client sends requests over connections that it keeps. It is safe for concurrent use.
type Client struct {
	o         Options
	proxyTLS  *tls.Config // nil: the proxy is reached in clear
	proxyAuth string      // value of Proxy-Authorization; "": none

	mu      sync.Mutex // guards the rest, and what the targets say it guards
	targets map[origin]*target
	timer   *time.Timer // runs while connections are idle; nil: none are
	closed  bool        // none is kept any more
}

// ErrHTTP2 says that the target has chosen HTTP/2, so that another client must send the request. Nothing
// was sent yet; DialTLS has the connection.
var ErrHTTP2 = errors.New("the upstream speaks HTTP/2")

// New makes a client.
func New(o Options) *Client {
	if o.TLS == nil {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if o.Handshake <= 0 {
		o.Handshake = 5 * time.Second
	}
	if o.MaxIdle <= 0 {
		o.MaxIdle = 512
	}
	if o.IdleTime <= 0 {
		o.IdleTime = 90 * time.Second
	}
	c := &Client{o: o, targets: make(map[origin]*target)}
	if o.Proxy != nil {
		c.setProxy(o.Proxy)
	}
	return c
}

// staleTime is how soon a connection that was stale shows it. The peer closed it before our request came,
// so one round trip tells. A connection that breaks later broke over this request, and whether to
// pay for it twice is not decided here.
const staleTime = time.Second

// Send sends r and returns when the head of its answer has come. A request that meets a kept connection which
// the peer has closed meanwhile is sent once more, on a new one, if no byte of an answer came.
// An error that wraps llm.ErrNotSent, or is ErrHTTP2, came before anything was sent. The body must be closed.
func (c *Client) Send(ctx context.Context, r *llm.Request) (*llm.Response, error) {
	t, err := c.target(r.URL)
	if err != nil {
		return nil, err
	}
	out := takeOut()
	defer out.release()
	if err := c.write(out, t, r); err != nil {
		return nil, err
	}
	now := time.Now()
	cn, err := c.idle(t, now)
	if err != nil {
		return nil, err
	}
	var stale error
	if cn != nil {
		x, err := c.exchange(ctx, cn, out)
		if err == nil {
			return &x.resp, nil
		}
		if x.heard || ctx.Err() != nil || time.Since(now) > staleTime {
			return nil, err
		}
		stale = err
	}
	switch cn, err = c.connect(ctx, t); {
	case err == nil:
	case stale != nil && errors.Is(err, llm.ErrNotSent):
		return nil, fmt.Errorf("%w, and no new connection: %v", stale, err) //nolint:errorlint // it was sent, once
	default:
		return nil, err
	}
	x, err := c.exchange(ctx, cn, out)
	if err != nil {
		return nil, err
	}
	return &x.resp, nil
}

// after is context.AfterFunc. A context that has the method itself is asked directly, which spares what the package would put around it.
func after(ctx context.Context, f func()) (stop func() bool) {
	if c, ok := ctx.(interface {
		AfterFunc(f func()) (stop func() bool)
	}); ok {
		return c.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

// exchange sends a request on a connection that nobody else uses, and reads the head of its answer. When it
// fails, the connection is closed and nothing reads the request's bytes any more.
func (c *Client) exchange(ctx context.Context, cn *conn, out *out) (*exchange, error) {
	x := &exchange{client: c, conn: cn}
	x.stop = after(ctx, cn.abort)
	x.send(out)
	if err := x.receive(); err != nil {
		x.err = err
		x.finish()
		return x, fmt.Errorf("await the answer: %w", err)
	}
	x.resp.Body = x
	return x, nil
}
