package openai

import (
	"slices"
	"strconv"
	"strings"

	"sluice/internal/llm"
)

// Encode writes a chat of any format as a chat request in c's dialect.
func (c *ChatFormat) Encode(p llm.Payload, e *llm.Encoding) ([]byte, error) {
	chat, ok := p.(*llm.Chat)
	if !ok {
		return nil, wrongPayload(llm.OpenAIChat)
	}
	x := encoder{d: &c.d, chat: chat, e: e, same: chat.Format == llm.OpenAIChat}
	x.request()
	return marshal(&x.out)
}

func wrongPayload(f llm.Format) error {
	return llm.Errorf(llm.KindUnsupported, "this request has no meaning in %s", f)
}

// An encoder writes one request. same says that the chat came in this very format, so that what only this
// format knows goes back where it stood.
type encoder struct {
	d    *Dialect
	chat *llm.Chat
	e    *llm.Encoding
	same bool
	out  request
}

const whyVendor = "is not supported by the model's upstream"

// opt gives an optional member, or notes its loss when the vendor has no such member.
func opt[T any](x *encoder, name string, v *T) *T {
	if v != nil && x.d.lacks(name) {
		x.e.Lose(name, whyVendor)
		return nil
	}
	return v
}

// own gives a member that OpenAI itself does not have: for vendors that take it, and for a client that
// wrote it in this format and so knows whom it talks to.
func own[T any](x *encoder, name string, v *T) *T {
	if v != nil && !x.same && !x.d.takes(name) {
		x.e.Lose(name, whyVendor)
		return nil
	}
	return v
}

// tag gives a member that says nothing to the model, so that it may be left out.
func (x *encoder) tag(name, v string, most int) *string {
	if v == "" || x.d.lacks(name) || !x.same && len(v) > most {
		return nil
	}
	return &v
}

func (x *encoder) request() {
	c, q := x.chat, &x.out
	q.Model = x.e.Model
	if q.Stream = x.e.Stream; q.Stream && !x.d.NoStreamOptions {
		q.StreamOptions = &streamOptions{IncludeUsage: true}
	}
	x.messages()
	x.tools()
	x.choice()
	x.sampling()
	x.thinking()
	x.output()
	if m := wholePtr(c.MaxOutput); x.d.MaxTokens {
		q.MaxTokens = m
	} else {
		q.MaxCompletionTokens = m
	}
	q.User = x.tag("user", c.User, 64) // OpenAI refuses longer ones
	q.PromptCacheKey = x.tag("prompt_cache_key", c.CacheKey, 64)
	if c.Store != nil && (*c.Store || !x.d.lacks("store")) {
		q.Store = opt(x, "store", c.Store)
	}
	if object(c.Metadata) != nil && !x.d.lacks("metadata") {
		q.Metadata = c.Metadata
	}
	x.tier()
	if c.Verbosity != "" {
		q.Verbosity = opt(x, "verbosity", &c.Verbosity)
	}
	x.extra()
}

// extra writes the members that only this format knows, and takes those of another for lost.
func (x *encoder) extra() {
	if !x.same {
		x.loseExtra("", x.chat.Extra)
		return
	}
	q := &x.out
	for _, name := range sortedNames(x.chat.Extra) {
		if x.d.lacks(name) {
			x.e.Lose("/"+escapePointer(name), whyVendor)
			continue
		}
		q.Extra = with(q.Extra, name, x.chat.Extra[name])
	}
	for name, v := range x.chat.Hints {
		if name == "safety_identifier" && unquote(v) == x.chat.User {
			q.User = nil // the user is named by it
		}
		if !x.d.lacks(name) {
			q.Extra = with(q.Extra, name, v)
		}
	}
}

func sortedNames(m llm.Members) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func escapePointer(s string) string {
	return strings.ReplaceAll(strings.ReplaceAll(s, "~", "~0"), "/", "~1")
}

