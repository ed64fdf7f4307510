package h1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// warm makes a kept connection.
func warm(t *testing.T, s *script, c *Client) *scripted {
	t.Helper()
	got := call(t.Context(), c, post(s.url(), "{}"))
	cn := s.accept()
	cn.request(t)
	cn.say(t, okAnswer)
	want(t, <-got, 200, "ok")
	return cn
}

// A kept connection that turns out closed once the request is on it costs nothing but a new connection.
func TestStaleConnection(t *testing.T) {
	for _, size := range []int{2, 4 << 20} { // in one piece, and in a goroutine
		body := strings.Repeat("x", size)
		s, c := listen(t), newClient(t, Options{})
		first := warm(t, s, c)
		got := call(t.Context(), c, post(s.url(), body))
		if _, err := first.r.ReadByte(); err != nil { // the request is on its way: it is too late to notice before
			t.Fatal(err)
		}
		_ = first.Close()
		second := s.accept()
		if _, again := second.request(t); again != body {
			t.Errorf("the second connection got %d bytes, want %d", len(again), len(body))
		}
		second.say(t, okAnswer)
		want(t, <-got, 200, "ok")

		// And only once: the next one to break is told.
		got = call(t.Context(), c, post(s.url(), body))
		_, _ = second.r.ReadByte()
		_ = second.Close()
		third := s.accept()
		_, _ = third.r.ReadByte()
		_ = third.Close()
		if a := <-got; a.err == nil || errors.Is(a.err, llm.ErrNotSent) {
			t.Errorf("two broken connections: %v", a.err)
		}
		s.none()
	}
}

// When there is no new connection for the second try, the error is the first one's: the request had left.
func TestStaleConnectionAndNoNewOne(t *testing.T) {
	s, c := listen(t), newClient(t, Options{})
	cn := warm(t, s, c)
	got := call(t.Context(), c, post(s.url(), "{}"))
	cn.request(t)
	_ = s.Close()
	_ = cn.Close()
	if a := <-got; a.err == nil || errors.Is(a.err, llm.ErrNotSent) {
		t.Errorf("got %v, want an error that leaves open whether it was sent", a.err)
	}
}

// Once a byte of an answer has come, the request was heard and is not sent again.
func TestNoRetryAfterAnAnswerBegan(t *testing.T) {
	s, c := listen(t), newClient(t, Options{})
	cn := warm(t, s, c)
	got := call(t.Context(), c, post(s.url(), "{}"))
	cn.request(t)
	cn.say(t, "H")
	_ = cn.Close()
	if a := <-got; a.err == nil {
		t.Error("half a head was taken for an answer")
	}
	s.none()
}

// An upstream that took its time over a request before it broke off has heard it.
func TestNoRetryOfWhatWasPondered(t *testing.T) {
	s, c := listen(t), newClient(t, Options{})
	cn := warm(t, s, c)
	got := call(t.Context(), c, post(s.url(), "{}"))
	cn.request(t)
	time.AfterFunc(staleTime+100*time.Millisecond, func() { _ = cn.Close() })
	if a := <-got; a.err == nil {
		t.Error("no answer was taken for one")
	}
	s.none()
}

