package anthropic

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// unknown are the members of an object that its struct does not name.
type unknown map[string]jsontext.Value

// A block is a content block of a type that has a meaning in the hub. All other types are kept verbatim
// (llm.Part.Foreign).
type block struct {
	Type      string         `json:"type"`
	Text      *string        `json:"text,omitzero"`
	Citations jsontext.Value `json:"citations,omitzero"` // of a text an array, of a document an object
	Source    *source        `json:"source,omitzero"`
	Title     string         `json:"title,omitzero"`
	ID        string         `json:"id,omitzero"`
	Name      string         `json:"name,omitzero"`
	Input     jsontext.Value `json:"input,omitzero"`
	ToolUseID string         `json:"tool_use_id,omitzero"`
	Content   jsontext.Value `json:"content,omitzero"`
	IsError   *bool          `json:"is_error,omitzero"`
	Thinking  *string        `json:"thinking,omitzero"`
	Signature *string        `json:"signature,omitzero"`
	Data      string         `json:"data,omitzero"`
	Cache     *cacheControl  `json:"cache_control,omitzero"`
	Extra     unknown        `json:",embed"`
}

type source struct {
	Type      string         `json:"type"`
	MediaType string         `json:"media_type,omitzero"`
	Data      *string        `json:"data,omitzero"`
	URL       string         `json:"url,omitzero"`
	FileID    string         `json:"file_id,omitzero"`
	Content   jsontext.Value `json:"content,omitzero"`
	Extra     unknown        `json:",embed"`
}

type cacheControl struct {
	Type string `json:"type"`
	TTL  string `json:"ttl,omitzero"`
}

// members keeps what is not null: null says nothing, and no other vendor should be refused for it.
func (u unknown) members() llm.Members {
	var m llm.Members
	for name, v := range u {
		if len(v) == 0 || v.Kind() == 'n' {
			continue
		}
		if m == nil {
			m = make(llm.Members, len(u))
		}
		m[name] = llm.Raw(v)
	}
	return m
}

func asUnknown(m llm.Members) unknown {
	if len(m) == 0 {
		return nil
	}
	u := make(unknown, len(m))
	for name, v := range m {
		u[name] = jsontext.Value(v)
	}
	return u
}

// A reader turns content into parts and collects what is wrong with it.
type reader struct {
	problems []llm.Problem
}

func (r *reader) problem(at, msg string) {
	if len(r.problems) < maxProblems {
		r.problems = append(r.problems, llm.Problem{At: at, Msg: msg})
	}
}

// content reads a string or an array of blocks; null and absent are nothing.
func (r *reader) content(raw jsontext.Value, at string) []llm.Part {
	switch raw.Kind() {
	case '"':
		var text string
		if err := unmarshal(raw, &text); err != nil {
			r.problem(at, "is not a valid string")
			return nil
		}
		if text == "" {
			return nil
		}
		return []llm.Part{{Text: text, At: at}}
	case '[':
		var blocks []jsontext.Value
		if err := unmarshal(raw, &blocks); err != nil {
			r.problem(at, "is not an array of blocks")
			return nil
		}
		return r.blocks(blocks, at)
	case 'n', 0:
		return nil
	}
	r.problem(at, "must be a string or an array of blocks")
	return nil
}

func (r *reader) blocks(blocks []jsontext.Value, at string) []llm.Part {
	parts := make([]llm.Part, 0, len(blocks))
	var held *llm.Part // an empty thinking block that carries the signature of the part behind it
	for i, raw := range blocks {
		p, ok := r.block(raw, fmt.Sprintf("%s/%d", at, i))
		if !ok {
			continue
		}
		if held != nil {
			if carries(&p) {
				p.Signature = held.Signature
			} else {
				parts = append(parts, *held)
			}
			held = nil
		}
		if borrowed(&p) {
			held = &p
			continue
		}
		parts = append(parts, p)
	}
	if held != nil {
		parts = append(parts, *held)
	}
	return parts
}

// borrowed says that a thinking block is there only to carry a signature of Gemini's, which signs tool
// calls and texts; Anthropic's have no place for one.
func borrowed(p *llm.Part) bool {
	return p.Reasoning != nil && p.Reasoning.Text == "" && p.Reasoning.Redacted == nil &&
		p.Signature != nil && p.Signature.By == "gemini"
}

// carries says that a part may have had its signature put into a thinking block before it.
func carries(p *llm.Part) bool {
	return p.Signature == nil && (p.Call != nil || isText(p))
}

func isText(p *llm.Part) bool {
	return p.Media == nil && p.Call == nil && p.Result == nil && p.Reasoning == nil && p.Refusal == nil && p.Foreign == nil
}

