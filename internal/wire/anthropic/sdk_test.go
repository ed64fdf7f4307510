package anthropic

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdk "github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

// The official SDK is the judge of what clients understand.
func client(t *testing.T, h http.HandlerFunc) sdk.Client {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return sdk.NewClient(option.WithBaseURL(s.URL), option.WithAPIKey("k"), option.WithMaxRetries(0), option.WithHTTPClient(s.Client()))
}

var params = sdk.MessageNewParams{
	Model: "m", MaxTokens: 9, Messages: []sdk.MessageParam{sdk.NewUserMessage(sdk.NewTextBlock("x"))},
}

// foreignAnswer is what an upstream of another vendor may say: reasoning it signed, text, interleaved calls.
func foreignAnswer() []*llm.Event {
	delta := func(i int, p llm.Part) *llm.Event { return &llm.Event{Delta: []llm.Delta{{Index: i, Part: &p}}} }
	return []*llm.Event{
		{Head: &llm.Head{ID: "chatcmpl-1", Model: "gpt"}},
		delta(0, llm.Part{Reasoning: &llm.Reasoning{Text: "let me "}}),
		delta(0, llm.Part{Reasoning: &llm.Reasoning{Text: "think"}}),
		delta(0, llm.Part{Reasoning: new(llm.Reasoning), Signature: &llm.Signature{By: "openai", Value: "enc"}}),
		delta(1, llm.Part{Text: "Hello "}),
		delta(1, llm.Part{Text: "wörld"}),
		delta(1, llm.Part{Citations: []llm.Citation{{URL: "https://x", Title: "X", Quote: "q"}}}),
		delta(2, llm.Part{Call: &llm.ToolCall{ID: "call_a", Name: "f"}}),
		delta(3, llm.Part{Call: &llm.ToolCall{ID: "call_b", Name: "g"}, Signature: &llm.Signature{By: "gemini", Value: "thought"}}),
		delta(2, llm.Part{Call: &llm.ToolCall{Args: []byte(`{"a":`)}}),
		delta(3, llm.Part{Call: &llm.ToolCall{Args: []byte(`{"b":"}"}`)}}),
		delta(2, llm.Part{Call: &llm.ToolCall{Args: []byte(`1}`)}}),
		delta(4, llm.Part{Call: &llm.ToolCall{ID: "call_c", Name: "h"}}),
		{Delta: []llm.Delta{{Choice: 1, Index: 0, Part: &llm.Part{Text: "another choice"}}}},
		{Delta: []llm.Delta{{Stop: llm.StopTools, Native: "tool_calls"}}},
		{Usage: &llm.Usage{Input: llm.Tokens(30), CacheRead: llm.Tokens(20), Output: llm.Tokens(12), Reasoning: llm.Tokens(4)}},
	}
}

// said is what the SDK makes of a message.
type said struct {
	ID, Stop      string
	Blocks        []string
	Input, Output int64
	Cached        int64
}

func hear(m *sdk.Message) said {
	s := said{ID: m.ID, Stop: string(m.StopReason), Input: m.Usage.InputTokens, Output: m.Usage.OutputTokens, Cached: m.Usage.CacheReadInputTokens}
	for _, b := range m.Content {
		switch b.Type {
		case "text":
			for _, c := range b.Citations {
				b.Text += "[" + c.URL + "]"
			}
			s.Blocks = append(s.Blocks, b.Text)
		case "thinking":
			s.Blocks = append(s.Blocks, "("+b.Thinking+")"+b.Signature)
		case "tool_use":
			s.Blocks = append(s.Blocks, b.ID+" "+b.Name+string(b.Input))
		}
	}
	return s
}

func TestSDKUnderstandsAnswers(t *testing.T) {
	want := said{ID: "msg_chatcmpl-1", Stop: "tool_use", Input: 10, Output: 12, Cached: 20, Blocks: []string{
		"(let me think)sluice.openai.enc", "Hello wörld[https://x]", `call_a f{"a":1}`, "()sluice.gemini.thought", `call_b g{"b":"}"}`, `call_c h{}`,
	}}
	call := &llm.Call{ID: "1", Model: "m"}
	var sum llm.Answer
	for _, ev := range foreignAnswer() {
		sum.Add(ev)
	}
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		var q struct{ Stream bool }
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
			t.Error(err)
		}
		if !q.Stream {
			body, err := Messages.Answer(call, &sum)
			if err != nil {
				t.Error(err)
			}
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
			return
		}
		enc := Messages.Writer(call)
		w.Header().Set("Content-Type", enc.ContentType())
		out := enc.Ping(nil)
		for i, ev := range foreignAnswer() {
			var err error
			if out, err = enc.Event(out, ev); err != nil {
				t.Error(err)
			}
			if i%3 == 0 {
				out = enc.Ping(out)
			}
		}
		_, _ = w.Write(enc.End(out))
	})
	m, err := c.Messages.New(t.Context(), params)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, hear(m)); diff != "" {
		t.Errorf("whole (-want +heard):\n%s", diff)
	}
	s := c.Messages.NewStreaming(t.Context(), params)
	var got sdk.Message
	for s.Next() {
		if err := got.Accumulate(s.Current()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, hear(&got)); diff != "" {
		t.Errorf("streamed (-want +heard):\n%s", diff)
	}
	// What the client sends back in the next turn must mean what the upstream said.
	body, err := json.Marshal(sdk.MessageNewParams{Model: "m", MaxTokens: 9, Messages: []sdk.MessageParam{
		sdk.NewUserMessage(sdk.NewTextBlock("x")), got.ToParam(),
		sdk.NewUserMessage(sdk.NewToolResultBlock("call_a", "1", false), sdk.NewToolResultBlock("call_b", "2", true), sdk.NewToolResultBlock("call_c", "3", false)),
	}})
	if err != nil {
		t.Fatal(err)
	}
	back := decode(t, Messages, body).Messages[1].Parts
	parts := sum.Choices[0].Parts
	parts[4].Call.Args = []byte("{}") // what no arguments at all come back as
	parts[1].Citations[0].Native = back[1].Citations[0].Native
	if diff := cmp.Diff(parts, back, sameMeaning); diff != "" {
		t.Errorf("sent back (-said +sent):\n%s", diff)
	}
}

