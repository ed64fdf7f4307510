package anthropic

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// blocks are the content blocks of a stream that are open, and a signature that waits for its part.
type blocks struct {
	open []openBlock
	held *llm.Delta // an empty thinking block that carries the signature of the part behind it
}

type openBlock struct {
	index  int
	said   bool   // some of it was given out
	bare   bool   // a tool call without arguments so far
	vendor string // who signed it, once known
	kept   *kept  // of a type that is kept verbatim
}

// A kept block is given out when it is complete.
type kept struct {
	raw     jsontext.Value // as it opened
	grown   bool           // the rest has changed since
	members map[string]jsontext.Value
	input   []byte            // its input, in pieces
	text    map[string]string // members that grow
}

func (b *blocks) find(index int) *openBlock {
	for i := range b.open {
		if b.open[i].index == index {
			return &b.open[i]
		}
	}
	return nil
}

// start opens a block. What it says at once is output; an empty text is not.
func (b *blocks) start(s *stream, index int, raw jsontext.Value) {
	var head struct {
		Type   string         `json:"type"`
		Source jsontext.Value `json:"source"`
	}
	if raw.Kind() != '{' || unmarshal(raw, &head) != nil {
		return
	}
	b.open = append(b.open, openBlock{index: index})
	o := &b.open[len(b.open)-1]
	if !known(head.Type, head.Source) {
		s.ev.Output = true
		o.kept = &kept{raw: raw}
		return
	}
	p, says := new(reader).block(raw, "")
	if !says {
		return
	}
	if p.Call != nil && string(p.Call.Args) == "{}" {
		p.Call.Args, o.bare = nil, true // the arguments follow
	}
	if p.Signature != nil {
		o.vendor = p.Signature.By
	}
	s.ev.Output = true
	b.part(s, o, p)
}

// part adds a piece of a part, with the signature that waits for it.
func (b *blocks) part(s *stream, o *openBlock, p llm.Part) {
	p.At = ""
	if !o.said && borrowed(&p) {
		if b.held != nil && b.held.Index == o.index {
			b.held.Part.Append(&p)
			return
		}
		b.flush(s)
		b.held = &llm.Delta{Index: o.index, Part: &p}
		return
	}
	if b.held != nil && !o.said && b.held.Index != o.index && carries(&p) {
		p.Signature = b.held.Part.Signature
		b.held = nil
	}
	b.flush(s)
	o.said = true
	s.add(llm.Delta{Index: o.index, Part: &p})
}

// flush gives out a signature whose part never came.
func (b *blocks) flush(s *stream) {
	if b.held != nil {
		s.add(*b.held)
		b.held = nil
	}
}

func (b *blocks) delta(s *stream, index int, raw jsontext.Value) error {
	o := b.find(index)
	if o == nil {
		// A server that opens no blocks: its deltas say what they are.
		b.open = append(b.open, openBlock{index: index})
		o = &b.open[len(b.open)-1]
	}
	var d struct {
		Type      string         `json:"type"`
		Text      string         `json:"text"`
		Partial   string         `json:"partial_json"`
		Thinking  string         `json:"thinking"`
		Signature string         `json:"signature"`
		Citation  jsontext.Value `json:"citation"`
	}
	if raw.Kind() != '{' || unmarshal(raw, &d) != nil {
		return unreadable(nil)
	}
	if o.kept != nil {
		s.ev.Output = true
		return o.kept.grow(d.Type, d.Partial, d.Citation, raw)
	}
	var p llm.Part
	switch d.Type {
	case "text_delta":
		p.Text = d.Text
		s.ev.Output = d.Text != ""
	case "input_json_delta":
		p.Call = &llm.ToolCall{Args: []byte(d.Partial)}
		s.ev.Output = d.Partial != ""
		o.bare = o.bare && d.Partial == ""
	case "thinking_delta":
		p.Reasoning = &llm.Reasoning{Text: d.Thinking}
		s.ev.Output = d.Thinking != ""
	case "signature_delta":
		p.Reasoning, p.Signature = new(llm.Reasoning), o.signed(d.Signature)
		s.ev.Output = d.Signature != ""
	case "citations_delta":
		if c, ok := readCitation(d.Citation); ok {
			p.Citations = []llm.Citation{c}
			s.ev.Output = true
		}
	}
	if s.ev.Output {
		b.part(s, o, p)
	}
	return nil
}

// signed reads a piece of a signature. Whose it is stands only in the first.
func (o *openBlock) signed(piece string) *llm.Signature {
	if o.vendor != "" {
		return &llm.Signature{By: o.vendor, Value: piece}
	}
	sig := readSignature(piece)
	if sig != nil {
		o.vendor = sig.By
	}
	return sig
}

// grow adds a delta to a block kept verbatim: JSON of its input, a citation, or text of the members that
// the delta names.
func (k *kept) grow(kind, partial string, cited, raw jsontext.Value) error {
	if !k.grown {
		k.grown = true
		if err := unmarshal(k.raw, &k.members); err != nil {
			return unreadable(err)
		}
		k.text = make(map[string]string)
	}
	switch kind {
	case "input_json_delta":
		k.input = append(k.input, partial...)
		return nil
	case "citations_delta":
		var list []jsontext.Value
		if old := k.members["citations"]; old.Kind() == '[' && unmarshal(old, &list) != nil {
			return unreadable(nil)
		}
		if cited == nil {
			return unreadable(nil)
		}
		k.members["citations"] = array(append(list, cited))
		return nil
	}
	var members map[string]jsontext.Value
	if err := unmarshal(raw, &members); err != nil {
		return unreadable(err)
	}
	delete(members, "type")
	for name, v := range members {
		if v.Kind() != '"' {
			k.members[name] = v
			continue
		}
		if _, ok := k.text[name]; !ok {
			k.text[name] = text(k.members[name])
		}
		k.text[name] += text(v)
	}
	return nil
}

// whole is the block as it would stand in an answer that is not streamed.
func (k *kept) whole() (llm.Raw, error) {
	if !k.grown {
		return llm.Raw(k.raw), nil
	}
	if len(k.input) > 0 {
		k.members["input"], _ = object(&llm.ToolCall{Args: k.input})
	}
	for name, s := range k.text {
		v, err := marshal(s)
		if err != nil {
			return nil, err
		}
		k.members[name] = v
	}
	return marshal(k.members)
}

// stop closes a block. One that is kept verbatim is given out now that it is complete.
func (b *blocks) stop(s *stream, index int) error {
	i := slices.IndexFunc(b.open, func(o openBlock) bool { return o.index == index })
	if i < 0 {
		return nil
	}
	o := b.open[i]
	b.open = slices.Delete(b.open, i, i+1)
	if o.bare { // the hub's word for no arguments
		b.part(s, &o, llm.Part{Call: &llm.ToolCall{Args: []byte("{}")}})
	}
	if o.kept == nil {
		return nil
	}
	raw, err := o.kept.whole()
	if err != nil {
		return unreadable(err)
	}
	b.part(s, &o, llm.Part{Foreign: raw})
	return nil
}

// end closes what the upstream left open.
func (b *blocks) end(s *stream) error {
	for len(b.open) > 0 {
		if err := b.stop(s, b.open[0].index); err != nil {
			return err
		}
	}
	b.flush(s)
	return nil
}
