package openai

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/provider"
	"sluice/internal/wire"
	wireopenai "sluice/internal/wire/openai"
	"sluice/internal/wire/responses"
)

// An upstream is a transport that keeps what it was asked and answers the same every time.
type upstream struct {
	status int
	header http.Header
	body   string
	err    error

	url  string
	sent *llm.Request
	got  []byte
}

func (u *upstream) Send(_ context.Context, r *llm.Request) (*llm.Response, error) {
	u.sent, u.url, u.got = r, r.URL.String(), bytes.Join(r.Body, nil)
	if u.err != nil {
		return nil, u.err
	}
	status, h := u.status, u.header
	if status == 0 {
		status = http.StatusOK
	}
	if h == nil {
		h = http.Header{"Content-Type": {"application/json"}}
	}
	return &llm.Response{Status: status, Header: h, Body: io.NopCloser(strings.NewReader(u.body))}, nil
}

func newProvider(t testing.TB, o Options) *Provider {
	t.Helper()
	p, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// attempt is a call as the gateway makes one.
func attempt(t testing.TB, f wire.Format, body string) *llm.Attempt {
	t.Helper()
	call, err := wire.ReadCall(f, &http.Request{URL: &url.URL{}, Header: http.Header{}}, []byte(body), "req_1")
	if err != nil {
		t.Fatalf("%v %+v", err, llm.AsError(err).Problems)
	}
	return &llm.Attempt{Call: call, Target: llm.Target{Provider: "p", Model: "up-model"}, Secret: "sk-secret", Raw: true}
}

const chatAnswer = `{"id":"1","object":"chat.completion","created":5,"model":"up-model","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`

const chatStream = `data: {"id":"1","object":"chat.completion.chunk","created":5,"model":"up-model","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}

data: [DONE]

`

func TestSameFormatPassesUnchanged(t *testing.T) {
	const body = `{"model":"asked", "messages":[{"role":"developer","content":"x"}],"max_completion_tokens":9,"unheard_of":[1]}`
	for _, vendor := range Vendors() {
		if !vendorOf(vendor).speaks(llm.OpenAIChat) {
			continue
		}
		t.Run(vendor, func(t *testing.T) {
			up := &upstream{body: chatAnswer}
			base := ""
			if vendorOf(vendor).base == "" {
				base = "https://res.openai.azure.com/openai/v1"
			}
			p := newProvider(t, Options{Vendor: vendor, BaseURL: base, Transport: up})
			reply, err := p.Do(context.Background(), attempt(t, wireopenai.Chat, body))
			if err != nil {
				t.Fatal(err)
			}
			defer reply.Close()
			if want := strings.Replace(body, `"asked"`, `"up-model"`, 1); string(up.got) != want {
				t.Errorf("sent %s\nwant %s", up.got, want)
			}
			ev, err := reply.Next()
			if err != nil || string(ev.Raw) != chatAnswer || ev.Delta != nil || ev.Usage.Total.N != 3 {
				t.Errorf("%+v %v", ev, err)
			}
			if up.sent.Method != http.MethodPost || !strings.HasSuffix(up.url, "/chat/completions") || !strings.HasPrefix(up.url, "http") {
				t.Errorf("%s %s", up.sent.Method, up.url)
			}
		})
	}
}

func TestStreamAsksForUsage(t *testing.T) {
	const body = `{"model":"asked","stream":true,"messages":[{"role":"user","content":"x"}]}`
	for vendor, want := range map[string]bool{"openai": true, "mistral": false} {
		up := &upstream{body: chatStream, header: http.Header{"Content-Type": {"text/event-stream"}}}
		reply, err := newProvider(t, Options{Vendor: vendor, Transport: up}).Do(context.Background(), attempt(t, wireopenai.Chat, body))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(up.got), `"include_usage":true`); got != want {
			t.Errorf("%s: %s", vendor, up.got)
		}
		var raw []byte
		for ev, err := range llm.All(reply) {
			if err != nil {
				t.Fatal(err)
			}
			raw = append(raw, ev.Raw...)
		}
		if string(raw) != chatStream {
			t.Errorf("%s: the stream changed: %q", vendor, raw)
		}
		if a := up.sent.Fields().Get("Accept"); a != "text/event-stream" {
			t.Errorf("accept %q", a)
		}
	}
}

