package upstream

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"sluice/internal/llm"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		name string
		err  error
		want class
	}{
		{"nothing", nil, classNone},
		{"refused credential", &llm.Error{Kind: llm.KindUpstreamCreds}, classCredential},
		{"rate limit", &llm.Error{Kind: llm.KindRateLimited, RetryAfter: time.Second}, classLimited},
		{"overloaded", &llm.Error{Kind: llm.KindOverloaded}, classTransient},
		{"server error", &llm.Error{Kind: llm.KindUpstream}, classTransient},
		{"server error, wrapped", fmt.Errorf("call: %w", &llm.Error{Kind: llm.KindUpstream}), classTransient},
		{"gateway timeout", &llm.Error{Kind: llm.KindUpstreamTimeout}, classTransient},
		{"no first output", errFirst, classTransient},
		{"silence", errIdle, classTransient},
		{"too long in all", errTotal, classTransient},
		{"own deadline", ErrDeadline, classOwn},
		{"own deadline, wrapped", fmt.Errorf("call: %w", ErrDeadline), classOwn},
		{"marked as not sent", &llm.Error{Kind: llm.KindUpstream, Err: fmt.Errorf("%w: refused", llm.ErrNotSent)}, classConnect},
		{"no such host", &llm.Error{Kind: llm.KindUpstream, Err: &net.DNSError{Err: "no such host", IsNotFound: true}}, classConnect},
		{"dial in time", &llm.Error{Kind: llm.KindUpstreamTimeout, Err: &net.OpError{Op: "dial", Err: errors.New("i/o timeout")}}, classConnect},
		{"proxy", &llm.Error{Kind: llm.KindUpstream, Err: &net.OpError{Op: "proxyconnect", Err: errors.New("refused")}}, classConnect},
		{"broken while read", &llm.Error{Kind: llm.KindUpstream, Err: &net.OpError{Op: "read", Err: errors.New("reset")}}, classTransient},
		{"member", &llm.Error{Kind: llm.KindUnsupported}, classUnsupported},
		{"context", &llm.Error{Kind: llm.KindContextLength}, classContext},
		{"content", &llm.Error{Kind: llm.KindContentFiltered}, classContent},
		{"client left", &llm.Error{Kind: llm.KindClientGone, Err: context.Canceled}, classGone},
		{"bad request", &llm.Error{Kind: llm.KindInvalid, Status: 422}, classFinal},
		{"no model", &llm.Error{Kind: llm.KindModelNotFound}, classFinal},
		{"too large", &llm.Error{Kind: llm.KindTooLarge}, classFinal},
		{"nobody's", errors.New("nil pointer"), classFinal},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := classify(c.err); got != c.want {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

// TestClassifyTransport: what net/http's client really says.
func TestClassifyTransport(t *testing.T) {
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		c, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			c.Close()
		}
	}))
	defer plain.Close()
	secure := httptest.NewUnstartedServer(http.NotFoundHandler())
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	silent := listen(t)

	for _, c := range []struct {
		name, url string
		want      class
	}{
		{"refused", "http://127.0.0.1:1", classConnect},
		{"unknown authority", secure.URL, classConnect},
		{"no TLS there", strings.Replace(plain.URL, "http:", "https:", 1), classConnect},
		{"handshake takes too long", "https://" + silent.Addr().String(), classConnect},
		{"cut after the request", plain.URL, classTransient},
	} {
		t.Run(c.name, func(t *testing.T) {
			tr := NewTransport(TransportOptions{TLS: 50 * time.Millisecond, AllowPrivate: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
			defer tr.CloseIdle()
			to, err := url.Parse(c.url)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := tr.Send(t.Context(), &llm.Request{Method: http.MethodPost, URL: to, Header: http.Header{}, Body: [][]byte{[]byte("{}")}})
			if err == nil {
				resp.Body.Close()
			}
			if got := classify(err); got != c.want {
				t.Errorf("got %v, want %v: %v", got, c.want, err)
			}
		})
	}
}

// listen takes connections and says nothing.
func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}
