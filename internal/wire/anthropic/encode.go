package anthropic

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// Encode writes a conversation of any format as a request of this one.
func (f *Format) Encode(p llm.Payload, e *llm.Encoding) ([]byte, error) {
	chat, ok := p.(*llm.Chat)
	if !ok {
		return nil, &llm.Error{Kind: llm.KindUnsupported, Msg: "Anthropic's API has no embeddings"}
	}
	w := &encoder{chat: chat, e: e, native: ours(chat.Format)}
	q := &request{Model: e.Model}
	w.conversation(q)
	w.tools(q)
	w.extra("", chat.Extra)
	if w.native {
		q.Extra = asUnknown(chat.Extra.Join(chat.Hints))
	}
	if f.op == llm.OpChat {
		q.Stream = e.Stream
		w.sampling(q)
	}
	w.thinking(q) // may raise max_tokens
	w.output(q)
	if f.op == llm.OpCount {
		q.MaxTokens = nil
	}
	return marshal(q)
}

// An encoder writes one conversation. What Anthropic cannot carry goes to e.
type encoder struct {
	chat   *llm.Chat
	e      *llm.Encoding
	native bool // the conversation came in one of this package's formats
	config outputConfig
}

// extra notes the unknown members that only their own format can carry.
func (w *encoder) extra(at string, m llm.Members) {
	if w.native || len(m) == 0 {
		return
	}
	names := make([]string, 0, len(m))
	for name, v := range m {
		if string(v) != "null" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		w.e.Lose(at+"/"+escape(name), "Anthropic's Messages API has no such member")
	}
}