// The credential stands in its header and nowhere else, and nothing can replace it.
func TestCredential(t *testing.T) {
	const body = `{"model":"asked","messages":[{"role":"user","content":"x"}]}`
	for name, tc := range map[string]struct {
		vendor, base string
		header       string
		value        string
	}{
		"bearer": {"openai", "", "Authorization", "Bearer sk-secret"},
		"azure":  {"azure", "https://res.openai.azure.com/openai/v1", "Api-Key", "sk-secret"},
		"local":  {"ollama", "", "Authorization", "Bearer sk-secret"},
	} {
		t.Run(name, func(t *testing.T) {
			up := &upstream{body: chatAnswer}
			p := newProvider(t, Options{Vendor: tc.vendor, BaseURL: tc.base, Transport: up, Headers: http.Header{"X-Static": {"s"}}})
			a := attempt(t, wireopenai.Chat, body)
			a.Header = http.Header{"Authorization": {"Bearer client"}, "Api-Key": {"client"}, "X-Client": {"c"}, "X-Static": {"client"}}
			if _, err := p.Do(context.Background(), a); err != nil {
				t.Fatal(err)
			}
			if got := up.sent.Fields().Get(tc.header); got != tc.value {
				t.Errorf("%s: %q", tc.header, got)
			}
			var where []string
			for name, values := range up.sent.Fields() {
				if provider.IsCredential(name) && up.sent.Header[name] != nil {
					t.Errorf("%s stands among the headers that requests share", name)
				}
				if strings.Contains(strings.Join(values, " "), "secret") {
					where = append(where, name)
				}
			}
			if len(where) != 1 || strings.Contains(up.url+string(up.got), "secret") {
				t.Errorf("the credential is in %v", where)
			}
			if up.sent.Fields().Get("X-Static") != "s" || up.sent.Fields().Get("X-Client") != "c" || strings.Contains(strings.Join(up.sent.Fields().Values("Authorization"), ""), "client") {
				t.Errorf("headers %v", up.sent.Fields())
			}
		})
	}
	up := &upstream{body: chatAnswer}
	a := attempt(t, wireopenai.Chat, body)
	a.Secret = ""
	if _, err := newProvider(t, Options{Transport: up}).Do(context.Background(), a); kindOf(err) != llm.KindUpstreamCreds || up.sent != nil {
		t.Errorf("without a key: %v", err)
	}
	if _, err := newProvider(t, Options{Vendor: "ollama", Transport: up}).Do(context.Background(), a); err != nil || up.sent.Fields().Get("Authorization") != "" {
		t.Errorf("a vendor without keys: %v", err)
	}
}

func kindOf(err error) llm.Kind {
	var e *llm.Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return ""
}

// chatOf is a call of another format, by its meaning.
type chatOf struct {
	llm.Codec
	format  llm.Format
	payload llm.Payload
}

func (c chatOf) Format() llm.Format                 { return c.format }
func (c chatOf) Decode([]byte) (llm.Payload, error) { return c.payload, nil }

func foreign(f llm.Format, op llm.Op, p llm.Payload) *llm.Attempt {
	call := &llm.Call{ID: "req_1", Format: f, Op: op, Choices: 1, Body: llm.NewBody(chatOf{format: f, payload: p}, []byte(`{}`), llm.Marks{})}
	return &llm.Attempt{Call: call, Target: llm.Target{Model: "up-model"}, Secret: "k", Raw: true}
}

func userSays(s string) []llm.Message {
	return []llm.Message{{Role: llm.RoleUser, Parts: []llm.Part{{Text: s}}}}
}

