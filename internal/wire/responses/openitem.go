package responses

import (
	"bytes"
	"maps"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// An openItem is an output item of which more may come.
type openItem struct {
	at    int    // output_index
	kind  string // typeMessage, typeReasoning, typeCall, typeCustom
	id    string
	index int // Delta.Index of the part that is open; -1: none

	// The part that is open, and the ones before it.
	part     partKind
	begun    bool // the part was told as added
	parts    int  // finished parts of the list that part belongs to
	text     []byte
	cites    [][]byte
	logprobs []byte // comma-separated
	more     llm.Members
	content  [][]byte
	summary  [][]byte

	status string
	call   llm.ToolCall
	extra  llm.Members
	seal   seal           // of reasoning
	late   *llm.Signature // of a text or call, to be told behind it
}

// more appends a piece to the open part.
func (w *writer) more(dst []byte, it *openItem, d *llm.Delta) []byte {
	p := d.Part
	if it.kind == typeReasoning {
		return w.think(dst, it, p)
	}
	if p.Signature != nil {
		it.late = p.Signature
	}
	if it.kind == typeCall || it.kind == typeCustom {
		return w.args(dst, it, p)
	}
	return w.say(dst, it, d)
}

// openText opens a part of a message.
func (w *writer) openText(dst []byte, d *llm.Delta) []byte {
	dst, it := w.inMessage(dst, d.Part)
	it.index, it.part = d.Index, partText
	if d.Part.Refusal != nil {
		it.part = partRefusal
		w.refuse = true
	}
	dst = w.beginPart(dst, it)
	return w.say(dst, it, d)
}

// inMessage gives the message that is open, without an open part, or a new one.
func (w *writer) inMessage(dst []byte, p *llm.Part) ([]byte, *openItem) {
	id, extra := w.messageOf(p)
	var it *openItem
	if n := len(w.items); n > 0 && w.items[n-1].kind == typeMessage && p.Signature == nil && (id == "" || w.items[n-1].id == id) {
		it = w.items[n-1]
		dst = w.closePart(dst, it)
	}
	dst = w.settle(dst, it)
	if it == nil {
		dst = w.sealNext(dst, p)
		it = &openItem{kind: typeMessage, id: or(id, w.newID("msg_")), extra: extra}
		dst = w.add(dst, it)
	}
	return dst, it
}

// foreignPart appends a part of a message that only this format knows.
func (w *writer) foreignPart(dst []byte, p *llm.Part) []byte {
	dst, it := w.inMessage(dst, p)
	it.part = partForeign
	raw := bytes.Clone(p.Foreign)
	for _, what := range []string{"added", "done"} {
		dst = w.at(dst, it.partEvent(what), it, "content_index")
		dst = append(append(append(dst, `,"part":`...), raw...), "}\n\n"...)
	}
	it.content = append(it.content, raw)
	it.parts++
	it.index = -1
	return dst
}

// sealNext appends the signature of a part that is not reasoning, right before it.
func (w *writer) sealNext(dst []byte, p *llm.Part) []byte {
	if p.Signature == nil {
		return dst
	}
	return w.seal(dst, seal{place: sealNext, by: p.Signature.By, value: p.Signature.Value})
}

// messageOf is what the reader kept in a part of the message item around it.
func (w *writer) messageOf(p *llm.Part) (id string, extra llm.Members) {
	v := p.Extra[messageMember]
	if !w.same || v == nil {
		return "", nil
	}
	if err := json.Unmarshal(v, &extra); err != nil {
		return "", nil
	}
	_ = json.Unmarshal(extra["id"], &id) // no string: no id
	delete(extra, "id")
	return id, extra
}

// say appends a piece of text or refusal.
func (w *writer) say(dst []byte, it *openItem, d *llm.Delta) []byte {
	p := d.Part
	if _, extra := w.messageOf(p); extra != nil {
		it.extra = extra
	}
	if w.same && len(p.Extra) > 0 {
		it.more = p.Extra
	}
	piece, typ := p.Text, "response.output_text.delta"
	if it.part == partRefusal {
		piece, typ = deref(p.Refusal), "response.refusal.delta"
	}
	probs := logprobsOf(d.Logprobs)
	if piece != "" || probs != nil {
		it.text = append(it.text, piece...)
		dst = w.at(dst, typ, it, "content_index")
		dst = append(dst, `,"delta":`...)
		dst = quote(dst, piece)
		if it.part == partText {
			dst = append(dst, `,"logprobs":[`...)
			dst = append(append(dst, probs...), ']')
			if len(probs) > 0 && len(it.logprobs) > 0 {
				it.logprobs = append(it.logprobs, ',')
			}
			it.logprobs = append(it.logprobs, probs...)
		}
		dst = append(dst, "}\n\n"...)
	}
	for i := range p.Citations {
		c := writeCitation(&p.Citations[i])
		if c == nil {
			continue
		}
		dst = w.at(dst, "response.output_text.annotation.added", it, "content_index")
		dst = append(dst, `,"annotation_index":`...)
		dst = strconv.AppendInt(dst, int64(len(it.cites)), 10)
		dst = append(append(append(dst, `,"annotation":`...), c...), "}\n\n"...)
		it.cites = append(it.cites, c)
	}
	return dst
}

// logprobsOf is the list of a part's token probabilities, without its brackets, nil when there is none.
func logprobsOf(raw llm.Raw) []byte {
	if raw == nil {
		return nil
	}
	var in struct {
		Content []jsontext.Value `json:"content"`
	}
	if err := json.Unmarshal(raw, &in, readOptions); err != nil {
		return nil
	}
	var out []byte
	for i, v := range in.Content {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	return out
}

// openReasoning opens a part of reasoning. Parts with one id are one item.
func (w *writer) openReasoning(dst []byte, d *llm.Delta) []byte {
	r := d.Part.Reasoning
	var it *openItem
	if n := len(w.items); n > 0 && w.items[n-1].kind == typeReasoning && r.ID != "" && w.items[n-1].id == r.ID {
		it = w.items[n-1]
		dst = w.closePart(dst, it)
	}
	dst = w.settle(dst, it)
	if it == nil {
		it = &openItem{kind: typeReasoning, id: or(r.ID, w.newID(ownReasoning))}
		dst = w.add(dst, it)
	}
	it.index, it.part = d.Index, partSummary
	it.parts = len(it.summary)
	if !r.Summary && r.ID != "" { // only an upstream of this format gives ids, and tells the two apart
		it.part, it.parts = partReasoning, len(it.content)
	}
	return w.think(dst, it, d.Part)
}

// think appends a piece of reasoning.
func (w *writer) think(dst []byte, it *openItem, p *llm.Part) []byte {
	if r := p.Reasoning; r != nil {
		if r.Text != "" {
			if !it.begun {
				dst = w.beginPart(dst, it)
			}
			it.text = append(it.text, r.Text...)
			typ, member := it.names()
			dst = w.at(dst, typ+".delta", it, member)
			dst = append(dst, `,"delta":`...)
			dst = append(quote(dst, r.Text), "}\n\n"...)
		}
		if r.Redacted != nil {
			it.seal = seal{place: sealRedacted, by: it.seal.by, value: it.seal.value + string(r.Redacted)}
		}
	}
	if s := p.Signature; s != nil {
		if it.seal.by == s.By || it.seal.place != "" {
			it.seal.value += s.Value
		} else {
			it.seal.value = s.Value
		}
		it.seal.by = s.By
	}
	if w.same && p.Extra != nil {
		it.extra = p.Extra
	}
	return dst
}

func (w *writer) openCall(dst []byte, d *llm.Delta) []byte {
	c := d.Part.Call
	if c.ID == "" && c.Name == "" { // a piece of a call that is closed: it was whole already
		return dst
	}
	dst = w.settle(dst, nil)
	dst = w.sealNext(dst, d.Part)
	it := &openItem{kind: typeCall, index: d.Index, call: *c, id: c.ItemID}
	prefix := "fc_"
	if c.Custom {
		it.kind, prefix = typeCustom, "ctc_"
	}
	it.id = or(it.id, w.newID(prefix))
	it.call.ID = or(it.call.ID, w.newID("call_"))
	it.call.Args = nil
	dst = w.add(dst, it)
	return w.args(dst, it, d.Part)
}

// args appends a piece of a call's arguments.
func (w *writer) args(dst []byte, it *openItem, p *llm.Part) []byte {
	if w.same && p.Extra != nil {
		it.extra = p.Extra
	}
	if p.Call == nil || len(p.Call.Args) == 0 {
		return dst
	}
	it.text = append(it.text, p.Call.Args...)
	typ := "response.function_call_arguments.delta"
	if it.kind == typeCustom {
		typ = "response.custom_tool_call_input.delta"
	}
	dst = w.text(dst, typ, it, "delta", p.Call.Args)
	return append(dst, "}\n\n"...)
}

// text begins an event of an item with one text.
func (w *writer) text(dst []byte, typ string, it *openItem, member string, text []byte) []byte {
	dst = w.place(dst, typ, it)
	dst = append(append(append(dst, `,"`...), member...), `":`...)
	return quote(dst, string(text))
}

// at begins an event of a part of an item.
func (w *writer) at(dst []byte, typ string, it *openItem, member string) []byte {
	dst = w.place(dst, typ, it)
	dst = append(append(append(dst, `,"`...), member...), `":`...)
	return strconv.AppendInt(dst, int64(it.parts), 10)
}

func (w *writer) place(dst []byte, typ string, it *openItem) []byte {
	dst = w.frame(dst, typ)
	dst = append(dst, `,"item_id":`...)
	dst = quote(dst, it.id)
	dst = append(dst, `,"output_index":`...)
	return strconv.AppendInt(dst, int64(it.at), 10)
}

// names are the stem of the events that tell the open part's text, and the member that tells its place.
func (it *openItem) names() (typ, member string) {
	switch it.part {
	case partSummary:
		return "response.reasoning_summary_text", "summary_index"
	case partReasoning:
		return "response.reasoning_text", "content_index"
	case partRefusal:
		return "response.refusal", "content_index"
	}
	return "response.output_text", "content_index"
}

// partEvent is the event that tells that the open part begins or is done.
func (it *openItem) partEvent(what string) string {
	if it.part == partSummary {
		return "response.reasoning_summary_part." + what
	}
	return "response.content_part." + what
}

func (w *writer) beginPart(dst []byte, it *openItem) []byte {
	it.begun = true
	_, member := it.names()
	dst = w.at(dst, it.partEvent("added"), it, member)
	dst = append(append(dst, `,"part":`...), it.partJSON()...)
	return append(dst, "}\n\n"...)
}

// closePart appends the done events of the open part.
func (w *writer) closePart(dst []byte, it *openItem) []byte {
	if it.begun {
		typ, member := it.names()
		name := "text"
		if it.part == partRefusal {
			name = "refusal"
		}
		dst = w.at(dst, typ+".done", it, member)
		dst = append(append(append(dst, `,"`...), name...), `":`...)
		dst = quote(dst, string(it.text))
		if it.part == partText {
			dst = append(append(append(dst, `,"logprobs":[`...), it.logprobs...), ']')
		}
		dst = append(dst, "}\n\n"...)
		part := it.partJSON()
		dst = w.at(dst, it.partEvent("done"), it, member)
		dst = append(append(append(dst, `,"part":`...), part...), "}\n\n"...)
		if it.part == partSummary {
			it.summary = append(it.summary, part)
		} else {
			it.content = append(it.content, part)
		}
		it.parts++
		it.begun, it.text, it.cites, it.logprobs, it.more = false, nil, nil, nil, nil
	}
	it.index = -1
	return dst
}

// partJSON is the open part as it is now.
func (it *openItem) partJSON() []byte {
	var b []byte
	switch it.part {
	case partRefusal:
		b = append(b, `{"type":"refusal","refusal":`...)
		return append(quote(b, string(it.text)), '}')
	case partSummary:
		b = append(b, `{"type":"summary_text","text":`...)
		return append(quote(b, string(it.text)), '}')
	case partReasoning:
		b = append(b, `{"type":"reasoning_text","text":`...)
		return append(quote(b, string(it.text)), '}')
	}
	b = append(b, `{"type":"output_text","annotations":[`...)
	b = join(b, it.cites)
	b = append(append(append(b, `],"logprobs":[`...), it.logprobs...), `],"text":`...)
	b = quote(b, string(it.text))
	for _, name := range slices.Sorted(maps.Keys(it.more)) {
		if name != messageMember {
			b = appendMember(b, name, it.more[name])
		}
	}
	return append(b, '}')
}

func join(dst []byte, list [][]byte) []byte {
	for i, v := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, v...)
	}
	return dst
}

