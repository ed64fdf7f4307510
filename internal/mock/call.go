package mock

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// call is one request being answered, and what the log will say of it.
type call struct {
	s        *Server
	w        http.ResponseWriter
	r        *http.Request
	ctx      context.Context
	start    time.Time
	received int
	body     []byte      // only with Options.Capture
	head     http.Header // likewise

	timer   *time.Timer
	zip     *gzip.Writer
	gone    atomic.Int64 // nanoseconds after start at which the client left; 0 while it is there
	status  int
	headAt  time.Duration
	firstAt time.Duration
	sent    int64
	events  int
	tokens  int64
	fault   string
	outcome outcome
}

type outcome string

const (
	completed outcome = "complete"
	cutShort  outcome = "cut"
	cancelled outcome = "cancelled"
	refused   outcome = "refused"
)

// errOver ends an answer: a fault or the client's leaving, already noted in the call.
var errOver = errors.New("the answer is over")

// serve answers with p and logs how it went, also when a fault ends the handler by panic.
func (c *call) serve(p *plan) {
	defer c.s.log.add(c, p)
	t := &p.script.Script
	if p.answer == nil || p.answer.stream || !p.script.instant {
		// An answer that leaves in one write is not watched: nobody can be seen to leave within it.
		watch := context.AfterFunc(c.ctx, func() { c.gone.Store(int64(c.since())) })
		defer watch()
	}
	f := t.fails(p.script.calls.Add(1))
	if p.err != nil {
		c.refuse(p)
		return
	}
	if err := c.answer(p, t, &f); err != nil && c.outcome == "" {
		// A write failed: net/http says so only when the client is gone.
		c.outcome = cancelled
	}
	if c.outcome == "" {
		c.outcome = completed
	}
}

// refuse answers a request that the vendor would not take.
func (c *call) refuse(p *plan) {
	status, text := http.StatusInternalServerError, p.err.Error()
	if r, ok := errors.AsType[*refusal](p.err); ok {
		status = r.status
	}
	c.outcome = refused
	c.vendorHeaders(p.api.vendor())
	c.error(status, encode(vendorError(p.api.vendor(), status, text, 0)))
}

func (c *call) error(status int, body []byte) {
	c.w.Header()["Content-Type"] = []string{jsonType}
	c.writeHead(status)
	_ = c.put(body)
}

// answer delivers p with the timing of t and the faults of f.
func (c *call) answer(p *plan, t *Script, f *fault) error {
	r := p.answer
	if !c.wait(t.latency) {
		return c.left()
	}
	if !r.stream && !c.wait(t.ttft+time.Duration(max(0, r.pieces-1))*t.pace) {
		return c.left()
	}
	if err := c.before(f); err != nil {
		return err
	}
	c.vendorHeaders(p.api.vendor())
	c.scriptHeaders(t, f)
	if f.redirect != "" {
		c.fault = "redirect"
		c.outcome = refused
		c.w.Header().Set("Location", f.redirect)
		c.writeHead(http.StatusTemporaryRedirect)
		return nil
	}
	status := http.StatusOK
	if f.status != 0 {
		if c.refuses(p, f) {
			return nil
		}
		status = f.status
	}
	if f.body != "" && f.body != "vendor" {
		c.fault = "body"
		return c.instead(status, f.body)
	}
	if f.errorEvent.at != nowhere && !r.stream {
		c.fault, c.outcome = "error", cutShort
		c.error(status, encode(c.errorObject(p, f)))
		return nil
	}
	return c.deliver(status, p, t, f)
}

// before has the faults that come before the status line.
func (c *call) before(f *fault) error {
	switch {
	case f.hang.at == atHead:
		c.fault = "hang"
		return c.hang()
	case f.cut.at == atHead, f.drop.at == atHead:
		c.fault, c.outcome = "drop", cutShort
		panic(http.ErrAbortHandler)
	case f.rst.at == atHead:
		return c.reset()
	}
	return nil
}

// refuses answers with an error status, and tells whether it did: a good status only takes the place of 200.
func (c *call) refuses(p *plan, f *fault) bool {
	c.fault = "status"
	if f.status < 300 && f.status != http.StatusNoContent {
		return false
	}
	c.outcome = refused
	v := p.api.vendor()
	c.retryHeaders(f)
	switch {
	case f.status == http.StatusNoContent:
		c.writeHead(f.status)
	case f.body == "" || f.body == "vendor":
		var delay time.Duration
		if f.retryForm == "gemini" {
			delay = f.retry
		}
		c.error(f.status, encode(vendorError(v, f.status, message(v, f.status, delay), delay)))
	default:
		_ = c.instead(f.status, f.body)
	}
	return true
}

// instead answers with a body that is not the vendor's.
func (c *call) instead(status int, body string) error {
	kind, text := "text/plain", strings.TrimPrefix(body, "text:")
	switch body {
	case "empty":
		text = ""
	case "html":
		kind = "text/html"
		text = "<html><head><title>Bad gateway</title></head><body><h1>Bad gateway</h1><p>edge-7.internal</p></body></html>\n"
	}
	c.w.Header()["Content-Type"] = []string{kind}
	c.writeHead(status)
	n, err := io.WriteString(c.w, text) //nolint:gosec // a script may well ask for HTML
	c.sent += int64(n)
	return err
}

