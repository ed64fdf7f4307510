package anthropic

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

func msg(role llm.Role, parts ...llm.Part) llm.Message { return llm.Message{Role: role, Parts: parts} }
func txt(s string) llm.Part                            { return llm.Part{Text: s} }
func tc(id, args string) llm.Part {
	return llm.Part{Call: &llm.ToolCall{ID: id, Name: "f", Args: []byte(args)}}
}

func res(id, s string) llm.Part {
	return llm.Part{Result: &llm.ToolResult{CallID: id, Parts: []llm.Part{txt(s)}}}
}
func media(m llm.Media) llm.Part { return llm.Part{Media: &m} }

// encoded gives chosen members of a chat of another vendor's written as a request.
func encoded(t *testing.T, chat *llm.Chat, e *llm.Encoding, names ...string) (members string, lost []string) {
	t.Helper()
	if chat.Format == "" {
		chat.Format = llm.OpenAIChat
	}
	if e.Model == "" {
		e.Model = "claude-haiku-4-5"
	}
	body, err := Messages.Encode(chat, e)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wire.Scan(Messages.Shape(), body); err != nil {
		t.Errorf("the request is not valid itself: %s\n%s", explain(err), body)
	}
	var m map[string]json.RawMessage
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, n := range names {
		b.WriteString(string(m[n]))
	}
	for _, p := range e.Lost {
		lost = append(lost, p.At)
	}
	return b.String(), lost
}

