package openai

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

func equalJSON(t *testing.T, got []byte, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal(got, &g); err != nil {
		t.Fatalf("%v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(w, g); d != "" {
		t.Errorf("(-want +got):\n%s\n%s", d, got)
	}
}

// An answer of another format as a chat client gets it, whole.
func TestAnswer(t *testing.T) {
	no := "I can't."
	a := &llm.Answer{
		Head: llm.Head{ID: "msg_1", Model: "claude", Created: time.Unix(1700000000, 0), Extra: llm.Members{"type": llm.Raw(`"message"`)}},
		Choices: []llm.Choice{
			{Index: 0, Stop: llm.StopTools, Native: "tool_use", Extra: llm.Members{"container": llm.Raw(`{}`)}, Parts: []llm.Part{
				{Reasoning: &llm.Reasoning{Text: "hm"}, Signature: &llm.Signature{By: "anthropic", Value: "c2ln"}},
				{Reasoning: &llm.Reasoning{Redacted: []byte("ZW5j")}},
				{Text: "I "},
				{Text: "will.", Citations: []llm.Citation{{URL: "https://a.example", Title: "A", Start: 0, End: 2, Native: llm.Raw(`{"x":1}`)}, {Quote: "no address"}}},
				{Call: &llm.ToolCall{ID: "toolu_1", Name: "f", Args: []byte(`{"a":1}`)}, Signature: &llm.Signature{By: "gemini", Value: "Zw=="}},
				{Call: &llm.ToolCall{ID: "toolu_2", Name: "g", Args: []byte(`{}`)}},
				{Foreign: llm.Raw(`{"type":"server_tool_use"}`)},
			}},
			{Index: 1, Stop: llm.StopRefusal, Parts: []llm.Part{{Refusal: &no}}},
			{Index: 2, Stop: llm.StopRefusal},
			{Index: 3, Stop: llm.StopLength, Parts: []llm.Part{{Text: "half"}}},
		},
		Usage: &llm.Usage{Input: llm.Tokens(10), CacheRead: llm.Tokens(4), CacheWrite: llm.Tokens(2), Output: llm.Tokens(5), Reasoning: llm.Tokens(1), Tier: "standard", Extra: llm.Members{"x": llm.Raw("1")}},
		Extra: llm.Members{"y": llm.Raw("2")},
	}
	got, err := Chat.Answer(&llm.Call{ID: "req_1", Model: "asked"}, a)
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, got, `{"id":"msg_1","object":"chat.completion","created":1700000000,"model":"claude","service_tier":"standard","choices":[
	{"index":0,"finish_reason":"tool_calls","logprobs":null,"message":{"role":"assistant","content":"I will.","refusal":null,"reasoning_content":"hm",
	 "reasoning_details":[{"type":"reasoning.text","text":"hm","signature":"c2ln","format":"anthropic","index":0},{"type":"reasoning.encrypted","data":"ZW5j","format":"anthropic","index":1}],
	 "annotations":[{"type":"url_citation","url_citation":{"url":"https://a.example","title":"A","start_index":0,"end_index":2}}],
	 "tool_calls":[{"id":"toolu_1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"},"extra_content":{"google":{"thought_signature":"Zw=="}}},{"id":"toolu_2","type":"function","function":{"name":"g","arguments":"{}"}}]}},
	{"index":1,"finish_reason":"stop","logprobs":null,"message":{"role":"assistant","content":null,"refusal":"I can't."}},
	{"index":2,"finish_reason":"content_filter","logprobs":null,"message":{"role":"assistant","content":"","refusal":null}},
	{"index":3,"finish_reason":"length","logprobs":null,"message":{"role":"assistant","content":"half","refusal":null}}],
	"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":4,"cache_write_tokens":2},"completion_tokens_details":{"reasoning_tokens":1}}}`)

	// What the client hands back means the same again: every proof is there.
	var answer struct {
		Choices []struct{ Message json.RawMessage }
	}
	if err := json.Unmarshal(got, &answer); err != nil {
		t.Fatal(err)
	}
	p, err := Chat.Decode([]byte(`{"model":"m","messages":[` + string(answer.Choices[0].Message) + `,{"role":"tool","tool_call_id":"toolu_1","content":"1"},{"role":"tool","tool_call_id":"toolu_2","content":"2"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	parts := p.(*llm.Chat).Messages[0].Parts
	if parts[0].Reasoning.Text != "hm" || parts[0].Signature.Value != "c2ln" || parts[0].Signature.By != "anthropic" ||
		string(parts[1].Reasoning.Redacted) != "ZW5j" || parts[3].Signature.Value != "Zw==" || parts[3].Signature.By != "gemini" {
		t.Errorf("what came back: %+v", parts)
	}
}

// An answer read in this format and edited keeps what only this format knows.
func TestAnswerKeepsItsOwn(t *testing.T) {
	const in = `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","service_tier":"default","system_fingerprint":"fp_1","provider":"P","choices":[
	{"index":0,"finish_reason":"function_call","native_finish_reason":"X","content_filter_results":{"a":1},"logprobs":{"content":[],"refusal":null},
	"message":{"role":"assistant","content":"See.","refusal":null,"channel":"final","annotations":[{"type":"file_citation","file":"x"}],"tool_calls":[{"id":"c","type":"function","function":{"name":"f","arguments":"{}"},"extra_content":{"google":{"thought_signature":"Zw==","more":1}},"note":"n"}],
	"audio":{"id":"a1","data":"AAEC","transcript":"hi","expires_at":5},"images":[{"type":"image_url","image_url":{"url":"https://i.example/x.png"}}]}}],
	"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"cost":0.5,"prompt_tokens_details":{"cached_tokens":0,"video_tokens":1},"completion_tokens_details":{"accepted_prediction_tokens":4}},"x_groq":{"id":"q"}}`
	ev, err := Chat.ReadAnswer([]byte(in), false)
	if err != nil {
		t.Fatal(err)
	}
	var a llm.Answer
	a.Add(ev)
	got, err := Chat.Answer(&llm.Call{}, &a)
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, got, in)
}

