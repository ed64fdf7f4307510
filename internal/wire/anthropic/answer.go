package anthropic

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// An answer is the body of an answer, or the message that opens a streamed one.
type answer struct {
	Type    string           `json:"type"`
	ID      string           `json:"id"`
	Model   string           `json:"model"`
	Role    string           `json:"role"`
	Content []jsontext.Value `json:"content"`
	Stop    *string          `json:"stop_reason"`
	StopAt  *string          `json:"stop_sequence"`
	Details jsontext.Value   `json:"stop_details"`
	Holder  jsontext.Value   `json:"container"`
	Usage   *usage           `json:"usage"`
	Error   jsontext.Value   `json:"error"`
	Extra   unknown          `json:",embed"`
}

// ReadAnswer reads a whole answer.
func (f *Format) ReadAnswer(body []byte, raw bool) (*llm.Event, error) {
	switch {
	case f.op == llm.OpCount:
		return f.readCount(body)
	case raw:
		return f.readUsage(body)
	}
	var a answer
	if err := unmarshal(body, &a); err != nil {
		return nil, unreadable(err)
	}
	if err := a.failed(body); err != nil {
		return nil, err
	}
	ev := &llm.Event{
		Raw: body, Format: f.name, Output: len(a.Content) > 0,
		Head: &llm.Head{ID: a.ID, Model: a.Model}, Extra: a.Extra.members(),
	}
	r := new(reader)
	for i, p := range r.blocks(a.Content, "/content") {
		p.At = ""
		ev.Delta = append(ev.Delta, llm.Delta{Index: i, Part: &p})
	}
	if len(r.problems) > 0 {
		return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer cannot be read", Problems: nil}
	}
	end := llm.Delta{Native: deref(a.Stop), Stop: readStop(deref(a.Stop)), StopText: deref(a.StopAt)}
	end.Extra = choiceExtra(a.Details, a.Holder)
	ev.Delta = append(ev.Delta, end)
	if a.Usage != nil {
		ev.Usage = a.Usage.hub()
	}
	return ev, nil
}

// choiceExtra keeps what only Anthropic says about the end of an answer.
func choiceExtra(details, container jsontext.Value) llm.Members {
	return unknown{"stop_details": details, "container": container}.members()
}

// failed tells whether the body is an error in spite of its status, or no answer at all.
func (a *answer) failed(body []byte) error {
	if a.Type == "error" || a.Error.Kind() == '{' || a.Error.Kind() == '"' {
		r := readRefusal(body)
		return classify(statusIn200(r), r)
	}
	if a.Type != "message" && a.Content == nil {
		return unreadable(nil)
	}
	return nil
}

// statusIn200 is the status that an error would have had; one that nobody knows is the upstream's fault.
func statusIn200(r refusal) int {
	if s := statusOf(r.kind); s != 0 {
		return s
	}
	return 500
}

func unreadable(err error) error {
	return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer cannot be read", Err: err}
}

// readUsage reads only what accounting needs.
func (f *Format) readUsage(body []byte) (*llm.Event, error) {
	var a struct {
		Type    string         `json:"type"`
		ID      string         `json:"id"`
		Model   string         `json:"model"`
		Content discarded      `json:"content"`
		Usage   *usage         `json:"usage"`
		Error   jsontext.Value `json:"error"`
	}
	if err := unmarshal(body, &a); err != nil {
		return nil, unreadable(err)
	}
	whole := answer{Type: a.Type, Error: a.Error}
	if a.Content.there {
		whole.Content = []jsontext.Value{}
	}
	if err := whole.failed(body); err != nil {
		return nil, err
	}
	ev := &llm.Event{Raw: body, Format: f.name, Head: &llm.Head{ID: a.ID, Model: a.Model}, Output: a.Content.filled}
	if a.Usage != nil {
		ev.Usage = a.Usage.hub()
	}
	return ev, nil
}

// A discarded is an array whose items are skipped.
type discarded struct{ there, filled bool }

// UnmarshalJSON looks at the first item only.
func (d *discarded) UnmarshalJSON(raw []byte) error {
	head := bytes.TrimLeft(raw[:min(len(raw), 64)], "[ \t\r\n]")
	d.there, d.filled = len(raw) > 0 && raw[0] == '[', len(head) > 0
	return nil
}

func (f *Format) readCount(body []byte) (*llm.Event, error) {
	var c struct {
		InputTokens *number        `json:"input_tokens"`
		Error       jsontext.Value `json:"error"`
		Extra       unknown        `json:",embed"`
	}
	if err := unmarshal(body, &c); err != nil {
		return nil, unreadable(err)
	}
	if c.InputTokens == nil {
		a := answer{Error: c.Error}
		return nil, a.failed(body)
	}
	return &llm.Event{
		Raw: body, Format: f.name, Output: true, Head: new(llm.Head),
		Usage: &llm.Usage{Input: count(c.InputTokens)}, Extra: c.Extra.members(),
	}, nil
}

// told gives the members that only one format knows, provided that they were read in this one.
func told(m llm.Members, same bool) unknown {
	if !same {
		return nil
	}
	return asUnknown(m)
}