func TestTranslated(t *testing.T) {
	most := int64(7)
	up := &upstream{body: chatAnswer}
	a := foreign(llm.AnthropicMessages, llm.OpChat, &llm.Chat{Format: llm.AnthropicMessages, Messages: userSays("hi"), MaxOutput: &most})
	reply, err := newProvider(t, Options{Vendor: "mistral", Transport: up}).Do(context.Background(), a)
	if err != nil {
		t.Fatal(err)
	}
	if want := `{"model":"up-model","messages":[{"role":"user","content":"hi"}],"max_tokens":7}`; string(up.got) != want {
		t.Errorf("sent %s\nwant %s", up.got, want)
	}
	ev, err := reply.Next()
	if err != nil || len(ev.Delta) == 0 || ev.Delta[0].Part.Text != "hi" {
		t.Errorf("a translated answer must be decoded: %+v %v", ev, err)
	}

	k := int64(3)
	a = foreign(llm.AnthropicMessages, llm.OpChat, &llm.Chat{Format: llm.AnthropicMessages, Messages: userSays("hi"), TopK: &k})
	_, err = newProvider(t, Options{Transport: up}).Do(context.Background(), a)
	if e := llm.AsError(err); e.Kind != llm.KindUnsupported || len(e.Problems) != 1 || e.Problems[0].At != "top_k" {
		t.Errorf("strict: %+v", err)
	}
	a.Target.Lenient = true
	reply, err = newProvider(t, Options{Transport: up}).Do(context.Background(), a)
	if err != nil || !slices.Equal(reply.Dropped, []string{"top_k"}) {
		t.Errorf("lenient: %v %+v", err, reply)
	}
}

func TestFormats(t *testing.T) {
	const (
		rs  = `{"model":"asked","input":"hi"}`
		cmp = `{"model":"asked","prompt":"hi"}`
		emb = `{"model":"asked","input":"hi"}`
	)
	for name, tc := range map[string]struct {
		vendor string
		format wire.Format
		body   string
		path   string // "" is a refusal
	}{
		"responses at openai":      {"openai", responses.Responses, rs, "/v1/responses"},
		"responses at deepseek":    {"deepseek", responses.Responses, rs, "/chat/completions"},
		"completions at openai":    {"openai", wireopenai.Completions, cmp, "/v1/completions"},
		"completions at mistral":   {"mistral", wireopenai.Completions, cmp, "/v1/chat/completions"},
		"embeddings at openai":     {"openai", wireopenai.Embeddings, emb, "/v1/embeddings"},
		"embeddings at groq":       {"groq", wireopenai.Embeddings, emb, ""},
		"responses at perplexity":  {"perplexity", responses.Responses, rs, "/v1/responses"},
		"chat at perplexity":       {"perplexity", wireopenai.Chat, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, "/v1/responses"},
		"completions, no such one": {"perplexity", wireopenai.Completions, cmp, "/v1/responses"},
	} {
		t.Run(name, func(t *testing.T) {
			up := &upstream{status: 500}
			_, err := newProvider(t, Options{Vendor: tc.vendor, Transport: up}).Do(context.Background(), attempt(t, tc.format, tc.body))
			if tc.path == "" {
				if kindOf(err) != llm.KindUnsupported || up.sent != nil {
					t.Errorf("%v, sent to %s", err, up.url)
				}
				return
			}
			if kindOf(err) != llm.KindUpstream || !strings.HasSuffix(up.url, tc.path) {
				t.Errorf("sent to %s: %v", up.url, err)
			}
		})
	}
}

