package upstream

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"sluice/internal/llm"
	"sluice/internal/upstream/h1"
)

// TransportOptions say how an upstream is reached. The zero value is a public upstream with the default
// timeouts.
type TransportOptions struct {
	Connect      time.Duration  // default 3 s
	TLS          time.Duration  // default 5 s
	Proxy        *url.URL       // http, https or socks5; nil: none, whatever the environment says
	AllowPrivate []netip.Prefix // private ranges that may be dialled
	RootCAs      *x509.CertPool // nil: the system's
}

const (
	maxHead  = 64 << 10 // of an upstream's answer, in bytes
	maxIdle  = 512      // connections to one upstream
	idleTime = 90 * time.Second
)

// NewTransport makes a transport with pools of connections of its own. Upstreams that speak HTTP/1.1 are
// reached by a client of ours, package h1; those that choose HTTP/2 when TLS is set up, and all behind a socks
// proxy, by net/http's. Close it with CloseIdle when its configuration is replaced.
func NewTransport(o TransportOptions) *Transport {
	dialer := &net.Dialer{Timeout: orDefault(o.Connect, 3*time.Second), KeepAlive: 30 * time.Second}
	if o.Proxy == nil {
		dialer.Control = Guard(o.AllowPrivate)
	} // else every dial goes to the proxy, which the operator has named

	t := &Transport{std: &http.Transport{
		DialContext:            dialer.DialContext,
		TLSHandshakeTimeout:    orDefault(o.TLS, 5*time.Second),
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, ClientSessionCache: tls.NewLRUClientSessionCache(256), RootCAs: o.RootCAs},
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    maxIdle,
		IdleConnTimeout:        idleTime,
		ReadBufferSize:         2 << 10, // a stream's frames are small, and each open one holds a buffer
		MaxResponseHeaderBytes: maxHead,
		DisableCompression:     true, // bytes pass as they are; nobody can send us a bomb
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
	}}
	if o.Proxy != nil && o.Proxy.Scheme != "http" && o.Proxy.Scheme != "https" {
		t.std.Proxy = http.ProxyURL(o.Proxy)
		return t
	}
	t.lean = h1.New(h1.Options{
		Dial: dialer.DialContext, TLS: t.std.TLSClientConfig.Clone(), Handshake: t.std.TLSHandshakeTimeout,
		Proxy: o.Proxy, MaxIdle: maxIdle, IdleTime: idleTime,
	})
	t.std.DialTLSContext = t.lean.DialTLS
	return t
}

func orDefault(d, def time.Duration) time.Duration {
	if d > 0 {
		return d
	}
	return def
}

// A Transport sends requests to upstreams. It implements llm.Transport.
type Transport struct {
	lean *h1.Client // nil behind a socks proxy
	std  *http.Transport
}

// CloseIdle closes the connections that nobody uses, and those in use when they are free.
func (t *Transport) CloseIdle() {
	if t.lean != nil {
		t.lean.CloseIdle()
	}
	t.std.CloseIdleConnections()
}

// Send implements llm.Transport.
func (t *Transport) Send(ctx context.Context, r *llm.Request) (*llm.Response, error) {
	if t.lean != nil {
		resp, err := t.lean.Send(ctx, r)
		switch {
		case err == nil:
			resp.Body = &answerBody{resp.Body, ctx}
			return resp, nil
		case err != h1.ErrHTTP2: //nolint:errorlint // it comes as it is
			return nil, sendError(ctx, err)
		}
	}
	return t.sendStd(ctx, r)
}

// blank is what every request of net/http's client begins with: WithContext copies it, which is one
// allocation less than a literal and its copy.
var blank = &http.Request{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Body: http.NoBody}