func (x *encoder) sampling() {
	c, q := x.chat, &x.out
	q.Temperature = opt(x, "temperature", c.Temperature)
	q.TopP = opt(x, "top_p", c.TopP)
	q.TopK = wholePtr(own(x, "top_k", c.TopK))
	q.MinP = own(x, "min_p", c.MinP)
	q.FrequencyPenalty = opt(x, "frequency_penalty", c.FrequencyPenalty)
	q.PresencePenalty = opt(x, "presence_penalty", c.PresencePenalty)
	if seed := opt(x, "seed", c.Seed); seed != nil && x.d.Seed != "" {
		q.Extra = with(q.Extra, x.d.Seed, strconv.AppendInt(nil, *seed, 10))
	} else {
		q.Seed = wholePtr(seed)
	}
	if c.N != nil && (*c.N != 1 || x.same && !x.d.lacks("n")) {
		q.N = wholePtr(opt(x, "n", c.N))
	}
	if c.Logprobs != nil && (*c.Logprobs || x.same && !x.d.lacks("logprobs")) {
		q.Logprobs = opt(x, "logprobs", c.Logprobs)
		q.TopLogprobs = wholePtr(opt(x, "top_logprobs", c.TopLogprobs))
	}
	if object(c.LogitBias) != nil {
		q.LogitBias = deref(opt(x, "logit_bias", &c.LogitBias))
	}
	const most = 4 // OpenAI's bound; vendors with a higher one name it in their own format only
	if len(c.Stop) > most && !x.same {
		x.e.Lose("stop", "has more than four sequences")
	} else if len(c.Stop) > 0 {
		q.Stop = deref(opt(x, "stop", &c.Stop))
	}
}

// tier keeps the names that OpenAI has; "auto" and "default" are what happens anyway.
func (x *encoder) tier() {
	switch tier := x.chat.ServiceTier; {
	case tier == "":
	case x.same, tier == "flex", tier == "priority":
		if !x.d.lacks("service_tier") {
			x.out.ServiceTier = &tier
		} else if tier != "auto" && tier != "default" {
			x.e.Lose("service_tier", whyVendor)
		}
	case tier == "auto", tier == "default", tier == "standard_only":
	default:
		x.e.Lose("service_tier", "is a tier that only the client's own format has")
	}
}

// thinking writes the wish for reasoning. The chat format knows efforts only; a budget of tokens becomes
// the effort that Google's table of the two gives it.
// https://ai.google.dev/gemini-api/docs/openai#thinking
func (x *encoder) thinking() {
	t, q := x.chat.Thinking, &x.out
	if t == nil {
		return
	}
	if x.same && (t.Budget != nil || t.Show != nil || t.Extra != nil || t.Auto) || x.d.Reasoning == ReasoningDetails {
		q.Reasoning = &reasoning{MaxTokens: wholePtr(t.Budget), Extra: t.Extra}
		if !x.same {
			q.Reasoning.Extra = nil
		}
		if t.Show != nil {
			q.Reasoning.Exclude = ptr(!*t.Show)
		}
		switch {
		case t.Off:
			q.Reasoning.Enabled = ptr(false)
		case t.Effort != "" && (t.Budget == nil || x.same): // OpenRouter takes one of the two
			q.Reasoning.Effort = &t.Effort
		case t.Budget == nil:
			q.Reasoning.Enabled = ptr(true)
		}
		return
	}
	effort := t.Effort
	switch {
	case t.Off:
		effort = "none"
	case effort == "max" && !x.same:
		effort = "xhigh"
	case effort == "" && t.Budget != nil:
		effort = effortOf(*t.Budget)
	}
	if x.d.ThinkingSwitch && (effort == "none" || t.Auto) {
		word := thinkingSwitch{"enabled"}
		if effort == "none" {
			word.Type = "disabled"
		}
		q.Extra = with(q.Extra, "thinking", raw(word))
		return
	}
	if effort == "" || x.d.lacks("reasoning_effort") && effort == "none" {
		return // the model decides
	}
	q.ReasoningEffort = opt(x, "reasoning_effort", &effort)
}

type thinkingSwitch struct {
	Type string `json:"type"`
}

func effortOf(budget int64) string {
	switch {
	case budget == 0:
		return "none"
	case budget < 0: // Gemini: as much as the model likes
		return ""
	case budget <= 1024:
		return "low"
	case budget <= 8192:
		return "medium"
	}
	return "high"
}

