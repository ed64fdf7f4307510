package mock

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/google/go-cmp/cmp"
)

func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// post calls s in process.
func post(s *Server, path, body string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(body))
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

func chat(model string, stream bool) string {
	b, _ := json.Marshal(map[string]any{
		"model": model, "stream": stream, "messages": []any{map[string]any{"role": "user", "content": "one two three four five six seven eight"}},
	})
	return string(b)
}

// paths are a request of each kind, plain and streamed.
var paths = []struct{ name, path, body string }{
	{"chat", "/v1/chat/completions", `{"model":"MODEL","messages":[{"role":"user","content":"one two three"}]}`},
	{"chat stream", "/openai/v1/chat/completions", `{"model":"MODEL","stream":true,"messages":[{"role":"user","content":"one two three"}]}`},
	{"completion", "/v1/completions", `{"model":"MODEL","prompt":"one two three"}`},
	{"completion stream", "/v1/completions", `{"model":"MODEL","stream":true,"prompt":"one two three"}`},
	{"responses", "/v1/responses", `{"model":"MODEL","input":"one two three"}`},
	{"responses stream", "/v1/responses", `{"model":"MODEL","stream":true,"input":[{"role":"user","content":[{"type":"input_text","text":"one two three"}]}]}`},
	{"embeddings", "/v1/embeddings", `{"model":"MODEL","input":["a","b"]}`},
	{"messages", "/v1/messages", `{"model":"MODEL","max_tokens":9,"messages":[{"role":"user","content":"one two three"}]}`},
	{"messages stream", "/v1/messages", `{"model":"MODEL","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"one two three"}]}`},
	{"count_tokens", "/v1/messages/count_tokens", `{"model":"MODEL","messages":[{"role":"user","content":"one two three"}]}`},
	{"gemini", "/v1beta/models/MODEL:generateContent", `{"contents":[{"parts":[{"text":"one two three"}]}]}`},
	{"gemini stream", "/v1beta/models/MODEL:streamGenerateContent?alt=sse", `{"contents":[{"parts":[{"text":"one two three"}]}]}`},
	{"gemini array", "/v1beta/models/MODEL:streamGenerateContent", `{"contents":[{"parts":[{"text":"one two three"}]}]}`},
	{"gemini count", "/v1beta/models/MODEL:countTokens", `{"contents":[{"parts":[{"text":"one two three"}]}]}`},
	{"gemini embed", "/v1beta/models/MODEL:embedContent", `{"content":{"parts":[{"text":"one two three"}]}}`},
	{"gemini batch", "/v1beta/models/MODEL:batchEmbedContents", `{"requests":[{"content":{"parts":[{"text":"one"}]}}]}`},
}

func with(model, s string) string { return strings.ReplaceAll(s, "MODEL", model) }

func TestSameQuestionSameBytes(t *testing.T) {
	for _, p := range paths {
		t.Run(p.name, func(t *testing.T) {
			// A second server has another hash seed and an empty cache: equality is not the cache's.
			one, two := newServer(t, Options{}), newServer(t, Options{})
			for _, model := range []string{"echo", "story", "usage", "reason"} {
				a, b := post(one, with(model, p.path), with(model, p.body)), post(two, with(model, p.path), with(model, p.body))
				if a.Code != 200 {
					t.Fatalf("%s: status %d: %s", model, a.Code, a.Body)
				}
				if !bytes.Equal(a.Body.Bytes(), b.Body.Bytes()) {
					t.Errorf("%s: two answers differ", model)
				}
				again := post(one, with(model, p.path), with(model, p.body))
				if !bytes.Equal(a.Body.Bytes(), again.Body.Bytes()) {
					t.Errorf("%s: the cached answer differs", model)
				}
			}
		})
	}
	s := newServer(t, Options{})
	one, two := post(s, "/v1/chat/completions", chat("story?seed=1", false)), post(s, "/v1/chat/completions", chat("story?seed=2", false))
	if one.Body.String() == two.Body.String() {
		t.Error("another seed tells the same story")
	}
}