// What a peer does to an idle connection is seen before a request is put on it.
func TestIdleConnectionIsLookedAt(t *testing.T) {
	for name, spoil := range map[string]func(cn *scripted){
		"closed": func(cn *scripted) { _ = cn.Close() },
		"reset":  func(cn *scripted) { _ = cn.Conn.(*net.TCPConn).SetLinger(0); _ = cn.Close() },
		"talked": func(cn *scripted) { _, _ = io.WriteString(cn, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil") },
	} {
		s, c := listen(t), newClient(t, Options{})
		first := warm(t, s, c)
		spoil(first)
		cn := c.only(t)
		for deadline := time.Now().Add(wait); cn.alive() && time.Now().Before(deadline); { // the kernel tells us a little later
			continue
		}
		got := call(t.Context(), c, post(s.url(), "{}"))
		second := s.accept()
		second.request(t)
		second.say(t, okAnswer)
		if a := <-got; a.err != nil || a.body != "ok" {
			t.Errorf("%s: %q %v", name, a.body, a.err)
		}
	}
}

// only gives the one idle connection.
func (c *Client) only(t *testing.T) *conn {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, tg := range c.targets {
		if len(tg.free) == 1 {
			return tg.free[0]
		}
	}
	t.Fatal("there is no idle connection")
	return nil
}

func TestIdleConnectionsAreBounded(t *testing.T) {
	const calls, most = 8, 3
	s, c := listen(t), newClient(t, Options{MaxIdle: most})
	var got []<-chan answer
	var conns []*scripted
	for range calls {
		got = append(got, call(t.Context(), c, post(s.url(), "{}")))
		conns = append(conns, s.accept())
	}
	for i, cn := range conns {
		cn.request(t)
		cn.say(t, okAnswer)
		want(t, <-got[i], 200, "ok")
	}
	if n := c.idleCount(); n != most {
		t.Errorf("%d idle connections, want %d", n, most)
	}
}

func (c *Client) idleCount() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.targets {
		n += len(t.free)
	}
	return n
}

// pipeUpstream answers on pipes, for tests in which time is not real.
func pipeUpstream(t *testing.T, answer string, conns *atomic.Int64) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		conns.Add(1)
		go func() {
			cn := &scripted{theirs, nil}
			buf := make([]byte, 4096)
			for {
				if _, err := cn.Read(buf); err != nil {
					_ = theirs.Close()
					return
				}
				cn.say(t, answer)
			}
		}()
		return ours, nil
	}
}

func TestIdleConnectionsExpire(t *testing.T) {
	for _, tt := range []struct {
		answer string
		life   time.Duration
	}{
		{okAnswer, time.Minute},
		{"HTTP/1.1 200 OK\r\nKeep-Alive: max=10, timeout=5\r\nContent-Length: 2\r\n\r\nok", 4 * time.Second}, // before the peer does
		{"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=5000\r\nContent-Length: 2\r\n\r\nok", time.Minute},
		{"HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 2\r\n\r\nok", time.Minute}, // nonsense
	} {
		synctest.Test(t, func(t *testing.T) {
			var conns atomic.Int64
			c := New(Options{Dial: pipeUpstream(t, tt.answer, &conns), IdleTime: time.Minute})
			for _, step := range []struct {
				pause time.Duration
				conns int64
			}{{0, 1}, {tt.life - 1, 1}, {tt.life - 1, 1}, {tt.life, 2}} {
				time.Sleep(step.pause)
				want(t, callNow(t.Context(), c, post("http://x/", "{}")), 200, "ok")
				if n := conns.Load(); n != step.conns {
					t.Errorf("%q: %d connections after a pause of %v, want %d", tt.answer, n, step.pause, step.conns)
				}
			}
			time.Sleep(2 * time.Minute)
			if n := c.idleCount(); n != 0 || c.timer != nil {
				t.Errorf("%d connections are kept after their time, timer %v", n, c.timer)
			}
		})
	}
}