func (x *encoder) output() {
	o := x.chat.Output
	if o == nil || o.Kind == llm.OutputText && !x.same {
		return
	}
	f := &responseFormat{Type: "text"}
	switch o.Kind {
	case llm.OutputJSON:
		f.Type = "json_object"
	case llm.OutputSchema:
		f.Type = "json_schema"
		f.JSONSchema = &jsonSchema{Name: o.Name, Description: o.Description, Schema: o.Schema, Strict: o.Strict}
		if f.JSONSchema.Name == "" {
			f.JSONSchema.Name = "answer"
		}
		if x.d.lacks("json_schema") {
			x.e.Lose("response_format", "asks for a schema, which the model's upstream does not support")
			return
		}
	}
	if x.same {
		for name, v := range o.Extra {
			if in, ok := strings.CutPrefix(name, "json_schema/"); ok && f.JSONSchema != nil {
				f.JSONSchema.Extra = with(f.JSONSchema.Extra, in, v)
			} else {
				f.Extra = with(f.Extra, name, v)
			}
		}
	} else {
		x.loseExtra("response_format", o.Extra)
	}
	x.out.ResponseFormat = f
}

// loseExtra notes the members that only the client's format knows.
func (x *encoder) loseExtra(at string, m llm.Members) { loseMembers(x.e, at, m) }

func loseMembers(e *llm.Encoding, at string, m llm.Members) {
	for _, name := range sortedNames(m) {
		if !isNull(m[name]) { // a null says nothing
			e.Lose(at+"/"+escapePointer(name), "is known only to the client's own format")
		}
	}
}

func (x *encoder) tools() {
	for i := range x.chat.Tools {
		t := &x.chat.Tools[i]
		if t.Foreign != nil {
			if x.same {
				x.out.Tools = append(x.out.Tools, tool{whole: t.Foreign})
			} else {
				x.e.Lose(t.At, "is a tool that runs at the provider of the client's own format")
			}
			continue
		}
		out := tool{Type: "function", Function: &functionDef{Name: t.Name, Description: t.Description, Parameters: t.Schema}}
		if !x.d.lacks("strict") {
			out.Function.Strict = t.Strict
		}
		if t.Cache != nil && (x.same || x.d.takes("cache_control")) {
			out.Extra = with(out.Extra, "cache_control", raw(cacheControl{"ephemeral", t.Cache.TTL}))
		}
		if x.same {
			for name, v := range t.Extra {
				if beside, ok := strings.CutPrefix(name, "/"); ok {
					out.Extra = with(out.Extra, beside, v)
				} else {
					out.Function.Extra = with(out.Function.Extra, name, v)
				}
			}
		} else {
			x.loseExtra(t.At, t.Extra)
		}
		x.out.Tools = append(x.out.Tools, out)
	}
	// Several calls in one turn are the default everywhere: only the same format repeats it.
	if p := x.chat.Parallel; p != nil && (!*p || x.same && !x.d.lacks("parallel_tool_calls")) {
		x.out.ParallelToolCalls = opt(x, "parallel_tool_calls", p)
	}
}

func (x *encoder) choice() {
	c := x.chat.Choice
	if c == nil {
		return
	}
	if len(x.out.Tools) == 0 && !x.same && c.Foreign == nil && (c.Mode == llm.ChoiceAuto || c.Mode == llm.ChoiceNone) {
		return // OpenAI refuses a choice where there is nothing to choose
	}
	switch {
	case c.Foreign != nil && x.same:
		x.out.ToolChoice = c.Foreign
	case c.Foreign != nil:
		x.e.Lose("tool_choice", "is known only to the client's own format")
	case len(c.Allowed) > 0:
		if x.d.lacks("allowed_tools") {
			x.allow(c.Allowed)
			x.out.ToolChoice = raw(string(c.Mode))
			return
		}
		set := toolChoice{Type: "allowed_tools", AllowedTools: &allowedTools{Mode: string(c.Mode)}}
		for _, name := range c.Allowed {
			set.AllowedTools.Tools = append(set.AllowedTools.Tools, toolChoice{Type: "function", Function: &named{name}})
		}
		x.out.ToolChoice = raw(set)
	case c.Mode == llm.ChoiceTool:
		x.out.ToolChoice = raw(toolChoice{Type: "function", Function: &named{c.Name}})
	default:
		x.out.ToolChoice = raw(string(c.Mode))
	}
}

// allow leaves only the allowed tools, for vendors that cannot be told otherwise.
func (x *encoder) allow(names []string) {
	x.out.Tools = slices.DeleteFunc(x.out.Tools, func(t tool) bool {
		return t.Function != nil && !slices.Contains(names, t.Function.Name)
	})
}
