package responses

import (
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// minOutput is the least max_output_tokens that OpenAI takes. A smaller wish of another format (probes ask
// for one token) is raised to it, which is the nearest the upstream can do.
const minOutput = 16

// Encode writes a request.
func (Format) Encode(p llm.Payload, e *llm.Encoding) ([]byte, error) {
	chat, ok := p.(*llm.Chat)
	if !ok {
		return nil, llm.Errorf(llm.KindUnsupported, "the upstream's Responses API takes only chats")
	}
	enc := encoder{Encoding: e, chat: chat, foreign: chat.Format != llm.OpenAIResponses}
	r := enc.settings()
	r.Model = e.Model
	if e.Stream {
		r.Stream = new(bool)
		*r.Stream = true
	}
	rest := chat.Messages
	if len(rest) > 0 {
		if text, ok := enc.instructions(&rest[0]); ok {
			r.Instructions, rest = &text, rest[1:]
		}
	}
	for i := range rest {
		enc.message(&rest[i])
	}
	var err error
	if text, ok := enc.inputText(rest); ok {
		r.Input = quote(nil, text)
	} else if len(enc.items) > 0 || r.Extra["prompt"] == nil && r.Extra["previous_response_id"] == nil {
		if r.Input, err = json.Marshal(enc.items); err != nil {
			return nil, err
		}
	}
	out, err := json.Marshal(r, json.Deterministic(true))
	if err != nil {
		return nil, err
	}
	if enc.failed != nil {
		return nil, enc.failed
	}
	return out, nil
}

var pointerEscape = strings.NewReplacer("~", "~0", "/", "~1")

type encoder struct {
	*llm.Encoding
	chat    *llm.Chat
	foreign bool // the chat came in another format: its Extra and Foreign are not ours
	items   []jsontext.Value
	failed  error
}

// members gives what goes along of the members that one format knows, and notes the rest as lost.
func (e *encoder) members(m, hints llm.Members, at string) llm.Members {
	if !e.foreign {
		return m.Join(hints)
	}
	for _, name := range slices.Sorted(maps.Keys(m)) {
		if string(m[name]) != "null" {
			e.Lose(at+"/"+pointerEscape.Replace(name), "the upstream's format has no such member")
		}
	}
	return nil
}

func (e *encoder) put(it *item) {
	v, err := json.Marshal(it, json.Deterministic(true))
	if err != nil {
		e.failed = err
	}
	e.items = append(e.items, v)
}

// settings writes everything but the model, the stream and the conversation.
func (e *encoder) settings() *request {
	c := e.chat
	r := &request{
		MaxOutputTokens: newWhole(c.MaxOutput), Temperature: c.Temperature, TopP: c.TopP, TopLogprobs: newWhole(c.TopLogprobs),
		ParallelToolCalls: c.Parallel, Metadata: jsontext.Value(c.Metadata), User: c.User, PromptCacheKey: c.CacheKey, Store: c.Store,
		Extra: e.members(c.Extra, c.Hints, ""),
	}
	if id := c.Hints["safety_identifier"]; id != nil && string(id) == string(quote(nil, c.User)) {
		r.User = "" // it goes under its own name
	}
	if e.foreign {
		e.unsupported()
		if r.MaxOutputTokens != nil && *r.MaxOutputTokens < minOutput {
			*r.MaxOutputTokens = minOutput
		}
		if r.Store == nil { // here absent would mean true
			r.Store = new(bool)
		}
	}
	e.tier(r)
	e.text(r)
	e.thinking(r)
	e.include(r)
	for i := range c.Tools {
		e.tool(r, &c.Tools[i])
	}
	e.choice(r)
	return r
}

// unsupported notes the members of the hub that the API does not have.
func (e *encoder) unsupported() {
	c := e.chat
	for _, m := range []struct {
		name string
		set  bool
	}{
		{"top_k", c.TopK != nil},
		{"min_p", c.MinP != nil},
		{"frequency_penalty", c.FrequencyPenalty != nil && *c.FrequencyPenalty != 0},
		{"presence_penalty", c.PresencePenalty != nil && *c.PresencePenalty != 0},
		{"seed", c.Seed != nil},
		{"stop", len(c.Stop) > 0},
		{"n", c.N != nil && *c.N != 1},
		{"logit_bias", len(c.LogitBias) > 0 && string(c.LogitBias) != "{}"},
	} {
		if m.set {
			e.Lose(m.name, "the Responses API has no such setting")
		}
	}
}

func (e *encoder) tier(r *request) {
	switch tier := e.chat.ServiceTier; {
	case !e.foreign || slices.Contains([]string{"", "auto", "default", "flex", "scale", "priority", "fast"}, tier):
		r.ServiceTier = tier
	case tier == "standard_only":
		r.ServiceTier = "default"
	default:
		e.Lose("service_tier", "the upstream has no such tier")
	}
}

func (e *encoder) text(r *request) {
	var t textConfig
	t.Verbosity = e.chat.Verbosity
	for name, v := range r.Extra {
		if inner, ok := strings.CutPrefix(name, "text/"); ok {
			if t.Extra == nil {
				t.Extra = make(llm.Members)
			}
			t.Extra[inner] = v
			delete(r.Extra, name)
		}
	}
	if o := e.chat.Output; o != nil {
		t.Format = &textFormat{Type: "text", Extra: e.members(o.Extra, nil, "/text/format")}
		switch o.Kind {
		case llm.OutputJSON:
			t.Format.Type = "json_object"
		case llm.OutputSchema:
			t.Format.Type = "json_schema"
			t.Format.Name, t.Format.Description = or(o.Name, "answer"), o.Description
			t.Format.Schema, t.Format.Strict = jsontext.Value(o.Schema), o.Strict
			if len(o.Schema) == 0 {
				t.Format.Schema = jsontext.Value(`{}`)
			}
		}
	}
	if t.Format != nil || t.Verbosity != "" || t.Extra != nil {
		r.Text = &t
	}
}

// thinking writes the wish for reasoning. A budget in tokens becomes the effort that it is nearest to.
// Reasoning can be seen here only as a summary, so a client that shows thoughts gets one.
func (e *encoder) thinking(r *request) {
	t := e.chat.Thinking
	if t == nil {
		return
	}
	out := &reasoning{Effort: t.Effort, Summary: t.Summary, Extra: e.members(t.Extra, nil, "/reasoning")}
	if e.foreign {
		switch {
		case t.Off || t.Budget != nil && *t.Budget == 0:
			out.Effort = "none"
		case out.Effort == "" && t.Budget != nil && *t.Budget > 0:
			out.Effort = effortOf(*t.Budget)
		}
		shown := t.Show != nil && *t.Show || t.Show == nil && e.chat.Format == llm.AnthropicMessages
		switch t.Summary {
		case "auto", "concise", "detailed":
		case "omitted":
			out.Summary = ""
		default:
			out.Summary = ""
			if shown && out.Effort != "none" || t.Summary == "summarized" {
				out.Summary = "auto"
			}
		}
	} else if t.Off {
		out.Effort = "none"
	}
	r.Reasoning = out
}

func effortOf(budget int64) string {
	switch {
	case budget <= 2048:
		return "low"
	case budget <= 12288:
		return "medium"
	}
	return "high"
}

// include asks for encrypted reasoning where nothing is stored: the next turn can only be given it by the
// client. Models that do not reason refuse the wish, so it goes only where reasoning is spoken of.
func (e *encoder) include(r *request) {
	if !e.foreign {
		return // it is in Extra
	}
	reasons := r.Reasoning != nil && r.Reasoning.Effort != "none" || slices.ContainsFunc(e.chat.Messages, signedHere)
	if reasons {
		r.Include = append(r.Include, includeEncrypted)
	}
	if l := e.chat.Logprobs; l != nil && *l {
		r.Include = append(r.Include, includeLogprobs)
	}
}

// signedHere says that a message holds reasoning which an upstream of this format encrypted.
func signedHere(m llm.Message) bool {
	return slices.ContainsFunc(m.Parts, func(p llm.Part) bool {
		return p.Reasoning != nil && p.Signature != nil && p.Signature.By == vendor
	})
}

func (e *encoder) tool(r *request, t *llm.Tool) {
	if t.Foreign != nil {
		if e.foreign {
			e.Lose(or(t.At, "tools"), "the upstream does not know this tool")
			return
		}
		r.Tools = append(r.Tools, jsontext.Value(t.Foreign))
		return
	}
	out := functionTool{Type: "function", Name: t.Name, Description: t.Description, Parameters: jsontext.Value(t.Schema), Strict: t.Strict, Extra: e.members(t.Extra, t.Hints, t.At)}
	if e.foreign {
		if out.Strict == nil { // here absent would mean true
			out.Strict = new(bool)
		}
		if len(t.Schema) == 0 {
			out.Parameters = jsontext.Value(`{"type":"object","properties":{}}`)
		}
	}
	v, err := json.Marshal(out, json.Deterministic(true))
	if err != nil {
		e.failed = err
	}
	r.Tools = append(r.Tools, v)
}

func (e *encoder) choice(r *request) {
	c := e.chat.Choice
	if c == nil {
		return
	}
	var out toolChoice
	switch {
	case c.Foreign != nil && e.foreign:
		e.Lose("tool_choice", "the upstream does not know this choice")
		return
	case c.Foreign != nil:
		r.ToolChoice = jsontext.Value(c.Foreign)
		return
	case c.Mode == llm.ChoiceTool:
		out = toolChoice{Type: "function", Name: c.Name}
	case len(c.Allowed) > 0 && c.Mode != llm.ChoiceNone:
		out = toolChoice{Type: "allowed_tools", Mode: string(c.Mode)}
		for _, name := range c.Allowed {
			out.Tools = append(out.Tools, toolChoice{Type: "function", Name: name})
		}
	default:
		r.ToolChoice = quote(nil, string(c.Mode))
		return
	}
	v, err := json.Marshal(out)
	if err != nil {
		e.failed = err
	}
	r.ToolChoice = v
}

// instructions says whether the first message can stand as the request's instructions.
func (e *encoder) instructions(m *llm.Message) (string, bool) {
	if m.Role != llm.RoleSystem || m.Name != "" || len(m.Parts) != 1 || m.Extra != nil || m.Hints != nil || m.ID != "" {
		return "", false
	}
	p := &m.Parts[0]
	if !isText(p) || p.Extra != nil || p.Hints != nil || !e.foreign && m.At != atInstructions {
		return "", false
	}
	return p.Text, true
}

// inputText says whether the input was a mere string and can be one again.
func (e *encoder) inputText(rest []llm.Message) (string, bool) {
	if e.foreign || len(rest) != 1 || rest[0].At != atInput || len(rest[0].Parts) != 1 || !e.bare(&rest[0].Parts[0]) {
		return "", false
	}
	return rest[0].Parts[0].Text, true
}

// isText says that a part is text, and not something that a pointer of it says.
func isText(p *llm.Part) bool {
	return p.Media == nil && p.Call == nil && p.Result == nil && p.Reasoning == nil && p.Refusal == nil && p.Foreign == nil
}
