package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"sluice/internal/auth"
	"sluice/internal/cache"
)

// hitter gives a func that makes a call which the cache answers.
func hitter(tb testing.TB) func() {
	tb.Helper()
	s := newShelf(tb, kept, keptFlow)
	who := &auth.Who{Name: "k", Org: "o", Models: []string{"m*"}}
	s.state.Auth = identify(func(*http.Request) (*auth.Who, error) { return who, nil })
	s.state.CacheRules.TTL = time.Hour
	ctx, cancel := context.WithCancel(tb.Context())
	tb.Cleanup(cancel)
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", nil)
	w, b := &nowhere{make(http.Header)}, new(again)
	call := func() {
		clear(w.header)
		h := s.house
		h.up.asked, h.entries = h.up.asked[:0], h.entries[:0]
		b.Reset(ask)
		r.Body, r.ContentLength = io.NopCloser(b), int64(len(ask))
		h.ServeHTTP(w, r)
	}
	call()
	s.state.Cache.Close()
	call()
	if got := w.header.Get("X-Sluice-Cache"); got != string(cache.Hit) {
		tb.Fatalf("a %s", got)
	}
	return call
}

// What a hit allocates between net/http's server and the client.
func TestHitAllocations(t *testing.T) {
	const most = 75
	if n := testing.AllocsPerRun(200, hitter(t)); n > most && !racing {
		t.Errorf("%v allocations a hit, want at most %d", n, most)
	}
}

// BenchmarkHit is a small call that the cache in memory answers.
func BenchmarkHit(b *testing.B) {
	call := hitter(b)
	b.ReportAllocs()
	for b.Loop() {
		call()
	}
}
