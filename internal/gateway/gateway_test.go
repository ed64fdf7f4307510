package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"sluice/internal/auth"
	"sluice/internal/catalog"
	"sluice/internal/llm"
	"sluice/internal/quota"
	"sluice/internal/route"
	"sluice/internal/upstream"
	"sluice/internal/usage"
	"sluice/internal/wire"
	"sluice/internal/wire/openai"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// identify is an Identifier.
type identify func(r *http.Request) (*auth.Who, error)

func (f identify) Identify(r *http.Request) (*auth.Who, error) { return f(r) }

// provider is an upstream that gives one reply, and keeps what it was asked.
type provider struct {
	reply func(ctx context.Context, a *llm.Attempt) (llm.Stream, error)

	asked   []string // models
	streams []*script
}

func (p *provider) Do(ctx context.Context, a *llm.Attempt) (*llm.Reply, error) {
	p.asked = append(p.asked, a.Target.Model)
	s, err := p.reply(ctx, a)
	if err != nil {
		return nil, err
	}
	if s, ok := s.(*script); ok {
		p.streams = append(p.streams, s)
	}
	return &llm.Reply{Target: a.Target, Stream: s}, nil
}

// script is a stream of prepared frames, and then err.
type script struct {
	frames []string
	err    error
	panics bool // instead of err
	closed int
}

func (s *script) Next() (*llm.Event, error) {
	if len(s.frames) == 0 {
		if s.panics {
			panic("in a stream")
		}
		return nil, s.err
	}
	frame := s.frames[0]
	s.frames = s.frames[1:]
	return &llm.Event{Raw: []byte(frame), Format: llm.OpenAIChat, Output: true, Usage: &llm.Usage{Output: llm.Tokens(7)}}, nil
}

func (s *script) Close() error { s.closed++; return nil }

