package gemini

import (
	"net/url"
	"testing"

	"github.com/google/go-cmp/cmp"

	"sluice/internal/llm"
)

var sseURL = &url.URL{Path: "/", RawQuery: "alt=sse"}

func ptr[T any](v T) *T { return &v }

func said(role llm.Role, parts ...llm.Part) llm.Message {
	for i := range parts {
		parts[i].At = item("/messages/0/content", i)
	}
	return llm.Message{Role: role, Parts: parts, At: "/messages/0"}
}

func chat(messages ...llm.Message) *llm.Chat {
	return &llm.Chat{Format: llm.OpenAIChat, Messages: messages}
}

// What chats of other formats become, and what of them is named as lost.
func TestEncodeForeign(t *testing.T) {
	hi := said(llm.RoleUser, llm.Part{Text: "hi"})
	const hiJSON = `"contents":[{"role":"user","parts":[{"text":"hi"}]}]`
	call := func(id, name, args string) llm.Part {
		return llm.Part{Call: &llm.ToolCall{ID: id, Name: name, Args: []byte(args)}}
	}
	result := func(id string, parts ...llm.Part) llm.Message {
		return said(llm.RoleTool, llm.Part{Result: &llm.ToolResult{CallID: id, Parts: parts}})
	}
	with := func(f func(c *llm.Chat)) *llm.Chat {
		c := chat(said(llm.RoleUser, llm.Part{Text: "hi"}))
		f(c)
		return c
	}
	for _, test := range []struct {
		name  string
		chat  *llm.Chat
		model string
		want  string
		lost  []string
	}{
		{
			"instructions from everywhere", chat(said(llm.RoleSystem, llm.Part{Text: "a"}), hi, said(llm.RoleDeveloper, llm.Part{Text: "b"})), "",
			`{"systemInstruction":{"parts":[{"text":"a"},{"text":"b"}]},` + hiJSON + `}`, nil,
		},
		{"instructions alone", chat(said(llm.RoleDeveloper, llm.Part{Text: "a"})), "", `{"contents":[{"role":"user","parts":[{"text":"a"}]}]}`, nil},
		{
			"parallel calls and their results are one turn each",
			chat(hi, said(llm.RoleAssistant, llm.Part{Text: "ok"}, call("c1", "f", `{"a": 1}`)), said(llm.RoleAssistant, call("c2", "g", "")),
				result("c1", llm.Part{Text: `{"x":1}`}), result("c2", llm.Part{Text: "plain"}), said(llm.RoleUser, llm.Part{Text: "so?"})), "gemini-2.5-pro",
			`{"contents":[{"role":"user","parts":[{"text":"hi"}]},
			  {"role":"model","parts":[{"text":"ok"},{"functionCall":{"id":"c1","name":"f","args":{"a":1}}},{"functionCall":{"id":"c2","name":"g","args":{}}}]},
			  {"role":"user","parts":[{"functionResponse":{"id":"c1","name":"f","response":{"x":1}}},{"functionResponse":{"id":"c2","name":"g","response":{"output":"plain"}}},{"text":"so?"}]}]}`, nil,
		},
		{
			"made ids stay with us", chat(hi, said(llm.RoleAssistant, call(madeID+"0", "f", "{}")), result(madeID+"0", llm.Part{Text: "1"})), "",
			`{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"functionCall":{"name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"name":"f","response":{"output":"1"}}}]}]}`, nil,
		},
		{
			"a call without a signature for Gemini 3", chat(hi, said(llm.RoleAssistant, call("c1", "f", "{}"), call("c2", "f", "{}"))), "models/gemini-3-pro",
			`{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"functionCall":{"id":"c1","name":"f","args":{}},"thoughtSignature":"skip_thought_signature_validator"},{"functionCall":{"id":"c2","name":"f","args":{}}}]}]}`, nil,
		},
		{
			"a failed tool, with a picture", chat(said(llm.RoleAssistant, call("c", "f", "{}")),
				said(llm.RoleUser, llm.Part{Result: &llm.ToolResult{CallID: "c", Failed: true, Parts: []llm.Part{{Text: "no"}, {Media: &llm.Media{Kind: llm.MediaImage, Type: "image/png", Data: "AA=="}}}}})), "",
			`{"contents":[{"role":"model","parts":[{"functionCall":{"id":"c","name":"f","args":{}}}]},{"role":"user","parts":[{"functionResponse":{"id":"c","name":"f","response":{"error":"no"},"parts":[{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}}]}]}`, nil,
		},
		{
			"arguments that are none", chat(said(llm.RoleAssistant, call("c", "f", `{"cut`), call("d", "f", `[1]`))), "",
			`{"contents":[{"role":"model","parts":[{"functionCall":{"id":"c","name":"f","args":{"_raw":"{\"cut"}}},{"functionCall":{"id":"d","name":"f","args":{"_raw":"[1]"}}}]}]}`, nil,
		},
		{
			"media", chat(said(llm.RoleUser,
				llm.Part{Media: &llm.Media{Kind: llm.MediaImage, URL: "https://x.example/a.PNG?b=1"}},
				llm.Part{Media: &llm.Media{Kind: llm.MediaDocument, Type: "application/pdf", Data: "AA==", Name: "a.pdf"}},
				llm.Part{Media: &llm.Media{Kind: llm.MediaDocument, Text: "plain"}},
				llm.Part{Media: &llm.Media{Kind: llm.MediaImage, FileID: "file-1"}},
				llm.Part{Media: &llm.Media{Kind: llm.MediaImage, Type: "image/png", Data: "AA==", Detail: "low"}})), "",
			`{"contents":[{"role":"user","parts":[{"fileData":{"mimeType":"image/png","fileUri":"https://x.example/a.PNG?b=1"}},{"inlineData":{"mimeType":"application/pdf","data":"AA=="}},
			  {"inlineData":{"mimeType":"text/plain","data":"cGxhaW4="}},{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}]}`,
			[]string{"/messages/0/content/3", "/messages/0/content/4"},
		},
		{
			"reasoning goes to its signer only", chat(hi, said(llm.RoleAssistant,
				llm.Part{Reasoning: &llm.Reasoning{Text: "a"}}, llm.Part{Reasoning: &llm.Reasoning{Text: "b"}, Signature: &llm.Signature{By: "anthropic", Value: "x"}},
				llm.Part{Reasoning: &llm.Reasoning{Text: "c"}, Signature: &llm.Signature{By: by, Value: "eA=="}}, llm.Part{Refusal: ptr("no")})), "",
			`{"contents":[{"role":"user","parts":[{"text":"hi"}]},{"role":"model","parts":[{"text":"c","thought":true,"thoughtSignature":"eA=="},{"text":"no"}]}]}`, nil,
		},
		{"an empty turn is left out", chat(hi, said(llm.RoleAssistant, llm.Part{Reasoning: &llm.Reasoning{Text: "a"}})), "", `{` + hiJSON + `}`, nil},
		{"all options", with(func(c *llm.Chat) {
			c.MaxOutput, c.Temperature, c.TopP, c.TopK, c.N, c.Seed = ptr(int64(5)), ptr(0.5), ptr(0.9), ptr(int64(3)), ptr(int64(2)), ptr(int64(7))
			c.FrequencyPenalty, c.PresencePenalty, c.Stop = ptr(1.0), ptr(-1.0), []string{"x"}
			c.Logprobs, c.TopLogprobs, c.Parallel, c.Store, c.ServiceTier = ptr(true), ptr(int64(4)), ptr(true), ptr(false), "flex"
		}), "", `{` + hiJSON + `,"generationConfig":{"temperature":0.5,"topP":0.9,"topK":3,"candidateCount":2,"maxOutputTokens":5,"stopSequences":["x"],"seed":7,
			"presencePenalty":-1,"frequencyPenalty":1,"responseLogprobs":true,"logprobs":4},"serviceTier":"flex"}`, nil},
		{"one call at a time where there can be none, or only one tool", with(func(c *llm.Chat) {
			c.Parallel, c.Tools, c.Choice = ptr(false), []llm.Tool{{Name: "f"}}, &llm.ToolChoice{Mode: llm.ChoiceNone}
		}), "", `{` + hiJSON + `,"tools":[{"functionDeclarations":[{"name":"f"}]}],"toolConfig":{"functionCallingConfig":{"mode":"NONE"}}}`, nil},
		{"one call at a time without tools", with(func(c *llm.Chat) { c.Parallel = ptr(false) }), "", `{` + hiJSON + `}`, nil},
		{"one call at a time", with(func(c *llm.Chat) { c.Parallel, c.Tools = ptr(false), []llm.Tool{{Name: "f"}} }), "", `{` + hiJSON + `,"tools":[{"functionDeclarations":[{"name":"f"}]}]}`, []string{"parallel_tool_calls"}},
		{"all that Gemini lacks", with(func(c *llm.Chat) {
			c.MinP, c.LogitBias, c.Verbosity, c.Store, c.Parallel, c.Seed = ptr(0.1), llm.Raw(`{"1":1}`), "low", ptr(true), ptr(false), ptr(int64(1)<<40)
			c.ServiceTier, c.Extra = "scale", llm.Members{"web_search_options": llm.Raw(`{}`), "harmless": llm.Raw(`null`)}
			c.Choice = &llm.ToolChoice{Foreign: llm.Raw(`{}`)}
			c.Messages[0].Name = "bob"
			c.Messages[0].Parts[0].Extra = llm.Members{"odd": llm.Raw(`1`)}
			c.Tools = []llm.Tool{{Foreign: llm.Raw(`{}`), At: "/tools/0"}}
			c.User, c.Metadata, c.CacheKey = "u", llm.Raw(`{"a":"b"}`), "k"
		}), "", `{` + hiJSON + `,"tools":[]}`, []string{"/messages/0/name", "/messages/0/content/0/odd", "/tools/0", "parallel_tool_calls", "tool_choice", "seed", "min_p", "logit_bias", "verbosity", "store", "service_tier", "/web_search_options"}},
		{"tools", with(func(c *llm.Chat) {
			c.Tools = []llm.Tool{{Name: "f", Description: "d", Schema: llm.Raw(`{"type":"object","$defs":{}}`), Strict: ptr(true)}, {Name: "g"}}
			c.Choice = &llm.ToolChoice{Mode: llm.ChoiceTool, Name: "f"}
		}), "", `{` + hiJSON + `,"tools":[{"functionDeclarations":[{"name":"f","description":"d","parametersJsonSchema":{"type":"object","$defs":{}}},{"name":"g"}]}],
			"toolConfig":{"functionCallingConfig":{"mode":"ANY","allowedFunctionNames":["f"]}}}`, nil},
		{
			"a choice among some", with(func(c *llm.Chat) {
				c.Choice = &llm.ToolChoice{Mode: llm.ChoiceAuto, Allowed: []string{"f", "g"}}
			}), "",
			`{` + hiJSON + `,"toolConfig":{"functionCallingConfig":{"mode":"VALIDATED","allowedFunctionNames":["f","g"]}}}`, nil,
		},
		{"a schema for the answer", with(func(c *llm.Chat) {
			c.Output = &llm.Output{Kind: llm.OutputSchema, Name: "n", Description: "what", Schema: llm.Raw(`{"type":"object"}`), Strict: ptr(true)}
		}), "", `{` + hiJSON + `,"generationConfig":{"responseMimeType":"application/json","responseJsonSchema":{"description":"what","type":"object"}}}`, nil},
		{
			"effort", with(func(c *llm.Chat) { c.Thinking = &llm.Thinking{Effort: "low"} }), "gemini-3-flash",
			`{` + hiJSON + `,"generationConfig":{"thinkingConfig":{"thinkingLevel":"LOW"}}}`, nil,
		},
		{
			"effort for a model before levels", with(func(c *llm.Chat) { c.Thinking = &llm.Thinking{Effort: "low", Summary: "auto"} }), "gemini-2.5-flash",
			`{` + hiJSON + `,"generationConfig":{"thinkingConfig":{"thinkingBudget":1024,"includeThoughts":true}}}`, nil,
		},
		{
			"too much effort", with(func(c *llm.Chat) { c.Thinking = &llm.Thinking{Effort: "max"} }), "gemini-3-flash",
			`{` + hiJSON + `,"generationConfig":{"thinkingConfig":{"thinkingLevel":"HIGH"}}}`,
			[]string{"reasoning_effort"},
		},
		{
			"no thinking", with(func(c *llm.Chat) { c.Thinking = &llm.Thinking{Off: true, Effort: "none"} }), "gemini-2.5-flash",
			`{` + hiJSON + `,"generationConfig":{"thinkingConfig":{"thinkingBudget":0}}}`, nil,
		},
		{"a budget, as Anthropic's clients give it", with(func(c *llm.Chat) {
			c.Format, c.Thinking = llm.AnthropicMessages, &llm.Thinking{Budget: ptr(int64(2000))}
		}), "gemini-3-pro", `{` + hiJSON + `,"generationConfig":{"thinkingConfig":{"thinkingBudget":2000,"includeThoughts":true}}}`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, lost := encode(t, Generate, test.chat, test.model)
			if diff := cmp.Diff(canonical(t, test.want), canonical(t, got)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(test.lost, lost); diff != "" {
				t.Errorf("lost (-want +got):\n%s", diff)
			}
			if test.lost == nil { // what is sent is what this package itself would take
				if _, err := open(Generate, "m:generateContent", got); err != nil {
					t.Errorf("not a valid request: %s", problems(err))
				}
			}
		})
	}
}

