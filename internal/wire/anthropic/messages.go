package anthropic

import (
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// A turn is a message being written.
type turn struct {
	role    string
	at      string
	results []jsontext.Value // stand first
	blocks  []jsontext.Value
	extra   unknown
}

// roleSystem is the role of instructions that stand within the conversation.
const roleSystem = "system"

// conversation writes system and messages. Anthropic's own messages go one by one, as they came; those of
// other formats are arranged.
func (w *encoder) conversation(q *request) {
	var system []jsontext.Value
	var turns []turn
	for i := range w.chat.Messages {
		m := &w.chat.Messages[i]
		instructs := m.Role == llm.RoleSystem || m.Role == llm.RoleDeveloper
		switch {
		case instructs && len(turns) == 0:
			system = append(system, w.system(m)...)
		case instructs && !w.native:
			turns = append(turns, turn{role: roleSystem, at: or(m.At, "/messages"), blocks: w.system(m)})
		default:
			turns = append(turns, w.turn(m, i == len(w.chat.Messages)-1))
		}
	}
	// What says nothing goes: Anthropic refuses empty messages.
	turns = slices.DeleteFunc(turns, func(t turn) bool { return len(t.results)+len(t.blocks) == 0 })
	if !w.native {
		system, turns = w.arrange(system, turns)
	}
	if system != nil {
		q.System = array(system)
	}
	q.Messages = make([]message, len(turns))
	for i, t := range turns {
		q.Messages[i] = message{Role: t.role, Content: array(append(t.results, t.blocks...)), Extra: t.extra}
	}
}

// arrange makes Anthropic's turns of another format's messages. Messages of one role are joined, because the
// results of several calls must stand in one message, and before any text. Instructions between the turns stay
// where Anthropic takes them: in models since Claude 4.8, between a user's turn and the model's, or at the end.
// Instructions alone become the user's turn: OpenAI's models answer them.
func (w *encoder) arrange(system []jsontext.Value, messages []turn) ([]jsontext.Value, []turn) {
	messages = joined(messages)
	var turns []turn
	for i, t := range messages {
		if t.role == roleSystem {
			placed := since(w.e.Model, 4, 8) && len(turns) > 0 && turns[len(turns)-1].role == "user" &&
				(i == len(messages)-1 || messages[i+1].role == "assistant")
			if !placed {
				w.e.Lose(t.at, "this model takes instructions only before the conversation; later Claude models also take them right behind a message of the user that the assistant's follows or that is the last")
				system = append(system, t.blocks...)
				continue
			}
		}
		turns = append(turns, t)
	}
	turns = joined(turns)
	switch {
	case len(turns) == 0 && system != nil:
		system, turns = nil, []turn{{role: "user", blocks: system}}
	case len(turns) == 0 || turns[0].role != "user":
		w.e.Lose("/messages", "Anthropic wants a message of the user first")
		turns = append([]turn{{role: "user", blocks: []jsontext.Value{w.block(&block{Type: "text", Text: new("(no message)")})}}}, turns...)
	}
	return system, turns
}

// joined makes one turn of neighbours of one role.
func joined(turns []turn) []turn {
	var out []turn
	for _, t := range turns {
		if n := len(out) - 1; n >= 0 && out[n].role == t.role {
			out[n].results = append(out[n].results, t.results...)
			out[n].blocks = append(out[n].blocks, t.blocks...)
			continue
		}
		out = append(out, t)
	}
	return out
}

// array is a JSON array of values that are JSON already.
func array(values []jsontext.Value) jsontext.Value {
	n := 2
	for _, v := range values {
		n += len(v) + 1
	}
	out := append(make(jsontext.Value, 0, n), '[')
	for i, v := range values {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	return append(out, ']')
}

// block writes one block. Only broken JSON kept from a client of another format can fail.
func (w *encoder) block(b *block) jsontext.Value {
	raw, err := marshal(b)
	if err != nil {
		w.e.Lose("/messages", "holds something that is not valid JSON")
		return jsontext.Value(`{"type":"text","text":"(unreadable)"}`)
	}
	return raw
}

func (w *encoder) system(m *llm.Message) []jsontext.Value {
	w.extra(m.At, m.Extra)
	var out []jsontext.Value
	for i := range m.Parts {
		p := &m.Parts[i]
		switch {
		case !isText(p):
			w.e.Lose(at(m, p, i), "Anthropic's system prompt is text only")
		case p.Text != "":
			out = append(out, w.text(p, p.Text, at(m, p, i)))
		}
	}
	return out
}

func at(m *llm.Message, p *llm.Part, i int) string {
	if p.At != "" {
		return p.At
	}
	return fmt.Sprintf("%s/content/%d", or(m.At, "/messages"), i)
}

func (w *encoder) turn(m *llm.Message, last bool) turn {
	t := turn{role: "user", extra: w.own(m.At, m.Extra, m.Hints)}
	switch m.Role {
	case llm.RoleAssistant:
		t.role = "assistant"
	case llm.RoleSystem:
		t.role = roleSystem
	}
	if m.Name != "" && m.Role != llm.RoleTool {
		w.e.Lose(m.At+"/name", "Anthropic's messages have no names")
	}
	for i := range m.Parts {
		p := &m.Parts[i]
		if raw := w.part(p, t.role, at(m, p, i), last && i == len(m.Parts)-1); raw == nil {
			continue
		} else if p.Result != nil && !w.native {
			t.results = append(t.results, raw)
		} else {
			t.blocks = append(t.blocks, raw)
		}
	}
	return t
}

// part writes one part; nil when it says nothing here. end marks the end of the conversation.
func (w *encoder) part(p *llm.Part, role, at string, end bool) jsontext.Value {
	switch {
	case p.Foreign != nil:
		if w.native {
			return jsontext.Value(p.Foreign)
		}
		w.e.Lose(at, "only the API it was written for knows this part")
		return nil
	case p.Reasoning != nil:
		return w.reasoning(p)
	case p.Call != nil:
		return w.block(&block{Type: "tool_use", ID: w.id(p.Call.ID), Name: p.Call.Name, Input: w.input(p.Call, at), Cache: cache(p.Cache), Extra: w.own(at, p.Extra, p.Hints)})
	case p.Result != nil:
		return w.result(p, at)
	case p.Media != nil:
		if role == "assistant" && !w.native {
			w.e.Lose(at, "Anthropic takes media only from the user")
			return nil
		}
		return w.media(p, at)
	}
	text := p.Text
	if p.Refusal != nil {
		text = *p.Refusal // the model's own words of an earlier turn
	}
	if end && role == "assistant" && !w.native {
		text = strings.TrimRight(text, " \t\r\n") // Anthropic refuses a prefix that ends in white space
	}
	if text == "" {
		return nil
	}
	return w.text(p, text, at)
}

func (w *encoder) text(p *llm.Part, text, at string) jsontext.Value {
	b := &block{Type: "text", Text: &text, Cache: cache(p.Cache), Extra: w.own(at, p.Extra, p.Hints)}
	if w.native { // what others cite says nothing to the model
		b.Citations = writeCitations(p.Citations, true)
	}
	return w.block(b)
}

// reasoning goes back only to the vendor that signed it, which for Anthropic's encrypted kind is unsaid.
func (w *encoder) reasoning(p *llm.Part) jsontext.Value {
	r, s := p.Reasoning, p.Signature
	switch {
	case r.Redacted != nil && (s == nil || s.By == by):
		return w.block(&block{Type: "redacted_thinking", Data: string(r.Redacted), Extra: w.own(p.At, p.Extra, p.Hints)})
	case s != nil && s.By == by && s.Value != "":
		return w.block(&block{Type: "thinking", Thinking: &r.Text, Signature: &s.Value, Extra: w.own(p.At, p.Extra, p.Hints)})
	}
	return nil
}

// id is a call's id in the alphabet that Anthropic takes. Calls and results change alike.
func (w *encoder) id(id string) string {
	if w.native {
		return id
	}
	return strings.Map(func(r rune) rune {
		if r == '_' || r == '-' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' {
			return r
		}
		return '_'
	}, id)
}

// input is a call's arguments, which must be an object here.
func (w *encoder) input(c *llm.ToolCall, at string) jsontext.Value {
	v, ok := object(c)
	if !ok && !w.native {
		w.e.Lose(at, "the arguments are not a JSON object")
	}
	return v
}

// object gives a call's arguments as an object. Text that is none, as a model writes when it is cut off, is
// wrapped in the way that Anthropic recommends.
func object(c *llm.ToolCall) (v jsontext.Value, ok bool) {
	args := jsontext.Value(strings.TrimSpace(string(c.Args)))
	if len(args) == 0 && !c.Custom {
		return jsontext.Value(`{}`), true
	}
	if !c.Custom && args.Kind() == '{' && args.IsValid(reading) {
		return args, true
	}
	raw, err := marshal(map[string]string{"INVALID_JSON": string(c.Args)})
	if err != nil {
		return jsontext.Value(`{}`), false
	}
	return raw, false
}

func (w *encoder) result(p *llm.Part, at string) jsontext.Value {
	b := &block{Type: "tool_result", ToolUseID: w.id(p.Result.CallID), Cache: cache(p.Cache), Extra: w.own(at, p.Extra, p.Hints)}
	if p.Result.Failed {
		b.IsError = new(true)
	}
	var content []jsontext.Value
	for i := range p.Result.Parts {
		q := &p.Result.Parts[i]
		at := or(q.At, at)
		switch {
		case q.Foreign != nil, q.Media != nil, isText(q):
			if raw := w.part(q, "user", at, false); raw != nil {
				content = append(content, raw)
			}
		default:
			w.e.Lose(at, "Anthropic's tool results hold text, images and documents")
		}
	}
	if content != nil {
		b.Content = array(content)
	}
	return w.block(b)
}

func (w *encoder) media(p *llm.Part, at string) jsontext.Value {
	m := p.Media
	b := &block{Type: string(m.Kind), Cache: cache(p.Cache), Extra: w.own(at, p.Extra, p.Hints)}
	src, why := w.source(m)
	if why != "" {
		w.e.Lose(at, why)
		return nil
	}
	src.Extra = w.own(at, m.Extra, nil)
	if m.Kind == llm.MediaDocument {
		b.Title = m.Name
	}
	if m.Detail != "" && m.Detail != "auto" {
		w.e.Lose(at, "Anthropic has no level of detail for images")
	}
	b.Source = src
	return w.block(b)
}

// source writes where a medium comes from; why says what Anthropic does not take.
func (w *encoder) source(m *llm.Media) (src *source, why string) {
	switch {
	case m.Kind != llm.MediaImage && m.Kind != llm.MediaDocument:
		return nil, "Anthropic takes no " + string(m.Kind)
	case m.FileID != "" && !w.native:
		return nil, "the file is kept at another provider"
	case m.FileID != "":
		return &source{Type: "file", FileID: m.FileID}, ""
	case m.URL != "":
		return &source{Type: "url", URL: m.URL, MediaType: w.nativeType(m)}, ""
	case m.Text != "" || m.Data == "":
		return textSource(m.Text), ""
	case w.native, m.Kind == llm.MediaImage && imageTypes[m.Type], m.Type == "application/pdf":
		return &source{Type: "base64", MediaType: m.Type, Data: &m.Data}, ""
	case m.Kind == llm.MediaDocument && readable(m.Type):
		text, err := base64.StdEncoding.DecodeString(m.Data)
		if err != nil || !utf8.Valid(text) {
			return nil, "the document is not UTF-8 text in base64"
		}
		return textSource(string(text)), ""
	}
	return nil, "Anthropic takes no " + string(m.Kind) + " of type " + or(m.Type, "unknown")
}

func (w *encoder) nativeType(m *llm.Media) string {
	if w.native {
		return m.Type
	}
	return ""
}

func textSource(text string) *source {
	return &source{Type: "text", MediaType: "text/plain", Data: &text}
}

var imageTypes = map[string]bool{"image/jpeg": true, "image/png": true, "image/gif": true, "image/webp": true}

// readable says that a document is text, which Anthropic takes as plain text.
func readable(mime string) bool {
	mime, _, _ = strings.Cut(mime, ";")
	return strings.HasPrefix(mime, "text/") || mime == "application/json" || mime == "application/xml" ||
		mime == "application/yaml" || mime == "application/x-yaml"
}