// escape makes a name a step of a JSON pointer.
func escape(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// own gives the unknown members when they are Anthropic's, and notes them as lost when they are not.
func (w *encoder) own(at string, m, hints llm.Members) unknown {
	w.extra(at, m)
	if !w.native {
		return nil
	}
	return asUnknown(m.Join(hints))
}

func (w *encoder) tools(q *request) {
	for i := range w.chat.Tools {
		t := &w.chat.Tools[i]
		if !w.offered(t) {
			continue
		}
		if t.Foreign != nil {
			if w.native {
				q.Tools = append(q.Tools, jsontext.Value(t.Foreign))
			} else {
				w.e.Lose(or(t.At, "/tools"), "this tool runs at the provider it was written for")
			}
			continue
		}
		out := &tool{Name: t.Name, Description: t.Description, InputSchema: jsontext.Value(t.Schema), Cache: cache(t.Cache), Extra: w.own(t.At, t.Extra, t.Hints)}
		if w.native {
			out.Strict = t.Strict // elsewhere it may ask for more than the model at hand can promise
		}
		if len(out.InputSchema) == 0 || out.InputSchema.Kind() == 'n' {
			out.InputSchema = jsontext.Value(`{"type":"object","properties":{}}`)
		}
		raw, err := marshal(out)
		if err != nil {
			w.e.Lose(t.At, "is not valid JSON")
			continue
		}
		q.Tools = append(q.Tools, raw)
	}
	w.choice(q)
}

// offered says that a tool may be called: a choice of allowed tools has no form of its own here, but
// leaving out the others says the same.
func (w *encoder) offered(t *llm.Tool) bool {
	c := w.chat.Choice
	return c == nil || len(c.Allowed) == 0 || slices.Contains(c.Allowed, t.Name)
}

func (w *encoder) choice(q *request) {
	c := w.chat.Choice
	parallel := w.chat.Parallel
	if c == nil {
		if parallel == nil || *parallel || len(q.Tools) == 0 {
			return // many calls in one turn is the default
		}
		c = &llm.ToolChoice{Mode: llm.ChoiceAuto}
	}
	out := &toolChoice{Name: c.Name}
	switch c.Mode {
	case llm.ChoiceAuto:
		out.Type = "auto"
	case llm.ChoiceNone:
		out.Type = "none"
	case llm.ChoiceRequired:
		out.Type = "any"
	case llm.ChoiceTool:
		out.Type = "tool"
	default:
		w.e.Lose("tool_choice", "Anthropic's Messages API has no such choice")
		return
	}
	if len(q.Tools) == 0 && !w.native { // Anthropic refuses a choice without tools
		if c.Mode == llm.ChoiceRequired || c.Mode == llm.ChoiceTool {
			w.e.Lose("tool_choice", "demands a tool, but there is none that Anthropic could offer")
		}
		return
	}
	if parallel != nil && c.Mode != llm.ChoiceNone && (w.native || !*parallel) {
		no := !*parallel
		out.NoParallel = &no
	}
	q.ToolChoice = out
}

func (w *encoder) sampling(q *request) {
	c := w.chat
	q.MaxTokens, q.TopP, q.TopK, q.Temperature = (*number)(c.MaxOutput), c.TopP, (*number)(c.TopK), c.Temperature
	if q.MaxTokens == nil {
		n := number(DefaultMaxTokens)
		q.MaxTokens = &n
	}
	if t := q.Temperature; t != nil && *t > 1 {
		w.e.Lose("temperature", "Anthropic's goes from 0 to 1")
		one := 1.0
		q.Temperature = &one
	}
	for _, s := range c.Stop {
		if strings.TrimSpace(s) == "" && !w.native {
			w.e.Lose("stop", "Anthropic takes no stop sequence of white space only")
			continue
		}
		q.Stop = append(q.Stop, s)
	}
	q.Metadata = w.merge("metadata", &metadata{UserID: c.User}, q)
	switch {
	case w.native:
		q.ServiceTier = c.ServiceTier
	case c.ServiceTier != "" && c.ServiceTier != "auto" && c.ServiceTier != "default":
		w.e.Lose("service_tier", "Anthropic has no such tier")
	}
	w.lose(c)
}

// lose notes the members that say something and have no counterpart.
func (w *encoder) lose(c *llm.Chat) {
	for _, m := range []struct {
		name string
		says bool
	}{
		{"min_p", c.MinP != nil && *c.MinP != 0},
		{"frequency_penalty", c.FrequencyPenalty != nil && *c.FrequencyPenalty != 0},
		{"presence_penalty", c.PresencePenalty != nil && *c.PresencePenalty != 0},
		{"seed", c.Seed != nil},
		{"n", c.N != nil && *c.N != 1},
		{"logprobs", c.Logprobs != nil && *c.Logprobs},
		{"top_logprobs", c.TopLogprobs != nil && *c.TopLogprobs != 0},
		{"logit_bias", len(c.LogitBias) > 0 && string(c.LogitBias) != "null" && string(c.LogitBias) != "{}"},
		{"store", c.Store != nil && *c.Store},
		{"verbosity", c.Verbosity != "" && c.Verbosity != "medium"},
	} {
		if m.says {
			w.e.Lose(m.name, "Anthropic's Messages API has no such member")
		}
	}
}

// merge writes an object together with its unknown members, which the decoder keeps under its name; nil
// when it says nothing.
func (w *encoder) merge(name string, v any, q *request) jsontext.Value {
	raw, err := marshal(v)
	if err != nil {
		return nil
	}
	if w.native {
		if rest, ok := q.Extra[name]; ok {
			delete(q.Extra, name)
			raw = join(raw, rest)
		}
	}
	if string(raw) == "{}" {
		return nil
	}
	return raw
}

// join puts the members of two objects into one. Their names differ.
func join(a, b jsontext.Value) jsontext.Value {
	if string(a) == "{}" {
		return b
	}
	if string(b) == "{}" {
		return a
	}
	out := append(jsontext.Value(nil), a[:len(a)-1]...)
	return append(append(out, ','), b[1:]...)
}

func (w *encoder) output(q *request) {
	if o := w.chat.Output; o != nil {
		switch o.Kind {
		case llm.OutputSchema:
			w.config.Format = &outputFormat{Type: "json_schema", Schema: described(o), Extra: w.own("response_format", o.Extra, nil)}
		case llm.OutputJSON:
			w.e.Lose("response_format", "Anthropic writes JSON only to a schema; send json_schema")
		}
	}
	q.OutputConfig = w.merge("output_config", &w.config, q)
}

// described is the schema of the answer. Its description, which OpenAI has beside the schema, goes in.
func described(o *llm.Output) jsontext.Value {
	schema := jsontext.Value(o.Schema)
	if len(schema) == 0 {
		return jsontext.Value(`{}`)
	}
	var has struct {
		Description *string `json:"description"`
	}
	if o.Description == "" || schema.Kind() != '{' || unmarshal(schema, &has) != nil || has.Description != nil {
		return schema
	}
	text, err := marshal(map[string]string{"description": o.Description})
	if err != nil {
		return schema
	}
	compact := schema.Clone()
	if compact.Compact() != nil {
		return schema
	}
	return join(text, compact)
}

func cache(c *llm.Cache) *cacheControl {
	if c == nil {
		return nil
	}
	return &cacheControl{Type: "ephemeral", TTL: c.TTL}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