func TestCancel(t *testing.T) {
	cause := errors.New("the test's")
	for _, tt := range []struct{ name, answer string }{
		{"before the head", ""},
		{"in the head", "HTTP/1.1 200 OK\r\nConte"},
		{"in the body", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbegun"},
		{"in a chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nbegun"},
		{"a body without length", "HTTP/1.1 200 OK\r\n\r\nbegun"},
	} {
		s, c := listen(t), newClient(t, Options{})
		ctx, cancel := context.WithCancelCause(t.Context())
		got := call(ctx, c, post(s.url(), "{}"))
		cn := s.accept()
		cn.request(t)
		if tt.answer != "" {
			cn.say(t, tt.answer)
		}
		cancel(cause)
		if a := <-got; a.err == nil {
			t.Errorf("%s: the cancelled call ended well: %+v", tt.name, a)
		}
		cn.gone(t)
		s.none()
	}
}

// A cancelled call does not reach for a new connection, and one cancelled after its end spoils nothing.
func TestCancelLeavesOthersAlone(t *testing.T) {
	s, c := listen(t), newClient(t, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	got := call(ctx, c, post(s.url(), "{}"))
	cn := s.accept()
	cn.request(t)
	cn.say(t, okAnswer)
	want(t, <-got, 200, "ok")
	next := call(t.Context(), c, post(s.url(), "{}")) // on the same connection
	cn.request(t)
	cancel()
	cn.say(t, okAnswer)
	want(t, <-next, 200, "ok")

	// An answer that is here whole can be read after its call was cancelled; the connection is closed.
	ctx, cancel = context.WithCancel(t.Context())
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		cn.request(t)
		cn.say(t, okAnswer)
		cn.gone(t)
	}()
	resp, err := c.Send(ctx, post(s.url(), "{}"))
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	<-gone
	if b, err := io.ReadAll(resp.Body); string(b) != "ok" || err != nil {
		t.Errorf("got %q %v", b, err)
	}
	_ = resp.Body.Close()
	if n := c.idleCount(); n != 0 {
		t.Errorf("%d connections are kept, all are closed", n)
	}
	s.none()
}

// An upstream may answer before it has read a large body; nothing reads the body's bytes once the call is over.
func TestEarlyAnswer(t *testing.T) {
	held := &lateConn{}
	s, c := listen(t), newClient(t, Options{Dial: func(ctx context.Context, network, addr string) (_ net.Conn, err error) {
		held.Conn, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return held, err
	}})
	body := strings.Repeat("x", 64<<20) // more than any socket takes
	r := post(s.url(), body)
	s.wg.Go(func() {
		cn := s.accept()
		_, _ = cn.r.ReadByte()
		cn.say(t, "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno")
	})
	resp, err := c.Send(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(resp.Body); resp.Status != 413 || string(b) != "no" || err != nil {
		t.Errorf("got %d %q %v", resp.Status, b, err)
	}
	_ = resp.Body.Close()
	if !held.read.Load() {
		t.Error("the request's bytes are still being read")
	}
}

// A lateConn goes on with the bytes for a while after a write has failed.
type lateConn struct {
	net.Conn
	read atomic.Bool // it is done with them
}

func (c *lateConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	if err != nil {
		<-time.After(20 * time.Millisecond)
		c.read.Store(true)
	}
	return n, err
}

func TestLargeBodies(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sum, n int64
		buf := make([]byte, 1<<16)
		for {
			m, err := r.Body.Read(buf)
			for _, b := range buf[:m] {
				n++
				sum = (sum*31 + int64(b)) & 0xffffff
			}
			if err != nil {
				break
			}
		}
		_, _ = fmt.Fprintf(w, "%d %d", n, sum)
	}))
	defer srv.Close()
	c := newClient(t, Options{})
	for _, pieces := range [][]int{{0}, {oneWrite}, {oneWrite, 1}, {1, oneWrite, 0, 3}, {1 << 20, 5, 1 << 20}, {3 << 20}} {
		r := post(srv.URL, "")
		r.Body = nil
		var n, sum int64
		for i, size := range pieces {
			p := make([]byte, size)
			for j := range p {
				p[j] = byte(i + j*7)
				n++
				sum = (sum*31 + int64(p[j])) & 0xffffff
			}
			r.Body = append(r.Body, p)
		}
		for range 2 {
			want(t, callNow(t.Context(), c, r), 200, fmt.Sprintf("%d %d", n, sum))
		}
	}
}