func TestEncodeMessages(t *testing.T) {
	user := msg(llm.RoleUser, txt("q"))
	for _, tt := range []struct {
		name     string
		messages []llm.Message
		want     string // system and messages
		lost     string
	}{
		{
			"system and developer first",
			[]llm.Message{msg(llm.RoleSystem, txt("a")), msg(llm.RoleDeveloper, txt("b")), user},
			`[{"type":"text","text":"a"},{"type":"text","text":"b"}][{"role":"user","content":[{"type":"text","text":"q"}]}]`, "",
		},
		{
			"system later",
			[]llm.Message{user, {Role: llm.RoleSystem, At: "/messages/1", Parts: []llm.Part{txt("a")}}},
			`[{"type":"text","text":"a"}][{"role":"user","content":[{"type":"text","text":"q"}]}]`, "/messages/1",
		},
		{
			"instructions alone are the user's turn",
			[]llm.Message{msg(llm.RoleSystem, txt("a")), msg(llm.RoleDeveloper, txt("b"))},
			`[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]`, "",
		},
		{
			"parallel results and a question",
			[]llm.Message{
				user, msg(llm.RoleAssistant, txt("let me"), tc("call.1", `{"a":1}`), tc("b", "")),
				msg(llm.RoleTool, res("call.1", "one")), msg(llm.RoleUser, txt("and?")), msg(llm.RoleTool, res("b", "two")),
			},
			`[{"role":"user","content":[{"type":"text","text":"q"}]},` +
				`{"role":"assistant","content":[{"type":"text","text":"let me"},{"type":"tool_use","id":"call_1","name":"f","input":{"a":1}},{"type":"tool_use","id":"b","name":"f","input":{}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_1","content":[{"type":"text","text":"one"}]},{"type":"tool_result","tool_use_id":"b","content":[{"type":"text","text":"two"}]},{"type":"text","text":"and?"}]}]`, "",
		},
		{
			"a prefix",
			[]llm.Message{user, msg(llm.RoleAssistant, txt("It is \n"))},
			`[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":[{"type":"text","text":"It is"}]}]`, "",
		},
		{
			"empty texts say nothing",
			[]llm.Message{user, msg(llm.RoleAssistant, txt("")), msg(llm.RoleUser, txt(""), txt("r"))},
			`[{"role":"user","content":[{"type":"text","text":"q"},{"type":"text","text":"r"}]}]`, "",
		},
		{
			"a refusal is text",
			[]llm.Message{user, msg(llm.RoleAssistant, llm.Part{Refusal: new("no")}), user},
			`[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":[{"type":"text","text":"no"}]},{"role":"user","content":[{"type":"text","text":"q"}]}]`, "",
		},
		{
			"reasoning goes back to its vendor only",
			[]llm.Message{user, msg(llm.RoleAssistant,
				llm.Part{Reasoning: &llm.Reasoning{Text: "mine"}, Signature: &llm.Signature{By: "anthropic", Value: "s"}},
				llm.Part{Reasoning: &llm.Reasoning{Redacted: []byte("enc")}},
				llm.Part{Reasoning: &llm.Reasoning{Redacted: []byte("enc2")}, Signature: &llm.Signature{By: "openai"}},
				llm.Part{Reasoning: &llm.Reasoning{Text: "theirs"}, Signature: &llm.Signature{By: "openai", Value: "s"}},
				llm.Part{Reasoning: &llm.Reasoning{Text: "nobody's"}},
				llm.Part{Text: "a", Signature: &llm.Signature{By: "gemini", Value: "s"}}), user},
			`[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":[{"type":"thinking","thinking":"mine","signature":"s"},{"type":"redacted_thinking","data":"enc"},{"type":"text","text":"a"}]},{"role":"user","content":[{"type":"text","text":"q"}]}]`, "",
		},
		{
			"media",
			[]llm.Message{msg(llm.RoleUser,
				media(llm.Media{Kind: llm.MediaImage, Type: "image/png", Data: "AA=="}), media(llm.Media{Kind: llm.MediaImage, URL: "https://x", Detail: "auto"}),
				media(llm.Media{Kind: llm.MediaDocument, Type: "application/pdf", Data: "AA==", Name: "n.pdf"}),
				media(llm.Media{Kind: llm.MediaDocument, Type: "text/csv; charset=utf-8", Data: "YSxi"}))},
			`[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}},{"type":"image","source":{"type":"url","url":"https://x"}},` +
				`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA=="},"title":"n.pdf"},{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a,b"}}]}]`, "",
		},
		{
			"media that have no place",
			[]llm.Message{msg(llm.RoleUser, txt("q"),
				media(llm.Media{Kind: llm.MediaAudio, Data: "AA=="}), media(llm.Media{Kind: llm.MediaImage, Type: "image/tiff", Data: "AA=="}),
				media(llm.Media{Kind: llm.MediaImage, FileID: "f"}), media(llm.Media{Kind: llm.MediaDocument, Type: "text/plain", Data: "/w=="}),
				llm.Part{Foreign: llm.Raw(`{"type":"web_search_call"}`)})},
			`[{"role":"user","content":[{"type":"text","text":"q"}]}]`, "/messages/content/1 /messages/content/2 /messages/content/3 /messages/content/4 /messages/content/5",
		},
		{
			"arguments that are no object",
			[]llm.Message{user, {Role: llm.RoleAssistant, At: "/m", Parts: []llm.Part{tc("a", `{"x`), tc("b", `[1]`)}}},
			`[{"role":"user","content":[{"type":"text","text":"q"}]},{"role":"assistant","content":[{"type":"tool_use","id":"a","name":"f","input":{"INVALID_JSON":"{\"x"}},{"type":"tool_use","id":"b","name":"f","input":{"INVALID_JSON":"[1]"}}]}]`, "/m/content/0 /m/content/1",
		},
		{
			"no user first",
			[]llm.Message{msg(llm.RoleAssistant, txt("hi")), user},
			`[{"role":"user","content":[{"type":"text","text":"(no message)"}]},{"role":"assistant","content":[{"type":"text","text":"hi"}]},{"role":"user","content":[{"type":"text","text":"q"}]}]`, "/messages",
		},
		{
			"names and unknown members",
			[]llm.Message{{Role: llm.RoleUser, Name: "bob", At: "/messages/0", Extra: llm.Members{"x/y": llm.Raw("1"), "n": llm.Raw("null")}, Parts: []llm.Part{txt("q")}}},
			`[{"role":"user","content":[{"type":"text","text":"q"}]}]`, "/messages/0/x~1y /messages/0/name",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, lost := encoded(t, &llm.Chat{Messages: tt.messages}, &llm.Encoding{Lenient: true}, "system", "messages")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := strings.Join(lost, " "); got != tt.lost {
				t.Errorf("lost %q, want %q", got, tt.lost)
			}
		})
	}
}