// What only an upstream that speaks Responses can remember is refused by name elsewhere, lenient or not.
func TestStateNeedsResponses(t *testing.T) {
	for member, at := range map[string]string{
		`"previous_response_id":"resp_1"`: "/previous_response_id",
		`"store":true`:                    "/store",
		`"conversation":"conv_1"`:         "/conversation",
	} {
		body := `{"model":"asked","input":"hi",` + member + `}`
		for _, lenient := range []bool{false, true} {
			up := &upstream{status: 500}
			a := attempt(t, responses.Responses, body)
			a.Target.Lenient = lenient
			_, err := newProvider(t, Options{Vendor: "deepseek", Transport: up}).Do(context.Background(), a)
			e := llm.AsError(err)
			if e.Kind != llm.KindUnsupported || wire.Status(e) != 400 || len(e.Problems) == 0 || e.Problems[0].At != at || up.sent != nil {
				t.Errorf("%s, lenient %v: %+v", member, lenient, err)
			}
		}
		up := &upstream{status: 500}
		_, _ = newProvider(t, Options{Transport: up}).Do(context.Background(), attempt(t, responses.Responses, body))
		if !strings.Contains(string(up.got), member) {
			t.Errorf("openai got %s", up.got)
		}
	}
}

func TestNew(t *testing.T) {
	up := &upstream{}
	for name, tc := range map[string]struct {
		o    Options
		want string
	}{
		"no transport":      {Options{}, "no transport"},
		"no such vendor":    {Options{Vendor: "x", Transport: up}, `no vendor "x"`},
		"no base":           {Options{Vendor: "azure", Transport: up}, "base_url is required"},
		"bad scheme":        {Options{BaseURL: "ftp://x", Transport: up}, "no http or https"},
		"no host":           {Options{BaseURL: "https:///v1", Transport: up}, "no http or https"},
		"user":              {Options{BaseURL: "https://u:p@h/v1", Transport: up}, "has a user"},
		"credential header": {Options{Transport: up, Headers: http.Header{"Authorization": {"Bearer x"}}}, "carries credentials"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(tc.o)
			if err == nil || !strings.Contains(err.Error(), tc.want) || strings.Contains(err.Error(), ":p@") {
				t.Errorf("%v", err)
			}
		})
	}
	p := newProvider(t, Options{BaseURL: "https://h.example/base/v1/", Transport: up})
	if got := p.urls[llm.OpenAIChat].String(); got != "https://h.example/base/v1/chat/completions" {
		t.Error(got)
	}
}

func TestVendorTable(t *testing.T) {
	seen := map[string]bool{}
	for i := range vendors {
		v := &vendors[i]
		switch u, err := url.Parse(v.base); {
		case seen[v.name]:
			t.Errorf("%s stands twice", v.name)
		case v.base == "" && v.baseHint == "":
			t.Errorf("%s has neither an address nor a hint", v.name)
		case v.base != "" && (err != nil || u.Host == "" || strings.HasSuffix(v.base, "/")):
			t.Errorf("%s: base %q", v.name, v.base)
		case v.base != "" && u.Scheme != "https" && u.Hostname() != "localhost":
			t.Errorf("%s: a key would travel in the clear", v.name)
		case !v.speaks(llm.OpenAIChat) && !v.speaks(llm.OpenAIResponses):
			t.Errorf("%s speaks nothing that a chat can be translated to", v.name)
		}
		seen[v.name] = true
	}
	if len(seen) != 16 || Vendors()[0] != "openai" || Owned("no such") != nil || len(Owned("openai")) == 0 {
		t.Errorf("%d vendors", len(seen))
	}
	Owned("openai")[0] = "changed"
	if Owned("openai")[0] == "changed" {
		t.Error("the table can be changed from outside")
	}
}

