package h1

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"sluice/internal/llm"
)

// counted starts a server that counts its connections and the TLS sessions that were resumed.
func counted(t *testing.T, start func(*httptest.Server)) (srv *httptest.Server, conns, resumed *atomic.Int64) {
	t.Helper()
	conns, resumed = new(atomic.Int64), new(atomic.Int64)
	srv = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		if r.TLS != nil && r.TLS.DidResume {
			resumed.Add(1)
		}
		_, _ = fmt.Fprintf(w, "%s %d", r.Proto, len(b))
	}))
	srv.Config.ErrorLog = discardLog
	srv.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			conns.Add(1)
		}
	}
	start(srv)
	t.Cleanup(srv.Close)
	return srv, conns, resumed
}

func trust(servers ...*httptest.Server) *tls.Config {
	pool := x509.NewCertPool()
	for _, s := range servers {
		if s.Certificate() != nil {
			pool.AddCert(s.Certificate())
		}
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, ClientSessionCache: tls.NewLRUClientSessionCache(8)}
}

func TestTLS(t *testing.T) {
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		srv, conns, resumed := counted(t, func(s *httptest.Server) {
			s.TLS = &tls.Config{MaxVersion: version, NextProtos: []string{"http/1.1"}}
			s.StartTLS()
		})
		c := newClient(t, Options{TLS: trust(srv)})
		for _, size := range []int{0, 5, 300_000, 5} {
			want(t, callNow(t.Context(), c, post(srv.URL, strings.Repeat("x", size))), 200, fmt.Sprintf("HTTP/1.1 %d", size))
		}
		if n := conns.Load(); n != 1 {
			t.Errorf("%d connections for 4 calls in a row", n)
		}
		c.CloseIdle()
		want(t, callNow(t.Context(), c, post(srv.URL, "again")), 200, "HTTP/1.1 5")
		if conns.Load() != 2 || resumed.Load() != 1 {
			t.Errorf("%d connections, %d calls on a resumed session, want 2 and 1", conns.Load(), resumed.Load())
		}
		// What the peer closes while it is idle is seen through TLS.
		srv.CloseClientConnections()
		want(t, callNow(t.Context(), c, post(srv.URL, "again")), 200, "HTTP/1.1 5")
	}
}

// Failures before a connection stands are told apart: nothing was sent.
func TestNotConnected(t *testing.T) {
	plain, _, _ := counted(t, (*httptest.Server).Start)
	secure, _, _ := counted(t, (*httptest.Server).StartTLS)
	mute := listen(t) // takes connections and says nothing
	for name, tt := range map[string]struct {
		url string
		o   Options
	}{
		"refused":             {"http://127.0.0.1:1/", Options{}},
		"unknown certificate": {secure.URL, Options{}},
		"no TLS there":        {strings.Replace(plain.URL, "http:", "https:", 1), Options{}},
		"silent TLS":          {strings.Replace(mute.url(), "http:", "https:", 1), Options{Handshake: 20 * time.Millisecond}},
		"no such name":        {"http://no-such-host.invalid/", Options{}},
		"proxy refused":       {secure.URL, Options{Proxy: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}},
		"proxy without host":  {secure.URL, Options{Proxy: &url.URL{Scheme: "http"}}},
		"silent proxy":        {secure.URL, Options{Handshake: 20 * time.Millisecond, Proxy: &url.URL{Scheme: "http", Host: mute.Addr().String()}}},
		"proxy without TLS":   {secure.URL, Options{Proxy: &url.URL{Scheme: "https", Host: plain.Listener.Addr().String()}}},
	} {
		if a := callNow(t.Context(), newClient(t, tt.o), post(tt.url, "{}")); !errors.Is(a.err, llm.ErrNotSent) {
			t.Errorf("%s: %v, want one of %v", name, a.err, llm.ErrNotSent)
		}
	}
}

