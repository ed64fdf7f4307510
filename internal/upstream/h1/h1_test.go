package h1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"sluice/internal/llm"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http tells there what it thinks of the answers that it is held against
	goleak.VerifyTestMain(m)
}

// wait bounds what a test waits for: a hang, not a measure.
const wait = 20 * time.Second

// A script is an upstream that reads requests and answers with the bytes it is told to.
type script struct {
	net.Listener
	t     testing.TB
	conns chan *scripted
	wg    sync.WaitGroup
}

// scripted is one connection of a script.
type scripted struct {
	net.Conn
	r *bufio.Reader
}

// listen accepts connections and hands them out.
func listen(t testing.TB) *script {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{Listener: l, t: t, conns: make(chan *scripted, 1000)}
	s.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns <- &scripted{c, bufio.NewReader(c)}
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		s.wg.Wait()
		close(s.conns)
		for c := range s.conns {
			_ = c.Close()
		}
	})
	return s
}

// accept gives the next connection.
func (s *script) accept() *scripted {
	s.t.Helper()
	select {
	case c := <-s.conns:
		s.t.Cleanup(func() { _ = c.Close() })
		_ = c.SetDeadline(time.Now().Add(wait))
		return c
	case <-time.After(wait):
		s.t.Error("no connection came")
		return nil
	}
}

// none says that no connection waits.
func (s *script) none() {
	s.t.Helper()
	select {
	case <-s.conns:
		s.t.Error("there was another connection")
	default:
	}
}

// request reads one request whole.
func (c *scripted) request(t testing.TB) (head, body string) {
	t.Helper()
	req, err := http.ReadRequest(c.r)
	if err != nil {
		t.Errorf("read the request: %v", err)
		return "", ""
	}
	b, err := io.ReadAll(req.Body)
	if err != nil {
		t.Errorf("read the request's body: %v", err)
	}
	return req.Method + " " + req.RequestURI + " " + req.Host, string(b)
}

func (c *scripted) say(t testing.TB, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Errorf("answer: %v", err)
	}
}

// gone waits until the peer has closed the connection.
func (c *scripted) gone(t testing.TB) {
	t.Helper()
	_, err := io.Copy(io.Discard, c.r)
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		t.Error("the connection was not closed")
	}
}

func newClient(t testing.TB, o Options) *Client {
	t.Helper()
	if o.Dial == nil {
		o.Dial = (&net.Dialer{Timeout: wait}).DialContext
	}
	c := New(o)
	t.Cleanup(c.CloseIdle)
	return c
}

