package anthropic

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// A request is the body of a request, for both endpoints. Model and stream are the call's, not the
// conversation's; they are written, never read.
type request struct {
	Model        string           `json:"model,omitzero"`
	Messages     []message        `json:"messages"`
	System       jsontext.Value   `json:"system,omitzero"`
	MaxTokens    *number          `json:"max_tokens,omitzero"`
	Stream       bool             `json:"stream,omitzero"`
	Temperature  *float64         `json:"temperature,omitzero"`
	TopP         *float64         `json:"top_p,omitzero"`
	TopK         *number          `json:"top_k,omitzero"`
	Stop         []string         `json:"stop_sequences,omitzero"`
	Metadata     jsontext.Value   `json:"metadata,omitzero"`
	ServiceTier  string           `json:"service_tier,omitzero"`
	Thinking     jsontext.Value   `json:"thinking,omitzero"`
	OutputConfig jsontext.Value   `json:"output_config,omitzero"`
	OutputFormat *outputFormat    `json:"output_format,omitzero"`
	Tools        []jsontext.Value `json:"tools,omitzero"`
	ToolChoice   *toolChoice      `json:"tool_choice,omitzero"`
	Extra        unknown          `json:",embed"`
}

type message struct {
	Role    string         `json:"role"`
	Content jsontext.Value `json:"content"`
	Extra   unknown        `json:",embed"`
}

type tool struct {
	Type        string         `json:"type,omitzero"`
	Name        string         `json:"name"`
	Description string         `json:"description,omitzero"`
	InputSchema jsontext.Value `json:"input_schema,omitzero"`
	Strict      *bool          `json:"strict,omitzero"`
	Cache       *cacheControl  `json:"cache_control,omitzero"`
	Extra       unknown        `json:",embed"`
}

type toolChoice struct {
	Type       string  `json:"type"`
	Name       string  `json:"name,omitzero"`
	NoParallel *bool   `json:"disable_parallel_tool_use,omitzero"`
	Extra      unknown `json:",embed"`
}

type thinking struct {
	Type    string  `json:"type"`
	Budget  *number `json:"budget_tokens,omitzero"`
	Display string  `json:"display,omitzero"`
	Extra   unknown `json:",embed"`
}

type outputConfig struct {
	Effort string        `json:"effort,omitzero"`
	Format *outputFormat `json:"format,omitzero"`
	Extra  unknown       `json:",embed"`
}

type outputFormat struct {
	Type   string         `json:"type"`
	Schema jsontext.Value `json:"schema,omitzero"`
	Extra  unknown        `json:",embed"`
}

type metadata struct {
	UserID string  `json:"user_id,omitzero"`
	Extra  unknown `json:",embed"`
}

// Decode gives the meaning of a request that has passed the scan.
func (f *Format) Decode(raw []byte) (llm.Payload, error) {
	var q request
	if err := unmarshal(raw, &q); err != nil {
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not a valid Messages request", Err: err}
	}
	r := new(reader)
	chat := &llm.Chat{
		Format: f.name, MaxOutput: q.MaxTokens.int64(), Temperature: q.Temperature, TopP: q.TopP, TopK: q.TopK.int64(),
		Stop: q.Stop, ServiceTier: q.ServiceTier, Extra: q.Extra.members(),
	}
	if parts := r.content(q.System, "/system"); len(parts) > 0 {
		chat.Messages = append(chat.Messages, llm.Message{Role: llm.RoleSystem, Parts: parts, At: "/system"})
	}
	for i := range q.Messages {
		m, at := &q.Messages[i], fmt.Sprintf("/messages/%d", i)
		chat.Messages = append(chat.Messages, llm.Message{Role: llm.Role(m.Role), Parts: r.content(m.Content, at+"/content"), Extra: m.Extra.members(), At: at})
	}
	r.tools(chat, &q)
	r.options(chat, &q)
	if len(r.problems) > 0 {
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "the request is not valid", Problems: r.problems}
	}
	return chat, nil
}