// sendStd sends by net/http's client. It uses RoundTrip, so redirects come back as they are.
func (t *Transport) sendStd(ctx context.Context, r *llm.Request) (*llm.Response, error) {
	body := newRequestBody(r.Body)
	req := blank.WithContext(ctx)
	req.Method, req.URL, req.Host, req.Header, req.ContentLength = r.Method, r.URL, r.URL.Host, r.Fields(), body.left
	if body.left > 0 {
		req.Body = body
		// net/http sends a request again only when a kept connection turned out dead before a byte was written.
		req.GetBody = func() (io.ReadCloser, error) { return newRequestBody(r.Body), nil }
	}
	resp, err := t.std.RoundTrip(req) //nolint:bodyclose // the caller closes it, wrapped
	if err != nil {
		body.stop()
		return nil, sendError(ctx, err)
	}
	return &llm.Response{
		Status: resp.StatusCode, Header: resp.Header,
		Body: &stdBody{answerBody{resp.Body, ctx}, body, false},
	}, nil
}

// A requestBody reads the pieces of a request one after the other. net/http may go on reading it for a
// moment after the answer has come or the call has failed; stop ends that, because the bytes are pooled.
type requestBody struct {
	mu     sync.Mutex // guards the rest
	pieces [][]byte
	off    int // in pieces[0]
	left   int64
}

func newRequestBody(pieces [][]byte) *requestBody {
	b := &requestBody{pieces: pieces}
	for _, p := range pieces {
		b.left += int64(len(p))
	}
	return b
}

func (b *requestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := 0
	for n < len(p) && len(b.pieces) > 0 {
		m := copy(p[n:], b.pieces[0][b.off:])
		n, b.off = n+m, b.off+m
		if b.off == len(b.pieces[0]) {
			b.pieces, b.off = b.pieces[1:], 0
		}
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (b *requestBody) stop() {
	b.mu.Lock()
	b.pieces = nil
	b.mu.Unlock()
}

func (b *requestBody) Close() error {
	b.stop()
	return nil
}

// An answerBody classifies what goes wrong while it is read.
type answerBody struct {
	io.ReadCloser
	ctx context.Context
}

func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = readError(b.ctx, err)
	}
	return n, err
}

// A stdBody is the answer's body from net/http's client.
type stdBody struct {
	answerBody
	request *requestBody
	ended   bool // Read has met the end or an error
}

func (b *stdBody) Read(p []byte) (int, error) {
	n, err := b.answerBody.Read(p)
	b.ended = b.ended || err != nil
	return n, err
}

// A stream is read to its format's own end, which comes before the body's: a few bytes are left, mostly
// here already. Reading them keeps the connection; they are not waited for long.
const (
	drainBytes = 4 << 10
	drainTime  = 20 * time.Millisecond
)

func (b *stdBody) Close() error {
	if !b.ended && b.ctx.Err() == nil {
		timer := time.AfterFunc(drainTime, func() { _ = b.ReadCloser.Close() })
		_, _ = io.CopyN(io.Discard, b, drainBytes)
		timer.Stop()
	}
	err := b.ReadCloser.Close()
	b.request.stop()
	return err
}

// sendError says why no answer came. The kind decides later whether another target is tried.
func sendError(ctx context.Context, err error) error {
	if e, ok := cancelled(ctx, err); ok {
		return e
	}
	var ours *llm.Error
	if errors.As(err, &ours) {
		refused := *ours // an address, by control
		refused.Err = fmt.Errorf("%w: %w", llm.ErrNotSent, ours.Err)
		return &refused
	}
	var netErr net.Error
	if errors.As(err, &netErr) && netErr.Timeout() {
		return &llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "the upstream could not be reached in time", Err: err}
	}
	return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream could not be reached", Err: err}
}

func readError(ctx context.Context, err error) error {
	if e, ok := cancelled(ctx, err); ok {
		return e
	}
	return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer broke off", Err: err}
}

// cancelled says why a call was ended from our side: by a timeout, which is its cause, or by the client.
func cancelled(ctx context.Context, err error) (*llm.Error, bool) {
	if ctx.Err() == nil {
		return nil, false
	}
	var e *llm.Error
	if errors.As(context.Cause(ctx), &e) {
		return e, true
	}
	return &llm.Error{Kind: llm.KindClientGone, Msg: "the call was cancelled", Err: err}, true
}
