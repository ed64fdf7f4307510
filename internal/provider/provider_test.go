package provider

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
)

// A fake upstream gives one answer, and tells what became of its body.
type fake struct {
	status int
	header http.Header
	body   io.Reader
	err    error

	closed int
}

func (f *fake) Send(context.Context, *llm.Request) (*llm.Response, error) {
	if f.err != nil {
		return nil, f.err
	}
	return &llm.Response{Status: f.status, Header: f.header, Body: f}, nil
}

func (f *fake) Read(p []byte) (int, error) { return f.body.Read(p) }
func (f *fake) Close() error               { f.closed++; return nil }

func attempt(t testing.TB, f wire.Format, body string) *llm.Attempt {
	t.Helper()
	call, err := wire.ReadCall(f, &http.Request{URL: &url.URL{}, Header: http.Header{}}, []byte(body), "req_1")
	if err != nil {
		t.Fatalf("%v %+v", err, llm.AsError(err).Problems)
	}
	return &llm.Attempt{Call: call, Target: llm.Target{Provider: "p", Model: "m"}, Raw: true}
}

const (
	ask       = `{"model":"m","messages":[{"role":"user","content":"x"}]}`
	askStream = `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`
	answer    = `{"id":"1","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`
	stream    = "data: {\"id\":\"1\",\"object\":\"chat.completion.chunk\",\"created\":5,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
)

var asJSON, asStream = http.Header{"Content-Type": {"application/json"}}, http.Header{"Content-Type": {"text/event-stream"}}

// Each step of an exchange fails once. Whatever happens, what comes is classified and the body is closed once, by the
// exchange or by whoever closes its reply.
func TestExchange(t *testing.T) {
	down := &llm.Error{Kind: llm.KindUpstream, Msg: "down"}
	lost := errors.New("lost")
	tests := []struct {
		name string
		body string // of the request
		fake fake
		kind llm.Kind // of the error; "" for a reply
		text string   // part of the error's message, or of the reply's bytes
	}{
		{"answer", ask, fake{status: 200, header: asJSON, body: strings.NewReader(answer)}, "", `"content":"hi"`},
		{"stream", askStream, fake{status: 200, header: asStream, body: strings.NewReader(stream)}, "", "[DONE]"},
		{"stream without a type", askStream, fake{status: 200, header: http.Header{}, body: strings.NewReader("\n" + stream)}, "", "[DONE]"},
		{"stream asked, document came", askStream, fake{status: 200, header: asJSON, body: strings.NewReader(" " + answer)}, "", ""},
		{"not sent", ask, fake{err: down}, llm.KindUpstream, "down"},
		{"refused", ask, fake{status: 429, header: asJSON, body: strings.NewReader(`{"error":{"message":"slow down"}}`)}, llm.KindRateLimited, ""},
		{"refused with nothing", ask, fake{status: 500, header: http.Header{}, body: strings.NewReader("")}, llm.KindUpstream, ""},
		{"refusal lost", ask, fake{status: 500, header: asJSON, body: iotest.ErrReader(lost)}, llm.KindUpstream, "broke off"},
		{"refusal cut", ask, fake{status: 503, header: asJSON, body: io.MultiReader(strings.NewReader(`{"error":`), iotest.ErrReader(lost))}, llm.KindOverloaded, ""},
		{"redirect", ask, fake{status: 307, header: http.Header{"Location": {"https://elsewhere.example/"}}, body: strings.NewReader("")}, llm.KindUpstream, "redirect"},
		{"switching protocols", ask, fake{status: 101, header: http.Header{}, body: strings.NewReader("")}, llm.KindUpstream, ""},
		{"compressed", ask, fake{status: 200, header: http.Header{"Content-Type": {"application/json"}, "Content-Encoding": {"gzip"}}, body: strings.NewReader(answer)}, llm.KindUpstream, "compressed"},
		{"lost", ask, fake{status: 200, header: asJSON, body: iotest.ErrReader(lost)}, llm.KindUpstream, "broke off"},
		{"cut", ask, fake{status: 200, header: asJSON, body: strings.NewReader(answer[:50])}, llm.KindUpstream, ""},
		{"length not kept", ask, fake{status: 200, header: asJSON, body: io.MultiReader(strings.NewReader(answer[:50]), iotest.ErrReader(io.ErrUnexpectedEOF))}, llm.KindUpstream, "broke off"},
		{"empty", ask, fake{status: 200, header: asJSON, body: strings.NewReader("")}, llm.KindUpstream, ""},
		{"too large", ask, fake{status: 200, header: asJSON, body: io.MultiReader(strings.NewReader(answer), blanks(1<<20))}, llm.KindUpstream, "too large"},
		{"error inside a 200", ask, fake{status: 200, header: asJSON, body: strings.NewReader(`{"error":{"message":"no","type":"server_error"}}`)}, llm.KindUpstream, ""},
		{"error inside a stream's 200", askStream, fake{status: 200, header: asJSON, body: strings.NewReader(`{"error":{"message":"no","type":"server_error"}}`)}, llm.KindUpstream, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := attempt(t, openai.Chat, tt.body)
			a.MaxAnswer = 1 << 20
			reply, err := Exchange(t.Context(), &tt.fake, a, openai.Chat, &llm.Request{Method: http.MethodPost}, nil)
			if tt.kind != "" {
				var e *llm.Error
				if !errors.As(err, &e) || e.Kind != tt.kind || !strings.Contains(e.Msg, tt.text) {
					t.Errorf("got %v, want %s %s", err, tt.kind, tt.text)
				}
			} else {
				if err != nil {
					t.Fatal(err)
				}
				if got := raws(t, reply); !strings.Contains(got, tt.text) {
					t.Errorf("got %s, want %s", got, tt.text)
				}
				if reply.Target != a.Target {
					t.Errorf("target %+v", reply.Target)
				}
				_ = reply.Close()
			}
			if want := min(1, tt.fake.status); tt.fake.closed != want {
				t.Errorf("the body was closed %d times, want %d", tt.fake.closed, want)
			}
		})
	}
}