const (
	ask       = `{"model":"m","messages":[{"role":"user","content":"x"}]}`
	askStream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`
	whole     = `{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"}}]}`
	frame     = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"}}]}\n\n"
	done      = "data: [DONE]\n\n"
)

// house is a gateway on fakes, with what was recorded.
type house struct {
	*Gateway
	up      *provider
	state   *State
	entries []usage.Entry
	log     bytes.Buffer
}

func newHouse(reply func(context.Context, *llm.Attempt) (llm.Stream, error)) *house {
	h := &house{up: &provider{reply: reply}}
	h.Gateway = New(Options{
		Endpoints: []Endpoint{At("/v1/chat/completions", openai.Chat)},
		Errors:    func(string) wire.Format { return openai.Chat },
		Log:       slog.New(slog.NewTextHandler(&h.log, nil)),
	})
	at := func(name, provider string, slot int) catalog.Group {
		return catalog.Group{Name: name, Deployments: []catalog.Deployment{{Weight: 1, Target: llm.Target{Provider: provider, Model: "up-m", Slot: slot}}}}
	}
	h.state = &State{
		Auth:   identify(func(*http.Request) (*auth.Who, error) { return &auth.Who{Name: "ci", Models: []string{"m*"}}, nil }),
		Router: route.New(route.Options{Catalog: catalog.New([]catalog.Group{at("m", "p", 0), at("m-lost", "nobody", 1)}, nil)}),
		Pool: upstream.NewPool(upstream.Options{
			Attempts: 1, Upstreams: map[string]upstream.Upstream{"p": {Provider: h.up}},
			Deployments: []upstream.Deployment{{Provider: "p", Model: "up-m"}, {Provider: "nobody", Model: "up-m"}},
		}),
		Ledger:  usage.New(usage.Options{Record: func(e *usage.Entry) { h.entries = append(h.entries, *e) }}),
		Limiter: quota.New(quota.Options{Store: quota.NewMemory(nil)}),
		Outputs: new(quota.Outputs),
		Price:   func(*llm.Target, time.Time) (*catalog.Price, bool) { return nil, false },
		Limits:  Limits{Body: 1000, BodyTimeout: time.Minute, BodyMinRate: 1},
	}
	h.Swap(h.state)
	return h
}

// answers gives the same frames each time.
func answers(frames ...string) func(context.Context, *llm.Attempt) (llm.Stream, error) {
	return func(context.Context, *llm.Attempt) (llm.Stream, error) {
		return &script{frames: frames, err: io.EOF}, nil
	}
}

// A client is what a call is made with.
type client struct {
	header http.Header
	body   *body
	w      http.ResponseWriter // nil: a recorder
	ctx    context.Context
}

// body is a request's, and counts.
type body struct {
	io.Reader
	reads, closed int
}

func (b *body) Read(p []byte) (int, error) { b.reads++; return b.Reader.Read(p) }
func (b *body) Close() error               { b.closed++; return nil }

func (h *house) serve(t *testing.T, c client) *httptest.ResponseRecorder {
	t.Helper()
	rec := httptest.NewRecorder()
	w := c.w
	if w == nil {
		w = rec
	}
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
	if c.ctx != nil {
		r = r.WithContext(c.ctx)
	}
	r.Body, r.ContentLength = c.body, -1
	if c.header != nil {
		r.Header = c.header
	}
	h.ServeHTTP(w, r)
	if r.Body != io.ReadCloser(c.body) {
		t.Error("the request's body is not net/http's own any more: it would reset the connection of a refused body")
	}
	return rec
}

// Every step of serve fails once. The account is recorded once, with the status that the client saw; nothing that was opened stays
// open; and no step after the failed one is reached.
func TestEachStepFails(t *testing.T) {
	refused := &llm.Error{Kind: llm.KindInvalidKey, Msg: "no"}
	for _, tt := range []struct {
		name   string
		change func(h *house, c *client)
		reply  func(context.Context, *llm.Attempt) (llm.Stream, error)
		body   string
		status int      // recorded, and told unless the client cannot be told
		kind   llm.Kind // of the recorded error; "": none
		asked  int      // calls that reach the upstream
		tells  string   // part of the answer
	}{
		{name: "nothing", status: 200, asked: 1, tells: whole},
		{name: "nothing, streamed", body: askStream, reply: answers(frame, done), status: 200, asked: 1, tells: frame + done},
		{name: "Identify", status: 401, kind: llm.KindInvalidKey, change: func(h *house, _ *client) {
			h.state.Auth = identify(func(*http.Request) (*auth.Who, error) { return nil, refused })
		}},
		{name: "Identify, its store", status: 500, kind: llm.KindInternal, change: func(h *house, _ *client) {
			h.state.Auth = identify(func(*http.Request) (*auth.Who, error) { return nil, errors.New("secret of the store") })
		}},
		{name: "deadline", status: 400, kind: llm.KindInvalid, tells: "X-Request-Timeout-Ms", change: func(_ *house, c *client) { c.header = http.Header{"X-Request-Timeout-Ms": {"soon"}} }},
		{name: "readBody, too large", status: 413, kind: llm.KindTooLarge, body: ask + strings.Repeat(" ", 1000)},
		{name: "readBody, broken off", status: 400, kind: llm.KindInvalid, change: func(_ *house, c *client) {
			c.body.Reader = io.MultiReader(strings.NewReader(ask[:5]), iotest.ErrReader(io.ErrUnexpectedEOF))
		}},
		{name: "readBody, media type", status: 415, kind: llm.KindMediaType, change: func(_ *house, c *client) { c.header = http.Header{"Content-Type": {"text/xml"}} }},
		{name: "ReadCall, scan", status: 400, kind: llm.KindInvalid, body: `{"model":"m","model":"n"}`, tells: "/model"},
		{name: "ReadCall, shape", status: 400, kind: llm.KindInvalid, body: `{"model":"m","messages":1}`, tells: "/messages"},
		{name: "Permits", status: 403, kind: llm.KindModelNotAllowed, change: func(h *house, _ *client) {
			h.state.Auth = identify(func(*http.Request) (*auth.Who, error) {
				return &auth.Who{Name: "ci", Models: []string{"*"}, Endpoints: []llm.Op{llm.OpEmbed}}, nil
			})
		}},
		{name: "Plan, not allowed", status: 403, kind: llm.KindModelNotAllowed, body: strings.Replace(ask, `"m"`, `"other"`, 1)},
		{name: "Plan, not known", status: 404, kind: llm.KindModelNotFound, body: strings.Replace(ask, `"m"`, `"m-unknown"`, 1)},
		{name: "Do, no such upstream", status: 500, kind: llm.KindInternal, body: strings.Replace(ask, `"m"`, `"m-lost"`, 1), tells: "internal error"},
		{name: "Do, refused", status: 429, kind: llm.KindRateLimited, asked: 1, reply: func(context.Context, *llm.Attempt) (llm.Stream, error) {
			return nil, &llm.Error{Kind: llm.KindRateLimited, RetryAfter: 7 * time.Second}
		}},
		{name: "Do, panic", status: 500, kind: llm.KindInternal, asked: 1, reply: func(context.Context, *llm.Attempt) (llm.Stream, error) { panic("secret") }, tells: "internal error"},
		{name: "Do, before the first output", status: 502, kind: llm.KindUpstream, asked: 1, body: askStream, reply: func(context.Context, *llm.Attempt) (llm.Stream, error) {
			return &script{err: &llm.Error{Kind: llm.KindUpstream, Msg: "broke off"}}, nil
		}},
		{name: "WriteReply, upstream breaks", status: 200, kind: llm.KindUpstream, asked: 1, body: askStream, tells: `data: {"error":`, reply: func(context.Context, *llm.Attempt) (llm.Stream, error) {
			return &script{frames: []string{frame}, err: &llm.Error{Kind: llm.KindUpstream, Msg: "broke off"}}, nil
		}},
		{name: "WriteReply, client gone", status: 200, kind: llm.KindClientGone, asked: 1, body: askStream, reply: answers(frame, frame, done), change: func(_ *house, c *client) { c.w = &gone{header: http.Header{}} }},
		{name: "WriteReply, client gone, whole", status: 200, kind: llm.KindClientGone, asked: 1, change: func(_ *house, c *client) { c.w = &gone{header: http.Header{}} }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reply, text := tt.reply, tt.body
			if reply == nil {
				reply = answers(whole)
			}
			if text == "" {
				text = ask
			}
			h := newHouse(reply)
			c := client{body: &body{Reader: strings.NewReader(text)}}
			if tt.change != nil {
				tt.change(h, &c)
			}
			rec := h.serve(t, c)
			h.check(t, tt.status, tt.kind, tt.asked)
			if c.w != nil {
				return
			}
			if rec.Code != tt.status || !strings.Contains(rec.Body.String(), tt.tells) || strings.Contains(rec.Body.String(), "secret") {
				t.Errorf("%d %s", rec.Code, rec.Body)
			}
			if id := rec.Header().Get("X-Request-Id"); id == "" || id != h.entries[0].ID {
				t.Errorf("the client was told the id %q, the account has %q", id, h.entries[0].ID)
			}
			if strings.HasPrefix(tt.name, "Identify") && c.body.reads > 0 {
				t.Error("the body was read before it was known who calls")
			}
		})
	}
}