func TestVendorBytes(t *testing.T) {
	s := newServer(t, Options{})
	tests := []struct {
		name, path, body string
		header           string
		want, reject     []string
		end              string
	}{
		{
			"openai stream, usage not asked for", "/v1/chat/completions", chat("echo", true), "text/event-stream; charset=utf-8",
			[]string{`data: {"id":"chatcmpl-`, `"delta":{"role":"assistant","content":"","refusal":null}`, `"delta":{"content":" two"}`, `"finish_reason":"stop"`},
			[]string{`usage`, "\r", "event:"},
			"\n\ndata: [DONE]\n\n",
		},
		{
			"openai stream, usage asked for", "/v1/chat/completions",
			strings.Replace(chat("echo", true), "{", `{"stream_options":{"include_usage":true},`, 1), "text/event-stream; charset=utf-8",
			[]string{`"choices":[],"usage":{"prompt_tokens":`, `"usage":null`},
			nil, "\n\ndata: [DONE]\n\n",
		},
		{
			"anthropic stream", "/v1/messages", with("echo", paths[8].body), "text/event-stream; charset=utf-8",
			[]string{
				"event: message_start\ndata: {\"type\":\"message_start\"", "event: ping\ndata: {\"type\": \"ping\"}\n\n", " }\n\n",
				`"delta":{"type":"text_delta","text":" two"}`, `"stop_reason":"end_turn"`,
			},
			[]string{"\r", "[DONE]"},
			"}\n\n",
		},
		{
			"gemini stream", "/v1beta/models/echo:streamGenerateContent?alt=sse", paths[11].body, "text/event-stream",
			[]string{`data: {"candidates": [{"content": {"parts": [{"text": "one"}],"role": "model"}`, "}\r\n\r\ndata: ", `"finishReason": "STOP"`},
			[]string{"}\n\n", "[DONE]"},
			"}\r\n\r\n",
		},
		{
			"gemini array", "/v1beta/models/echo:streamGenerateContent", paths[12].body, "application/json",
			[]string{"[{\n  \"candidates\"", "\n}\n,\r\n{\n"},
			[]string{"data:"},
			"\n}\n]",
		},
		{
			"responses stream", "/v1/responses", with("echo", paths[5].body), "text/event-stream; charset=utf-8",
			[]string{"event: response.created\ndata: ", "event: response.output_text.delta\n", `"sequence_number":4`, "event: response.completed\n"},
			[]string{"[DONE]"},
			"}\n\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := post(s, tt.path, tt.body)
			got := w.Body.String()
			if h := w.Header().Get("Content-Type"); h != tt.header {
				t.Errorf("Content-Type %q, want %q", h, tt.header)
			}
			for _, want := range tt.want {
				if !strings.Contains(got, want) {
					t.Errorf("no %q in\n%s", want, got)
				}
			}
			for _, r := range tt.reject {
				if strings.Contains(got, r) {
					t.Errorf("%q in\n%s", r, got)
				}
			}
			if !strings.HasSuffix(got, tt.end) {
				t.Errorf("ends with %q, want %q", got[max(0, len(got)-30):], tt.end)
			}
		})
	}
}

func TestStyles(t *testing.T) {
	s := newServer(t, Options{})
	tests := []struct{ style, want string }{
		{"crlf", "}\r\n\r\ndata: {"}, {"bom", "\ufeffdata: "}, {"comments", ": MOCK PROCESSING\n\ndata: "}, {"tight", "data:{"},
	}
	for _, tt := range tests {
		if got := post(s, "/v1/chat/completions", chat("echo?sse="+tt.style, true)).Body.String(); !strings.Contains(got, tt.want) {
			t.Errorf("sse=%s: no %q in %.200s", tt.style, tt.want, got)
		}
	}
	if got := post(s, "/v1/chat/completions", chat("echo?sse=open", true)).Body.String(); !strings.HasSuffix(got, "data: [DONE]") {
		t.Errorf("sse=open ends with %q", got[len(got)-20:])
	}
	lf := post(s, "/v1beta/models/echo%3Fsse=lf:streamGenerateContent?alt=sse", paths[11].body).Body.String()
	if strings.Contains(lf, "\r") {
		t.Errorf("sse=lf has CR: %q", lf)
	}
}