// raws reads a reply to its end.
func raws(t *testing.T, r *llm.Reply) string {
	t.Helper()
	var b strings.Builder
	for {
		ev, err := r.Next()
		if err == io.EOF {
			return b.String()
		}
		if err != nil {
			t.Fatal(err)
		}
		b.Write(ev.Raw)
	}
}

// Only what names nobody behind us may travel to the client.
func TestHeadersThatPass(t *testing.T) {
	h := http.Header{"Content-Type": {"application/json"}, "Set-Cookie": {"a=b"}, "Openai-Organization": {"org-1"}, "Cf-Ray": {"1"}, "X-Ratelimit-Limit": {"1"}, "X-Sluice-Estimated": {"tokens"}}
	f := &fake{status: 200, header: h, body: strings.NewReader(answer)}
	reply, err := Exchange(t.Context(), f, attempt(t, openai.Chat, ask), openai.Chat, &llm.Request{}, &llm.Encoding{Lost: []llm.Problem{{At: "/seed"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	if diff := cmp.Diff(http.Header{"X-Sluice-Estimated": {"tokens"}}, reply.Header); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"/seed"}, reply.Dropped); diff != "" {
		t.Error(diff)
	}
}

// blanks is a document of n blanks.
func blanks(n int) io.Reader { return io.LimitReader(blank{}, int64(n)) }

type blank struct{}

func (blank) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// Whatever the pieces in which an answer arrives, the same bytes come out; one byte too many is refused.
func TestReadAnswerInAnyPieces(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, 8<<10 - 1, 8 << 10, 8<<10 + 1, pooled - 1, pooled, pooled + 1, pooled + piece - 1, pooled + piece, pooled + piece + 1, 3<<20 + 17} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(rnd.Uint32())
		}
		for name, r := range map[string]io.Reader{
			"whole": bytes.NewReader(want), "halves": iotest.HalfReader(bytes.NewReader(want)),
			"end with data": iotest.DataErrReader(bytes.NewReader(want)), "random": &chopped{bytes.NewReader(want), rnd},
		} {
			b, err := readAnswer(r, int64(max(size, 1)))
			if err != nil {
				t.Fatalf("%d bytes, %s: %v", size, name, err)
			}
			if !bytes.Equal(b.b, want) {
				t.Errorf("%d bytes, %s: other bytes came out", size, name)
			}
			b.release()
		}
		if size > 1 {
			if _, err := readAnswer(bytes.NewReader(want), int64(size-1)); !errors.Is(err, errTooLarge) {
				t.Errorf("%d bytes where %d are allowed: %v", size, size-1, err)
			}
			if _, err := readAnswer(io.MultiReader(bytes.NewReader(want), iotest.ErrReader(io.ErrUnexpectedEOF)), int64(size)); llm.AsError(err).Kind != llm.KindUpstream {
				t.Errorf("%d bytes and a break: %v", size, err)
			}
		}
	}
}

// chopped gives pieces of random sizes.
type chopped struct {
	r   io.Reader
	rnd *rand.Rand
}

