package responses_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	sdk "github.com/openai/openai-go/v3/responses"

	"sluice/internal/llm"
	"sluice/internal/wire"
	"sluice/internal/wire/responses"
)

// serve answers every request with what answer writes, and gives OpenAI's own client for it.
func serve(t *testing.T, answer func(w http.ResponseWriter, call *llm.Call)) openai.Client {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		call, err := wire.ReadCall(responses.Responses, r, body, "req_1")
		if err != nil {
			t.Errorf("the SDK's request is refused: %v\n%s", err, body)
			return
		}
		if _, err := call.Body.Payload(); err != nil {
			t.Errorf("the SDK's request cannot be decoded: %v\n%s", err, body)
		}
		answer(w, call)
	}))
	t.Cleanup(srv.Close)
	return openai.NewClient(option.WithBaseURL(srv.URL), option.WithAPIKey("k"), option.WithMaxRetries(0))
}

// said are the events of an answer with everything in it.
func said() []*llm.Event {
	no := "No."
	return []*llm.Event{
		{Head: &llm.Head{ID: "msg_9", Model: "up-1", Created: testTime}},
		delta(0, llm.Part{Reasoning: &llm.Reasoning{Text: "Thinking"}}),
		delta(0, llm.Part{Reasoning: &llm.Reasoning{Text: " hard."}, Signature: &llm.Signature{By: "anthropic", Value: "sig"}}),
		delta(1, llm.Part{Text: "Hello, "}),
		delta(1, llm.Part{Text: "wörld\n\"quoted\""}),
		delta(1, llm.Part{Citations: []llm.Citation{{URL: "https://example.com", Title: "E", End: 5}}}),
		delta(2, llm.Part{Call: &llm.ToolCall{ID: "c1", Name: "f"}}),
		delta(2, piece(`{"a":`)), delta(2, piece(`1}`)),
		delta(3, llm.Part{Call: &llm.ToolCall{ID: "c2", Name: "sql", Custom: true, Args: []byte("SELECT 1")}}),
		delta(4, llm.Part{Refusal: &no}),
		{Delta: []llm.Delta{{Stop: llm.StopTools}}},
		{Usage: &llm.Usage{Input: llm.Tokens(5), CacheRead: llm.Tokens(2), Output: llm.Tokens(9), Reasoning: llm.Tokens(3)}},
	}
}

func params() sdk.ResponseNewParams {
	return sdk.ResponseNewParams{
		Model:        "m",
		Instructions: openai.String("Be brief."),
		Input: sdk.ResponseNewParamsInputUnion{OfInputItemList: sdk.ResponseInputParam{
			sdk.ResponseInputItemParamOfMessage("Hi", sdk.EasyInputMessageRoleUser),
			sdk.ResponseInputItemParamOfFunctionCall(`{}`, "c0", "f"),
			{OfFunctionCallOutput: &sdk.ResponseInputItemFunctionCallOutputParam{
				CallID: openai.String("c0"),
				Output: sdk.ResponseInputItemFunctionCallOutputOutputUnionParam{OfString: openai.String("ok")},
			}},
		}},
		Tools: []sdk.ToolUnionParam{sdk.ToolParamOfFunction("f", map[string]any{"type": "object"}, false)},
	}
}

// gist is what a client of the SDK sees of an answer.
type gist struct {
	Text, Refusal, Reasoning, Sealed, Status string
	Calls                                    []string
	URLs                                     []string
	Usage                                    [4]int64
}

func gistOf(r *sdk.Response) gist {
	g := gist{Text: r.OutputText(), Status: string(r.Status), Usage: [4]int64{
		r.Usage.InputTokens, r.Usage.InputTokensDetails.CachedTokens, r.Usage.OutputTokens, r.Usage.OutputTokensDetails.ReasoningTokens,
	}}
	for _, item := range r.Output {
		switch v := item.AsAny().(type) {
		case sdk.ResponseOutputMessage:
			for _, c := range v.Content {
				g.Refusal += c.Refusal
				for _, a := range c.Annotations {
					g.URLs = append(g.URLs, a.URL)
				}
			}
		case sdk.ResponseReasoningItem:
			for _, s := range v.Summary {
				g.Reasoning += s.Text
			}
			g.Sealed += v.EncryptedContent
		case sdk.ResponseFunctionToolCall:
			g.Calls = append(g.Calls, v.CallID+" "+v.Name+" "+v.Arguments)
		case sdk.ResponseCustomToolCall:
			g.Calls = append(g.Calls, v.CallID+" "+v.Name+" "+v.Input)
		}
	}
	return g
}