func TestSDKSeesBrokenStreams(t *testing.T) {
	for _, tt := range []struct {
		name string
		raw  bool
	}{{"before the first frame", false}, {"after frames of our own", false}, {"after raw frames", true}} {
		t.Run(tt.name, func(t *testing.T) {
			c := client(t, func(w http.ResponseWriter, _ *http.Request) {
				enc := Messages.Writer(&llm.Call{ID: "1", Model: "m"})
				w.Header().Set("Content-Type", enc.ContentType())
				var out []byte
				switch {
				case tt.raw:
					out = []byte(example[:strings.Index(example, "event: message_delta")])
				case tt.name != "before the first frame":
					out, _ = enc.Event(out, &llm.Event{Delta: []llm.Delta{{Part: &llm.Part{Text: "Hel"}}}})
				}
				_, _ = w.Write(enc.Fail(out, llm.Errorf(llm.KindOverloaded, "too\nmuch"), "req", tt.raw))
			})
			s := c.Messages.NewStreaming(t.Context(), params)
			for s.Next() {
			}
			var e *sdk.Error
			if err := s.Err(); !errors.As(err, &e) || e.Type() != "overloaded_error" {
				t.Errorf("the SDK ends with %v", err)
			}
		})
	}
}

func TestSDKSeesErrors(t *testing.T) {
	for _, tt := range []struct {
		kind   llm.Kind
		status int
		typ    string
	}{
		{llm.KindInvalid, 400, "invalid_request_error"},
		{llm.KindContextLength, 400, "invalid_request_error"},
		{llm.KindInvalidKey, 401, "authentication_error"},
		{llm.KindModelNotAllowed, 403, "permission_error"},
		{llm.KindModelNotFound, 404, "not_found_error"},
		{llm.KindTooLarge, 413, "request_too_large"},
		{llm.KindRateLimited, 429, "rate_limit_error"},
		{llm.KindBudget, 429, "rate_limit_error"},
		{llm.KindInternal, 500, "api_error"},
		{llm.KindUpstream, 502, "api_error"},
		{llm.KindUpstreamCreds, 502, "api_error"},
		{llm.KindNoUpstream, 503, "overloaded_error"},
		{llm.KindUpstreamTimeout, 504, "timeout_error"},
	} {
		t.Run(string(tt.kind), func(t *testing.T) {
			c := client(t, func(w http.ResponseWriter, _ *http.Request) {
				status, body := Messages.Error(&llm.Error{Kind: tt.kind, Msg: "why", Problems: []llm.Problem{{At: "/x", Msg: "is wrong"}}}, "req-1")
				w.Header().Set("Content-Type", "application/problem+json")
				w.WriteHeader(status)
				_, _ = w.Write(body)
			})
			_, err := c.Messages.New(t.Context(), params)
			var e *sdk.Error
			if !errors.As(err, &e) {
				t.Fatalf("the SDK says %v", err)
			}
			if e.StatusCode != tt.status || string(e.Type()) != tt.typ {
				t.Errorf("status %d, type %s", e.StatusCode, e.Type())
			}
			var body struct {
				Type      string
				RequestID string `json:"request_id"`
				Instance  string
				Code      string
				Status    int
				Error     struct{ Type, Message string }
				Errors    []struct{ Pointer, Detail string }
			}
			if err := json.Unmarshal([]byte(e.RawJSON()), &body); err != nil {
				t.Fatal(err)
			}
			if body.Type != "error" || body.RequestID != "req-1" || body.Instance != "req-1" || body.Code != string(tt.kind) ||
				body.Status != tt.status || body.Error.Type != tt.typ || body.Error.Message != "why: /x is wrong" || len(body.Errors) != 1 {
				t.Errorf("body %s", e.RawJSON())
			}
		})
	}
}