func (c *chopped) Read(p []byte) (int, error) {
	return c.r.Read(p[:1+c.rnd.IntN(min(len(p), 70_000))])
}

// A large answer costs twice its size at most, and one beyond the limit no more than the limit.
func TestReadAnswerMemory(t *testing.T) {
	const size = 24 << 20
	cost := func(limit int64) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		b, _ := readAnswer(blanks(size), limit)
		runtime.ReadMemStats(&after)
		runtime.KeepAlive(b)
		return after.TotalAlloc - before.TotalAlloc
	}
	if got := cost(size); got > 2*size+4<<20 {
		t.Errorf("%d bytes allocated for an answer of %d", got, size)
	}
	if got := cost(size / 2); got > size/2+4<<20 {
		t.Errorf("%d bytes allocated to refuse at %d", got, size/2)
	}
}

func TestGet(t *testing.T) {
	for _, tt := range []struct {
		name string
		fake fake
		kind llm.Kind
		want string
	}{
		{"document", fake{status: 200, body: strings.NewReader(`{"data":[]}`)}, "", `{"data":[]}`},
		{"at the limit", fake{status: 200, body: blanks(maxList)}, "", strings.Repeat(" ", maxList)},
		{"beyond it", fake{status: 200, body: blanks(maxList + 1)}, llm.KindUpstream, ""},
		{"refused", fake{status: 401, body: strings.NewReader(`{}`)}, llm.KindUpstreamCreds, ""},
		{"lost", fake{status: 200, body: iotest.ErrReader(errors.New("lost"))}, llm.KindUpstream, ""},
		{"not sent", fake{err: &llm.Error{Kind: llm.KindUpstreamTimeout}}, llm.KindUpstreamTimeout, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Get(t.Context(), &tt.fake, openai.Chat, &url.URL{}, nil, llm.Auth{})
			if tt.kind == "" && (err != nil || string(got) != tt.want) || tt.kind != "" && llm.AsError(err).Kind != tt.kind {
				t.Errorf("got %d bytes, %v", len(got), err)
			}
			if want := min(1, tt.fake.status); tt.fake.closed != want {
				t.Errorf("closed %d times, want %d", tt.fake.closed, want)
			}
		})
	}
}

func TestStateless(t *testing.T) {
	const chat = `{"model":"m","input":"x"%s}`
	for _, tt := range []struct{ members, want string }{
		{``, ""},
		{`,"store":false`, ""},
		{`,"store":null,"previous_response_id":null`, ""},
		{`,"store":true`, "store"},
		{`,"previous_response_id":"resp_1"`, "previous_response_id"},
		{`,"previous_response_id":"resp_1","store":true`, "previous_response_id"},
	} {
		err := Stateless(attempt(t, responses.Format{}, fmt.Sprintf(chat, tt.members)))
		if tt.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.members, err)
			}
			continue
		}
		if e := llm.AsError(err); e.Kind != llm.KindUnsupported || e.Param != tt.want || len(e.Problems) != strings.Count(tt.members, ",\"") {
			t.Errorf("%s: %v %+v", tt.members, err, e.Problems)
		}
	}
	if err := Stateless(attempt(t, openai.Chat, ask)); err != nil {
		t.Errorf("another format: %v", err)
	}
}

func TestBaseURL(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"https://api.example", "https://api.example/"},
		{"https://api.example/v1/", "https://api.example/v1"},
		{"http://[::1]:8080//v1", "http://[::1]:8080/v1"},
		{"ftp://api.example", ""},
		{"api.example", ""},
		{"https:///v1", ""},
		{"https://user:secret@api.example", ""},
		{"https://api.example?x=secret", ""},
		{"https://api.example#secret", ""},
		{"https://secret:\x7f@x", ""},
	} {
		u, err := BaseURL(tt.in)
		switch {
		case tt.want == "" && err == nil:
			t.Errorf("%q is taken as %s", tt.in, u)
		case tt.want == "" && strings.Contains(err.Error(), "user:secret"):
			t.Errorf("%q: the error repeats the password: %v", tt.in, err)
		case tt.want != "" && (err != nil || u.String() != tt.want):
			t.Errorf("%q: %v %v, want %s", tt.in, u, err, tt.want)
		}
	}
}

func TestIsCredential(t *testing.T) {
	for _, name := range []string{"authorization", "X-API-KEY", "api-key", "x-goog-api-key", "cookie", "Proxy-Authorization"} {
		if !IsCredential(name) {
			t.Errorf("%s is taken for a header like any other", name)
		}
	}
	if IsCredential("OpenAI-Organization") {
		t.Error("OpenAI-Organization is taken for a credential")
	}
}
