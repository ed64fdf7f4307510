package upstream

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"sluice/internal/llm"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func request(t testing.TB, base, body string) *llm.Request {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	mid := len(body) / 2
	return &llm.Request{Method: "POST", URL: u, Header: http.Header{"Content-Type": {"application/json"}}, Body: [][]byte{[]byte(body[:mid]), nil, []byte(body[mid:])}}
}

func kindOf(err error) llm.Kind {
	var e *llm.Error
	if !errors.As(err, &e) {
		return ""
	}
	return e.Kind
}

func TestSendPieces(t *testing.T) {
	body := strings.Repeat("0123456789", 10_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got, _ := io.ReadAll(r.Body)
		if string(got) != body || r.ContentLength != int64(len(body)) {
			t.Errorf("the upstream got %d bytes, Content-Length %d, want %d", len(got), r.ContentLength, len(body))
		}
		for _, name := range []string{"Accept-Encoding", "User-Agent"} {
			if v := r.Header.Get(name); strings.Contains(v, "gzip") {
				t.Errorf("%s: %q", name, v)
			}
		}
		_, _ = io.WriteString(w, "answer")
	}))
	defer srv.Close()
	tr := NewTransport(TransportOptions{AllowPrivate: loopback})
	defer tr.CloseIdle()
	for range 3 {
		resp, err := tr.Send(t.Context(), request(t, srv.URL, body))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if string(got) != "answer" || err != nil || resp.Status != 200 {
			t.Fatalf("%d %q %v", resp.Status, got, err)
		}
		_ = resp.Body.Close()
	}
}

// No spelling of a private address gets through: the check is on the address that is dialled.
func TestSendRefusesPrivateAddresses(t *testing.T) {
	var calls atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) }))
	defer srv.Close()
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	tr := NewTransport(TransportOptions{})
	for _, host := range []string{"127.0.0.1", "localhost", "127.1", "0", "0.0.0.0", "2130706433", "0x7f000001", "0177.0.0.1", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"} {
		_, err := tr.Send(t.Context(), request(t, "http://"+host+":"+port+"/v1/x", "{}"))
		if kindOf(err) != llm.KindUpstream {
			t.Errorf("%s: %v, want an upstream error", host, err)
		}
	}
	if n := calls.Load(); n != 0 {
		t.Errorf("%d connections reached a private address", n)
	}
}

func TestSendNeverFollowsRedirects(t *testing.T) {
	var hits atomic.Int64
	target := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { hits.Add(1) }))
	defer target.Close()
	srv := httptest.NewServer(http.RedirectHandler(target.URL, http.StatusTemporaryRedirect))
	defer srv.Close()
	resp, err := NewTransport(TransportOptions{AllowPrivate: loopback}).Send(t.Context(), request(t, srv.URL, "{}"))
	if err != nil || resp.Status != http.StatusTemporaryRedirect {
		t.Fatalf("%v %v", resp, err)
	}
	_ = resp.Body.Close()
	if hits.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

func TestSendErrors(t *testing.T) {
	faults := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, buf, _ := http.NewResponseController(w).Hijack()
		defer conn.Close()
		switch r.URL.Path {
		case "/garbage":
			_, _ = conn.Write([]byte("not http at all\r\n\r\n"))
		case "/bighead":
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nX-Big: %s\r\n\r\n", strings.Repeat("x", 1<<20))
		case "/manyheads":
			_, _ = buf.WriteString("HTTP/1.1 200 OK\r\n" + strings.Repeat("X-Many: 1\r\n", 10_000) + "\r\n")
			_ = buf.Flush()
		case "/short":
			_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"))
		}
	}))
	defer faults.Close()
	tr := NewTransport(TransportOptions{AllowPrivate: loopback})
	for _, u := range []string{"http://127.0.0.1:1", faults.URL + "/garbage", faults.URL + "/bighead", faults.URL + "/manyheads", faults.URL + "/reset", "http://no-such-host.invalid/"} {
		if _, err := tr.Send(t.Context(), request(t, u, "{}")); kindOf(err) != llm.KindUpstream {
			t.Errorf("%s: %v, want an upstream error", u, err)
		}
	}
	resp, err := tr.Send(t.Context(), request(t, faults.URL+"/short", "{}"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(resp.Body); kindOf(err) != llm.KindUpstream {
		t.Errorf("an answer shorter than it said: %v, want an upstream error", err)
	}
	_ = resp.Body.Close()
}

// The client's leaving ends the upstream's work at once, before and after the head of the answer.
func TestSendCancel(t *testing.T) {
	for _, path := range []string{"/before", "/after"} {
		ctx, cancel := context.WithCancel(t.Context())
		gone := make(chan struct{})
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			if r.URL.Path == "/before" {
				cancel()
			} else {
				_, _ = io.WriteString(w, "begun")
				_ = http.NewResponseController(w).Flush()
			}
			<-r.Context().Done()
			close(gone)
		}))
		tr := NewTransport(TransportOptions{AllowPrivate: loopback})
		resp, err := tr.Send(ctx, request(t, srv.URL+path, "{}"))
		if path == "/after" {
			if err != nil {
				t.Fatal(err)
			}
			cancel()
			_, err = io.ReadAll(resp.Body)
			_ = resp.Body.Close()
		}
		if kindOf(err) != llm.KindClientGone {
			t.Errorf("%s: %v, want %s", path, err, llm.KindClientGone)
		}
		<-gone // the test hangs if the upstream never hears of it
		cancel()
		srv.Close()
	}
}