// A chunk keeps them, too, when another chunk's text was edited.
func TestWriterKeepsItsOwn(t *testing.T) {
	const in = `{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1700000000,"model":"m","provider":"P","system_fingerprint":"fp","choices":[{"index":0,"delta":{"role":"assistant","content":"A","channel":"x"},"finish_reason":null,"native_finish_reason":"y"}]}`
	s := Chat.ReadStream(body([]byte("data: "+in+"\n\ndata: [DONE]\n\n"), 0), false)
	defer s.Close()
	w := Chat.Writer(&llm.Call{ID: "r"})
	ev, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	out, err := w.Event(nil, ev)
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, []byte(strings.TrimPrefix(string(out), "data: ")), in)
	ev, err = s.Next() // the closing mark of the upstream is not the client's
	if out, _ := w.Event(nil, ev); err != nil || len(out) > 0 {
		t.Errorf("%q %v", out, err)
	}
	if got := string(w.End(nil)); got != "data: [DONE]\n\n" {
		t.Errorf("end: %q", got)
	}
}

func TestWriterWithoutUsage(t *testing.T) {
	w := Chat.Writer(&llm.Call{ID: "r", Model: "asked"})
	head := &llm.Event{Format: "x", Head: &llm.Head{Created: time.Unix(5, 0)}, Usage: &llm.Usage{Input: llm.Tokens(3)}}
	out, err := w.Event(nil, head)
	if err != nil {
		t.Fatal(err)
	}
	equalJSON(t, []byte(strings.TrimPrefix(string(out), "data: ")), `{"id":"chatcmpl-r","object":"chat.completion.chunk","created":5,"model":"asked","choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}`)
	if got := string(w.End(nil)); got != "data: [DONE]\n\n" {
		t.Errorf("a client that did not ask got %q", got)
	}
	if got := string(w.Ping(nil)); !strings.HasPrefix(got, ":") || !strings.HasSuffix(got, "\n\n") {
		t.Errorf("ping %q", got)
	}
	if got := string(w.Fail(nil, &llm.Error{Kind: llm.KindUpstream, Msg: "cut"}, "r", true)); strings.Contains(got, "[DONE]") || !strings.HasPrefix(got, `data: {"error":{"message":"cut"`) {
		t.Errorf("fail %q", got)
	}
}

// Whole and streamed, the same answer sums to the same value.
func TestStreamSumsToWhole(t *testing.T) {
	const whole = `{"id":"1","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello","reasoning_content":"hm","tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{\"x\":1}"}}]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}`
	const stream = `data: {"id":"1","object":"chat.completion.chunk","created":5,"model":"m","choices":[{"index":0,"delta":{"role":"assistant","reasoning_content":"h"}}]}

data: {"id":"1","choices":[{"index":0,"delta":{"reasoning_content":"m"}}]}

data: {"id":"1","choices":[{"index":0,"delta":{"content":"Hel"}}]}

data: {"id":"1","choices":[{"index":0,"delta":{"content":"lo"}}]}

data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"a","type":"function","function":{"name":"f","arguments":""}}]}}]}

data: {"id":"1","choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\":1}"}}]}}]}

data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}

data: [DONE]

`
	ev, err := Chat.ReadAnswer([]byte(whole), false)
	if err != nil {
		t.Fatal(err)
	}
	var want llm.Answer
	want.Add(ev)
	got := listen(Chat.ReadStream(body([]byte(stream), 0), false))
	if got.Err != nil {
		t.Fatal(got.Err)
	}
	if d := cmp.Diff(want, got.Answer, same); d != "" {
		t.Errorf("(-whole +streamed):\n%s", d)
	}
}

func TestHiddenThoughts(t *testing.T) {
	const in = `{"id":"1","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":100}}`
	for _, tc := range []struct {
		f                 *ChatFormat
		output, reasoning llm.Count
	}{
		{Chat, llm.Tokens(5), llm.Count{}},
		{ChatIn(Dialect{HiddenThoughts: true}), llm.Tokens(90), llm.Tokens(85)},
	} {
		for _, raw := range []bool{false, true} {
			ev, err := tc.f.ReadAnswer([]byte(in), raw)
			if err != nil || ev.Usage.Output != tc.output || ev.Usage.Reasoning != tc.reasoning {
				t.Errorf("raw %v: %+v %v", raw, ev.Usage, err)
			}
		}
	}
}