func TestModels(t *testing.T) {
	for name, tc := range map[string]struct {
		body string
		want []string
	}{
		"openai":   {`{"object":"list","data":[{"id":"b"},{"id":"a"},{"id":"b"}]}`, []string{"a", "b"}},
		"together": {` [{"id":"t/x","type":"chat"}]`, []string{"t/x"}},
		"google":   {`{"data":[{"id":"models/gemini-x"}]}`, []string{"gemini-x"}},
	} {
		t.Run(name, func(t *testing.T) {
			up := &upstream{body: tc.body}
			got, err := newProvider(t, Options{Transport: up}).Models(context.Background(), "k")
			if d := cmp.Diff(tc.want, got); err != nil || d != "" {
				t.Errorf("%v %s", err, d)
			}
			if up.sent.Method != http.MethodGet || up.url != "https://api.openai.com/v1/models" || up.sent.Fields().Get("Authorization") != "Bearer k" {
				t.Errorf("%s %s %v", up.sent.Method, up.url, up.sent.Fields())
			}
		})
	}
	for status, want := range map[int]llm.Kind{401: llm.KindUpstreamCreds, 500: llm.KindUpstream, 302: llm.KindUpstream} {
		if _, err := newProvider(t, Options{Transport: &upstream{status: status}}).Models(context.Background(), "k"); kindOf(err) != want {
			t.Errorf("%d: %v", status, err)
		}
	}
	if _, err := newProvider(t, Options{Transport: &upstream{body: "<html>"}}).Models(context.Background(), "k"); kindOf(err) != llm.KindUpstream {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for status, want := range map[int]llm.Kind{200: "", 404: "", 405: "", 401: llm.KindUpstreamCreds, 403: llm.KindUpstreamCreds, 429: llm.KindRateLimited, 503: llm.KindOverloaded} {
		err := newProvider(t, Options{Transport: &upstream{status: status, body: `{"data":[]}`}}).Check(context.Background(), "k")
		if kindOf(err) != want || want == "" && err != nil {
			t.Errorf("%d: %v", status, err)
		}
	}
	gone := &llm.Error{Kind: llm.KindUpstreamTimeout, Msg: "dial"}
	if err := newProvider(t, Options{Transport: &upstream{err: gone}}).Check(context.Background(), "k"); !errors.Is(err, gone) {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	const body = `{"model":"asked","messages":[{"role":"user","content":"x"}]}`
	for name, tc := range map[string]struct {
		up   upstream
		want llm.Kind
	}{
		"429":          {upstream{status: 429, body: `{"error":{"message":"slow down"}}`}, llm.KindRateLimited},
		"error in 200": {upstream{body: `{"error":{"code":"429","message":"slow down"}}`}, llm.KindRateLimited},
		"redirect":     {upstream{status: 307, header: http.Header{"Location": {"https://evil.example"}}}, llm.KindUpstream},
		"page":         {upstream{body: `<html>`}, llm.KindUpstream},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := newProvider(t, Options{Transport: &tc.up}).Do(context.Background(), attempt(t, wireopenai.Chat, body))
			if kindOf(err) != tc.want {
				t.Errorf("%v", err)
			}
		})
	}
}

