package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"sluice/internal/llm"
)

// plainFormat is a format whose frames are lines.
type plainFormat struct{ other }

type other = interface {
	llm.Codec
	Shape() *Shape
	Open(*llm.Call, *http.Request, *Scanned) error
}

func (plainFormat) Format() llm.Format { return "plain" }
func (plainFormat) Answer(_ *llm.Call, a *llm.Answer) ([]byte, error) {
	return []byte("answer:" + a.Choices[0].Parts[0].Text), nil
}
func (plainFormat) Writer(*llm.Call) Writer { return plainWriter{} }
func (plainFormat) Error(e *llm.Error, id string) (int, []byte) {
	return Status(e), []byte(string(e.Kind) + " " + id)
}

type plainWriter struct{}

func (plainWriter) ContentType() string { return "text/plain" }
func (plainWriter) Verbatim() bool      { return true }
func (plainWriter) Event(dst []byte, ev *llm.Event) ([]byte, error) {
	for _, d := range ev.Delta {
		if d.Part.Text == "bad" {
			return nil, errors.New("cannot be said")
		}
		dst = append(append(dst, "enc:"...), d.Part.Text...)
	}
	return dst, nil
}
func (plainWriter) End(dst []byte) []byte { return append(dst, "|end"...) }
func (plainWriter) Fail(dst []byte, e *llm.Error, id string, raw bool) []byte {
	return fmt.Appendf(dst, "|fail %s %s %v", e.Kind, id, raw)
}
func (plainWriter) Passed(*llm.Event) {}
func (plainWriter) Cut(dst []byte, e *llm.Error, id string) []byte {
	return fmt.Appendf(dst, "|cut %s %s", e.Kind, id)
}
func (plainWriter) Ping(dst []byte) []byte { return append(dst, "|ping"...) }

// steps is a stream: events, delays and an error.
type steps []any

func (s *steps) Next() (*llm.Event, error) {
	for len(*s) > 0 {
		step := (*s)[0]
		*s = (*s)[1:]
		switch step := step.(type) {
		case *llm.Event:
			return step, nil
		case time.Duration:
			time.Sleep(step) // on synctest's clock
		case error:
			return nil, step
		}
	}
	return nil, io.EOF
}
func (*steps) Close() error { return nil }

func raw(s string) *llm.Event { return &llm.Event{Raw: []byte(s), Format: "plain"} }
func text(s string) *llm.Event {
	return &llm.Event{Delta: []llm.Delta{{Part: &llm.Part{Text: s}}}}
}
func asked(ev *llm.Event) *llm.Event { ev.Asked = true; return ev }
func more(ev *llm.Event) *llm.Event  { ev.More = true; return ev }

// A recorder counts flushes and can refuse to write.
type recorder struct {
	*httptest.ResponseRecorder
	flushes   int
	failAfter int // writes; 0: never
	writes    int
	deadlines int
}

func (r *recorder) FlushError() error { r.flushes++; return nil }
func (r *recorder) Write(p []byte) (int, error) {
	r.writes++
	if r.failAfter > 0 && r.writes > r.failAfter {
		return 0, errors.New("broken pipe")
	}
	return r.ResponseRecorder.Write(p)
}
func (r *recorder) SetWriteDeadline(time.Time) error { r.deadlines++; return nil }