func TestEncodeRefuses(t *testing.T) {
	orphan := chat(said(llm.RoleTool, llm.Part{Result: &llm.ToolResult{CallID: "x"}}))
	past := chat(said(llm.RoleUser, llm.Part{Text: "hi"}))
	past.Format, past.Extra = llm.OpenAIResponses, llm.Members{"previous_response_id": llm.Raw(`"resp_1"`)}
	for name, c := range map[string]*llm.Chat{"a result of no call": orphan, "a past kept elsewhere": past} {
		if _, err := Generate.Encode(c, &llm.Encoding{Lenient: true}); llm.AsError(err).Kind != llm.KindUnsupported {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Generate.Encode(&llm.Embed{}, &llm.Encoding{}); err == nil {
		t.Error("an Embed passes for a Chat")
	}
}

func TestEncodeCountAndEmbed(t *testing.T) {
	got, lost := encode(t, CountTokens, chat(said(llm.RoleSystem, llm.Part{Text: "s"}), said(llm.RoleUser, llm.Part{Text: "hi"})), "g")
	want := `{"generateContentRequest":{"model":"models/g","systemInstruction":{"parts":[{"text":"s"}]},"contents":[{"role":"user","parts":[{"text":"hi"}]}]}}`
	if got != want || lost != nil {
		t.Errorf("%v\ngot  %s\nwant %s", lost, got, want)
	}
	p := &llm.Embed{
		Format: llm.OpenAIEmbeddings, Inputs: []llm.EmbedInput{{Text: "a"}, {Text: "b"}, {Tokens: []int64{1}, At: "/input/2"}}, Dimensions: ptr(int64(8)),
		Encoding: "base64", User: "u", Extra: llm.Members{"odd": llm.Raw("1")},
	}
	got, lost = encode(t, BatchEmbed, p, "models/e")
	want = `{"requests":[{"model":"models/e","content":{"parts":[{"text":"a"}]},"outputDimensionality":8},{"model":"models/e","content":{"parts":[{"text":"b"}]},"outputDimensionality":8},` +
		`{"model":"models/e","content":{"parts":[{"text":""}]},"outputDimensionality":8}]}`
	if got != want || !cmp.Equal(lost, []string{"/input/2", "/odd"}) {
		t.Errorf("%v\ngot  %s\nwant %s", lost, got, want)
	}
	if _, lost = encode(t, EmbedContent, p, "e"); len(lost) == 0 || lost[0] != "input" {
		t.Errorf("two inputs in embedContent: %v", lost)
	}
}
