package mock

import (
	"errors"
	"math"
	"net/http"
	"strings"
	"testing"

	sdkanthropic "github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/google/go-cmp/cmp"
	sdkopenai "github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
	"google.golang.org/genai"
)

// The official SDKs are the judges of the bytes: what they cannot read, no vendor would have sent.

func openaiClient(t *testing.T) sdkopenai.Client {
	_, h := serve(t, Options{})
	return sdkopenai.NewClient(openaioption.WithBaseURL(h.URL+"/v1"), openaioption.WithAPIKey("k"), openaioption.WithMaxRetries(0))
}

func openaiAsk(model, prompt string) sdkopenai.ChatCompletionNewParams {
	return sdkopenai.ChatCompletionNewParams{Model: model, Messages: []sdkopenai.ChatCompletionMessageParamUnion{sdkopenai.UserMessage(prompt)}}
}

var weather = sdkopenai.ChatCompletionFunctionTool(sdkopenai.FunctionDefinitionParam{
	Name: "weather", Parameters: sdkopenai.FunctionParameters{
		"type": "object", "properties": map[string]any{"city": map[string]any{"type": "string"}}, "required": []string{"city"},
	},
})

func TestOpenAIChat(t *testing.T) {
	c := openaiClient(t)
	ask := openaiAsk("echo", "hello  wörld, again")
	plain, err := c.Chat.Completions.New(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	if got := plain.Choices[0].Message.Content; got != "hello  wörld, again" {
		t.Errorf("plain: %q", got)
	}
	ask.StreamOptions.IncludeUsage = sdkopenai.Bool(true)
	ask.N = sdkopenai.Int(2)
	s := c.Chat.Completions.NewStreaming(t.Context(), ask)
	var acc sdkopenai.ChatCompletionAccumulator
	for s.Next() {
		if !acc.AddChunk(s.Current()) {
			t.Fatal("a chunk that does not fit")
		}
	}
	if err := s.Err(); err != nil {
		t.Fatal(err)
	}
	if len(acc.Choices) != 2 || acc.Choices[1].Message.Content != "hello  wörld, again" || acc.Choices[1].FinishReason != "stop" {
		t.Errorf("stream: %+v", acc.Choices)
	}
	if acc.Usage.TotalTokens != plain.Usage.TotalTokens || acc.ID != plain.ID {
		t.Errorf("stream: id %s, %+v; plain: id %s, %+v", acc.ID, acc.Usage, plain.ID, plain.Usage)
	}
}

func TestOpenAITools(t *testing.T) {
	c := openaiClient(t)
	ask := openaiAsk("tools", "ask both")
	ask.Tools = []sdkopenai.ChatCompletionToolUnionParam{weather}
	plain, err := c.Chat.Completions.New(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Chat.Completions.NewStreaming(t.Context(), ask)
	var acc sdkopenai.ChatCompletionAccumulator
	for s.Next() {
		acc.AddChunk(s.Current())
	}
	calls := plain.Choices[0].Message.ToolCalls
	if len(calls) != 2 || calls[0].ID == calls[1].ID || plain.Choices[0].FinishReason != "tool_calls" {
		t.Fatalf("calls: %+v", calls)
	}
	for i, call := range acc.Choices[0].Message.ToolCalls {
		if call.ID != calls[i].ID || call.Function.Arguments != calls[i].Function.Arguments || call.Function.Name != "weather" {
			t.Errorf("streamed call %+v, plain %+v", call, calls[i])
		}
	}
	if got := calls[0].Function.Arguments; got != `{"city":"city"}` {
		t.Errorf("arguments %s", got)
	}
	ask.Messages = append(ask.Messages, plain.Choices[0].Message.ToParam(),
		sdkopenai.ToolMessage("sunny", calls[0].ID), sdkopenai.ToolMessage("rainy", calls[1].ID))
	end, err := c.Chat.Completions.New(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	if got := end.Choices[0].Message.Content; got != "The tool says: rainy" {
		t.Errorf("after the results: %q", got)
	}
}

func TestOpenAIErrors(t *testing.T) {
	c := openaiClient(t)
	for _, status := range []int{400, 401, 404, 429, 500, 503} {
		_, err := c.Chat.Completions.New(t.Context(), openaiAsk("echo", "x"), openaioption.WithHeader("X-Mock-Script", "status="+itoa(status)))
		if e, ok := errors.AsType[*sdkopenai.Error](err); !ok || e.StatusCode != status || e.Message == "" {
			t.Errorf("%d: %v", status, err)
		}
	}
	s := c.Chat.Completions.NewStreaming(t.Context(), openaiAsk("echo?error=2", "x y z"))
	for s.Next() {
	}
	if s.Err() == nil {
		t.Error("an error event is no error")
	}
}

func TestOpenAIResponses(t *testing.T) {
	c := openaiClient(t)
	ask := responses.ResponseNewParams{
		Model: "reason", Input: responses.ResponseNewParamsInputUnion{OfString: sdkopenai.String("why not")},
		Include:   []responses.ResponseIncludable{responses.ResponseIncludableReasoningEncryptedContent},
		Reasoning: responses.ReasoningParam{Summary: responses.ReasoningSummaryAuto},
	}
	plain, err := c.Responses.New(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	if plain.OutputText() != "Thought about: why not" || plain.Status != "completed" || plain.Output[0].EncryptedContent == "" {
		t.Errorf("plain: %s", plain.RawJSON())
	}
	s := c.Responses.NewStreaming(t.Context(), ask)
	text, thought, seq := "", "", int64(0)
	var last responses.Response
	for s.Next() {
		e := s.Current()
		if e.SequenceNumber != seq {
			t.Errorf("%s has number %d, want %d", e.Type, e.SequenceNumber, seq)
		}
		seq++
		switch e.Type {
		case "response.output_text.delta":
			text += e.Delta
		case "response.reasoning_summary_text.delta":
			thought += e.Delta
		case "response.completed":
			last = e.Response
		}
	}
	if s.Err() != nil || text != plain.OutputText() || thought != plain.Output[0].Summary[0].Text {
		t.Errorf("stream: %q, %q, %v", text, thought, s.Err())
	}
	if last.RawJSON() == "" || last.Usage.TotalTokens != plain.Usage.TotalTokens || last.OutputText() != text {
		t.Errorf("completed with %s", last.RawJSON())
	}
}

func TestOpenAIRest(t *testing.T) {
	c := openaiClient(t)
	e, err := c.Embeddings.New(t.Context(), sdkopenai.EmbeddingNewParams{
		Model: "echo", Input: sdkopenai.EmbeddingNewParamsInputUnion{OfArrayOfStrings: []string{"a", "b", "a"}}, Dimensions: sdkopenai.Int(8),
	})
	if err != nil || len(e.Data) != 3 || len(e.Data[0].Embedding) != 8 {
		t.Fatalf("%+v %v", e, err)
	}
	if !cmp.Equal(e.Data[0].Embedding, e.Data[2].Embedding) || cmp.Equal(e.Data[0].Embedding, e.Data[1].Embedding) {
		t.Error("a vector does not follow from its text")
	}
	norm := 0.0
	for _, x := range e.Data[0].Embedding {
		norm += x * x
	}
	if math.Abs(norm-1) > 1e-5 {
		t.Errorf("norm %g", norm)
	}
	p, err := c.Completions.New(t.Context(), sdkopenai.CompletionNewParams{
		Model: "echo", Prompt: sdkopenai.CompletionNewParamsPromptUnion{OfString: sdkopenai.String("once upon")},
	})
	if err != nil || p.Choices[0].Text != "once upon" {
		t.Errorf("completion: %+v %v", p, err)
	}
	m, err := c.Models.List(t.Context())
	if err != nil || len(m.Data) != len(personas) {
		t.Errorf("models: %+v %v", m, err)
	}
	if one, err := c.Models.Get(t.Context(), "echo"); err != nil || one.ID != "echo" {
		t.Errorf("model: %+v %v", one, err)
	}
	j := openaiAsk("json", "x")
	j.ResponseFormat.OfJSONSchema = &sdkopenai.ResponseFormatJSONSchemaParam{JSONSchema: sdkopenai.ResponseFormatJSONSchemaJSONSchemaParam{
		Name: "n", Schema: map[string]any{"type": "object", "properties": map[string]any{"age": map[string]any{"type": "integer"}}},
	}}
	if r, err := c.Chat.Completions.New(t.Context(), j); err != nil || r.Choices[0].Message.Content != `{"age":1}` {
		t.Errorf("json: %+v %v", r, err)
	}
	if r, err := c.Chat.Completions.New(t.Context(), openaiAsk("refuse", "x")); err != nil || r.Choices[0].Message.Refusal == "" {
		t.Errorf("refuse: %+v %v", r, err)
	}
}

func TestAnthropic(t *testing.T) {
	_, h := serve(t, Options{})
	c := sdkanthropic.NewClient(anthropicoption.WithBaseURL(h.URL), anthropicoption.WithAPIKey("k"), anthropicoption.WithMaxRetries(0))
	ask := sdkanthropic.MessageNewParams{
		Model: "reason?redacted=on;input=90;cached=30;write=20", MaxTokens: 100,
		Messages: []sdkanthropic.MessageParam{sdkanthropic.NewUserMessage(sdkanthropic.NewTextBlock("why not"))},
	}
	plain, err := c.Messages.New(t.Context(), ask)
	if err != nil {
		t.Fatal(err)
	}
	s := c.Messages.NewStreaming(t.Context(), ask)
	var acc sdkanthropic.Message
	for s.Next() {
		if err := acc.Accumulate(s.Current()); err != nil {
			t.Fatal(err)
		}
	}
	if s.Err() != nil || len(acc.Content) != 3 || acc.StopReason != "end_turn" {
		t.Fatalf("stream: %+v %v", acc, s.Err())
	}
	for i, b := range plain.Content {
		a := acc.Content[i]
		if a.Type != b.Type || a.Text != b.Text || a.Thinking != b.Thinking || a.Signature != b.Signature || a.Data != b.Data {
			t.Errorf("block %d: streamed %s, plain %s", i, a.RawJSON(), b.RawJSON())
		}
	}
	u := plain.Usage
	if u.InputTokens != 40 || u.CacheReadInputTokens != 30 || u.CacheCreationInputTokens != 20 || acc.Usage.OutputTokens != u.OutputTokens {
		t.Errorf("usage: %s", u.RawJSON())
	}
	// The blocks go back as they came, and are known again; a changed one is refused.
	ask.Messages = append(ask.Messages, plain.ToParam(), sdkanthropic.NewUserMessage(sdkanthropic.NewTextBlock("go on")))
	if _, err := c.Messages.New(t.Context(), ask); err != nil {
		t.Errorf("own blocks: %v", err)
	}
	ask.Messages[1].Content[0].OfThinking.Thinking += "!"
	if _, err := c.Messages.New(t.Context(), ask); err == nil || !strings.Contains(err.Error(), "signature") {
		t.Errorf("changed thinking: %v", err)
	}
	n, err := c.Messages.CountTokens(t.Context(), sdkanthropic.MessageCountTokensParams{Model: "echo", Messages: ask.Messages[:1]})
	if err != nil || n.InputTokens != 2 {
		t.Errorf("count: %+v %v", n, err)
	}
	if l, err := c.Models.List(t.Context(), sdkanthropic.ModelListParams{}); err != nil || len(l.Data) != len(personas) {
		t.Errorf("models: %+v %v", l, err)
	}
	ask.Messages = ask.Messages[:1]
	for _, status := range []int{400, 401, 404, 429, 500, 529} {
		_, err := c.Messages.New(t.Context(), ask, anthropicoption.WithHeader("X-Mock-Script", "status="+itoa(status)))
		if e, ok := errors.AsType[*sdkanthropic.Error](err); !ok || e.StatusCode != status {
			t.Errorf("%d: %v", status, err)
		}
	}
}

func TestAnthropicTools(t *testing.T) {
	_, h := serve(t, Options{})
	c := sdkanthropic.NewClient(anthropicoption.WithBaseURL(h.URL), anthropicoption.WithAPIKey("k"), anthropicoption.WithMaxRetries(0))
	ask := sdkanthropic.MessageNewParams{
		Model: "tools", MaxTokens: 100, Messages: []sdkanthropic.MessageParam{sdkanthropic.NewUserMessage(sdkanthropic.NewTextBlock("in parallel"))},
		Tools: []sdkanthropic.ToolUnionParam{sdkanthropic.ToolUnionParamOfTool(sdkanthropic.ToolInputSchemaParam{
			Properties: map[string]any{"city": map[string]any{"type": "string"}}, Required: []string{"city"},
		}, "weather")},
	}
	s := c.Messages.NewStreaming(t.Context(), ask)
	var acc sdkanthropic.Message
	for s.Next() {
		if err := acc.Accumulate(s.Current()); err != nil {
			t.Fatal(err)
		}
	}
	if len(acc.Content) != 2 || acc.StopReason != "tool_use" || string(acc.Content[0].Input) != `{"city":"city"}` {
		t.Fatalf("stream: %s %v", acc.RawJSON(), s.Err())
	}
	ask.Messages = append(ask.Messages, acc.ToParam(), sdkanthropic.NewUserMessage(
		sdkanthropic.NewToolResultBlock(acc.Content[0].ID, "sunny", false), sdkanthropic.NewToolResultBlock(acc.Content[1].ID, "rainy", false)))
	if r, err := c.Messages.New(t.Context(), ask); err != nil || r.Content[0].Text != "The tool says: rainy" {
		t.Errorf("after the results: %+v %v", r, err)
	}
}

func TestGemini(t *testing.T) {
	_, h := serve(t, Options{})
	c, err := genai.NewClient(t.Context(), &genai.ClientConfig{APIKey: "k", Backend: genai.BackendGeminiAPI, HTTPOptions: genai.HTTPOptions{BaseURL: h.URL}})
	if err != nil {
		t.Fatal(err)
	}
	plain, err := c.Models.GenerateContent(t.Context(), "reason", genai.Text("why not"), nil)
	if err != nil {
		t.Fatal(err)
	}
	var text, thought string
	var last *genai.GenerateContentResponse
	for r, err := range c.Models.GenerateContentStream(t.Context(), "reason", genai.Text("why not"), nil) {
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range r.Candidates[0].Content.Parts {
			if p.Thought {
				thought += p.Text
			} else {
				text += p.Text
			}
		}
		last = r
	}
	if text != plain.Text() || thought != plain.Candidates[0].Content.Parts[0].Text || last.Candidates[0].FinishReason != "STOP" {
		t.Errorf("stream: %q, %q; plain %+v", text, thought, plain.Candidates[0].Content)
	}
	if diff := cmp.Diff(plain.UsageMetadata, last.UsageMetadata); diff != "" {
		t.Errorf("usage (-plain +stream):\n%s", diff)
	}
	tools := &genai.GenerateContentConfig{Tools: []*genai.Tool{{FunctionDeclarations: []*genai.FunctionDeclaration{{
		Name: "weather", Parameters: &genai.Schema{Type: genai.TypeObject, Properties: map[string]*genai.Schema{"city": {Type: genai.TypeString}}, Required: []string{"city"}},
	}}}}}
	called, err := c.Models.GenerateContent(t.Context(), "tools", genai.Text("both"), tools)
	if err != nil || len(called.FunctionCalls()) != 2 || called.FunctionCalls()[0].Args["city"] != "city" {
		t.Fatalf("tools: %+v %v", called, err)
	}
	turns := append(genai.Text("both"), called.Candidates[0].Content, genai.NewContentFromParts([]*genai.Part{
		genai.NewPartFromFunctionResponse("weather", map[string]any{"result": "sunny"}),
	}, genai.RoleUser))
	if r, err := c.Models.GenerateContent(t.Context(), "tools", turns, tools); err != nil || r.Text() != "The tool says: sunny" {
		t.Errorf("after the result: %+v %v", r, err)
	}
	turns[1].Parts[0].ThoughtSignature = []byte("other")
	if _, err := c.Models.GenerateContent(t.Context(), "tools", turns, tools); err == nil {
		t.Error("a changed signature is taken")
	}
	if e, err := c.Models.EmbedContent(t.Context(), "echo", genai.Text("x"), nil); err != nil || len(e.Embeddings) != 1 || len(e.Embeddings[0].Values) == 0 {
		t.Errorf("embed: %+v %v", e, err)
	}
	if n, err := c.Models.CountTokens(t.Context(), "echo", genai.Text("why not"), nil); err != nil || n.TotalTokens != 2 {
		t.Errorf("count: %+v %v", n, err)
	}
	if m, err := c.Models.List(t.Context(), nil); err != nil || len(m.Items) != len(personas) {
		t.Errorf("models: %+v %v", m, err)
	}
	for _, status := range []int{400, 403, 429, 500, 503} {
		_, err := c.Models.GenerateContent(t.Context(), "echo", genai.Text("x"), &genai.GenerateContentConfig{
			HTTPOptions: &genai.HTTPOptions{Headers: http.Header{"X-Mock-Script": {"status=" + itoa(status)}}},
		})
		if e, ok := errors.AsType[genai.APIError](err); !ok || e.Code != status || e.Status == "" {
			t.Errorf("%d: %v", status, err)
		}
	}
}