// A wireMessage is an answer for a client; Content has all blocks, or none where it opens a stream.
type wireMessage struct {
	ID      string         `json:"id"`
	Type    string         `json:"type"`
	Role    string         `json:"role"`
	Model   string         `json:"model"`
	Content jsontext.Value `json:"content"`
	Stop    *string        `json:"stop_reason"`
	StopAt  *string        `json:"stop_sequence"`
	Details jsontext.Value `json:"stop_details,omitzero"`
	Holder  jsontext.Value `json:"container,omitzero"`
	Usage   *wireUsage     `json:"usage"`
	Extra   unknown        `json:",embed"`
}

func newMessage(call *llm.Call, h *llm.Head) *wireMessage {
	m := &wireMessage{ID: call.ID, Type: "message", Role: "assistant", Model: call.Model, Content: jsontext.Value("[]")}
	if h != nil {
		m.ID, m.Model = or(h.ID, m.ID), or(h.Model, m.Model)
	}
	if !strings.HasPrefix(m.ID, "msg_") {
		m.ID = "msg_" + m.ID
	}
	return m
}

// Answer writes a whole answer. Of several choices only the first has a place.
func (f *Format) Answer(call *llm.Call, a *llm.Answer) ([]byte, error) {
	same := a.Format == f.name
	if f.op == llm.OpCount {
		out := struct {
			InputTokens int64   `json:"input_tokens"`
			Extra       unknown `json:",embed"`
		}{Extra: told(a.Extra, same)}
		if a.Usage != nil {
			out.InputTokens = a.Usage.Input.N
		}
		return marshal(&out)
	}
	m := newMessage(call, &a.Head)
	m.Usage, m.Extra = writeUsage(a.Usage, same), told(a.Extra, same)
	c := first(a)
	var content []jsontext.Value
	for i := range c.Parts {
		blocks, err := answerBlocks(&c.Parts[i], same)
		if err != nil {
			return nil, err
		}
		content = append(content, blocks...)
	}
	m.Content = array(content)
	reason := writeStop(c.Stop, c.Native, same)
	m.Stop = &reason
	if c.StopText != "" {
		m.StopAt = &c.StopText
	}
	if same {
		m.Details, m.Holder = jsontext.Value(c.Extra["stop_details"]), jsontext.Value(c.Extra["container"])
	}
	return marshal(m)
}

func first(a *llm.Answer) *llm.Choice {
	for i := range a.Choices {
		if a.Choices[i].Index == 0 {
			return &a.Choices[i]
		}
	}
	return new(llm.Choice)
}

// answerBlocks writes one part of an answer: no block when it says nothing to a client of this format, two
// when a signature needs a block of its own. same says that it was read in this format.
func answerBlocks(p *llm.Part, same bool) ([]jsontext.Value, error) {
	var blocks []any
	switch {
	case p.Media != nil:
		return nil, &llm.Error{Kind: llm.KindUnsupported, Msg: "the answer holds " + string(p.Media.Kind) + " data, which Anthropic's Messages API cannot carry"}
	case p.Foreign != nil:
		if !same {
			return nil, nil
		}
		return []jsontext.Value{jsontext.Value(p.Foreign)}, nil
	case p.Reasoning != nil:
		blocks = thoughts(p, same)
	case p.Call != nil:
		input, _ := object(p.Call)
		blocks = append(lent(p), &block{Type: "tool_use", ID: p.Call.ID, Name: p.Call.Name, Input: input, Extra: told(p.Extra.Join(p.Hints), same)})
	case words(p) != "" || len(p.Citations) > 0:
		s := words(p)
		blocks = append(lent(p), &block{Type: "text", Text: &s, Citations: writeCitations(p.Citations, same), Extra: told(p.Extra, same)})
	default:
		blocks = lent(p)
	}
	out := make([]jsontext.Value, len(blocks))
	for i, b := range blocks {
		raw, err := marshal(b)
		if err != nil {
			return nil, unreadable(err)
		}
		out[i] = raw
	}
	return out, nil
}

// words are a part's text; a refusal's are text here, too.
func words(p *llm.Part) string {
	if p.Refusal != nil {
		return *p.Refusal
	}
	return p.Text
}

func thoughts(p *llm.Part, same bool) []any {
	var blocks []any
	if r := p.Reasoning; r.Text != "" || p.Signature != nil && r.Redacted == nil {
		s := signature(p.Signature)
		blocks = append(blocks, &block{Type: "thinking", Thinking: &r.Text, Signature: &s, Extra: told(p.Extra, same)})
	}
	if p.Reasoning.Redacted != nil {
		blocks = append(blocks, &block{Type: "redacted_thinking", Data: redacted(p)})
	}
	return blocks
}

// redacted is how encrypted reasoning stands in a block: marked when it is another vendor's.
func redacted(p *llm.Part) string {
	if s := p.Signature; s != nil && s.By != by {
		return signature(&llm.Signature{By: s.By, Value: string(p.Reasoning.Redacted)})
	}
	return string(p.Reasoning.Redacted)
}

// lent is the empty thinking block that carries the signature of a text or a call, if it has one.
func lent(p *llm.Part) []any {
	if p.Signature == nil {
		return nil
	}
	s := signature(p.Signature)
	return []any{&block{Type: "thinking", Thinking: new(""), Signature: &s}}
}