func TestHTTP2IsHandedOver(t *testing.T) {
	srv, conns, _ := counted(t, func(s *httptest.Server) {
		s.EnableHTTP2 = true
		s.StartTLS()
	})
	c := newClient(t, Options{TLS: trust(srv)})
	std := &http.Transport{DialTLSContext: c.DialTLS, ForceAttemptHTTP2: true}
	defer std.CloseIdleConnections()
	for range 3 {
		if _, err := c.Send(t.Context(), post(srv.URL, "{}")); err != ErrHTTP2 { //nolint:errorlint // it comes as it is
			t.Fatalf("got %v, want %v", err, ErrHTTP2)
		}
		resp, err := (&http.Client{Transport: std}).Post(srv.URL, "text/plain", strings.NewReader("hello"))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if string(b) != "HTTP/2.0 5" {
			t.Errorf("got %q", b)
		}
	}
	if n := conns.Load(); n != 1 {
		t.Errorf("%d connections, want the one on which it came out", n)
	}

	// An upstream that goes back to HTTP/1.1 gets its requests from this client again.
	std.CloseIdleConnections()
	srv.TLS.NextProtos = []string{"http/1.1"}
	c.CloseIdle()
	resp, err := (&http.Client{Transport: std}).Post(srv.URL, "text/plain", strings.NewReader("hello"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	want(t, callNow(t.Context(), c, post(srv.URL, "again")), 200, "HTTP/1.1 5")
}

// A forwarder is a proxy that takes CONNECT and absolute addresses, and notes what it was asked.
type forwarder struct {
	asked  chan string
	status int // of its answer to CONNECT
	tail   string
}

func (f *forwarder) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.asked <- fmt.Sprintf("%s %s %s auth=%q", r.Method, r.RequestURI, r.Host, r.Header.Get("Proxy-Authorization"))
	if r.Method != http.MethodConnect {
		_, _ = io.WriteString(w, "from the proxy")
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	if f.status != 200 {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno", f.status)
		return
	}
	up, err := net.Dial("tcp", r.Host)
	if err != nil {
		panic(err)
	}
	defer up.Close()
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\nContent-Length: 7\r\n\r\n"+f.tail)
	go func() {
		_, _ = io.Copy(up, conn)
		_ = up.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(conn, up)
}

func TestProxies(t *testing.T) {
	secure, _, _ := counted(t, (*httptest.Server).StartTLS)
	secureHost := strings.TrimPrefix(secure.URL, "https://")
	const auth = `auth="Basic dXNlcjpwYXNzIHdvcmQ="`
	for _, scheme := range []string{"http", "https"} {
		f := &forwarder{asked: make(chan string, 10), status: 200}
		proxy := httptest.NewUnstartedServer(f)
		proxy.Config.ErrorLog = discardLog
		if scheme == "https" {
			proxy.StartTLS()
		} else {
			proxy.Start()
		}
		o := Options{
			TLS: trust(secure, proxy), Handshake: wait,
			Proxy: &url.URL{Scheme: scheme, Host: proxy.Listener.Addr().String(), User: url.UserPassword("user", "pass word")},
		}
		c := newClient(t, o)
		for range 2 {
			want(t, callNow(t.Context(), c, post(secure.URL, "{}")), 200, "HTTP/1.1 2")
		}
		if got, want := <-f.asked, "CONNECT "+secureHost+" "+secureHost+" "+auth; got != want {
			t.Errorf("the proxy was asked %q, want %q", got, want)
		}
		for range 2 {
			want(t, callNow(t.Context(), c, post("http://upstream.invalid/v1?a=b", "{}")), 200, "from the proxy")
			if got, want := <-f.asked, "POST http://upstream.invalid/v1?a=b upstream.invalid "+auth; got != want {
				t.Errorf("the proxy was asked %q, want %q", got, want)
			}
		}
		if n := len(f.asked); n != 0 {
			t.Errorf("%d more questions: a tunnel was not used again", n)
		}
		for status, tail := range map[int]string{407: "", 502: "", 200: "HTTP/1.1 200 OK\r\n\r\n"} {
			f.status, f.tail = status, tail
			a := callNow(t.Context(), newClient(t, o), post(secure.URL, "{}"))
			if !errors.Is(a.err, llm.ErrNotSent) || strings.Contains(a.err.Error(), "pass") {
				t.Errorf("CONNECT answered with %d: %v", status, a.err)
			}
			<-f.asked
		}
		c.CloseIdle()
		proxy.Close()
	}
}

// A call that is cancelled while the proxy is silent ends at once.
func TestCancelWhileConnecting(t *testing.T) {
	s := listen(t)
	c := newClient(t, Options{Handshake: wait, Proxy: &url.URL{Scheme: "http", Host: s.Addr().String()}})
	ctx, cancel := context.WithCancel(t.Context())
	got := call(ctx, c, post("https://upstream.invalid/", "{}"))
	cn := s.accept()
	if _, err := cn.r.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	cancel()
	if a := <-got; !errors.Is(a.err, context.Canceled) {
		t.Errorf("got %v, want %v", a.err, context.Canceled)
	}
	cn.gone(t)
}