// json is the item as it is told when it is added (without what comes later) or done.
func (it *openItem) json(b []byte, done bool) []byte {
	b = append(b, `{"id":`...)
	b = quote(b, it.id)
	b = append(append(append(b, `,"type":"`...), it.kind...), '"')
	if it.kind != typeReasoning && it.extra["status"] == nil {
		b = append(append(append(b, `,"status":"`...), it.status...), '"')
	}
	switch it.kind {
	case typeMessage:
		b = append(b, `,"role":"assistant","content":[`...)
		b = append(join(b, it.content), ']')
	case typeReasoning:
		b = append(b, `,"summary":[`...)
		b = append(join(b, it.summary), ']')
		if it.content != nil {
			b = append(b, `,"content":[`...)
			b = append(join(b, it.content), ']')
		}
		if done && it.seal != (seal{}) {
			b = append(b, `,"encrypted_content":`...)
			b = quote(b, it.seal.String())
		}
	default:
		b = append(b, `,"call_id":`...)
		b = quote(b, it.call.ID)
		b = append(b, `,"name":`...)
		b = quote(b, it.call.Name)
		member := `,"arguments":`
		if it.kind == typeCustom {
			member = `,"input":`
		}
		b = append(b, member...)
		b = quote(b, string(it.text))
	}
	return append(appendMembers(b, it.extra), '}')
}