// check looks at what was recorded, asked and left open.
func (h *house) check(t *testing.T, status int, kind llm.Kind, asked int) {
	t.Helper()
	if len(h.entries) != 1 {
		t.Fatalf("%d accounts were recorded, want 1", len(h.entries))
	}
	e := h.entries[0]
	got := llm.Kind("")
	if e.Err != nil {
		got = llm.AsError(e.Err).Kind
	}
	if e.Status != status || got != kind {
		t.Errorf("recorded %d %s (%v), want %d %s", e.Status, got, e.Err, status, kind)
	}
	if len(h.up.asked) != asked {
		t.Errorf("the upstream was asked %d times, want %d", len(h.up.asked), asked)
	}
	for _, s := range h.up.streams {
		if s.closed == 0 {
			t.Error("a stream stays open")
		}
	}
}

// gone is a client that has left: nothing can be written to it.
type gone struct{ header http.Header }

func (g *gone) Header() http.Header            { return g.header }
func (*gone) WriteHeader(int)                  {}
func (*gone) Write([]byte) (int, error)        { return 0, errors.New("broken pipe") }
func (*gone) Flush()                           {}
func (*gone) SetWriteDeadline(time.Time) error { return nil }

// What was used is counted, also of a stream that breaks.
func TestUsageIsCounted(t *testing.T) {
	h := newHouse(func(context.Context, *llm.Attempt) (llm.Stream, error) {
		return &script{frames: []string{frame, frame}, err: &llm.Error{Kind: llm.KindUpstream}}, nil
	})
	h.serve(t, client{body: &body{Reader: strings.NewReader(askStream)}})
	e := h.entries[0]
	if e.Usage.Output != llm.Tokens(7) || e.Frames != 2 || e.Key != "ci" || e.Model != "m" || e.Target.Model != "up-m" || !e.Stream {
		t.Errorf("%+v", e)
	}
}

// A panic behind the first byte ends the answer as a failure in the client's format, so that half of it is not taken for all, and
// is recorded as what it was.
func TestPanicMidStream(t *testing.T) {
	h := newHouse(func(context.Context, *llm.Attempt) (llm.Stream, error) {
		return &script{frames: []string{frame}, panics: true}, nil
	})
	rec := h.serve(t, client{body: &body{Reader: strings.NewReader(askStream)}})
	h.check(t, 200, llm.KindInternal, 1)
	got, ok := strings.CutPrefix(rec.Body.String(), frame+`data: {"error":`)
	if !ok || strings.Contains(got, "[DONE]") || strings.Contains(got, "in a stream") {
		t.Errorf("the answer ends with %s", rec.Body)
	}
	if log := h.log.String(); !strings.Contains(log, "in a stream") || !strings.Contains(log, "gateway_test.go") {
		t.Errorf("the log does not tell of it, and where it was: %s", log)
	}
}