func post(base, body string) *llm.Request {
	u, err := url.Parse(base)
	if err != nil {
		panic(err)
	}
	mid := len(body) / 2
	return &llm.Request{
		Method: "POST", URL: u, Header: http.Header{"Content-Type": {"application/json"}},
		Body: [][]byte{[]byte(body[:mid]), nil, []byte(body[mid:])},
	}
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

// call sends a request in the background, because the test plays the upstream.
func call(ctx context.Context, c *Client, r *llm.Request) <-chan answer {
	done := make(chan answer, 1)
	go func() { done <- callNow(ctx, c, r) }()
	return done
}

func callNow(ctx context.Context, c *Client, r *llm.Request) answer {
	resp, err := c.Send(ctx, r)
	if err != nil {
		return answer{err: err}
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.Status, resp.Header.Clone(), string(b), err}
}

func (s *script) url() string { return "http://" + s.Addr().String() + "/v1/x" }

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func want(t testing.TB, a answer, status int, body string) {
	t.Helper()
	if a.err != nil || a.status != status || a.body != body {
		t.Errorf("got %d %.80q %v, want %d %.80q", a.status, a.body, a.err, status, body)
	}
}

// A connection serves one call after the other; each way a body can end is one.
func TestConnectionsAreReused(t *testing.T) {
	s, c := listen(t), newClient(t, Options{})
	answers := []struct{ raw, body string }{
		{okAnswer, "ok"},
		{"HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", "ok"},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n00002;a=\"b\"\r\nok\r\n1  ;x\r\n!\r\n0;last\r\nX-Sum: 1\r\nY: 2\r\n\r\n", "ok!"},
		{"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + okAnswer, "ok"},
		{"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", ""},
		{"HTTP/1.1 204 No Content\r\n\r\n", ""},
	}
	var cn *scripted
	for _, a := range answers {
		got := call(t.Context(), c, post(s.url(), "{}"))
		if cn == nil {
			cn = s.accept()
		}
		if head, body := cn.request(t); head != "POST /v1/x "+s.Addr().String() || body != "{}" {
			t.Errorf("the upstream got %q %q", head, body)
		}
		cn.say(t, a.raw)
		if got := <-got; got.body != a.body || got.err != nil {
			t.Errorf("%q: %q %v, want %q", a.raw, got.body, got.err, a.body)
		}
	}
	s.none()
}

// After an answer that leaves a doubt the connection is closed.
func TestDoubtClosesTheConnection(t *testing.T) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok ",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
		"HTTP/1.1 204 OK\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 204 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n\r\n",
	} {
		s, c := listen(t), newClient(t, Options{})
		got := call(t.Context(), c, post(s.url(), "{}"))
		cn := s.accept()
		cn.request(t)
		cn.say(t, raw)
		if a := <-got; a.err != nil || a.body != "ok" && a.body != "" {
			t.Errorf("%q: %q %v", raw, a.body, a.err)
		}
		cn.gone(t)
	}
}

// What could be read in two ways is refused, and the connection with it.
func TestRefusals(t *testing.T) {
	for _, raw := range []string{
		"not http at all", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.2 200 OK\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/1.1 2000 OK\r\n\r\n",
		"HTTP/1.1  200 OK\r\n\r\n", "HTTP/1.1 200 O\x00K\r\n\r\n", "HTTP/1.1 600 OK\r\n\r\n", "\r\nHTTP/1.1 200 OK\r\n\r\n", "\n",
		"HTTP/1.1 200 OK\n\n", "HTTP/1.1 200 OK\r\nA: b\n\r\n", "HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", "HTTP/1.1 200 OK\r\n A: b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n", "HTTP/1.1 200 OK\r\n: b\r\n\r\n", "HTTP/1.1 200 OK\r\nAb\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n", "HTTP/1.1 200 OK\r\n\xff: b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775808\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nA: " + strings.Repeat("x", maxHead) + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", maxFields+1) + "\r\n",
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", maxHead/20) + okAnswer, "HTTP/1.1 200 OK\r\n" + strings.Repeat("A: b\r\n", 20_000),
		"HTTP/1.1 200 OK\r\nContent-Len", "",
	} {
		s, c := listen(t), newClient(t, Options{})
		got := call(t.Context(), c, post(s.url(), "{}"))
		cn := s.accept()
		cn.request(t)
		_, _ = io.WriteString(cn, raw) // the client may close before it has all
		_ = cn.Conn.(*net.TCPConn).CloseWrite()
		if a := <-got; a.err == nil || a.status != 0 || errors.Is(a.err, llm.ErrNotSent) {
			t.Errorf("%.80q: got %d %q %v, want a refusal", raw, a.status, a.body, a.err)
		}
		cn.gone(t)
		s.none() // and it was sent once: the connection was new
	}
}