// retryHeaders says when to come back, in one of the vendors' ways.
func (c *call) retryHeaders(f *fault) {
	h := c.w.Header()
	seconds := strconv.FormatInt(int64((f.retry+time.Second-1)/time.Second), 10)
	switch f.retryForm {
	case "seconds":
		h.Set("Retry-After", seconds)
	case "date":
		h.Set("Retry-After", time.Now().Add(f.retry).UTC().Format(http.TimeFormat))
	case "ms":
		h.Set("Retry-After-Ms", strconv.FormatInt(f.retry.Milliseconds(), 10))
	case "openai":
		h.Set("X-Ratelimit-Remaining-Requests", "0")
		h.Set("X-Ratelimit-Reset-Requests", f.retry.String())
	case "anthropic":
		h.Set("Retry-After", seconds)
		h.Set("Anthropic-Ratelimit-Requests-Reset", time.Now().Add(f.retry).UTC().Format(time.RFC3339))
	case "openrouter":
		h.Set("X-Ratelimit-Remaining", "0")
		h.Set("X-Ratelimit-Reset", strconv.FormatInt(time.Now().Add(f.retry).UnixMilli(), 10))
	case "azure":
		h.Set("Retry-After", seconds)
		h.Set("Retry-After-Ms", "0")
	}
}

// Header values that never change are shared: net/http does not write to them.
var (
	openaiVersion = []string{"2020-10-01"}
	processing    = []string{"7"}
	organisation  = []string{"org-mockmockmockmockmock"}
	cookie        = []string{"__mock=upstream; path=/; HttpOnly"}
	remaining     = []string{"9999"}
	scaffolding   = []string{"mock"}
)

// vendorHeaders are a few of those that the vendors send; a gateway must keep most from its clients.
func (c *call) vendorHeaders(v vendor) {
	h := c.w.Header()
	id := []string{"req_mock" + strconv.FormatInt(c.s.calls.Add(1), 10)}
	switch v {
	case openai:
		h["X-Request-Id"] = id
		h["Openai-Version"] = openaiVersion
		h["Openai-Processing-Ms"] = processing
		h["Openai-Organization"] = organisation
		h["X-Ratelimit-Remaining-Requests"] = remaining
		h["Set-Cookie"] = cookie
	case anthropic:
		h["Request-Id"] = id
		h["Anthropic-Organization-Id"] = organisation
		h["Anthropic-Ratelimit-Requests-Remaining"] = remaining
	case gemini:
		h["Server"] = scaffolding
		h["Server-Timing"] = []string{"gfet4t7; dur=7"}
	}
}

func (c *call) scriptHeaders(t *Script, f *fault) {
	h := c.w.Header()
	for _, kv := range t.header {
		h.Add(kv[0], kv[1])
	}
	if f.head > 0 {
		c.fault = "head"
		h.Set("X-Mock-Long", strings.Repeat("h", int(f.head)))
	}
	for i := range f.heads {
		c.fault = "heads"
		h.Set("X-Mock-"+strconv.Itoa(i), "v")
	}
}

func (c *call) writeHead(status int) {
	c.status = status
	c.headAt = time.Since(c.start)
	c.w.WriteHeader(status)
}

// wait pauses; false says that the client left or the server closes.
func (c *call) wait(d time.Duration) bool {
	if d <= 0 {
		return c.gone.Load() == 0
	}
	if c.timer == nil {
		c.timer = time.NewTimer(d)
	} else {
		c.timer.Reset(d)
	}
	select {
	case <-c.timer.C:
		return true
	case <-c.ctx.Done():
	case <-c.s.closed:
	}
	c.timer.Stop()
	return false
}

// left notes that the client has gone.
func (c *call) left() error {
	c.outcome = cancelled
	return errOver
}

// hang holds the answer until the client leaves or the server closes.
func (c *call) hang() error {
	select {
	case <-c.ctx.Done():
		return c.left()
	case <-c.s.closed:
		c.outcome = cutShort
		panic(http.ErrAbortHandler)
	}
}

// reset ends the connection with RST; HTTP/2 resets the stream.
func (c *call) reset() error {
	c.fault, c.outcome = "rst", cutShort
	if conn := c.hijack(); conn != nil {
		type linger interface{ SetLinger(sec int) error }
		raw := conn
		if t, ok := conn.(interface{ NetConn() net.Conn }); ok {
			raw = t.NetConn()
		}
		if l, ok := raw.(linger); ok {
			_ = l.SetLinger(0)
		}
		_ = raw.Close()
		return errOver
	}
	panic(http.ErrAbortHandler)
}

func (c *call) hijack() net.Conn {
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil {
		return nil
	}
	return conn
}

// lie writes a head with a Content-Length below the truth, which net/http would not let through, and closes.
func (c *call) lie(status int, length int64, frames []frame) error {
	head := c.w.Header()
	conn := c.hijack()
	if conn == nil {
		panic(http.ErrAbortHandler)
	}
	defer conn.Close()
	c.status, c.headAt, c.outcome = status, time.Since(c.start), cutShort
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Length: %d\r\n", status, http.StatusText(status), max(0, length))
	_ = head.Write(&b)
	b.WriteString("\r\n")
	for _, f := range frames {
		b.Write(f.data)
	}
	n, _ := io.WriteString(conn, b.String())
	c.sent = int64(n)
	return errOver
}

// segments turns the places of a plain body into pieces, so that both kinds of answer are delivered by one loop.
func segments(r *rendering, places ...place) []frame {
	if r.stream {
		return r.frames
	}
	whole := r.frames[0]
	cuts := []int{0, len(whole.data)}
	for _, p := range places {
		if i := p.index(len(whole.data)); i > 0 && i < len(whole.data) {
			cuts = append(cuts, i)
		}
	}
	slices.Sort(cuts)
	cuts = slices.Compact(cuts)
	var out []frame
	for i := 1; i < len(cuts); i++ {
		out = append(out, frame{
			data: whole.data[cuts[i-1]:cuts[i]], output: true, tokens: whole.tokens * int64(cuts[i]) / int64(len(whole.data)),
		})
	}
	return out
}