// Claude since 4.8 takes instructions between the turns, in some places.
func TestEncodeInstructionsInPlace(t *testing.T) {
	user, model := msg(llm.RoleUser, txt("q")), msg(llm.RoleAssistant, txt("r"))
	dev := llm.Message{Role: llm.RoleDeveloper, At: "/messages/1", Parts: []llm.Part{txt("d")}}
	const q, r, d = `{"role":"user","content":[{"type":"text","text":"q"}]}`, `{"role":"assistant","content":[{"type":"text","text":"r"}]}`, `{"role":"system","content":[{"type":"text","text":"d"}]}`
	for _, tt := range []struct {
		name, model string
		messages    []llm.Message
		want, lost  string
	}{
		{"at the end", "claude-opus-4-8", []llm.Message{user, dev}, "[" + q + "," + d + "]", ""},
		{"before the assistant", "claude-sonnet-5", []llm.Message{user, dev, model, user}, "[" + q + "," + d + "," + r + "," + q + "]", ""},
		{"neighbours are one", "claude-opus-5", []llm.Message{user, dev, dev}, `[` + q + `,{"role":"system","content":[{"type":"text","text":"d"},{"type":"text","text":"d"}]}]`, ""},
		{"nothing said between", "claude-opus-5", []llm.Message{user, msg(llm.RoleAssistant, txt("")), dev}, "[" + q + "," + d + "]", ""},
		{"behind the assistant", "claude-opus-4-8", []llm.Message{user, model, dev, user}, `[{"type":"text","text":"d"}][` + q + "," + r + "," + q + "]", "/messages/1"},
		{"before the user", "claude-opus-4-8", []llm.Message{user, dev, user}, `[{"type":"text","text":"d"}][{"role":"user","content":[{"type":"text","text":"q"},{"type":"text","text":"q"}]}]`, "/messages/1"},
		{"an older model", "claude-opus-4-7", []llm.Message{user, dev}, `[{"type":"text","text":"d"}][` + q + "]", "/messages/1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, lost := encoded(t, &llm.Chat{Messages: tt.messages}, &llm.Encoding{Model: tt.model, Lenient: true}, "system", "messages")
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := strings.Join(lost, " "); got != tt.lost {
				t.Errorf("lost %q, want %q", got, tt.lost)
			}
		})
	}
}