// A body that ends before its end, or is framed wrongly, is an error after what came of it.
func TestBrokenBodies(t *testing.T) {
	const chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok",
		chunks, chunks + "2\r\nok", chunks + "2\r\nok\r\n", chunks + "2\r\nok\r\n0\r\n", chunks + "2\r\nok\r\n0\r\nX: 1\r\n",
		chunks + "\r\nok", chunks + "2\nok\r\n0\r\n\r\n", chunks + "2\r\nok\n0\r\n\r\n", chunks + "2\r\nokk\r\n0\r\n\r\n", chunks + "2\r\nok0\r\n\r\n",
		chunks + "-2\r\nok\r\n0\r\n\r\n", chunks + "0x2\r\nok\r\n0\r\n\r\n", chunks + " 2\r\nok\r\n0\r\n\r\n", chunks + "2 2\r\nok\r\n0\r\n\r\n", chunks + "2\r\rok", chunks + "g\r\nok\r\n0\r\n\r\n", chunks + ";a\r\nok",
		chunks + "ffffffffffffffff\r\nok", chunks + "10000000000000002\r\nok\r\n0\r\n\r\n", chunks + "00000000000000002\r\nok\r\n0\r\n\r\n", chunks + "8000000000000000\r\nok",
		chunks + "2;a\nb\r\nok\r\n", chunks + "2;a\x00\r\nok", chunks + "2;" + strings.Repeat("x", maxChunkLine) + "\r\nok\r\n0\r\n\r\n",
		chunks + "2\r\nok\r\n0\r\nno colon\r\n\r\n", chunks + "2\r\nok\r\n0\r\n: x\r\n\r\n", chunks + "2\r\nok\r\n0\r\nA: b\n\r\n", chunks + "2\r\nok\r\n0\r\n A: b\r\n\r\n",
		chunks + "2\r\nok\r\n0\r\nA: " + strings.Repeat("x", maxTrailer) + "\r\n\r\n", chunks + "0\r\n\n",
	} {
		s, c := listen(t), newClient(t, Options{})
		got := call(t.Context(), c, post(s.url(), "{}"))
		cn := s.accept()
		cn.request(t)
		_, _ = io.WriteString(cn, raw)
		_ = cn.Conn.(*net.TCPConn).CloseWrite()
		if a := <-got; a.err == nil || a.status != 200 || !strings.HasPrefix("ok", a.body[:min(len(a.body), 2)]) {
			t.Errorf("%.120q: got %d %q %v, want a broken body", raw, a.status, a.body, a.err)
		}
		cn.gone(t)
	}
}

func TestBodyUntilTheEndOfTheConnection(t *testing.T) {
	for _, head := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\n"} {
		s, c := listen(t), newClient(t, Options{})
		got := call(t.Context(), c, post(s.url(), "{}"))
		cn := s.accept()
		cn.request(t)
		cn.say(t, head+"all of ")
		cn.say(t, "it")
		_ = cn.Conn.(*net.TCPConn).CloseWrite()
		want(t, <-got, 200, "all of it")
		cn.gone(t)
	}
}

func TestHeaders(t *testing.T) {
	s, c := listen(t), newClient(t, Options{})
	got := call(t.Context(), c, post(s.url(), "{}"))
	cn := s.accept()
	cn.request(t)
	cn.say(t, "HTTP/1.1 429 Too Many\r\ncontent-TYPE:\t text/plain \r\nX-odd_na.me: a:b\r\nSet-Cookie: a\r\nX-Empty:\r\nset-cookie: b\r\nRetry-After:5\r\nContent-Length: 0\r\n\r\n")
	a := <-got
	for name, want := range map[string]string{"Content-Type": "text/plain", "X-Odd_na.me": "a:b", "Set-Cookie": "a|b", "X-Empty": "", "Retry-After": "5"} {
		if got := strings.Join(a.header[name], "|"); got != want {
			t.Errorf("%s: %q, want %q (%v)", name, got, want, a.header)
		}
	}
	if a.status != 429 || len(a.header) != 6 {
		t.Errorf("%d %v", a.status, a.header)
	}
}