// block reads one block; false when it says nothing.
func (r *reader) block(raw jsontext.Value, at string) (llm.Part, bool) {
	var head struct {
		Type   string         `json:"type"`
		Source jsontext.Value `json:"source"`
	}
	if err := unmarshal(raw, &head); err != nil || head.Type == "" {
		r.problem(at, "is not a block with a type")
		return llm.Part{}, false
	}
	if !known(head.Type, head.Source) {
		return llm.Part{Foreign: llm.Raw(raw), At: at}, true
	}
	var b block
	if err := unmarshal(raw, &b); err != nil {
		r.problem(at, "is not a valid "+head.Type+" block")
		return llm.Part{}, false
	}
	p := llm.Part{At: at, Extra: b.Extra.members()}
	if b.Cache != nil {
		p.Cache = &llm.Cache{TTL: b.Cache.TTL}
	}
	switch b.Type {
	case "text":
		p.Text, p.Citations = deref(b.Text), r.citations(b.Citations, at)
		return p, p.Text != "" || len(p.Citations) > 0
	case "image", "document":
		r.media(&p, &b)
	case "tool_use":
		p.Call = &llm.ToolCall{ID: b.ID, Name: b.Name, Args: args(b.Input)}
		if v := p.Extra["caller"]; direct(v) {
			delete(p.Extra, "caller")
			p.Hints = llm.Members{"caller": v}
		}
	case "tool_result":
		p.Result = &llm.ToolResult{CallID: b.ToolUseID, Parts: r.content(b.Content, at+"/content"), Failed: b.IsError != nil && *b.IsError}
	case "thinking":
		p.Reasoning, p.Signature = &llm.Reasoning{Text: deref(b.Thinking)}, readSignature(deref(b.Signature))
		return p, p.Reasoning.Text != "" || p.Signature != nil
	case "redacted_thinking":
		p.Reasoning = new(llm.Reasoning)
		p.Signature, p.Reasoning.Redacted = readRedacted(b.Data)
	}
	if len(p.Extra) == 0 {
		p.Extra = nil
	}
	return p, true
}

// known says that a block of this type, with this source, has a meaning in the hub.
func known(typ string, src jsontext.Value) bool {
	switch typ {
	case "text", "tool_use", "tool_result", "thinking", "redacted_thinking":
		return true
	case "image", "document":
		var s struct {
			Type string `json:"type"`
		}
		if src.Kind() != '{' || unmarshal(src, &s) != nil {
			return false
		}
		switch s.Type {
		case "base64", "url", "file":
			return true
		case "text":
			return typ == "document"
		}
	}
	return false
}

func (r *reader) media(p *llm.Part, b *block) {
	m := &llm.Media{Kind: llm.MediaKind(b.Type), Type: b.Source.MediaType, Name: b.Title, Extra: b.Source.Extra.members()}
	p.Media = m
	switch b.Source.Type {
	case "base64":
		m.Data = deref(b.Source.Data)
	case "url":
		m.URL = b.Source.URL
	case "file":
		m.FileID = b.Source.FileID
	case "text":
		m.Text = deref(b.Source.Data)
	}
	if b.Type == "image" && b.Title != "" { // not Anthropic's; kept as any unknown member
		m.Name = ""
	}
	if b.Citations.Kind() == '{' {
		if p.Extra == nil {
			p.Extra = make(llm.Members, 1)
		}
		p.Extra["citations"] = llm.Raw(b.Citations)
	}
}

// direct says that a tool call's caller is the model itself, which is the default.
func direct(caller llm.Raw) bool {
	var c struct {
		Type string `json:"type"`
	}
	return caller != nil && unmarshal(caller, &c) == nil && c.Type == "direct"
}

// args are the arguments of a call as JSON text; a call without any has {}.
func args(input jsontext.Value) []byte {
	if input.Kind() != '{' {
		return []byte("{}")
	}
	return input
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// foreignPrefix stands before the vendor's name in a signature that is not Anthropic's.
const foreignPrefix = "sluice."

// readSignature tells who signed a thinking block; nil when nobody did.
func readSignature(s string) *llm.Signature {
	if s == "" {
		return nil
	}
	if rest, ok := strings.CutPrefix(s, foreignPrefix); ok {
		if vendor, value, ok := strings.Cut(rest, "."); ok && vendor != "" {
			return &llm.Signature{By: vendor, Value: value}
		}
	}
	return &llm.Signature{By: by, Value: s}
}

// signature is how a signature stands in a thinking block.
func signature(s *llm.Signature) string {
	switch {
	case s == nil:
		return ""
	case s.By == by:
		return s.Value
	}
	return foreignPrefix + s.By + "." + s.Value
}

// readRedacted tells whose encrypted reasoning it is; Anthropic's own has no signature of its own.
func readRedacted(data string) (*llm.Signature, []byte) {
	if s := readSignature(data); s != nil && s.By != by {
		return &llm.Signature{By: s.By}, []byte(s.Value)
	}
	return nil, []byte(data)
}