func TestCauseOfCancelIsKept(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errIdle)
	_, err := NewTransport(TransportOptions{AllowPrivate: loopback}).Send(ctx, request(t, "http://127.0.0.1:1/", "{}"))
	if !errors.Is(err, errIdle) {
		t.Errorf("%v, want the cause %v", err, errIdle)
	}
}

// The bytes of a request are pooled: once the answer is closed nobody may read them any more.
func TestRequestBodyStops(t *testing.T) {
	b := newRequestBody([][]byte{[]byte("abc"), []byte("def")})
	p := make([]byte, 4)
	if n, _ := b.Read(p); string(p[:n]) != "abcd" {
		t.Fatalf("read %q", p[:n])
	}
	b.stop()
	if n, err := b.Read(p); n != 0 || err != io.EOF {
		t.Errorf("read %d bytes after stop, err %v", n, err)
	}
}

// A stream that was read to its own end leaves a connection for the next call, also when the body's end
// comes a little later; one that never ends is not waited for.
func TestConnectionsAreKept(t *testing.T) {
	var conns atomic.Int64
	end := make(chan struct{})
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(w, "data: [DONE]\n\n")
		_ = http.NewResponseController(w).Flush()
		if r.URL.Path == "/open" {
			<-end
		}
	}))
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.Start()
	defer srv.Close()
	defer close(end)
	tr := NewTransport(TransportOptions{AllowPrivate: loopback})
	defer tr.CloseIdle()
	const calls = 20
	for range calls {
		resp, err := tr.Send(t.Context(), request(t, srv.URL, "{}"))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.ReadFull(resp.Body, make([]byte, 14)) // not the body's end
		_ = resp.Body.Close()
	}
	if n := conns.Load(); n == calls { // one, but on a machine so busy that the end comes too late
		t.Errorf("%d connections for as many calls in a row", n)
	}
	resp, err := tr.Send(t.Context(), request(t, srv.URL+"/open", "{}"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadFull(resp.Body, make([]byte, 14))
	_ = resp.Body.Close() // the test hangs if this waits for the end
}

// An error before a connection stood says so, an error after it does not; whichever client was at work.
func TestNotSentIsTold(t *testing.T) {
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.EnableHTTP2 = true
	secure.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	secure.StartTLS()
	defer secure.Close()
	breaks := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, _ := http.NewResponseController(w).Hijack()
		_ = conn.Close()
	}))
	defer breaks.Close()
	tr := NewTransport(TransportOptions{AllowPrivate: loopback})
	strict := NewTransport(TransportOptions{})
	for _, tt := range []struct {
		name string
		tr   *Transport
		url  string
		want bool
	}{
		{"refused", tr, "http://127.0.0.1:1", true},
		{"no such name", tr, "http://no-such-host.invalid/", true},
		{"unknown certificate", tr, secure.URL, true},
		{"address not allowed", strict, breaks.URL, true},
		{"broke off", tr, breaks.URL, false},
	} {
		_, err := tt.tr.Send(t.Context(), request(t, tt.url, "{}"))
		if kindOf(err) != llm.KindUpstream || errors.Is(err, llm.ErrNotSent) != tt.want {
			t.Errorf("%s: %v, want ErrNotSent: %v", tt.name, err, tt.want)
		}
	}
}

// An upstream that chooses HTTP/2 gets it, from the first call on and on one connection.
func TestSendHTTP2(t *testing.T) {
	var conns atomic.Int64
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(w, "%s %d", r.Proto, len(b))
	}))
	srv.EnableHTTP2 = true
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	srv.StartTLS()
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	tr := NewTransport(TransportOptions{AllowPrivate: loopback, RootCAs: roots})
	defer tr.CloseIdle()
	for _, size := range []int{2, 500_000, 2} {
		resp, err := tr.Send(t.Context(), request(t, srv.URL, strings.Repeat("x", size)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		if want := fmt.Sprintf("HTTP/2.0 %d", size); string(got) != want || err != nil {
			t.Errorf("got %q %v, want %q", got, err, want)
		}
		_ = resp.Body.Close()
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}