// usageOf reads the token counts that the client sees, in OpenAI's sense.
func TestTokenCounts(t *testing.T) {
	const script = "echo?input=100&output=50&cached=30&write=20&reasoning=7"
	s := newServer(t, Options{})
	tests := []struct {
		name, path, body string
		want             []string
	}{
		{"chat", "/v1/chat/completions", chat(script, false), []string{
			`"prompt_tokens": 100`, `"completion_tokens": 50`, `"total_tokens": 150`, `"cached_tokens": 30`, `"reasoning_tokens": 7`,
		}},
		{"anthropic", "/v1/messages", with(script, paths[7].body), []string{
			`"input_tokens":50,"cache_creation_input_tokens":20,"cache_read_input_tokens":30`, `"output_tokens":50`, `{"thinking_tokens":7}`,
		}},
		{"gemini", "/v1beta/models/" + strings.ReplaceAll(script, "?", "%3F") + ":generateContent", paths[10].body, []string{
			`"promptTokenCount": 100`, `"candidatesTokenCount": 43`, `"thoughtsTokenCount": 7`, `"cachedContentTokenCount": 30`, `"totalTokenCount": 150`,
		}},
		{"responses", "/v1/responses", with(script, paths[4].body), []string{
			`"input_tokens": 100`, `"cached_tokens": 30`, `"output_tokens": 50`, `"reasoning_tokens": 7`, `"total_tokens": 150`,
		}},
	}
	for _, tt := range tests {
		got := post(s, tt.path, tt.body).Body.String()
		for _, want := range tt.want {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %s in\n%s", tt.name, want, got)
			}
		}
	}
	for _, e := range s.Log().Entries {
		want := Tokens{Input: 100, Output: 50, Cached: 30, Write: 20, Reasoning: 7, Whole: 50}
		if diff := cmp.Diff(want, e.Tokens); diff != "" {
			t.Errorf("%s: logged tokens (-want +got):\n%s", e.API, diff)
		}
	}
	for usage, want := range map[string]string{"none": "", "null": `"usage": null`, "zero": `"prompt_tokens": 0`} {
		got := post(s, "/v1/chat/completions", chat("echo?usage="+usage, false)).Body.String()
		if !strings.Contains(got, want) || usage == "none" && strings.Contains(got, `"usage"`) {
			t.Errorf("usage=%s: %s", usage, got)
		}
	}
	every := post(s, "/v1/chat/completions", chat("echo?usage=every", true)).Body.String()
	if n := strings.Count(every, `"prompt_tokens"`); n < 9 {
		t.Errorf("usage=every has it %d times", n)
	}
}

func TestMaxTokens(t *testing.T) {
	s := newServer(t, Options{})
	got := post(s, "/v1/chat/completions", strings.Replace(chat("echo", false), "{", `{"max_tokens":3,`, 1)).Body.String()
	for _, want := range []string{`"content": "one two three"`, `"finish_reason": "length"`, `"completion_tokens": 3`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in %s", want, got)
		}
	}
}

