package gemini

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
	wiregemini "sluice/internal/wire/gemini"
)

const secret = llm.Secret("the-key")

// A recorder is a transport that answers with what it was given and keeps what was asked.
type recorder struct {
	t       *testing.T
	answers []answer
	asked   []*llm.Request
}

type answer struct {
	status int
	kind   string // content type
	body   string
}

func (r *recorder) Send(_ context.Context, q *llm.Request) (*llm.Response, error) {
	r.t.Helper()
	if len(r.answers) == 0 {
		r.t.Fatalf("an unexpected request: %s", q.URL)
	}
	a := r.answers[0]
	r.answers = r.answers[1:]
	r.asked = append(r.asked, q)
	return &llm.Response{Status: a.status, Header: http.Header{"Content-Type": {a.kind}}, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

func provide(t *testing.T, base string, answers ...answer) (*Provider, *recorder) {
	t.Helper()
	r := &recorder{t: t, answers: answers}
	p, err := New(Options{Name: "g", BaseURL: base, Headers: http.Header{"x-goog-user-project": {"p"}}, Transport: r})
	if err != nil {
		t.Fatal(err)
	}
	return p, r
}

// attempt is a call as the gateway reads it, at a target model.
func attempt(t *testing.T, rest, body, model string) *llm.Attempt {
	t.Helper()
	f, _, _, ok := wiregemini.Route(rest)
	if !ok {
		t.Fatalf("no route: %s", rest)
	}
	q := &http.Request{URL: mustParse("/?alt=sse&key=stolen"), Header: http.Header{}}
	q.SetPathValue("rest", rest)
	call, err := wire.ReadCall(f, q, []byte(body), "req_1")
	if err != nil {
		t.Fatal(err)
	}
	return &llm.Attempt{Call: call, Target: llm.Target{Model: model}, Secret: secret, Raw: true}
}

const (
	chat  = `{"contents":[{"parts":[{"text":"hi"}]}],"newMember":1}`
	said  = `{"candidates":[{"content":{"parts":[{"text":"yes"}],"role":"model"},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":1,"candidatesTokenCount":2}}`
	asSSE = "data: " + said + "\r\n\r\n"
	asArr = "[" + said + "\r\n]"
)

func TestDo(t *testing.T) {
	for _, test := range []struct {
		name, rest, body, base, model string
		answer                        answer
		url, sent, want               string
	}{
		{
			"whole", "m:generateContent", chat, "", "up",
			answer{200, "application/json", said},
			"https://generativelanguage.googleapis.com/v1beta/models/up:generateContent", chat, "yes",
		},
		{
			"stream", "m:streamGenerateContent", chat, "https://h.example/v1beta/", "models/a/b:c",
			answer{200, "text/event-stream", asSSE},
			"https://h.example/v1beta/models/a%2Fb:c:streamGenerateContent?alt=sse", chat, "yes",
		},
		{
			"stream as an array", "m:streamGenerateContent", chat, "https://h.example/v1", "up",
			answer{200, "application/json", asArr},
			"https://h.example/v1/models/up:streamGenerateContent?alt=sse", chat, "yes",
		},
		{
			"stream as one object", "m:streamGenerateContent", chat, "https://h.example/p", "up",
			answer{200, "application/json", said},
			"https://h.example/p/v1beta/models/up:streamGenerateContent?alt=sse", chat, "yes",
		},
		{
			"model in the body", "m:generateContent", `{"model":"models/m","contents":[{"parts":[{"text":"hi"}]}]}`, "", "x?key=1#%2e",
			answer{200, "", said},
			"https://generativelanguage.googleapis.com/v1beta/models/x%3Fkey=1%23%252e:generateContent", `{"model":"models/x?key=1#%2e","contents":[{"parts":[{"text":"hi"}]}]}`, "yes",
		},
		{
			"count", "m:countTokens", `{"contents":[{"parts":[{"text":"hi"}]}]}`, "", "up",
			answer{200, "", `{"totalTokens":3}`},
			"https://generativelanguage.googleapis.com/v1beta/models/up:countTokens", `{"contents":[{"parts":[{"text":"hi"}]}]}`, "",
		},
		{
			"embed", "m:embedContent", `{"content":{"parts":[{"text":"hi"}]}}`, "", "up",
			answer{200, "", `{"embedding":{"values":[1]}}`},
			"https://generativelanguage.googleapis.com/v1beta/models/up:embedContent", `{"content":{"parts":[{"text":"hi"}]}}`, "",
		},
		{
			"batch", "m:batchEmbedContents", `{"requests":[{"model":"models/m","content":{"parts":[{"text":"hi"}]}}]}`, "", "up",
			answer{200, "", `{"embeddings":[{"values":[1]}]}`},
			"https://generativelanguage.googleapis.com/v1beta/models/up:batchEmbedContents", `{"requests":[{"model":"models/up","content":{"parts":[{"text":"hi"}]}}]}`, "",
		},
	} {
		for _, raw := range []bool{true, false} {
			p, r := provide(t, test.base, test.answer)
			a := attempt(t, test.rest, test.body, test.model)
			a.Raw = raw
			reply, err := p.Do(context.Background(), a)
			if err != nil {
				t.Errorf("%s: %v", test.name, err)
				continue
			}
			q := r.asked[0]
			if q.Method != http.MethodPost || q.URL.String() != test.url {
				t.Errorf("%s: %s %s", test.name, q.Method, q.URL)
			}
			if sent := string(bytes.Join(q.Body, nil)); sent != test.sent {
				t.Errorf("%s: sent\n%s\nwant\n%s", test.name, sent, test.sent)
			}
			if q.Fields().Get("X-Goog-Api-Key") != string(secret) || q.Header.Get("X-Goog-User-Project") != "p" || q.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%s: header %v", test.name, q.Header)
			}
			if strings.Contains(q.URL.String(), "stolen") {
				t.Errorf("%s: the client's query travels", test.name)
			}
			var sum llm.Answer
			all := ""
			for ev, err := range llm.All(reply) {
				if err != nil {
					t.Fatalf("%s: %v", test.name, err)
				}
				all += string(ev.Raw)
				sum.Add(ev)
			}
			if !raw && test.want != "" && sum.Choices[0].Parts[0].Text != test.want {
				t.Errorf("%s: %+v", test.name, sum)
			}
			if test.name == "count" && sum.Usage.Input != llm.Tokens(3) {
				t.Errorf("count: %+v", sum.Usage)
			}
			if raw && test.name != "stream as one object" && all != test.answer.body {
				t.Errorf("%s: the bytes differ: %q", test.name, all)
			}
		}
	}
}

// A foreign chat is translated, and embeddings of other clients go as a batch.
func TestDoForeign(t *testing.T) {
	p, r := provide(t, "", answer{200, "application/json", `{"embeddings":[{"values":[1]},{"values":[2]}]}`})
	call := &llm.Call{Format: llm.OpenAIEmbeddings, Op: llm.OpEmbed, Body: llm.NewBody(foreign{}, []byte(`{}`), llm.Marks{})}
	reply, err := p.Do(context.Background(), &llm.Attempt{Call: call, Target: llm.Target{Model: "e"}, Secret: secret, Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	ev, err := reply.Next()
	if err != nil || len(ev.Vectors) != 2 {
		t.Errorf("%v %+v", err, ev)
	}
	want := `{"requests":[{"model":"models/e","content":{"parts":[{"text":"a"}]}},{"model":"models/e","content":{"parts":[{"text":"b"}]}}]}`
	if sent := string(bytes.Join(r.asked[0].Body, nil)); sent != want || !strings.HasSuffix(r.asked[0].URL.Path, "/e:batchEmbedContents") {
		t.Errorf("%s: %s", r.asked[0].URL, sent)
	}
	call.Op = "images"
	if _, err := p.Do(context.Background(), &llm.Attempt{Call: call, Target: llm.Target{Model: "e"}}); llm.AsError(err).Kind != llm.KindUnsupported {
		t.Errorf("an operation that Gemini lacks: %v", err)
	}
}

// foreign is a codec of another vendor's, as far as a provider sees it.
type foreign struct{}

func (foreign) Format() llm.Format { return llm.OpenAIEmbeddings }

func (foreign) Decode([]byte) (llm.Payload, error) {
	return &llm.Embed{Format: llm.OpenAIEmbeddings, Inputs: []llm.EmbedInput{{Text: "a"}, {Text: "b"}}}, nil
}

func (foreign) Encode(llm.Payload, *llm.Encoding) ([]byte, error) { panic("not asked for") }

func (foreign) Retarget([]byte, *llm.Marks, *llm.Encoding) [][]byte { panic("not asked for") }

func TestRefusals(t *testing.T) {
	for _, test := range []struct {
		answer answer
		kind   llm.Kind
	}{
		{answer{400, "application/json", `{"error":{"code":400,"message":"API key not valid.","details":[{"reason":"API_KEY_INVALID"}]}}`}, llm.KindUpstreamCreds},
		{answer{429, "application/json", `{"error":{"message":"Please retry in 48.9s."}}`}, llm.KindRateLimited},
		{answer{404, "text/html", `<html>`}, llm.KindModelNotFound},
		{answer{302, "", ``}, llm.KindUpstream},
		{answer{200, "application/json", `{"error":{"code":503,"message":"overloaded","status":"UNAVAILABLE"}}`}, llm.KindOverloaded},
		{answer{200, "text/html", `<html>`}, llm.KindUpstream},
	} {
		p, _ := provide(t, "", test.answer)
		_, err := p.Do(context.Background(), attempt(t, "m:generateContent", chat, "up"))
		e := llm.AsError(err)
		if e.Kind != test.kind {
			t.Errorf("%+v: %v", test.answer, err)
		}
		if e.Kind == llm.KindRateLimited && e.RetryAfter.Seconds() != 48.9 {
			t.Errorf("retry after %s", e.RetryAfter)
		}
	}
	p, _ := provide(t, "")
	for _, model := range []string{"", ".", "..", "models/"} {
		if _, err := p.Do(context.Background(), attempt(t, "m:generateContent", chat, model)); llm.AsError(err).Kind != llm.KindModelNotFound {
			t.Errorf("model %q: %v", model, err)
		}
	}
}

func TestModels(t *testing.T) {
	p, r := provide(t, "https://h.example",
		answer{200, "application/json", `{"models":[{"name":"models/b"},{"name":"models/a","new":1}],"nextPageToken":"t&1"}`},
		answer{200, "application/json", `{"models":[{"name":"models/b"},{"name":"c"},{"name":""}]}`})
	got, err := p.Models(context.Background(), secret)
	if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" || err != nil {
		t.Errorf("%v %s", err, diff)
	}
	for i, want := range []string{"https://h.example/v1beta/models?pageSize=1000", "https://h.example/v1beta/models?pageSize=1000&pageToken=t%261"} {
		if q := r.asked[i]; q.Method != http.MethodGet || q.URL.String() != want || q.Fields().Get("X-Goog-Api-Key") != string(secret) {
			t.Errorf("%s %s %v", q.Method, q.URL, q.Header)
		}
	}
	endless := make([]answer, maxPages)
	for i := range endless {
		endless[i] = answer{200, "", `{"models":[{"name":"m"}],"nextPageToken":"` + strings.Repeat("x", i+1) + `"}`}
	}
	p, _ = provide(t, "", endless...)
	if got, err := p.Models(context.Background(), secret); err != nil || len(got) != 1 {
		t.Errorf("a list without end: %v %v", got, err)
	}
}

func TestCheck(t *testing.T) {
	for body, kind := range map[answer]llm.Kind{
		{200, "", `{"models":[]}`}: "", {200, "", `{}`}: "",
		{403, "", `{"error":{"status":"PERMISSION_DENIED"}}`}: llm.KindUpstreamCreds,
		{500, "", ``}:                llm.KindUpstream,
		{200, "text/html", `<html>`}: llm.KindUpstream,
		{200, "", `{"models":[{"name":"` + strings.Repeat("x", (8<<20)) + `"}]}`}:            llm.KindUpstream,
		{400, "", `{"error":{"message":"API key not valid. Please pass a valid API key."}}`}: llm.KindUpstreamCreds,
	} {
		p, _ := provide(t, "", body)
		err := p.Check(context.Background(), secret)
		if kind == "" && err != nil || kind != "" && llm.AsError(err).Kind != kind {
			t.Errorf("%d %.60s: %v", body.status, body.body, err)
		}
	}
}

func TestNew(t *testing.T) {
	for _, o := range []Options{
		{},
		{Transport: &recorder{}, BaseURL: "ftp://x"},
		{Transport: &recorder{}, BaseURL: "https://u:p@x"},
		{Transport: &recorder{}, BaseURL: "https://x?key=1"},
		{Transport: &recorder{}, BaseURL: "://"},
		{Transport: &recorder{}, BaseURL: "https://"},
		{Transport: &recorder{}, Headers: http.Header{"x-goog-api-key": {"k"}}},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v passes", o)
		} else if strings.Contains(err.Error(), "u:p") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func mustParse(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