// No value and no address can become another field or another request.
func TestNothingIsInjected(t *testing.T) {
	c := newClient(t, Options{Dial: func(context.Context, string, string) (net.Conn, error) {
		t.Error("a connection was made")
		return nil, io.ErrClosedPipe
	}})
	for _, bad := range []func(r *llm.Request){
		func(r *llm.Request) { r.Header["X"] = []string{"a\r\nB: c"} },
		func(r *llm.Request) { r.Header["X"] = []string{"a\nB: c"} },
		func(r *llm.Request) { r.Header["X"] = []string{"a\x00"} },
		func(r *llm.Request) { r.Header["X: y\r\nB"] = []string{"c"} },
		func(r *llm.Request) { r.Header["X "] = []string{"c"} },
		func(r *llm.Request) { r.Header[""] = []string{"c"} },
		func(r *llm.Request) { r.Auth = llm.Auth{Name: "Authorization", Scheme: "Bearer ", Secret: "a\r\nB: c"} },
		func(r *llm.Request) { r.Auth = llm.Auth{Name: "Authorization", Scheme: "Bearer\n", Secret: "a"} },
		func(r *llm.Request) { r.Auth = llm.Auth{Name: "A: b\r\nC", Secret: "a"} },
		func(r *llm.Request) { r.Auth = llm.Auth{Name: "Host", Secret: "a"} },
		func(r *llm.Request) { r.Method = "POST / HTTP/1.1\r\nA:" },
		func(r *llm.Request) { r.Method = "" },
		func(r *llm.Request) { r.Method = "HEAD" },
		func(r *llm.Request) { r.Method = "CONNECT" },
		func(r *llm.Request) { r.URL.RawQuery = "a b" },
		func(r *llm.Request) { r.URL.RawQuery = "a\r\nB: c" },
		func(r *llm.Request) { r.URL.Path = "x" },
		func(r *llm.Request) { r.URL.Host = "a\r\nB: c" },
		func(r *llm.Request) { r.URL.Host = "" },
		func(r *llm.Request) { r.URL.Host = "ä.example" },
		func(r *llm.Request) { r.URL.Scheme = "ftp" },
		func(r *llm.Request) { r.URL.Opaque = "x" },
	} {
		r := post("http://127.0.0.1:1/v1", "{}")
		bad(r)
		if resp, err := c.Send(t.Context(), r); err == nil {
			_ = resp.Body.Close()
			t.Errorf("%+v was sent", r)
		}
	}
}

func TestRequestIsWritten(t *testing.T) {
	s, c := listen(t), newClient(t, Options{})
	r := post("http://"+s.Addr().String()+"?q=%41", "{}")
	r.URL.Path = "/a b/ü"
	for _, name := range []string{"Host", "Content-Length", "Transfer-Encoding", "Connection", "te", "Upgrade", "Trailer", "Proxy-Authorization", "Keep-Alive", "Expect"} {
		r.Header[name] = []string{"7"}
	}
	r.Header["X-Two"] = []string{"a", "b"}
	r.Auth, r.ID = llm.Auth{Name: "Authorization", Scheme: "Bearer ", Secret: "s"}, "req_1"
	got := call(t.Context(), c, r)
	cn := s.accept()
	req, err := http.ReadRequest(cn.r)
	if err != nil {
		t.Fatal(err)
	}
	body := make([]byte, 2)
	_, _ = io.ReadFull(cn.r, body)
	wantHeader := http.Header{"Content-Length": {"2"}, "Content-Type": {"application/json"}, "User-Agent": {"sluice"}, "X-Two": {"a", "b"}, "Authorization": {"Bearer s"}, "X-Request-Id": {"req_1"}}
	if req.RequestURI != "/a%20b/%C3%BC?q=%41" || req.Host != s.Addr().String() || !sameHeader(req.Header, wantHeader) || req.ContentLength != 2 {
		t.Errorf("the upstream got %q %q %v", req.RequestURI, req.Host, req.Header)
	}
	cn.say(t, okAnswer)
	want(t, <-got, 200, "ok")
}

func sameHeader(a, b http.Header) bool {
	if len(a) != len(b) {
		return false
	}
	for name := range a {
		if strings.Join(a[name], "|") != strings.Join(b[name], "|") {
			return false
		}
	}
	return true
}

var discardLog = log.New(io.Discard, "", 0)
