package responses

import (
	"bytes"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// Decode gives the meaning of a request.
func (Format) Decode(raw []byte) (llm.Payload, error) {
	var r request
	d := decoder{chat: &llm.Chat{Format: llm.OpenAIResponses}}
	if err := json.Unmarshal(raw, &r); err != nil {
		d.fault("", err)
		return nil, d.err()
	}
	d.settings(&r)
	d.tools(&r)
	if r.Instructions != nil {
		d.chat.Messages = append(d.chat.Messages, llm.Message{
			Role: llm.RoleSystem, At: atInstructions,
			Parts: []llm.Part{{Text: *r.Instructions, At: atInstructions}},
		})
	}
	d.input(r.Input)
	if err := d.err(); err != nil {
		return nil, err
	}
	return d.chat, nil
}

// Where a text stood, told apart for the way back: the instructions from a system message of the input, an
// input that is a string from one that is a list.
const (
	atInstructions = "/instructions"
	atInput        = "/input"
)

type decoder struct {
	chat     *llm.Chat
	problems []llm.Problem
	pending  *llm.Signature // of the part that comes next
}

func (d *decoder) bad(at, msg string) {
	d.problems = append(d.problems, llm.Problem{At: at, Msg: msg})
}

// fault notes what the JSON package says of the value at a pointer.
func (d *decoder) fault(at string, err error) {
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		d.bad(at+string(e.JSONPointer), "has the wrong type")
		return
	}
	d.bad(at, "is not valid: "+err.Error())
}

func (d *decoder) err() error {
	if len(d.problems) == 0 {
		return nil
	}
	return &llm.Error{Kind: llm.KindInvalid, Msg: "the request is not valid", Problems: d.problems}
}

func (d *decoder) settings(r *request) {
	c := d.chat
	c.Parallel = r.ParallelToolCalls
	c.MaxOutput = r.MaxOutputTokens.int64()
	c.Temperature, c.TopP = r.Temperature, r.TopP
	c.TopLogprobs = r.TopLogprobs.int64()
	c.ServiceTier, c.User, c.CacheKey = r.ServiceTier, r.User, r.PromptCacheKey
	if k := r.Metadata.Kind(); k == '{' {
		c.Metadata = llm.Raw(r.Metadata)
	}
	c.Extra = keep(r.Extra)
	if id := c.Extra["safety_identifier"]; id != nil && c.User == "" { // user's newer name
		_ = json.Unmarshal(id, &c.User)
	}
	for name, v := range c.Extra {
		if isHint(name, v, r.Tools) {
			delete(c.Extra, name)
			c.Hints = c.Hints.Join(llm.Members{name: v})
		}
	}
	// A stored answer can be asked for again by its id. Only an upstream of this format can do that, so the
	// wish is not the hub's Store, which OpenAI's other format understands otherwise.
	if r.Store != nil {
		if *r.Store {
			d.extra("store", llm.Raw("true"))
		} else {
			c.Store = r.Store
		}
	}
	d.include(r.Include)
	if t := r.Text; t != nil {
		c.Verbosity = t.Verbosity
		c.Output = t.Format.output()
		for name, v := range keep(t.Extra) {
			d.extra("text/"+name, v)
		}
	}
	if t := r.Reasoning; t != nil {
		c.Thinking = &llm.Thinking{Off: t.Effort == "none", Effort: t.Effort, Summary: or(t.Summary, t.GenerateSummary), Extra: keep(t.Extra)}
		if c.Thinking.Off {
			c.Thinking.Effort = ""
		}
	}
}

func (d *decoder) extra(name string, v llm.Raw) {
	if d.chat.Extra == nil {
		d.chat.Extra = make(llm.Members)
	}
	d.chat.Extra[name] = v
}