// An answer of 100 MB passes in the memory of one read.
func TestHugeAnswers(t *testing.T) {
	const size = 100 << 20
	for _, head := range []string{fmt.Sprintf("Content-Length: %d", size), "Transfer-Encoding: chunked", "Connection: close"} {
		s, c := listen(t), newClient(t, Options{})
		s.wg.Go(func() {
			cn := s.accept()
			cn.request(t)
			cn.say(t, "HTTP/1.1 200 OK\r\n"+head+"\r\n\r\n")
			chunk := strings.Repeat("x", 1<<20)
			if strings.Contains(head, "chunked") {
				chunk = "100000\r\n" + chunk + "\r\n"
			}
			for range size >> 20 {
				cn.say(t, chunk)
			}
			if strings.Contains(head, "chunked") {
				cn.say(t, "0\r\n\r\n")
			}
			_ = cn.Conn.(*net.TCPConn).CloseWrite()
		})
		resp, err := c.Send(t.Context(), post(s.url(), "{}"))
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		if n != size || err != nil {
			t.Errorf("%s: %d bytes, %v", head, n, err)
		}
		_ = resp.Body.Close()
	}
}

// A head and a body may come byte by byte.
func TestSlowDrip(t *testing.T) {
	for _, raw := range []string{
		"HTTP/1.1 102 Processing\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-Big: " + strings.Repeat("b", 5000) + "\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nh\r\n000004;x\r\nello\r\n0\r\nT: r\r\n\r\n",
	} {
		s, c := listen(t), newClient(t, Options{})
		got := call(t.Context(), c, post(s.url(), "{}"))
		cn := s.accept()
		cn.request(t)
		for i := range len(raw) {
			cn.say(t, raw[i:i+1])
		}
		want(t, <-got, 200, "hello")
		if c.idleCount() != 1 {
			t.Error("the connection was not kept")
		}
	}
}

// Close ends a read that waits in another goroutine.
func TestCloseUnblocksRead(t *testing.T) {
	s, c := listen(t), newClient(t, Options{})
	s.wg.Go(func() {
		cn := s.accept()
		cn.request(t)
		cn.say(t, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n")
		cn.gone(t)
	})
	resp, err := c.Send(t.Context(), post(s.url(), "{}"))
	if err != nil {
		t.Fatal(err)
	}
	begun, done := make(chan struct{}), make(chan error)
	go func() {
		p := make([]byte, 8)
		_, _ = resp.Body.Read(p)
		close(begun)
		_, err := resp.Body.Read(p)
		done <- err
	}()
	<-begun
	_ = resp.Body.Close()
	if err := <-done; err == nil || err == io.EOF {
		t.Errorf("the read ended with %v", err)
	}
	if err := resp.Body.Close(); err != nil {
		t.Errorf("closed again: %v", err)
	}
}

// Many calls at once, some cancelled, some closed early: every answer is the one to its own request.
func TestManyAtOnce(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		for range 20 {
			_, _ = w.Write(b)
			_ = http.NewResponseController(w).Flush()
		}
	}))
	defer srv.Close()
	c := newClient(t, Options{MaxIdle: 4})
	done := make(chan struct{})
	for i := range 32 {
		go func() {
			defer func() { done <- struct{}{} }()
			body := fmt.Sprintf("call %d;", i)
			for j := range 30 {
				ctx, cancel := context.WithCancel(t.Context())
				resp, err := c.Send(ctx, post(srv.URL, body))
				if err != nil {
					t.Errorf("send: %v", err)
					cancel()
					return
				}
				switch j % 7 {
				case 3:
					cancel()
				case 5:
					_, _ = io.ReadFull(resp.Body, make([]byte, 30))
				default:
					if b, err := io.ReadAll(resp.Body); string(b) != strings.Repeat(body, 20) || err != nil {
						t.Errorf("%s got %q %v", body, b, err)
					}
				}
				_ = resp.Body.Close()
				cancel()
			}
		}()
	}
	for range 32 {
		<-done
	}
}

// TestCloseIdleKeepsNone: a connection that is in use when its client is replaced must not stay open after it.
func TestCloseIdleKeepsNone(t *testing.T) {
	s, c := listen(t), newClient(t, Options{})
	got := call(t.Context(), c, post(s.url(), "{}"))
	cn := s.accept()
	cn.request(t)
	c.CloseIdle()
	cn.say(t, okAnswer)
	want(t, <-got, 200, "ok")
	if n := c.idleCount(); n != 0 {
		t.Errorf("%d connections are kept", n)
	}
	cn.gone(t)
}