// A call that is aborted, as net/http's own writers do it, has its account closed.
func TestAbort(t *testing.T) {
	h := newHouse(func(context.Context, *llm.Attempt) (llm.Stream, error) { panic(http.ErrAbortHandler) })
	func() {
		defer func() {
			if p := recover(); p != http.ErrAbortHandler { //nolint:errorlint // net/http compares it so
				t.Errorf("ends with %v", p)
			}
		}()
		h.serve(t, client{body: &body{Reader: strings.NewReader(ask)}})
	}()
	if len(h.entries) != 1 {
		t.Errorf("%d entries recorded", len(h.entries))
	}
}

// A client that leaves before the answer is recorded as gone, and its call is cancelled; one that is too slow is told so.
func TestClientLeaves(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	h := newHouse(func(ctx context.Context, _ *llm.Attempt) (llm.Stream, error) {
		leave()
		<-ctx.Done()
		return nil, &llm.Error{Kind: llm.KindClientGone, Err: ctx.Err()}
	})
	h.serve(t, client{ctx: ctx, body: &body{Reader: strings.NewReader(ask)}})
	h.check(t, 499, llm.KindClientGone, 1)

	ctx, cut := context.WithCancel(t.Context())
	h = newHouse(answers(whole))
	h.serve(t, client{ctx: ctx, body: &body{Reader: readerFunc(func([]byte) (int, error) {
		cut() // net/http ends the context of a request whose body breaks
		return 0, io.ErrUnexpectedEOF
	})}})
	h.check(t, 400, llm.KindInvalid, 0)
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// The client's own deadline reaches the provider, with a cause of its own.
func TestDeadlineReachesTheProvider(t *testing.T) {
	h := newHouse(func(ctx context.Context, _ *llm.Attempt) (llm.Stream, error) {
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	rec := h.serve(t, client{header: http.Header{"X-Request-Timeout-Ms": {"20"}}, body: &body{Reader: strings.NewReader(ask)}})
	h.check(t, 504, llm.KindUpstreamTimeout, 1)
	if !strings.Contains(rec.Body.String(), "X-Request-Timeout-Ms") {
		t.Errorf("the client is not told whose deadline it was: %s", rec.Body)
	}
	var known llm.Load
	if h.state.Pool.Load(&llm.Target{Provider: "p", Model: "up-m"}, time.Now(), &known); known.Failing != 0 {
		t.Error("a client's deadline is held against the upstream")
	}
}

// A call ends with the state that it began with, whatever is swapped in while it runs.
func TestOneStateForTheWholeCall(t *testing.T) {
	entered, swapped := make(chan struct{}), make(chan struct{})
	h := newHouse(func(context.Context, *llm.Attempt) (llm.Stream, error) {
		close(entered)
		<-swapped
		return &script{frames: []string{frame, done}, err: io.EOF}, nil
	})
	ended := make(chan *httptest.ResponseRecorder, 1)
	go func() { ended <- h.serve(t, client{body: &body{Reader: strings.NewReader(askStream)}}) }()
	<-entered
	other := 0
	next := *h.state
	next.Ledger = usage.New(usage.Options{Record: func(*usage.Entry) { other++ }})
	if old := h.Swap(&next); old != h.state {
		t.Error("Swap does not give the state before")
	}
	close(swapped)
	if rec := <-ended; rec.Code != 200 || rec.Body.String() != frame+done {
		t.Errorf("%d %s", rec.Code, rec.Body)
	}
	if len(h.entries) != 1 || other != 0 {
		t.Errorf("recorded %d times by the ledger it began with, %d times by another", len(h.entries), other)
	}
}

// Before there is a state, and when load balancers are not to send more.
func TestReady(t *testing.T) {
	g := New(Options{Endpoints: []Endpoint{At("/v1/chat/completions", openai.Chat)}, Errors: func(string) wire.Format { return openai.Chat }})
	get := func(method, path string) int {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(method, path, strings.NewReader(ask)))
		return w.Code
	}
	g.SetReady(true)
	if a, b, c := get("GET", "/ready"), get("GET", "/health"), get("POST", "/v1/chat/completions"); a != 503 || b != 200 || c != 503 {
		t.Errorf("without a state: ready %d, health %d, a call %d", a, b, c)
	}
	g.Swap(newHouse(answers(whole)).state)
	if a := get("GET", "/ready"); a != 200 {
		t.Errorf("ready: %d", a)
	}
	g.SetReady(false)
	if a, b, c := get("GET", "/ready"), get("GET", "/health"), get("POST", "/v1/chat/completions"); a != 503 || b != 200 || c != 200 {
		t.Errorf("not ready: ready %d, health %d, a call that comes all the same %d", a, b, c)
	}
}

// One spelling of a path, its methods, and nothing else.
func TestPaths(t *testing.T) {
	h := newHouse(answers(whole))
	for _, tt := range []struct {
		method, path string
		want         int
		allow        string
	}{
		{"POST", "/v1/chat/completions", 200, ""},
		{"GET", "/v1/chat/completions", 405, "POST"},
		{"PUT", "/health", 405, "GET"},
		{"POST", "/v1/chat/completions/", 404, ""},
		{"POST", "//v1/chat/completions", 404, ""},
		{"POST", "/v1/../v1/chat/completions", 404, ""},
		{"POST", "/v1/./chat/completions", 404, ""},
		{"POST", "/v1/chat/completions/..", 404, ""},
		{"POST", "/V1/chat/completions", 404, ""},
		{"POST", "/nothing", 404, ""},
	} {
		r := httptest.NewRequest(tt.method, "/", strings.NewReader(ask))
		r.URL = &url.URL{Path: tt.path}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != tt.want || w.Header().Get("Allow") != tt.allow {
			t.Errorf("%s %s: %d, Allow %q", tt.method, tt.path, w.Code, w.Header().Get("Allow"))
		}
	}
	if len(h.entries) != 1 {
		t.Errorf("%d accounts for one call", len(h.entries))
	}
}

// A request whose end two servers may see in two places is answered and its connection closed.
func TestAmbiguousRequestsCloseTheConnection(t *testing.T) {
	h := newHouse(answers(whole))
	for _, tt := range []struct {
		name   string
		change func(*http.Request)
		want   string
	}{
		{"with a length", func(*http.Request) {}, ""},
		{"chunked", func(r *http.Request) { r.TransferEncoding = []string{"chunked"} }, "close"},
		{"HTTP/1.0", func(r *http.Request) { r.Proto, r.ProtoMinor = "HTTP/1.0", 0 }, "close"},
		{"HTTP/2", func(r *http.Request) { r.Proto, r.ProtoMajor, r.ProtoMinor = "HTTP/2.0", 2, 0 }, ""},
	} {
		r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(ask))
		tt.change(r)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Connection"); w.Code != 200 || got != tt.want {
			t.Errorf("%s: %d, Connection %q, want %q", tt.name, w.Code, got, tt.want)
		}
	}
}