func TestEncodeOptions(t *testing.T) {
	tools := []llm.Tool{{Name: "a", Schema: llm.Raw(`{"type":"object"}`), Strict: new(true)}, {Name: "b"}}
	for _, tt := range []struct {
		name  string
		chat  llm.Chat
		model string
		want  string
		lost  string
	}{
		{name: "nothing said", want: `{"max_tokens":8192}`},
		{
			name: "sampling", chat: llm.Chat{MaxOutput: new(int64(5)), Temperature: new(0.5), TopP: new(0.9), TopK: new(int64(3)), Stop: []string{"a", "\n"}, User: "u", ServiceTier: "default"},
			want: `{"max_tokens":5,"metadata":{"user_id":"u"},"stop_sequences":["a"],"temperature":0.5,"top_k":3,"top_p":0.9}`, lost: "stop",
		},
		{name: "too hot", chat: llm.Chat{Temperature: new(1.7)}, want: `{"max_tokens":8192,"temperature":1}`, lost: "temperature"},
		{
			name: "no counterpart", chat: llm.Chat{
				Seed: new(int64(1)), N: new(int64(2)), Logprobs: new(true), TopLogprobs: new(int64(2)), FrequencyPenalty: new(1.0), PresencePenalty: new(-1.0),
				MinP: new(0.1), LogitBias: llm.Raw(`{"1":2}`), Store: new(true), Verbosity: "low", ServiceTier: "flex", Extra: llm.Members{"zip": llm.Raw("1")},
			},
			want: `{"max_tokens":8192}`, lost: "/zip service_tier min_p frequency_penalty presence_penalty seed n logprobs top_logprobs logit_bias store verbosity",
		},
		{name: "no counterpart, but nothing said", chat: llm.Chat{
			N: new(int64(1)), Logprobs: new(false), FrequencyPenalty: new(0.0), Store: new(false), Verbosity: "medium",
			Metadata: llm.Raw(`{"a":"b"}`), CacheKey: "k", ServiceTier: "auto", Parallel: new(true), LogitBias: llm.Raw(`{}`),
		}, want: `{"max_tokens":8192}`},
		{
			name: "tools", chat: llm.Chat{Tools: tools, Choice: &llm.ToolChoice{Mode: llm.ChoiceRequired}, Parallel: new(false)},
			want: `{"max_tokens":8192,"tool_choice":{"type":"any","disable_parallel_tool_use":true},"tools":[{"name":"a","input_schema":{"type":"object"}},{"name":"b","input_schema":{"type":"object","properties":{}}}]}`,
		},
		{
			name: "one call at a time", chat: llm.Chat{Tools: tools[:1], Parallel: new(false)},
			want: `{"max_tokens":8192,"tool_choice":{"type":"auto","disable_parallel_tool_use":true},"tools":[{"name":"a","input_schema":{"type":"object"}}]}`,
		},
		{
			name: "many calls at a time, which is the default", chat: llm.Chat{Tools: tools[:1], Choice: &llm.ToolChoice{Mode: llm.ChoiceAuto}, Parallel: new(true)},
			want: `{"max_tokens":8192,"tool_choice":{"type":"auto"},"tools":[{"name":"a","input_schema":{"type":"object"}}]}`,
		},
		{
			name: "allowed tools", chat: llm.Chat{Tools: tools, Choice: &llm.ToolChoice{Mode: llm.ChoiceAuto, Allowed: []string{"a"}}},
			want: `{"max_tokens":8192,"tool_choice":{"type":"auto"},"tools":[{"name":"a","input_schema":{"type":"object"}}]}`,
		},
		{name: "a choice without tools", chat: llm.Chat{Choice: &llm.ToolChoice{Mode: llm.ChoiceNone}}, want: `{"max_tokens":8192}`},
		{name: "a demand without tools", chat: llm.Chat{Choice: &llm.ToolChoice{Mode: llm.ChoiceTool, Name: "a"}}, want: `{"max_tokens":8192}`, lost: "tool_choice"},
		{name: "a hosted tool", chat: llm.Chat{Tools: []llm.Tool{{Foreign: llm.Raw(`{"type":"web_search"}`), At: "/tools/0"}}}, want: `{"max_tokens":8192}`, lost: "/tools/0"},
		{name: "JSON", chat: llm.Chat{Output: &llm.Output{Kind: llm.OutputJSON}}, want: `{"max_tokens":8192}`, lost: "response_format"},
		{
			name: "a schema", chat: llm.Chat{Output: &llm.Output{Kind: llm.OutputSchema, Name: "n", Description: "d", Schema: llm.Raw("{\n \"type\": \"object\"}"), Strict: new(true)}},
			want: `{"max_tokens":8192,"output_config":{"format":{"type":"json_schema","schema":{"description":"d","type":"object"}}}}`,
		},
		{name: "an effort as a budget", chat: llm.Chat{Thinking: &llm.Thinking{Effort: "medium"}}, want: `{"max_tokens":16384,"thinking":{"type":"enabled","budget_tokens":8192}}`},
		{name: "a budget within max_tokens", chat: llm.Chat{MaxOutput: new(int64(2000)), Thinking: &llm.Thinking{Effort: "high", Show: new(false)}}, want: `{"max_tokens":2000,"thinking":{"type":"enabled","budget_tokens":1999,"display":"omitted"}}`},
		{name: "no room for a budget", chat: llm.Chat{MaxOutput: new(int64(500)), Thinking: &llm.Thinking{Effort: "low"}}, want: `{"max_tokens":500}`, lost: "reasoning"},
		{name: "an effort", model: "claude-opus-4-6", chat: llm.Chat{Thinking: &llm.Thinking{Effort: "minimal"}}, want: `{"max_tokens":8192,"output_config":{"effort":"low"},"thinking":{"type":"adaptive","display":"summarized"}}`},
		{name: "a budget as an effort", model: "claude-sonnet-5", chat: llm.Chat{Thinking: &llm.Thinking{Budget: new(int64(10000)), Show: new(true)}}, want: `{"max_tokens":8192,"output_config":{"effort":"high"},"thinking":{"type":"adaptive","display":"summarized"}}`},
		{name: "as much as it likes", model: "claude-sonnet-5", chat: llm.Chat{Thinking: &llm.Thinking{Auto: true}}, want: `{"max_tokens":8192,"thinking":{"type":"adaptive","display":"summarized"}}`},
		{name: "not at all", model: "claude-sonnet-5", chat: llm.Chat{Thinking: &llm.Thinking{Off: true}}, want: `{"max_tokens":8192,"thinking":{"type":"disabled"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.chat.Messages = []llm.Message{msg(llm.RoleUser, txt("q"))}
			e := &llm.Encoding{Model: tt.model}
			got, lost := encoded(t, &tt.chat, e, "max_tokens", "metadata", "output_config", "service_tier", "stop_sequences", "stream", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p")
			want := map[string]json.RawMessage{}
			if err := json.Unmarshal([]byte(tt.want), &want); err != nil {
				t.Fatal(err)
			}
			var b strings.Builder
			for _, n := range []string{"max_tokens", "metadata", "output_config", "service_tier", "stop_sequences", "stream", "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p"} {
				b.WriteString(string(want[n]))
			}
			if diff := cmp.Diff(b.String(), got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if got := strings.Join(lost, " "); got != tt.lost {
				t.Errorf("lost %q, want %q", got, tt.lost)
			}
			if tt.lost != "" && e.Err() == nil {
				t.Error("a strict target must refuse what is lost")
			}
		})
	}
}

func TestEncodeCount(t *testing.T) {
	chat := &llm.Chat{Format: llm.GeminiCount, Messages: []llm.Message{msg(llm.RoleUser, txt("q"))}, MaxOutput: new(int64(3)), Temperature: new(2.0), Thinking: &llm.Thinking{Effort: "low"}}
	e := &llm.Encoding{Model: "claude-haiku-4-5", Stream: true}
	body, err := CountTokens.Encode(chat, e)
	if err != nil || e.Err() != nil {
		t.Fatal(err, e.Lost)
	}
	if want := `{"model":"claude-haiku-4-5","messages":[{"role":"user","content":[{"type":"text","text":"q"}]}],"thinking":{"type":"enabled","budget_tokens":2048}}`; string(body) != want {
		t.Errorf("got %s\nwant %s", body, want)
	}
	if _, err := Messages.Encode(&llm.Embed{}, e); err == nil {
		t.Error("embeddings were encoded")
	}
}

func TestAdaptive(t *testing.T) {
	for model, want := range map[string]bool{
		"claude-3-7-sonnet-latest": false, "claude-haiku-4-5-20251001": false, "claude-sonnet-4-20250514": false, "claude-opus-4-1": false,
		"claude-opus-4-6": true, "anthropic/claude-4.6-opus": true, "claude-sonnet-5": true, "claude-fable-5-1": true, "claude-opus-latest": true,
		"anthropic.claude-haiku-4-5-20251001-v1:0": false, "glm-4.7": false, "kimi-k2": false,
	} {
		if got := since(model, 4, 6); got != want {
			t.Errorf("%s: %v, want %v", model, got, want)
		}
	}
}

func TestBorrowedSignature(t *testing.T) {
	chat := decode(t, Messages, []byte(`{"model":"m","messages":[{"role":"user","content":"q"},{"role":"assistant","content":[
		{"type":"thinking","thinking":"","signature":"sluice.gemini.a.b"},{"type":"tool_use","id":"t","name":"f","input":{}},
		{"type":"thinking","thinking":"","signature":"sluice.openai.c"},{"type":"text","text":"x"},
		{"type":"thinking","thinking":"","signature":"sluice.gemini.d"}]}]}`))
	want := []llm.Part{
		{Call: &llm.ToolCall{ID: "t", Name: "f", Args: []byte("{}")}, Signature: &llm.Signature{By: "gemini", Value: "a.b"}},
		{Reasoning: new(llm.Reasoning), Signature: &llm.Signature{By: "openai", Value: "c"}},
		txt("x"),
		{Reasoning: new(llm.Reasoning), Signature: &llm.Signature{By: "gemini", Value: "d"}},
	}
	if diff := cmp.Diff(want, chat.Messages[1].Parts, sameMeaning); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