// include reads the wishes for more output. Those that concern hosted tools are known here only;
// encrypted reasoning is what other vendors send unasked.
func (d *decoder) include(values []string) {
	if slices.Contains(values, includeLogprobs) {
		yes := true
		d.chat.Logprobs = &yes
	}
	if len(values) == 0 {
		return
	}
	all, err := json.Marshal(values)
	switch {
	case err != nil:
		d.fault("/include", err)
	case slices.ContainsFunc(values, func(v string) bool { return v != includeEncrypted && v != includeLogprobs }):
		d.extra("include", llm.Raw(all))
	default:
		d.chat.Hints = d.chat.Hints.Join(llm.Members{"include": llm.Raw(all)})
	}
}

func (f *textFormat) output() *llm.Output {
	if f == nil {
		return nil
	}
	o := &llm.Output{Name: f.Name, Description: f.Description, Schema: llm.Raw(f.Schema), Strict: f.Strict, Extra: keep(f.Extra)}
	switch f.Type {
	case "json_schema":
		o.Kind = llm.OutputSchema
	case "json_object":
		o.Kind = llm.OutputJSON
	default:
		o.Kind = llm.OutputText
	}
	return o
}

func (d *decoder) tools(r *request) {
	for i, raw := range r.Tools {
		at := "/tools/" + strconv.Itoa(i)
		if string(topString(raw, "type")) != "function" {
			d.chat.Tools = append(d.chat.Tools, llm.Tool{Foreign: llm.Raw(raw), At: at})
			continue
		}
		var t functionTool
		if err := json.Unmarshal(raw, &t); err != nil {
			d.fault(at, err)
			continue
		}
		tool := llm.Tool{Name: t.Name, Description: t.Description, Strict: t.Strict, Extra: keep(t.Extra), At: at}
		if t.Parameters.Kind() == '{' {
			tool.Schema = llm.Raw(t.Parameters)
		}
		d.chat.Tools = append(d.chat.Tools, tool)
	}
	d.choice(r.ToolChoice)
}

func (d *decoder) choice(raw jsontext.Value) {
	var t toolChoice
	switch raw.Kind() {
	case '"':
		var mode llm.ChoiceMode
		if err := json.Unmarshal(raw, &mode); err != nil {
			d.fault("/tool_choice", err)
		}
		d.chat.Choice = &llm.ToolChoice{Mode: mode}
		return
	case '{':
		if err := json.Unmarshal(raw, &t); err != nil {
			d.fault("/tool_choice", err)
			return
		}
	default:
		return
	}
	d.chat.Choice = &llm.ToolChoice{Foreign: llm.Raw(raw)}
	switch t.Type {
	case "function":
		d.chat.Choice = &llm.ToolChoice{Mode: llm.ChoiceTool, Name: t.Name}
	case "allowed_tools":
		functions := !slices.ContainsFunc(t.Tools, func(t toolChoice) bool { return t.Type != "function" })
		if functions && len(t.Tools) > 0 {
			d.chat.Choice = &llm.ToolChoice{Mode: llm.ChoiceMode(t.Mode)}
			for i := range t.Tools {
				d.chat.Choice.Allowed = append(d.chat.Choice.Allowed, t.Tools[i].Name)
			}
		}
	}
}

func (d *decoder) input(raw jsontext.Value) {
	switch raw.Kind() {
	case '"':
		text, _, err := readContent(raw)
		if err != nil {
			d.fault("/input", err)
			return
		}
		d.chat.Messages = append(d.chat.Messages, llm.Message{
			Role: llm.RoleUser, At: atInput,
			Parts: []llm.Part{{Text: *text, At: atInput}},
		})
	case '[':
		var items []jsontext.Value
		if err := json.Unmarshal(raw, &items); err != nil {
			d.fault("/input", err)
			return
		}
		for i, it := range items {
			d.item("/input/"+strconv.Itoa(i), it)
		}
	}
}