// What there is to list is what the key may use.
func TestList(t *testing.T) {
	h := newHouse(answers(whole))
	write := func(_ *http.Request, names []string, one bool) []byte {
		b, _ := json.Marshal(map[string]any{"names": names, "one": one})
		return b
	}
	g := New(Options{Errors: func(string) wire.Format { return openai.Chat }, Lists: []List{
		{Path: "/v1/models", Errors: openai.Chat, Write: write}, {Path: "/v1/models/{rest...}", Errors: openai.Chat, Write: write},
	}})
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		g.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if status, _ := get("/v1/models"); status != 503 {
		t.Errorf("without a state: %d", status)
	}
	who := &auth.Who{Models: []string{"m"}}
	var err error
	h.state.Auth = identify(func(*http.Request) (*auth.Who, error) { return who, err })
	g.Swap(h.state)
	for _, tt := range []struct {
		path   string
		status int
		want   string
	}{
		{"/v1/models", 200, `{"names":["m"],"one":false}`},
		{"/v1/models/m", 200, `{"names":["m"],"one":true}`},
		{"/v1/models/m-lost", 404, ""},
		{"/v1/models/nothing", 404, ""},
	} {
		status, got := get(tt.path)
		if status != tt.status || tt.want != "" && got != tt.want {
			t.Errorf("%s: %d %s", tt.path, status, cmp.Diff(tt.want, got))
		}
	}
	who, err = nil, &llm.Error{Kind: llm.KindInvalidKey}
	if status, _ := get("/v1/models"); status != 401 {
		t.Errorf("without a key: %d", status)
	}
	if len(h.entries) != 0 || len(h.up.asked) != 0 {
		t.Error("a list is no call")
	}
}