func TestChunks(t *testing.T) {
	s := newServer(t, Options{})
	for model, want := range map[string]int{"story?chunks=100": 100, "story?chunks=100&size=20kB": 100, "echo?chunks=3": 3, "story?words=7": 7, "echo?text=abcdef&chunks=4": 4} {
		got := post(s, "/v1/chat/completions", chat(strings.ReplaceAll(model, "&", ";"), true)).Body.String()
		if n := strings.Count(got, `"delta":{"content":"`); n != want {
			t.Errorf("%s: %d chunks, want %d", model, n, want)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := newServer(t, Options{Key: "sk-right"})
	tests := []struct {
		name, path, body string
		header           []string
		status           int
		want             string
	}{
		{"no key", "/v1/chat/completions", chat("echo", false), nil, 401, `"code":"invalid_api_key"`},
		{"wrong key", "/v1/messages", "{}", []string{"X-Api-Key", "sk-wrong"}, 401, `"type":"authentication_error"`},
		{"key in query", "/v1beta/models/echo:generateContent?key=sk-right", "{}", nil, 400, `"status":"INVALID_ARGUMENT"`},
		{"unknown model", "/v1/chat/completions", chat("gpt-9", false), nil, 404, `"code":"model_not_found"`},
		{"bad script", "/v1/chat/completions", chat("echo?speed=9", false), nil, 400, `speed=9`},
		{"bad script in header", "/v1/chat/completions", chat("echo", false), []string{"X-Mock-Script", "ttft=soon"}, 400, `ttft=soon`},
		{"no messages", "/v1/chat/completions", `{"model":"echo","messages":[]}`, nil, 400, `messages`},
		{"bad role", "/v1/chat/completions", `{"model":"echo","messages":[{"role":"robot","content":"x"}]}`, nil, 400, `robot`},
		{"duplicate member", "/v1/chat/completions", `{"model":"echo","model":"story","messages":[{"role":"user","content":"x"}]}`, nil, 400, `duplicate`},
		{"unanswered tool call", "/v1/chat/completions", `{"model":"echo","messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"arguments":"{}"}}]},{"role":"assistant","content":"x"}]}`, nil, 400, `tool_call_id`},
		{"result without call", "/v1/chat/completions", `{"model":"echo","messages":[{"role":"tool","tool_call_id":"a","content":"x"}]}`, nil, 400, `no matching`},
		{"no max_tokens", "/v1/messages", `{"model":"echo","messages":[{"role":"user","content":"x"}]}`, []string{"X-Api-Key", "sk-right"}, 400, `max_tokens`},
		{"tampered signature", "/v1/messages", `{"model":"echo","max_tokens":1,"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"x","signature":"eHg="}]}]}`, []string{"X-Api-Key", "sk-right"}, 400, `signature`},
		{"tampered thought", "/v1beta/models/echo:generateContent?key=sk-right", `{"contents":[{"role":"model","parts":[{"text":"","thoughtSignature":"eHg="}]}]}`, nil, 400, `signature`},
		{"tampered encrypted reasoning", "/v1/responses", `{"model":"echo","input":[{"type":"reasoning","encrypted_content":"eHg="}]}`, nil, 400, `verified`},
		{"compressed", "/v1/chat/completions", "x", []string{"Content-Encoding", "gzip"}, 415, `gzip`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name != "no key" && tt.header == nil || tt.name == "bad script in header" {
				tt.header = append(tt.header, "Authorization", "Bearer sk-right")
			}
			w := post(s, tt.path, tt.body, tt.header...)
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d with %q", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
}

func TestUnknownPaths(t *testing.T) {
	s := newServer(t, Options{})
	for _, p := range []string{"/", "/v1/unknown", "/v1beta/models/echo:fly", "/v1beta/models/echo"} {
		if w := post(s, p, "{}"); w.Code != 404 {
			t.Errorf("POST %s: %d", p, w.Code)
		}
	}
	r := httptest.NewRequest(http.MethodGet, "/health", nil)
	w := httptest.NewRecorder()
	if s.ServeHTTP(w, r); w.Code != 200 {
		t.Errorf("health: %d", w.Code)
	}
}

func TestHelpIsTheManual(t *testing.T) {
	help := Command{}.Help()
	for name := range options {
		if !strings.Contains(help, name+"=") {
			t.Errorf("the manual has no option %s", name)
		}
	}
	for name := range personas {
		if !strings.Contains(help, "\t"+name+" ") {
			t.Errorf("the manual has no model %s", name)
		}
	}
	if strings.Contains(help, "//") && !strings.Contains(help, "http://") {
		t.Error("comment marks in the help")
	}
}

func BenchmarkServe(b *testing.B) {
	for _, bb := range []struct {
		name, body string
	}{
		{"small", chat("echo", false)},
		{"200k", strings.Replace(chat("story", false), "one two", strings.Repeat("word ", 40_000), 1)},
		{"stream100", chat("story?chunks=100", true)},
	} {
		b.Run(bb.name, func(b *testing.B) {
			s := newServer(b, Options{})
			body := []byte(bb.body)
			r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
			r.ContentLength = int64(len(body))
			b.ReportAllocs()
			for b.Loop() {
				r.Body = io.NopCloser(bytes.NewReader(body))
				s.ServeHTTP(&nobody{h: http.Header{}}, r)
			}
		})
	}
}

// nobody is a client that costs nothing.
type nobody struct{ h http.Header }

func (n *nobody) Header() http.Header         { return n.h }
func (n *nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n *nobody) WriteHeader(int)             {}
func (n *nobody) Flush()                      {}