func TestWriteStream(t *testing.T) {
	boom := &llm.Error{Kind: llm.KindUpstream, Msg: "boom"}
	for _, c := range []struct {
		name      string
		steps     steps
		decoded   bool
		wantUsage bool
		gone      bool
		failAfter int
		body      string
		kind      llm.Kind
		flushes   int
	}{
		{name: "raw frames pass as they came, without an end of ours", steps: steps{raw("a"), raw("b")}, body: "ab", flushes: 3},
		{name: "decoded frames are encoded and ended", decoded: true, steps: steps{text("a"), text("b")}, body: "enc:aenc:b|end", flushes: 3},
		{name: "decoded though it has raw bytes", decoded: true, steps: steps{&llm.Event{Raw: []byte("x"), Format: "plain", Delta: text("a").Delta}}, body: "enc:a|end", flushes: 2},
		{name: "raw bytes of another format are not written", steps: steps{&llm.Event{Raw: []byte("x"), Format: "other", Delta: text("a").Delta}}, body: "enc:a|end", flushes: 2},
		{name: "another format that breaks", steps: steps{text("a"), boom}, body: "enc:a|fail upstream_error req_1 false", kind: llm.KindUpstream, flushes: 2},
		{name: "an answer of nothing", steps: steps{}, body: "|end", flushes: 1},
		{name: "no flush while more waits", steps: steps{more(raw("a")), more(raw("b")), raw("c")}, body: "abc", flushes: 2},
		{name: "usage that only we asked for is withheld", steps: steps{raw("a"), asked(raw("usage"))}, body: "a", flushes: 2},
		{name: "usage that the client asked for, too", wantUsage: true, steps: steps{raw("a"), asked(raw("usage"))}, body: "ausage", flushes: 3},
		{name: "broken upstream", steps: steps{raw("a"), boom}, body: "a|fail upstream_error req_1 true", kind: llm.KindUpstream, flushes: 2},
		{name: "broken upstream, decoded", decoded: true, steps: steps{text("a"), boom}, body: "enc:a|fail upstream_error req_1 false", kind: llm.KindUpstream, flushes: 2},
		{name: "a budget that is used up", steps: steps{raw("a"), &llm.Error{Kind: llm.KindBudget}}, body: "a|cut budget_exceeded req_1", kind: llm.KindBudget, flushes: 2},
		{name: "a budget that is used up, decoded", decoded: true, steps: steps{text("a"), &llm.Error{Kind: llm.KindBudget}}, body: "enc:a|cut budget_exceeded req_1", kind: llm.KindBudget, flushes: 2},
		{name: "a budget of which nothing is known", steps: steps{raw("a"), &llm.Error{Kind: llm.KindBudgetUnknown}}, body: "a|fail budget_unavailable req_1 true", kind: llm.KindBudgetUnknown, flushes: 2},
		{name: "unmarked error tells nothing", steps: steps{raw("a"), errors.New("secret")}, body: "a|fail internal req_1 true", kind: llm.KindInternal, flushes: 2},
		{name: "event that cannot be encoded", decoded: true, steps: steps{text("a"), text("bad")}, body: "enc:a|fail internal req_1 false", kind: llm.KindInternal, flushes: 2},
		{name: "client gone", gone: true, steps: steps{raw("a"), boom}, body: "a", kind: llm.KindClientGone, flushes: 1},
		{name: "client does not take it", failAfter: 1, steps: steps{raw("a"), raw("b"), raw("c")}, body: "a", kind: llm.KindClientGone, flushes: 1},
		{name: "silence is filled", steps: steps{raw("a"), 40 * time.Second, raw("b")}, body: "a|ping|pingb", flushes: 5},
		{name: "a busy stream has no pings", steps: steps{raw("a"), 10 * time.Second, raw("b"), 10 * time.Second, raw("c")}, body: "abc", flushes: 4},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				if c.gone {
					cancel()
				}
				w := &recorder{ResponseRecorder: httptest.NewRecorder(), failAfter: c.failAfter}
				call := &llm.Call{ID: "req_1", Format: "plain", Stream: true, WantUsage: c.wantUsage}
				out, err := WriteReply(ctx, w, plainFormat{}, call, &llm.Reply{Stream: &c.steps}, !c.decoded, WriteLimits{KeepAlive: 15 * time.Second, Stall: time.Minute})
				if got := w.Body.String(); got != c.body {
					t.Errorf("body %q, want %q", got, c.body)
				}
				if c.kind == "" && err != nil || c.kind != "" && llm.AsError(err).Kind != c.kind {
					t.Errorf("error %v, want %q", err, c.kind)
				}
				if w.flushes != c.flushes {
					t.Errorf("%d flushes, want %d", w.flushes, c.flushes)
				}
				if out.Bytes != int64(len(c.body)) || out.Began.IsZero() {
					t.Errorf("written %+v, want %d bytes and a beginning", out, len(c.body))
				}
				if w.deadlines == 0 {
					t.Error("no write deadline: a client that does not read holds the call for ever")
				}
				if ct := w.Header().Get("Content-Type"); ct != "text/plain" {
					t.Errorf("Content-Type %q", ct)
				}
			})
		})
	}
}