func (r *reader) tools(chat *llm.Chat, q *request) {
	for i, raw := range q.Tools {
		at := fmt.Sprintf("/tools/%d", i)
		var t tool
		if err := unmarshal(raw, &t); err != nil {
			r.problem(at, "is not a valid tool")
			continue
		}
		if t.Type != "" && t.Type != "custom" {
			chat.Tools = append(chat.Tools, llm.Tool{Foreign: llm.Raw(raw), At: at})
			continue
		}
		out := llm.Tool{Name: t.Name, Description: t.Description, Schema: llm.Raw(t.InputSchema), Strict: t.Strict, Extra: t.Extra.members(), At: at}
		// It only asks for the arguments in finer pieces; an upstream that cannot do that loses nothing.
		if v, ok := out.Extra["eager_input_streaming"]; ok {
			delete(out.Extra, "eager_input_streaming")
			out.Hints = llm.Members{"eager_input_streaming": v}
		}
		if t.Cache != nil {
			out.Cache = &llm.Cache{TTL: t.Cache.TTL}
		}
		chat.Tools = append(chat.Tools, out)
	}
	c := q.ToolChoice
	if c == nil {
		return
	}
	if c.NoParallel != nil {
		parallel := !*c.NoParallel
		chat.Parallel = &parallel
	}
	switch c.Type {
	case "auto":
		chat.Choice = &llm.ToolChoice{Mode: llm.ChoiceAuto}
	case "any":
		chat.Choice = &llm.ToolChoice{Mode: llm.ChoiceRequired}
	case "none":
		chat.Choice = &llm.ToolChoice{Mode: llm.ChoiceNone}
	case "tool":
		chat.Choice = &llm.ToolChoice{Mode: llm.ChoiceTool, Name: c.Name}
	default:
		r.problem("/tool_choice/type", "is not known")
	}
}

func (r *reader) options(chat *llm.Chat, q *request) {
	if q.Metadata.Kind() == '{' {
		var m metadata
		if err := unmarshal(q.Metadata, &m); err != nil {
			r.problem("/metadata", "is not valid")
		}
		chat.User = m.UserID
		keepRest(chat, "metadata", m.Extra)
	}
	if q.Thinking.Kind() == '{' {
		r.thinking(chat, q.Thinking)
	}
	format := q.OutputFormat
	if q.OutputConfig.Kind() == '{' {
		var o outputConfig
		if err := unmarshal(q.OutputConfig, &o); err != nil {
			r.problem("/output_config", "is not valid")
		}
		if o.Effort != "" {
			if chat.Thinking == nil {
				chat.Thinking = new(llm.Thinking)
			}
			chat.Thinking.Effort = o.Effort
		}
		if o.Format != nil {
			format = o.Format
		}
		keepRest(chat, "output_config", o.Extra)
	}
	if format != nil {
		if format.Type != "json_schema" {
			r.problem("/output_config/format/type", `must be "json_schema"`)
		}
		chat.Output = &llm.Output{Kind: llm.OutputSchema, Schema: llm.Raw(format.Schema), Extra: format.Extra.members()}
	}
}

func (r *reader) thinking(chat *llm.Chat, raw jsontext.Value) {
	var t thinking
	if err := unmarshal(raw, &t); err != nil {
		r.problem("/thinking", "is not valid")
		return
	}
	out := &llm.Thinking{Budget: t.Budget.int64(), Summary: t.Display, Extra: t.Extra.members()}
	switch t.Type {
	case "enabled":
	case "disabled":
		out.Off = true
	case "adaptive":
		out.Auto = true
	default: // a way to think that is newer than this build, or of few models ("between_tools")
		keep(chat, "thinking", raw)
		return
	}
	chat.Thinking = out
}

// keepRest keeps the members of an object that have no place in the hub, as an object of that name.
func keepRest(chat *llm.Chat, name string, rest unknown) {
	m := asUnknown(rest.members())
	if m == nil {
		return
	}
	if raw, err := marshal(m); err == nil {
		keep(chat, name, raw)
	}
}

func keep(chat *llm.Chat, name string, raw jsontext.Value) {
	if chat.Extra == nil {
		chat.Extra = make(llm.Members)
	}
	chat.Extra[name] = llm.Raw(raw)
}