var wantGist = gist{
	Text: "Hello, wörld\n\"quoted\"", Refusal: "No.", Reasoning: "Thinking hard.", Sealed: "sluice.anthropic.sig", Status: "completed",
	Calls: []string{`c1 f {"a":1}`, "c2 sql SELECT 1"}, URLs: []string{"https://example.com"}, Usage: [4]int64{5, 2, 9, 3},
}

func TestSDKAnswer(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, call *llm.Call) {
		var a llm.Answer
		for _, ev := range said() {
			a.Add(ev)
		}
		body, err := responses.Responses.Answer(call, &a)
		if err != nil {
			t.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})
	r, err := client.Responses.New(context.Background(), params())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(wantGist, gistOf(r)); diff != "" {
		t.Error(diff)
	}
	if r.Instructions.OfString != "Be brief." || len(r.Tools) != 1 || r.ToolChoice.OfToolChoiceMode != "auto" || !r.ParallelToolCalls {
		t.Errorf("settings: %s", r.RawJSON())
	}
}

func TestSDKStream(t *testing.T) {
	client := serve(t, func(w http.ResponseWriter, call *llm.Call) {
		enc := responses.Responses.Writer(call)
		w.Header().Set("Content-Type", enc.ContentType())
		for _, ev := range said() {
			out, err := enc.Event(nil, ev)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(enc.Ping(out))
		}
		_, _ = w.Write(enc.End(nil))
	})
	stream := client.Responses.NewStreaming(context.Background(), params())
	var text, args, reasoning, refusal, input strings.Builder
	var last *sdk.Response
	for stream.Next() {
		switch v := stream.Current().AsAny().(type) {
		case sdk.ResponseTextDeltaEvent:
			text.WriteString(v.Delta)
		case sdk.ResponseFunctionCallArgumentsDeltaEvent:
			args.WriteString(v.Delta)
		case sdk.ResponseReasoningSummaryTextDeltaEvent:
			reasoning.WriteString(v.Delta)
		case sdk.ResponseRefusalDeltaEvent:
			refusal.WriteString(v.Delta)
		case sdk.ResponseCustomToolCallInputDeltaEvent:
			input.WriteString(v.Delta)
		case sdk.ResponseCompletedEvent:
			last = &v.Response
		}
	}
	if err := stream.Err(); err != nil {
		t.Fatal(err)
	}
	got := []string{text.String(), args.String(), reasoning.String(), refusal.String(), input.String()}
	if diff := cmp.Diff([]string{wantGist.Text, `{"a":1}`, wantGist.Reasoning, "No.", "SELECT 1"}, got); diff != "" {
		t.Errorf("deltas: %s", diff)
	}
	if last == nil {
		t.Fatal("no final response")
	}
	if diff := cmp.Diff(wantGist, gistOf(last)); diff != "" {
		t.Error(diff)
	}
}

// A broken answer raises, whether the writer wrote the start of it or passed it on.
func TestSDKFails(t *testing.T) {
	for name, raw := range map[string]bool{"written": false, "passed on": true} {
		t.Run(name, func(t *testing.T) {
			client := serve(t, func(w http.ResponseWriter, call *llm.Call) {
				enc := responses.Responses.Writer(call)
				w.Header().Set("Content-Type", enc.ContentType())
				if raw {
					frames := strings.SplitAfter(rawStream(2), "\n\n")
					_, _ = io.WriteString(w, strings.Join(frames[:3], ""))
				} else {
					for _, ev := range said()[:5] {
						out, _ := enc.Event(nil, ev)
						_, _ = w.Write(out)
					}
				}
				_, _ = w.Write(enc.Fail(nil, &llm.Error{Kind: llm.KindUpstream, Msg: "it broke off"}, "req_1", raw))
			})
			stream := client.Responses.NewStreaming(context.Background(), params())
			n := 0
			for stream.Next() {
				n++
			}
			if err := stream.Err(); err == nil || !strings.Contains(err.Error(), "it broke off") || n < 3 {
				t.Errorf("after %d events: %v", n, err)
			}
		})
	}
}

// Failures before the first byte become the SDK's error with the right status.
func TestSDKErrors(t *testing.T) {
	for kind, status := range map[llm.Kind]int{
		llm.KindInvalid: 400, llm.KindInvalidKey: 401, llm.KindModelNotAllowed: 403, llm.KindModelNotFound: 404, llm.KindRateLimited: 429, llm.KindUpstream: 502,
	} {
		client := serve(t, func(w http.ResponseWriter, _ *llm.Call) {
			wire.WriteError(w, responses.Responses, &llm.Error{Kind: kind, Msg: "told so"}, "req_1")
		})
		_, err := client.Responses.New(context.Background(), params())
		var e *openai.Error
		if !errors.As(err, &e) || e.StatusCode != status || !strings.Contains(e.Message, "told so") {
			t.Errorf("%s: %v", kind, err)
		}
	}
}
