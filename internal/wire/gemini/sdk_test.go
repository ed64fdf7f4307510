package gemini

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"google.golang.org/genai"

	"sluice/internal/llm"
)

// client gives Google's own SDK, talking to a server that answers with what h writes.
func client(t *testing.T, h http.HandlerFunc) *genai.Client {
	t.Helper()
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	c, err := genai.NewClient(context.Background(), &genai.ClientConfig{
		APIKey: "k", Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: server.URL},
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// serve streams an answer the way the gateway does, with pings between, cut off by fail when it is set.
func serve(t *testing.T, answer []*llm.Event, fail *llm.Error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		rest := strings.TrimPrefix(r.URL.Path, "/v1beta/models/")
		f, model, _, ok := Route(rest)
		if !ok {
			t.Errorf("the SDK calls %s", r.URL)
			return
		}
		call := &llm.Call{ID: "req_1", Format: f.Format(), Model: model, Query: r.URL.Query()}
		out := f.Writer(call)
		w.Header().Set("Content-Type", out.ContentType())
		send := func(b []byte) {
			_, _ = w.Write(b)
			w.(http.Flusher).Flush()
		}
		for _, ev := range answer {
			b, err := out.Event(nil, ev)
			if err != nil {
				t.Error(err)
			}
			send(out.Ping(b))
		}
		if fail != nil {
			send(out.Fail(nil, fail, "req_1", false))
		} else {
			send(out.End(nil))
		}
	}
}

func sdkEvents() []*llm.Event {
	delta := func(index int, p llm.Part) *llm.Event {
		return &llm.Event{Delta: []llm.Delta{{Index: index, Part: &p}}}
	}
	return []*llm.Event{
		{Head: &llm.Head{ID: "msg_1", Model: "claude-x"}},
		delta(0, llm.Part{Reasoning: &llm.Reasoning{Text: "let me "}}), delta(0, llm.Part{Reasoning: &llm.Reasoning{Text: "see"}}),
		delta(0, llm.Part{Reasoning: &llm.Reasoning{}, Signature: &llm.Signature{By: "anthropic", Value: "c2ln"}}),
		delta(1, llm.Part{Text: "Größe: "}), delta(1, llm.Part{Text: "1"}),
		delta(2, llm.Part{Call: &llm.ToolCall{ID: "toolu_1", Name: "weather"}}), delta(2, llm.Part{Call: &llm.ToolCall{Args: []byte(`{"city":`)}}), delta(2, llm.Part{Call: &llm.ToolCall{Args: []byte(`"Brno"}`)}}),
		{Delta: []llm.Delta{{Stop: llm.StopTools, Native: "tool_use"}}, Usage: &llm.Usage{Input: llm.Tokens(9), Output: llm.Tokens(4)}},
	}
}

func TestSDKStream(t *testing.T) {
	c := client(t, serve(t, sdkEvents(), nil))
	var said, thought, signature string
	var calls []*genai.FunctionCall
	var last *genai.GenerateContentResponse
	for chunk, err := range c.Models.GenerateContentStream(context.Background(), "mock/echo", genai.Text("hi"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range chunk.Candidates[0].Content.Parts {
			if p.Thought {
				thought += p.Text
			} else {
				said += p.Text
			}
			signature += string(p.ThoughtSignature)
			if p.FunctionCall != nil {
				calls = append(calls, p.FunctionCall)
			}
		}
		last = chunk
	}
	if said != "Größe: 1" || thought != "let me see" || signature != "sluice.anthropic.c2ln" {
		t.Errorf("text %q, thought %q, signature %q", said, thought, signature)
	}
	if len(calls) != 1 || calls[0].ID != "toolu_1" || fmt.Sprint(calls[0].Args) != "map[city:Brno]" {
		t.Errorf("calls: %+v", calls)
	}
	if last.Candidates[0].FinishReason != genai.FinishReasonStop || last.UsageMetadata.TotalTokenCount != 13 || last.ModelVersion != "claude-x" {
		t.Errorf("last chunk: %+v", last)
	}
}

func TestSDKFail(t *testing.T) {
	for sent := range len(sdkEvents()) {
		c := client(t, serve(t, sdkEvents()[:sent], &llm.Error{Kind: llm.KindOverloaded, Msg: "gone"}))
		var raised error
		for _, err := range c.Models.GenerateContentStream(context.Background(), "m", genai.Text("hi"), nil) {
			if err != nil {
				raised = err
				break
			}
		}
		var e genai.APIError
		if !errors.As(raised, &e) || e.Code != 503 || e.Status != "UNAVAILABLE" || e.Message != "gone" {
			t.Errorf("after %d events: %v", sent, raised)
		}
	}
}

func TestSDKChatKeepsHistory(t *testing.T) {
	c := client(t, serve(t, []*llm.Event{{Delta: []llm.Delta{{Part: &llm.Part{Text: "yes"}}}}, {Delta: []llm.Delta{{Stop: llm.StopEnd}}}}, nil))
	chat, err := c.Chats.Create(context.Background(), "m", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range chat.SendMessageStream(context.Background(), genai.Part{Text: "hi"}) {
		if err != nil {
			t.Fatal(err)
		}
	}
	said := ""
	for _, turn := range chat.History(true) { // curated: only what the SDK takes for a valid answer
		for _, p := range turn.Parts {
			said += turn.Role + ":" + p.Text + ";"
		}
	}
	if said != "user:hi;model:yes;" {
		t.Errorf("history: %s", said)
	}
}

func TestSDKWhole(t *testing.T) {
	var a llm.Answer
	for _, ev := range sdkEvents() {
		a.Add(ev)
	}
	c := client(t, func(w http.ResponseWriter, _ *http.Request) {
		body, err := Generate.Answer(sseCall(), &a)
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(body)
	})
	got, err := c.Models.GenerateContent(context.Background(), "m", genai.Text("hi"), nil)
	if err != nil || got.Text() != "Größe: 1" || len(got.FunctionCalls()) != 1 || got.UsageMetadata.PromptTokenCount != 9 {
		t.Errorf("%v: %+v", err, got)
	}
}

func TestSDKErrors(t *testing.T) {
	for kind, code := range map[llm.Kind]int{
		llm.KindInvalid: 400, llm.KindInvalidKey: 401, llm.KindModelNotAllowed: 403, llm.KindModelNotFound: 404, llm.KindTooLarge: 413,
		llm.KindRateLimited: 429, llm.KindInternal: 500, llm.KindUpstream: 502, llm.KindNoUpstream: 503, llm.KindUpstreamTimeout: 504,
	} {
		c := client(t, func(w http.ResponseWriter, _ *http.Request) {
			status, body := Generate.Error(&llm.Error{Kind: kind, Msg: "what"}, "req_1")
			w.WriteHeader(status)
			_, _ = w.Write(body)
		})
		_, err := c.Models.GenerateContent(context.Background(), "m", genai.Text("hi"), nil)
		var e genai.APIError
		if !errors.As(err, &e) || e.Code != code || e.Message != "what" || e.Status != statusName(code) {
			t.Errorf("%s: %v", kind, err)
		}
	}
}

// What the SDK sends passes the strict reading and is understood.
func TestSDKRequests(t *testing.T) {
	requests := 0
	c := client(t, func(w http.ResponseWriter, r *http.Request) {
		rest := strings.TrimPrefix(r.URL.Path, "/v1beta/models/")
		f, _, _, _ := Route(rest)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		requests++
		call, err := open(f, rest, string(body))
		if err != nil {
			t.Errorf("%s\n%s", problems(err), body)
			return
		}
		if _, err := call.Body.Payload(); err != nil {
			t.Errorf("%s\n%s", problems(err), body)
		}
		switch f {
		case CountTokens:
			_, _ = w.Write([]byte(`{"totalTokens":3}`))
		case BatchEmbed:
			_, _ = w.Write([]byte(`{"embeddings":[{"values":[1,2]}]}`))
		default:
			_, _ = w.Write([]byte(`{"candidates":[{"content":{"parts":[{"text":"ok"}],"role":"model"},"finishReason":"STOP"}]}`))
		}
	})
	ctx := context.Background()
	_, err := c.Models.GenerateContent(ctx, "m", []*genai.Content{
		genai.NewContentFromText("hi", genai.RoleUser),
		genai.NewContentFromFunctionCall("f", map[string]any{"a": 1}, genai.RoleModel),
		genai.NewContentFromFunctionResponse("f", map[string]any{"output": "x"}, genai.RoleUser),
		genai.NewContentFromParts([]*genai.Part{genai.NewPartFromBytes([]byte{1, 2, 255}, "image/png"), genai.NewPartFromURI("https://x.example/a.png", "image/png")}, genai.RoleUser),
	}, &genai.GenerateContentConfig{
		SystemInstruction: genai.NewContentFromText("s", ""), Temperature: genai.Ptr[float32](0.7), TopK: genai.Ptr[float32](40), MaxOutputTokens: 10, CandidateCount: 1,
		StopSequences: []string{"x"}, Seed: genai.Ptr[int32](1), ResponseMIMEType: "application/json",
		ResponseSchema: &genai.Schema{Type: genai.TypeObject, Properties: map[string]*genai.Schema{"a": {Type: genai.TypeString, Nullable: genai.Ptr(true), MaxLength: genai.Ptr[int64](3)}}},
		SafetySettings: []*genai.SafetySetting{{Category: genai.HarmCategoryHarassment, Threshold: genai.HarmBlockThresholdBlockNone}},
		Tools:          []*genai.Tool{{FunctionDeclarations: []*genai.FunctionDeclaration{{Name: "f", ParametersJsonSchema: map[string]any{"type": "object"}}}}, {GoogleSearch: &genai.GoogleSearch{}}},
		ToolConfig:     &genai.ToolConfig{FunctionCallingConfig: &genai.FunctionCallingConfig{Mode: genai.FunctionCallingConfigModeAny}},
		ThinkingConfig: &genai.ThinkingConfig{IncludeThoughts: true, ThinkingLevel: genai.ThinkingLevelHigh}, ResponseModalities: []string{"TEXT"},
		SpeechConfig: &genai.SpeechConfig{LanguageCode: "de"}, MediaResolution: genai.MediaResolutionLow,
	})
	if err != nil {
		t.Error(err)
	}
	if n, err := c.Models.CountTokens(ctx, "m", genai.Text("hi"), nil); err != nil || n.TotalTokens != 3 {
		t.Errorf("%v %+v", err, n)
	}
	v, err := c.Models.EmbedContent(ctx, "m", genai.Text("hi"), &genai.EmbedContentConfig{TaskType: "CLUSTERING", OutputDimensionality: genai.Ptr[int32](2)})
	if err != nil || len(v.Embeddings) != 1 {
		t.Errorf("%v %+v", err, v)
	}
	if requests != 3 {
		t.Errorf("%d requests", requests)
	}
}
