package gateway

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"sluice/internal/llm"
	"sluice/internal/usage"
)

// nowhere is a ResponseWriter that keeps nothing.
type nowhere struct{ header http.Header }

func (w *nowhere) Header() http.Header         { return w.header }
func (w *nowhere) WriteHeader(int)             {}
func (w *nowhere) Write(b []byte) (int, error) { return len(b), nil }

// again is a body that can be read again.
type again struct{ strings.Reader }

func (*again) Close() error { return nil }

// one is a stream of one event.
type one struct {
	ev   llm.Event
	done bool
}

func (s *one) Next() (*llm.Event, error) {
	if s.done {
		return nil, io.EOF
	}
	s.done = true
	return &s.ev, nil
}

func (*one) Close() error { return nil }

// What a call allocates between net/http's server and the provider, with what the fakes here do: a reply, a caller, a stream.
func TestAllocations(t *testing.T) {
	h := newHouse(func(context.Context, *llm.Attempt) (llm.Stream, error) {
		return &one{ev: llm.Event{Raw: []byte(whole), Format: llm.OpenAIChat, Output: true}}, nil
	})
	h.state.Ledger = usage.New(usage.Options{Record: func(e *usage.Entry) {
		if e.Err != nil {
			t.Error(e.Err)
		}
	}})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/chat/completions", nil)
	w, b := &nowhere{make(http.Header)}, new(again)
	call := func() {
		clear(w.header)
		h.up.asked = h.up.asked[:0]
		b.Reset(ask)
		r.Body, r.ContentLength = b, int64(len(ask))
		h.ServeHTTP(w, r)
	}
	call()
	const most = 26
	if n := testing.AllocsPerRun(200, call); n > most && !racing {
		t.Errorf("%v allocations a call, want at most %d", n, most)
	}
}