// item reads one item. What the model said in one turn (reasoning, text, calls) is one message, as other
// formats have it; a second message item begins a new one, since a message has one id.
func (d *decoder) item(at string, raw jsontext.Value) {
	kind := string(topString(raw, "type"))
	if kind == "" && topString(raw, "role") != nil {
		kind = typeMessage
	}
	if hosted(kind) {
		d.hosted(at, kind, raw)
		return
	}
	var it item
	if err := json.Unmarshal(raw, &it); err != nil {
		d.fault(at, err)
		return
	}
	it.Type = kind
	switch kind {
	case typeMessage:
		d.message(at, &it)
	case typeReasoning:
		d.reasoning(at, &it)
	case typeCall, typeCustom:
		d.call(at, &it)
	case typeCallOutput, typeCustomOutput:
		if it.CallID == "" { // of a tool that the model did not call: the hub has no such thing
			d.hosted(at, kind, raw)
			return
		}
		d.result(at, &it)
	}
}

// hosted keeps what only this format knows, in the message of whoever it belongs to.
func (d *decoder) hosted(at, kind string, raw jsontext.Value) {
	part := llm.Part{Foreign: llm.Raw(raw), At: at}
	if strings.HasSuffix(kind, "_output") || kind == "mcp_approval_response" {
		d.chat.Messages = append(d.chat.Messages, llm.Message{Role: llm.RoleTool, Parts: []llm.Part{part}, At: at})
		return
	}
	d.assistant(at, part)
}

// assistant adds parts to the model's turn.
func (d *decoder) assistant(at string, parts ...llm.Part) {
	if n := len(d.chat.Messages); n > 0 && d.chat.Messages[n-1].Role == llm.RoleAssistant {
		m := &d.chat.Messages[n-1]
		m.Parts = append(m.Parts, parts...)
		return
	}
	d.chat.Messages = append(d.chat.Messages, llm.Message{Role: llm.RoleAssistant, Parts: parts, At: at})
}

// sign puts a signature that came before its part where it belongs.
func (d *decoder) sign(parts []llm.Part) {
	if d.pending != nil && len(parts) > 0 {
		parts[0].Signature, d.pending = d.pending, nil
	}
}

func (d *decoder) message(at string, it *item) {
	parts := d.contents(at+"/content", it.Content)
	m := llm.Message{Role: llm.Role(it.Role), Parts: parts, ID: it.ID, Extra: keep(it.Extra), Hints: it.hints(), At: at}
	if m.Role != llm.RoleAssistant {
		d.chat.Messages = append(d.chat.Messages, m)
		return
	}
	d.sign(parts)
	if n := len(d.chat.Messages); n > 0 {
		if last := &d.chat.Messages[n-1]; last.Role == llm.RoleAssistant && !hasMessage(last) {
			last.Parts = append(last.Parts, parts...)
			last.ID, last.Extra, last.Hints = m.ID, m.Extra, m.Hints
			return
		}
	}
	d.chat.Messages = append(d.chat.Messages, m)
}

// hasMessage says that m holds a message item, and not only reasoning, calls and hosted items.
func hasMessage(m *llm.Message) bool {
	return m.ID != "" || m.Extra != nil || m.Hints != nil || slices.ContainsFunc(m.Parts, inMessage)
}

// inMessage says that a part stands within a message item.
func inMessage(p llm.Part) bool {
	return p.Call == nil && p.Result == nil && p.Reasoning == nil && (p.Foreign == nil || foreignContent(p.Foreign))
}

// contents reads the content of a message or the output of a tool.
func (d *decoder) contents(at string, raw jsontext.Value) []llm.Part {
	if raw.Kind() != '[' {
		text, _, err := readContent(raw)
		if err != nil {
			d.fault(at, err)
		}
		if text == nil {
			return nil
		}
		return []llm.Part{{Text: *text, At: at}}
	}
	var values []jsontext.Value
	if err := json.Unmarshal(raw, &values); err != nil {
		d.fault(at, err)
		return nil
	}
	parts := make([]llm.Part, 0, len(values))
	for i, v := range values {
		at := at + "/" + strconv.Itoa(i)
		var c content
		if err := json.Unmarshal(v, &c); err != nil {
			d.fault(at, err)
			continue
		}
		parts = append(parts, d.content(at, &c, v))
	}
	return parts
}