func TestCount(t *testing.T) {
	p := newProvider(t, Options{Transport: &upstream{err: errors.New("nothing may be sent")}})
	count := func(c *llm.Chat) int64 {
		t.Helper()
		a := foreign(llm.AnthropicCount, llm.OpCount, c)
		a.Secret = ""
		reply, err := p.Do(context.Background(), a)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Close()
		if reply.Header.Get("X-Sluice-Estimated") != "true" {
			t.Errorf("headers %v", reply.Header)
		}
		ev, err := reply.Next()
		if err != nil || ev.Raw != nil || !ev.Usage.Input.Known {
			t.Fatalf("%+v %v", ev, err)
		}
		if _, err := reply.Next(); err != io.EOF {
			t.Error(err)
		}
		return ev.Usage.Input.N
	}
	// "tiktoken is great!" is six tokens of o200k_base, by OpenAI's cookbook.
	if got := count(&llm.Chat{Messages: userSays("tiktoken is great!")}); got != 6+perMessage+perReply {
		t.Errorf("one message: %d", got)
	}
	base := count(&llm.Chat{Messages: userSays("hi")})
	no := "no way"
	for name, part := range map[string]llm.Part{
		"text":      {Text: "more words"},
		"call":      {Call: &llm.ToolCall{Name: "f", Args: []byte(`{"city":"Florence"}`)}},
		"result":    {Result: &llm.ToolResult{Parts: []llm.Part{{Text: "sunny"}}}},
		"reasoning": {Reasoning: &llm.Reasoning{Text: "let me see"}},
		"refusal":   {Refusal: &no},
		"document":  {Media: &llm.Media{Kind: llm.MediaDocument, Text: "a page"}},
		"image":     {Media: &llm.Media{Kind: llm.MediaImage, URL: "https://x"}},
		"foreign":   {Foreign: llm.Raw(`{"a":1}`)},
	} {
		c := &llm.Chat{Messages: userSays("hi")}
		c.Messages[0].Parts = append(c.Messages[0].Parts, part)
		if got := count(c); got <= base {
			t.Errorf("%s counts nothing: %d", name, got)
		}
	}
	tools := &llm.Chat{Messages: userSays("hi"), Tools: []llm.Tool{{Name: "f", Description: "does", Schema: llm.Raw(`{"type":"object"}`)}}}
	if got := count(tools); got <= base+perTool {
		t.Errorf("tools: %d", got)
	}
	// Cutting a long text for the tokenizer changes the count by little.
	word := strings.Repeat("The quick brown fox jumps. ", 4000)
	if got := count(&llm.Chat{Messages: userSays(word)}); got < 24000 || got > 24100 {
		t.Errorf("a long text: %d", got)
	}
	if got := count(&llm.Chat{Messages: userSays(strings.Repeat("é", 100_000))}); got < 1000 {
		t.Errorf("a run without blanks: %d", got)
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := p.Do(ctx, foreign(llm.GeminiCount, llm.OpCount, &llm.Chat{Messages: userSays("x")})); kindOf(err) != llm.KindClientGone {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := p.Do(context.Background(), foreign(llm.GeminiCount, llm.OpCount, &llm.Embed{})); kindOf(err) != llm.KindUnsupported {
		t.Errorf("not a chat: %v", err)
	}
}

// Over a real connection: the bytes, the path, the headers.
func TestOverHTTP(t *testing.T) {
	var seen struct {
		path, query, auth, body string
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		seen.path, seen.query, seen.auth, seen.body = r.URL.Path, r.URL.RawQuery, r.Header.Get("Authorization"), string(b)
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, chatStream)
	}))
	defer srv.Close()
	p := newProvider(t, Options{Vendor: "vllm", BaseURL: srv.URL + "/v1", Transport: roundTripper{srv.Client().Transport}})
	reply, err := p.Do(context.Background(), attempt(t, wireopenai.Chat, `{"model":"asked","stream":true,"messages":[{"role":"user","content":"x"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	var raw []byte
	for ev, err := range llm.All(reply) {
		if err != nil {
			t.Fatal(err)
		}
		raw = append(raw, ev.Raw...)
	}
	var sent map[string]any
	if err := json.Unmarshal([]byte(seen.body), &sent); err != nil {
		t.Fatal(err)
	}
	if string(raw) != chatStream || seen.path != "/v1/chat/completions" || seen.query != "" || seen.auth != "Bearer sk-secret" || sent["model"] != "up-model" {
		t.Errorf("%+v\n%q", seen, raw)
	}
}

// roundTripper is a transport over net/http, for tests.
type roundTripper struct{ rt http.RoundTripper }

func (t roundTripper) Send(ctx context.Context, r *llm.Request) (*llm.Response, error) {
	req, err := http.NewRequestWithContext(ctx, r.Method, r.URL.String(), bytes.NewReader(bytes.Join(r.Body, nil)))
	if err != nil {
		return nil, err
	}
	req.Header = r.Fields()
	resp, err := t.rt.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	return &llm.Response{Status: resp.StatusCode, Header: resp.Header, Body: resp.Body}, nil
}
