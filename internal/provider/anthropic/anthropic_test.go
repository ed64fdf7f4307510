package anthropic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
	wireanthropic "sluice/internal/wire/anthropic"
)

// seen is what the fake upstream was sent.
type seen struct {
	method, url, body string
	header            http.Header
}

// fake is a transport that answers from a list, and keeps what it was sent.
type fake struct {
	answers []answered
	seen    []seen
}

type answered struct {
	status int
	header http.Header
	body   string
}

func (f *fake) Send(_ context.Context, r *llm.Request) (*llm.Response, error) {
	var body strings.Builder
	for _, b := range r.Body {
		body.Write(b)
	}
	f.seen = append(f.seen, seen{r.Method, r.URL.String(), body.String(), r.Fields()})
	a := f.answers[0]
	if len(f.answers) > 1 {
		f.answers = f.answers[1:]
	}
	return &llm.Response{Status: a.status, Header: a.header, Body: io.NopCloser(strings.NewReader(a.body))}, nil
}

const message = `{"id":"msg_1","type":"message","role":"assistant","model":"claude","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}`

func newProvider(t *testing.T, f *fake, o Options) *Provider {
	t.Helper()
	o.Transport = f
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func newCall(t *testing.T, f wire.Format, body string, h http.Header) *llm.Call {
	t.Helper()
	r := httptest.NewRequest("POST", "/", nil)
	r.Header = h
	call, err := wire.ReadCall(f, r, []byte(body), "id")
	if err != nil {
		t.Fatal(err)
	}
	return call
}

const request = `{"model":"alias","messages":[{"role":"user","content":"x"}],"max_tokens":5}`

func TestDoSameFormat(t *testing.T) {
	f := &fake{answers: []answered{{status: 200, body: message}}}
	p := newProvider(t, f, Options{Headers: http.Header{"anthropic-beta": {"static"}, "x-tag": {"a"}}})
	client := http.Header{"Anthropic-Version": {"2099-01-01"}, "Anthropic-Beta": {"b1,b2"}, "X-Api-Key": {"client"}, "Cookie": {"c"}}
	a := &llm.Attempt{Call: newCall(t, wireanthropic.Messages, request, client), Target: llm.Target{Model: "claude"}, Secret: "k", Raw: true}
	reply, err := p.Do(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	ev, err := reply.Next()
	if err != nil || string(ev.Raw) != message || ev.Usage.Output != llm.Tokens(2) {
		t.Errorf("event %+v, %v", ev, err)
	}
	want := seen{"POST", "https://api.anthropic.com/v1/messages", strings.Replace(request, "alias", "claude", 1), http.Header{
		"Accept": {"application/json"}, "Content-Type": {"application/json"}, "X-Api-Key": {"k"}, "X-Tag": {"a"},
		"Anthropic-Version": {"2099-01-01"}, "Anthropic-Beta": {"static", "b1,b2"}, "X-Request-Id": {"id"},
	}}
	if diff := cmp.Diff(want, f.seen[0], cmp.AllowUnexported(seen{})); diff != "" {
		t.Errorf("(-want +sent):\n%s", diff)
	}
}

func TestDoOtherFormat(t *testing.T) {
	f := &fake{answers: []answered{{status: 200, body: message}}}
	p := newProvider(t, f, Options{BaseURL: "http://proxy/anthropic/v1/"})
	call := &llm.Call{
		Format: llm.OpenAIChat, Op: llm.OpChat, Header: http.Header{"Anthropic-Beta": {"mine"}},
		Body: llm.NewBody(&fixed{llm.OpenAIChat, &llm.Chat{Format: llm.OpenAIChat, Messages: []llm.Message{{Role: llm.RoleUser, Parts: []llm.Part{{Text: "x"}}}}}}, []byte("{}"), llm.Marks{}),
	}
	reply, err := p.Do(t.Context(), &llm.Attempt{Call: call, Target: llm.Target{Model: "claude"}, Secret: "k", Raw: true})
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	if ev, err := reply.Next(); err != nil || len(ev.Delta) == 0 {
		t.Errorf("a translated answer must be decoded: %+v, %v", ev, err)
	}
	got := f.seen[0]
	if got.url != "http://proxy/anthropic/v1/messages" || got.header.Get("Anthropic-Version") != DefaultVersion || got.header.Get("Anthropic-Beta") != "" {
		t.Errorf("sent %+v", got)
	}
	if want := `{"model":"claude","messages":[{"role":"user","content":[{"type":"text","text":"x"}]}],"max_tokens":8192}`; got.body != want {
		t.Errorf("body %s, want %s", got.body, want)
	}
}

// fixed is a codec of a foreign format whose bodies always mean the same.
type fixed struct {
	format llm.Format
	means  llm.Payload
}

func (f *fixed) Format() llm.Format                                { return f.format }
func (f *fixed) Decode([]byte) (llm.Payload, error)                { return f.means, nil }
func (f *fixed) Encode(llm.Payload, *llm.Encoding) ([]byte, error) { panic("not asked for") }

func (f *fixed) Retarget([]byte, *llm.Marks, *llm.Encoding) (out [][]byte) { panic("not asked for") }

func TestCount(t *testing.T) {
	f := &fake{answers: []answered{{status: 200, body: `{"input_tokens":17}`}}}
	p := newProvider(t, f, Options{BaseURL: "http://h:1"})
	call := newCall(t, wireanthropic.CountTokens, `{"model":"alias","messages":[{"role":"user","content":"x"}]}`, nil)
	reply, err := p.Do(t.Context(), &llm.Attempt{Call: call, Target: llm.Target{Model: "claude"}})
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	ev, err := reply.Next()
	if err != nil || ev.Usage.Input != llm.Tokens(17) {
		t.Errorf("event %+v, %v", ev, err)
	}
	if f.seen[0].url != "http://h:1/v1/messages/count_tokens" || strings.Contains(f.seen[0].body, "max_tokens") {
		t.Errorf("sent %+v", f.seen[0])
	}
	if _, ok := f.seen[0].header["X-Api-Key"]; ok {
		t.Error("sent a credential that nobody configured")
	}
}

func TestRefusedBeforeSending(t *testing.T) {
	f := &fake{}
	p := newProvider(t, f, Options{})
	embed := &llm.Call{Format: llm.OpenAIEmbeddings, Op: llm.OpEmbed}
	state := &llm.Call{Format: llm.OpenAIResponses, Op: llm.OpChat, Body: llm.NewBody(&fixed{
		llm.OpenAIResponses,
		&llm.Chat{Format: llm.OpenAIResponses, Extra: llm.Members{"previous_response_id": llm.Raw(`"r"`)}},
	}, []byte("{}"), llm.Marks{})}
	lossy := func() *llm.Call {
		seed := int64(1)
		return &llm.Call{Format: llm.OpenAIChat, Op: llm.OpChat, Body: llm.NewBody(&fixed{
			llm.OpenAIChat,
			&llm.Chat{Format: llm.OpenAIChat, Seed: &seed, Messages: []llm.Message{{Role: llm.RoleUser, Parts: []llm.Part{{Text: "x"}}}}},
		}, []byte("{}"), llm.Marks{})}
	}
	for name, a := range map[string]*llm.Attempt{
		"embeddings":            {Call: embed},
		"state, though lenient": {Call: state, Target: llm.Target{Lenient: true}},
		"a lossy translation":   {Call: lossy()},
	} {
		_, err := p.Do(t.Context(), a)
		var e *llm.Error
		if !errors.As(err, &e) || e.Kind != llm.KindUnsupported {
			t.Errorf("%s: got %v, want unsupported", name, err)
		}
	}
	if len(f.seen) > 0 {
		t.Errorf("sent %+v", f.seen)
	}
	f.answers = []answered{{status: 200, body: message}}
	reply, err := p.Do(t.Context(), &llm.Attempt{Call: lossy(), Target: llm.Target{Lenient: true}})
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Close()
	if diff := cmp.Diff([]string{"seed"}, reply.Dropped); diff != "" {
		t.Errorf("dropped (-want +got):\n%s", diff)
	}
}

func TestRefusals(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   llm.Kind
	}{
		{401, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key sk-ant-123456"}}`, llm.KindUpstreamCreds},
		{529, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, llm.KindOverloaded},
		{502, `<html>bad gateway</html>`, llm.KindUpstream},
		{302, ``, llm.KindUpstream},
		{200, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, llm.KindOverloaded},
		{200, `<html>`, llm.KindUpstream},
	} {
		f := &fake{answers: []answered{{status: tt.status, body: tt.body}}}
		p := newProvider(t, f, Options{})
		_, err := p.Do(t.Context(), &llm.Attempt{Call: newCall(t, wireanthropic.Messages, request, nil), Target: llm.Target{Model: "m"}, Secret: "k", Raw: true})
		var e *llm.Error
		if !errors.As(err, &e) || e.Kind != tt.want || strings.Contains(e.Msg, "sk-ant") {
			t.Errorf("%d %s: got %v, want %s", tt.status, tt.body, err, tt.want)
		}
	}
}

func TestModels(t *testing.T) {
	f := &fake{answers: []answered{
		{status: 200, body: `{"data":[{"type":"model","id":"b"},{"id":"a"}],"has_more":true,"first_id":"b","last_id":"a"}`},
		{status: 200, body: `{"data":[{"id":"c"},{"id":"a"}],"has_more":false,"last_id":"a"}`},
	}}
	p := newProvider(t, f, Options{})
	got, err := p.Models(t.Context(), "k")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if f.seen[1].url != "https://api.anthropic.com/v1/models?after_id=a&limit=1000" || f.seen[1].header.Get("X-Api-Key") != "k" || f.seen[1].header.Get("Anthropic-Version") == "" {
		t.Errorf("sent %+v", f.seen[1])
	}
}

func TestModelsEnd(t *testing.T) {
	n := 0
	f := &fake{answers: make([]answered, 100)}
	for i := range f.answers {
		n++
		f.answers[i] = answered{status: 200, body: fmt.Sprintf(`{"data":[{"id":"m%d"}],"has_more":true,"last_id":"m%d"}`, i, i)}
	}
	p := newProvider(t, f, Options{})
	if got, err := p.Models(t.Context(), "k"); err != nil || len(got) != maxPages {
		t.Errorf("%d models of an endless list, %v", len(got), err)
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		status int
		body   string
		want   llm.Kind
	}{
		{200, `{"data":[],"has_more":false}`, ""},
		{404, `{"type":"error","error":{"type":"not_found_error","message":"x"}}`, ""},
		{401, `{}`, llm.KindUpstreamCreds},
		{500, ``, llm.KindUpstream},
	} {
		p := newProvider(t, &fake{answers: []answered{{status: tt.status, body: tt.body}}}, Options{})
		err := p.Check(t.Context(), "k")
		var e *llm.Error
		if errors.As(err, &e); tt.want == "" && err != nil || tt.want != "" && (e == nil || e.Kind != tt.want) {
			t.Errorf("%d: got %v, want %q", tt.status, err, tt.want)
		}
	}
}

func TestNew(t *testing.T) {
	for _, tt := range []struct{ base, want string }{
		{"", "https://api.anthropic.com/v1/messages"},
		{"https://h", "https://h/v1/messages"},
		{"https://h/", "https://h/v1/messages"},
		{"https://h/v1", "https://h/v1/messages"},
		{"https://h/api/anthropic", "https://h/api/anthropic/v1/messages"},
		{"https://h/v1/", "https://h/v1/messages"},
	} {
		p, err := New(Options{BaseURL: tt.base, Transport: &fake{}})
		if err != nil || p.messages.String() != tt.want {
			t.Errorf("%q: %v, %v, want %s", tt.base, p, err, tt.want)
		}
	}
	for _, o := range []Options{
		{Transport: &fake{}, BaseURL: "ftp://h"},
		{Transport: &fake{}, BaseURL: "h"},
		{Transport: &fake{}, BaseURL: "https://u:p@h"},
		{Transport: &fake{}, BaseURL: "https://h?x=1"},
		{Transport: &fake{}, Headers: http.Header{"x-api-key": {"k"}}},
		{},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: no error", o)
		} else if strings.Contains(err.Error(), ":p@") {
			t.Errorf("the error shows a password: %v", err)
		}
	}
}

var (
	_ llm.Provider = (*Provider)(nil)
	_ llm.Checker  = (*Provider)(nil)
	_ llm.Lister   = (*Provider)(nil)
)