func (d *decoder) content(at string, c *content, raw jsontext.Value) llm.Part {
	p := llm.Part{At: at, Extra: keep(c.Extra)}
	if c.Breakpoint.Kind() == '{' {
		p.Cache = &llm.Cache{}
		p.Hints = llm.Members{"prompt_cache_breakpoint": llm.Raw(c.Breakpoint)}
	}
	switch {
	case c.Text != nil && (c.Type == "input_text" || c.Type == "output_text"):
		p.Text = *c.Text
		for _, a := range c.Annotations {
			p.Citations = append(p.Citations, readCitation(a))
		}
	case c.Refusal != nil && c.Type == "refusal":
		p.Refusal = c.Refusal
	default:
		m := c.media()
		if m == nil {
			return llm.Part{Foreign: llm.Raw(raw), At: at}
		}
		if m.Data == "" && m.URL == "" && m.FileID == "" {
			d.bad(at, "needs the data, a URL or a file id")
		}
		p.Media = m
	}
	return p
}

// foreignContent tells an unknown part of a message from an item: only items are of these kinds.
func foreignContent(raw llm.Raw) bool {
	kind := topString(raw, "type")
	return bytes.HasPrefix(kind, []byte("input_")) || bytes.HasPrefix(kind, []byte("output_")) && !bytes.HasSuffix(kind, []byte("_call"))
}

func (d *decoder) reasoning(at string, it *item) {
	parts, err := it.reasoningParts()
	if err != nil {
		d.fault(at+"/content", err)
		return
	}
	last := &parts[len(parts)-1]
	last.Extra, last.Hints = keep(it.Extra), it.hints()
	if it.EncryptedContent != "" {
		s := readSeal(it.EncryptedContent)
		switch s.place {
		case sealNext:
			d.pending = s.signature()
			return
		case sealPrev:
			if n := len(d.chat.Messages); n > 0 {
				if m := &d.chat.Messages[n-1]; len(m.Parts) > 0 {
					m.Parts[len(m.Parts)-1].Signature = s.signature()
				}
			}
			return
		case sealRedacted:
			last.Reasoning.Redacted = []byte(s.value)
			if s.by != "" {
				last.Signature = &llm.Signature{By: s.by}
			}
		default:
			last.Signature = s.signature()
		}
	}
	for i := range parts {
		parts[i].At = at
	}
	d.assistant(at, parts...)
}

func (d *decoder) call(at string, it *item) {
	c := &llm.ToolCall{ID: it.CallID, Name: it.Name, ItemID: it.ID, Custom: it.Type == typeCustom}
	member, args := "/arguments", it.Arguments
	if c.Custom {
		member, args = "/input", it.Input
	}
	if args == nil {
		d.bad(at+member, "is required where type is "+it.Type)
		return
	}
	if c.Name == "" {
		d.bad(at+"/name", "is required where type is "+it.Type)
	}
	c.Args = []byte(*args)
	if len(c.Args) == 0 && !c.Custom {
		c.Args = []byte("{}")
	}
	parts := []llm.Part{{Call: c, Extra: keep(it.Extra), Hints: it.hints(), At: at}}
	d.sign(parts)
	d.assistant(at, parts...)
}

func (d *decoder) result(at string, it *item) {
	if it.Output == nil {
		d.bad(at+"/output", "is required where type is "+it.Type)
		return
	}
	r := &llm.ToolResult{CallID: it.CallID, Name: it.Name, Custom: it.Type == typeCustomOutput, Parts: d.contents(at+"/output", it.Output)}
	d.chat.Messages = append(d.chat.Messages, llm.Message{
		Role: llm.RoleTool, At: at, ID: it.ID,
		Parts: []llm.Part{{Result: r, Extra: keep(it.Extra), Hints: it.hints(), At: at}},
	})
}