func TestWriteWhole(t *testing.T) {
	for name, c := range map[string]struct {
		steps steps
		raw   bool
		body  string
	}{
		"raw":     {steps{raw("as it came")}, true, "as it came"},
		"decoded": {steps{text("a"), text("b")}, false, "answer:ab"},
	} {
		w := httptest.NewRecorder()
		_, err := WriteReply(t.Context(), w, plainFormat{}, &llm.Call{Format: "plain"}, &llm.Reply{Stream: &c.steps}, c.raw, WriteLimits{})
		if err != nil || w.Body.String() != c.body {
			t.Errorf("%s: %q %v", name, w.Body.String(), err)
		}
	}
	w := httptest.NewRecorder()
	out, err := WriteReply(t.Context(), w, plainFormat{}, &llm.Call{}, &llm.Reply{Stream: &steps{errors.New("x")}}, true, WriteLimits{})
	if err == nil || !out.Began.IsZero() || w.Body.Len() != 0 {
		t.Errorf("a failure before the first byte was written: %q %+v %v", w.Body.String(), out, err)
	}
}

// TestWholeLength: a client is told how long an answer is, by us or by net/http.
func TestWholeLength(t *testing.T) {
	for _, h2 := range []bool{false, true} {
		var body string
		srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			reply := &llm.Reply{Stream: &steps{raw(body)}}
			if _, err := WriteReply(r.Context(), w, plainFormat{}, &llm.Call{Format: "plain"}, reply, true, WriteLimits{}); err != nil {
				t.Error(err)
			}
		}))
		srv.EnableHTTP2 = h2
		srv.StartTLS()
		for _, n := range []int{1, shortBody, shortBody + 1, 10 * shortBody} {
			body = strings.Repeat("x", n)
			resp, err := srv.Client().Get(srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || string(got) != body || resp.ContentLength != int64(n) || resp.ProtoAtLeast(2, 0) != h2 {
				t.Errorf("%s, %d bytes: %d came, a length of %d was told, error %v", resp.Proto, n, len(got), resp.ContentLength, err)
			}
		}
		srv.Close()
	}
}

func TestWriteError(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		retry  string
	}{
		{&llm.Error{Kind: llm.KindRateLimited, RetryAfter: 1500 * time.Millisecond}, 429, "2"},
		{&llm.Error{Kind: llm.KindRateLimited}, 429, "1"},
		{&llm.Error{Kind: llm.KindOverloaded}, 503, "1"},
		{&llm.Error{Kind: llm.KindInvalid}, 400, ""},
		{errors.New("x"), 500, ""},
	} {
		w := httptest.NewRecorder()
		status := WriteError(w, plainFormat{}, c.err, "req_1")
		if status != c.status || w.Code != c.status || w.Header().Get("Retry-After") != c.retry || w.Header().Get("Content-Type") != "application/problem+json" {
			t.Errorf("%v: %d %v, want %d and Retry-After %q", c.err, w.Code, w.Header(), c.status, c.retry)
		}
	}
}

// A raw frame costs nothing: no copy, no allocation.
func TestRawFrameAllocations(t *testing.T) {
	ev := raw(strings.Repeat("x", 200))
	w := &discard{h: http.Header{}}
	s := &stream{w: w, rc: http.NewResponseController(w), enc: plainWriter{}, call: &llm.Call{Format: "plain"}, lim: WriteLimits{KeepAlive: time.Minute, Stall: time.Minute}, may: true}
	if n := testing.AllocsPerRun(500, func() { _ = s.event(ev) }); n != 0 {
		t.Errorf("%v allocations a frame, want 0", n)
	}
}

type discard struct {
	h http.Header
	bytes.Buffer
}

func (d *discard) Header() http.Header              { return d.h }
func (d *discard) WriteHeader(int)                  {}
func (d *discard) Write(p []byte) (int, error)      { return len(p), nil }
func (d *discard) FlushError() error                { return nil }
func (d *discard) SetWriteDeadline(time.Time) error { return nil }
