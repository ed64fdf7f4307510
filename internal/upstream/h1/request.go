package h1

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"sluice/internal/llm"
)

// oneWrite is the size up to which a body is copied behind its head, to leave in one piece: less than any
// socket takes without waiting for the peer. A larger body is written as it stands in memory while the answer
// is already awaited, because an upstream may answer (refuse, mostly) before it has read everything.
const oneWrite = 32 << 10

// An out is a request ready to be sent, as often as needed: b has the head, and the body if it is small.
type out struct {
	b      []byte
	pieces [][]byte // a large body's
}

var outs = sync.Pool{New: func() any { return new(out) }}

func takeOut() *out { return outs.Get().(*out) }

func (o *out) release() {
	if cap(o.b) > 2*oneWrite {
		return
	}
	o.b, o.pieces = o.b[:0], nil
	outs.Put(o)
}

// write makes the request's bytes. What could be taken for more than one field or request is refused.
func (c *Client) write(o *out, t *target, r *llm.Request) error {
	if !isToken(r.Method) || r.Method == http.MethodHead || r.Method == http.MethodConnect {
		return fmt.Errorf("method %q cannot be sent", r.Method)
	}
	if r.URL.Opaque != "" {
		return errors.New("the address has no path")
	}
	var size int64
	for _, p := range r.Body {
		size += int64(len(p))
	}
	b := append(o.b[:0], r.Method...)
	b = append(b, ' ')
	if c.o.Proxy != nil && !t.secure {
		b = append(b, "http://"...)
		b = append(b, t.host...)
	}
	from := len(b)
	if b = append(b, r.URL.EscapedPath()...); len(b) == from {
		b = append(b, '/')
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		b = append(b, '?')
		b = append(b, r.URL.RawQuery...)
	}
	if b[from] != '/' {
		return errors.New("the address has a path that does not begin with a slash")
	}
	for _, ch := range b[from:] {
		if ch <= ' ' || ch == 0x7f {
			return errors.New("the address has a space or a control character")
		}
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, t.host...)
	b = append(b, "\r\n"...)
	if c.proxyAuth != "" && !t.secure {
		b = field(b, "Proxy-Authorization", c.proxyAuth)
	}
	if r.ID != "" {
		b = field(b, "X-Request-Id", r.ID)
	}
	b, err := fields(b, r.Header)
	if err == nil {
		b, err = auth(b, &r.Auth)
	}
	if o.b = b; err != nil {
		return err
	}
	if size > 0 || r.Method != http.MethodGet {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, size, 10)
		b = append(b, "\r\n"...)
	}
	b = append(b, "\r\n"...)
	if size > oneWrite {
		o.pieces = r.Body
	} else {
		for _, p := range r.Body {
			b = append(b, p...)
		}
	}
	o.b = b
	return nil
}

// fields writes h, but for what this client says itself about the connection and the body.
func fields(b []byte, h http.Header) ([]byte, error) {
	agent := false
	for name, values := range h {
		if !isToken(name) {
			return b, fmt.Errorf("header name %q cannot be sent", name)
		}
		if ours(name) {
			continue
		}
		agent = agent || strings.EqualFold(name, "User-Agent")
		for _, v := range values {
			if !isValue(v) {
				return b, fmt.Errorf("the value of header %s cannot be sent", name) // it may be a secret
			}
			b = field(b, name, v)
		}
	}
	if !agent {
		b = field(b, "User-Agent", "sluice")
	}
	return b, nil
}

// auth writes the field of a credential.
func auth(b []byte, a *llm.Auth) ([]byte, error) {
	if a.Name == "" {
		return b, nil
	}
	if !isToken(a.Name) || ours(a.Name) || !isValue(a.Scheme) || !isValue(string(a.Secret)) {
		return b, errors.New("the credential cannot be sent: it has a line break or a control character")
	}
	b = append(b, a.Name...)
	b = append(b, ": "...)
	b = append(b, a.Scheme...)
	b = append(b, a.Secret...)
	return append(b, "\r\n"...), nil
}

func field(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// ours tells the fields that say how a message is framed and what becomes of the connection.
func ours(name string) bool {
	is := func(s string) bool { return strings.EqualFold(name, s) }
	switch len(name) {
	case 2:
		return is("TE")
	case 4:
		return is("Host")
	case 6:
		return is("Expect")
	case 7:
		return is("Trailer") || is("Upgrade")
	case 10:
		return is("Connection") || is("Keep-Alive")
	case 14:
		return is("Content-Length")
	case 16:
		return is("Proxy-Connection")
	case 17:
		return is("Transfer-Encoding")
	case 19:
		return is("Proxy-Authorization")
	}
	return false
}

func isToken(s string) bool {
	for i := range len(s) {
		if !token[s[i]] {
			return false
		}
	}
	return s != ""
}

func isValue(s string) bool {
	for i := range len(s) {
		if !text[s[i]] {
			return false
		}
	}
	return true
}

// token and text are the bytes of a field's name and of its value (RFC 9110, sections 5.6.2 and 5.5).
var (
	token = bytesOf(func(c byte) bool {
		return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
	})
	text = bytesOf(func(c byte) bool { return c >= ' ' && c != 0x7f || c == '\t' })
)

func bytesOf(is func(c byte) bool) (set [256]bool) {
	for c := range set {
		set[c] = is(byte(c))
	}
	return set
}

// send writes a request. A failure is not told: the peer may have answered before it closed, and if it has
// not, the attempt to read its answer says why.
func (x *exchange) send(o *out) {
	if o.pieces == nil {
		if _, err := x.conn.rw.Write(o.b); err != nil {
			x.sendFailed()
		}
		return
	}
	x.sent = make(chan struct{})
	go func(w net.Conn) {
		defer close(x.sent)
		pieces := append(make(net.Buffers, 0, len(o.pieces)+1), o.b)
		pieces = append(pieces, o.pieces...)
		_, x.sendErr = pieces.WriteTo(w)
	}(x.conn.rw)
}
