package anthropic

import (
	"bytes"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Writer starts a streamed answer. CountTokens has none.
func (f *Format) Writer(call *llm.Call) wire.Writer {
	if f.op == llm.OpCount {
		return nil
	}
	return &writer{call: call, last: -1}
}

// A writer turns events into Anthropic's frames. A block is closed when the next one opens, but a tool call
// whose arguments are not complete stays open, so that the pieces of several calls may interleave: a
// client tells them apart by index.
type writer struct {
	call  *llm.Call
	begun bool
	same  bool        // the answer comes in this format
	next  int         // index of the next block
	open  []written   // blocks that are open, oldest first
	last  int         // place in open of the block written last, -1: none
	usage *llm.Usage  // reported so far
	end   llm.Delta   // why the answer ended
	extra llm.Members // of the whole answer

	problem jsontext.Value // why a budget has ended it
}

// A written block is open at the client.
type written struct {
	part   int // llm.Delta.Index
	index  int // at the client
	kind   blockKind
	signed bool  // a piece of its signature is out
	args   depth // of a tool call: how far its arguments are
}

type blockKind uint8

const (
	textBlockKind blockKind = iota
	thinkingBlockKind
	toolBlockKind
)

// ContentType implements wire.Writer.
func (w *writer) ContentType() string { return "text/event-stream; charset=utf-8" }

// Verbatim implements wire.Writer: nothing in a frame depends on the client.
func (w *writer) Verbatim() bool { return true }

// Event implements wire.Writer.
func (w *writer) Event(dst []byte, ev *llm.Event) ([]byte, error) {
	w.same = ev.Format == llm.AnthropicMessages
	if ev.Usage != nil {
		if w.usage == nil {
			w.usage = new(llm.Usage)
		}
		w.usage.Merge(ev.Usage)
	}
	if w.same {
		w.extra = keepMembers(w.extra, ev.Extra)
	}
	if ev.Head != nil {
		dst = w.begin(dst, ev.Head)
	}
	for i := range ev.Delta {
		d := &ev.Delta[i]
		if d.Choice != 0 {
			continue // Anthropic has one answer to a call
		}
		dst = w.begin(dst, nil)
		if d.Part != nil {
			var err error
			if dst, err = w.part(dst, d.Index, d.Part); err != nil {
				return dst, err
			}
		}
		if d.Stop != "" {
			w.end.Stop, w.end.Native, w.end.StopText = d.Stop, d.Native, d.StopText
		}
		if w.same {
			w.end.Extra = keepMembers(w.end.Extra, d.Extra)
		}
	}
	return dst, nil
}

// keepMembers adds copies: an event is gone when the next one comes.
func keepMembers(m, more llm.Members) llm.Members {
	for name, v := range more {
		if m == nil {
			m = make(llm.Members, len(more))
		}
		m[name] = bytes.Clone(v)
	}
	return m
}

// frameOf appends a frame whose data is v.
func frameOf(dst []byte, event string, v any) []byte {
	data, err := marshal(v)
	if err != nil {
		return dst // our own structs and JSON that was read before: cannot be
	}
	dst = append(append(append(dst, "event: "...), event...), "\ndata: "...)
	return append(append(dst, data...), "\n\n"...)
}

func (w *writer) begin(dst []byte, h *llm.Head) []byte {
	if w.begun {
		return dst
	}
	w.begun = true
	m := newMessage(w.call, h)
	m.Usage = writeUsage(w.usage, w.same)
	return frameOf(dst, "message_start", &struct {
		Type    string       `json:"type"`
		Message *wireMessage `json:"message"`
	}{"message_start", m})
}

// part writes a piece of a part.
func (w *writer) part(dst []byte, index int, p *llm.Part) ([]byte, error) {
	switch {
	case p.Call != nil:
		return w.tool(dst, index, p), nil
	case p.Reasoning != nil:
		return w.thinking(dst, index, p), nil
	case p.Foreign != nil, p.Media != nil:
		blocks, err := answerBlocks(p, w.same)
		for _, raw := range blocks {
			dst = w.whole(w.closeDone(dst), raw)
		}
		return dst, err
	}
	return w.text(dst, index, p), nil
}

func (w *writer) text(dst []byte, index int, p *llm.Part) []byte {
	dst = w.lend(dst, p.Signature)
	s := words(p)
	if s == "" && len(p.Citations) == 0 {
		return dst
	}
	b := w.current(index, textBlockKind)
	if b == nil {
		dst, b = w.openBlock(dst, index, textBlockKind, `{"type":"text","text":""}`)
	}
	if s != "" {
		dst = deltaOf(dst, b.index, "text_delta", "text", s)
	}
	for i := range p.Citations {
		if c := writeCitation(&p.Citations[i], w.same); c != nil {
			dst = frameOf(dst, "content_block_delta", &blockDelta{"content_block_delta", b.index, citationsDelta{"citations_delta", c}})
		}
	}
	return dst
}

type blockDelta struct {
	Type  string         `json:"type"`
	Index int            `json:"index"`
	Delta citationsDelta `json:"delta"`
}

type citationsDelta struct {
	Type     string         `json:"type"`
	Citation jsontext.Value `json:"citation"`
}

func (w *writer) thinking(dst []byte, index int, p *llm.Part) []byte {
	if p.Reasoning.Redacted != nil {
		blocks, _ := answerBlocks(p, w.same)
		for _, raw := range blocks {
			dst = w.whole(w.closeDone(dst), raw)
		}
		return dst
	}
	text, sig := p.Reasoning.Text, p.Signature
	if text == "" && (sig == nil || sig.Value == "") {
		return dst
	}
	b := w.current(index, thinkingBlockKind)
	if b == nil {
		dst, b = w.openBlock(dst, index, thinkingBlockKind, `{"type":"thinking","thinking":"","signature":""}`)
	}
	if text != "" {
		dst = deltaOf(dst, b.index, "thinking_delta", "thinking", text)
	}
	if sig != nil && sig.Value != "" {
		value := sig.Value
		if !b.signed { // whose it is stands in the first piece
			value = signature(sig)
		}
		b.signed = true
		dst = deltaOf(dst, b.index, "signature_delta", "signature", value)
	}
	return dst
}

func (w *writer) tool(dst []byte, index int, p *llm.Part) []byte {
	b := w.current(index, toolBlockKind)
	if b == nil && p.Call.ID == "" && p.Call.Name == "" {
		return dst // the call was complete and is closed: what follows is blanks
	}
	if b == nil {
		dst = w.lend(dst, p.Signature)
		raw, err := marshal(&block{Type: "tool_use", ID: p.Call.ID, Name: p.Call.Name, Input: jsontext.Value("{}"), Extra: told(p.Extra.Join(p.Hints), w.same)})
		if err != nil {
			return dst
		}
		dst, b = w.openBlock(dst, index, toolBlockKind, string(raw))
	}
	if len(p.Call.Args) > 0 {
		b.args.feed(p.Call.Args)
		dst = deltaOf(dst, b.index, "input_json_delta", "partial_json", string(p.Call.Args))
	}
	return dst
}

// lend writes the empty thinking block that carries the signature of the part behind it.
func (w *writer) lend(dst []byte, s *llm.Signature) []byte {
	if s == nil || s.Value == "" {
		return dst
	}
	dst, b := w.openBlock(dst, -1, thinkingBlockKind, `{"type":"thinking","thinking":"","signature":""}`)
	dst = deltaOf(dst, b.index, "signature_delta", "signature", signature(s))
	return w.closeDone(dst)
}

// current finds the open block of a part. Only tool calls are found behind a newer block: everything else
// was closed when that opened.
func (w *writer) current(part int, kind blockKind) *written {
	for i := range w.open {
		if b := &w.open[i]; b.part == part && b.kind == kind {
			return b
		}
	}
	return nil
}

// openBlock opens a block after closing those that are done.
func (w *writer) openBlock(dst []byte, part int, kind blockKind, raw string) ([]byte, *written) {
	dst = w.closeDone(dst)
	w.open = append(w.open, written{part: part, index: w.next, kind: kind})
	dst = startOf(dst, w.next, raw)
	w.next++
	return dst, &w.open[len(w.open)-1]
}

// whole writes a block that comes in one piece.
func (w *writer) whole(dst []byte, raw jsontext.Value) []byte {
	compact := raw.Clone()
	if compact.Compact(reading) != nil { // a line break would end the frame's line
		return dst
	}
	dst = startOf(dst, w.next, string(compact))
	dst = stopOf(dst, w.next)
	w.next++
	return dst
}

// closeDone closes the open blocks but for tool calls whose arguments are still coming.
func (w *writer) closeDone(dst []byte) []byte {
	rest := w.open[:0]
	for _, b := range w.open {
		if b.kind == toolBlockKind && !b.args.complete() {
			rest = append(rest, b)
			continue
		}
		dst = stopOf(dst, b.index)
	}
	w.open = rest
	return dst
}

func startOf(dst []byte, index int, raw string) []byte {
	dst = append(dst, "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(index), 10)
	dst = append(dst, `,"content_block":`...)
	return append(append(dst, raw...), "}\n\n"...)
}

func stopOf(dst []byte, index int) []byte {
	dst = append(dst, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(index), 10)
	return append(dst, "}\n\n"...)
}

func deltaOf(dst []byte, index int, kind, member, value string) []byte {
	dst = append(dst, "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(index), 10)
	dst = append(append(append(dst, `,"delta":{"type":"`...), kind...), `","`...)
	dst = append(append(dst, member...), `":`...)
	dst, _ = jsontext.AppendQuote(dst, value) // replaces what is not UTF-8
	return append(dst, "}}\n\n"...)
}

// End implements wire.Writer.
func (w *writer) End(dst []byte) []byte {
	dst = w.begin(dst, nil)
	for _, b := range w.open {
		dst = stopOf(dst, b.index)
	}
	w.open = nil
	type ending struct {
		Stop    string         `json:"stop_reason"`
		StopAt  *string        `json:"stop_sequence"`
		Details jsontext.Value `json:"stop_details,omitzero"`
		Holder  jsontext.Value `json:"container,omitzero"`
	}
	d := ending{Stop: writeStop(w.end.Stop, w.end.Native, w.same), Details: jsontext.Value(w.end.Extra["stop_details"]), Holder: jsontext.Value(w.end.Extra["container"])}
	if w.end.StopText != "" {
		d.StopAt = &w.end.StopText
	}
	dst = frameOf(dst, "message_delta", &struct {
		Type    string         `json:"type"`
		Delta   ending         `json:"delta"`
		Usage   *wireUsage     `json:"usage"`
		Problem jsontext.Value `json:"problem,omitzero"` // wire.ProblemMember
		Extra   unknown        `json:",embed"`
	}{"message_delta", d, writeUsage(w.usage, w.same), w.problem, told(w.extra, w.same)})
	return append(dst, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
}

// Fail implements wire.Writer. The error event is the same whether frames passed verbatim or not.
func (w *writer) Fail(dst []byte, e *llm.Error, requestID string, _ bool) []byte {
	_, body := Messages.Error(e, requestID)
	dst = append(append(dst, "event: error\ndata: "...), body...)
	return append(dst, "\n\n"...)
}

// Ping implements wire.Writer.
func (w *writer) Ping(dst []byte) []byte {
	return append(dst, "event: ping\ndata: {\"type\":\"ping\"}\n\n"...)
}

// A depth follows JSON text to see where its outermost value ends.
type depth struct {
	level          int
	inText, escape bool
	begun          bool
}

func (d *depth) feed(piece []byte) {
	for _, c := range piece {
		switch {
		case d.escape:
			d.escape = false
		case d.inText && c == '\\':
			d.escape = true
		case c == '"':
			d.inText = !d.inText
		case d.inText:
		case c == '{' || c == '[':
			d.level++
			d.begun = true
		case c == '}' || c == ']':
			d.level--
		}
	}
}

func (d *depth) complete() bool { return d.begun && d.level <= 0 }
