package responses

import (
	"bytes"
	"errors"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// An assembly turns an answer's items into deltas. A stream tells everything up to four times: in deltas,
// in the done event of a part, in that of its item, and in the final response. Each of them is held
// against what has been given out already, and only what is new goes on; so it does not matter which of
// them an upstream sends. A whole answer is the case in which only the last comes.
type assembly struct {
	items   []*readItem
	next    int            // the next Delta.Index
	last    int            // of the part that came last, -1 before any
	pending *llm.Signature // of the part that comes next
	deltas  []llm.Delta
	output  bool // something was added that is real output
	called  bool // the model wants tools run
	refused bool
}

// A readItem is one output item while it is read.
type readItem struct {
	at    int // output_index
	id    string
	kind  string
	phase string
	parts []*readPart
	done  bool
}

// A readPart is a part that has begun.
type readPart struct {
	kind     partKind
	at       int // content_index or summary_index
	index    int // Delta.Index
	seen     int // bytes of its text that were given out
	named    bool
	cited    int
	logprobs bool
}

type partKind uint8

const (
	partText partKind = iota
	partRefusal
	partSummary
	partReasoning
	partCall
	partForeign
)

// reset begins a new event.
func (a *assembly) reset() {
	clear(a.deltas)
	a.deltas, a.output = a.deltas[:0], false
}

// item finds the item of an event by its place. Vendors that do not tell the place tell the id; some
// (GitHub's) give an item another id in each event, so the place goes first.
func (a *assembly) item(at *int, id string) *readItem {
	for i := len(a.items) - 1; i >= 0; i-- {
		if it := a.items[i]; at != nil && it.at == *at || at == nil && (id == "" || it.id == id) {
			return it
		}
	}
	it := &readItem{at: len(a.items), id: id}
	if at != nil {
		it.at = *at
	}
	a.items = append(a.items, it)
	return it
}

// part finds or begins a part. A signature that came before goes to the first part that is not reasoning.
func (a *assembly) part(it *readItem, kind partKind, at int) *readPart {
	for _, p := range it.parts {
		if p.kind == kind && p.at == at {
			return p
		}
	}
	p := &readPart{kind: kind, at: at, index: a.next}
	it.parts = append(it.parts, p)
	a.last = a.next
	a.next++
	if (kind == partText || kind == partRefusal) && it.id != "" {
		a.add(p, llm.Part{Extra: messageExtra(it, nil)})
	}
	if a.pending != nil && (kind == partText || kind == partCall) {
		a.add(p, llm.Part{Signature: a.pending})
		a.pending = nil
	}
	return p
}

func (a *assembly) add(p *readPart, part llm.Part) *llm.Delta {
	switch { // every piece must say what its part is
	case p.kind == partCall && part.Call == nil:
		part.Call = &llm.ToolCall{}
	case p.kind == partRefusal && part.Refusal == nil:
		part.Refusal = new(string)
	}
	a.deltas = append(a.deltas, llm.Delta{Index: p.index, Part: &part})
	return &a.deltas[len(a.deltas)-1]
}

// messageMember is the member of a text's or refusal's Extra that holds what only this format knows of the
// message item around it.
const messageMember = "message"

func messageExtra(it *readItem, rest llm.Members) llm.Members {
	m := make(llm.Members, len(rest)+2)
	maps.Copy(m, rest)
	m["id"] = quote(nil, it.id)
	if it.phase != "" {
		m["phase"] = quote(nil, it.phase)
	}
	v, err := json.Marshal(m, json.Deterministic(true))
	if err != nil {
		return nil
	}
	return llm.Members{messageMember: llm.Raw(v)}
}

// text adds a piece of a part's text.
func (a *assembly) text(it *readItem, p *readPart, piece string) *llm.Delta {
	p.seen += len(piece)
	if piece != "" {
		a.output = true
	}
	var part llm.Part
	switch p.kind {
	case partRefusal:
		part.Refusal = &piece
		a.refused = true
	case partSummary, partReasoning:
		part.Reasoning = &llm.Reasoning{Text: piece, ID: it.id, Block: p.at, Summary: p.kind == partSummary}
	case partCall:
		part.Call = &llm.ToolCall{Args: []byte(piece)}
	default:
		part.Text = piece
	}
	return a.add(p, part)
}

// args adds a piece of a call's arguments. While the call has no name they wait for the item that has both.
func (a *assembly) args(it *readItem, piece string) {
	if p := a.part(it, partCall, 0); p.named {
		a.text(it, p, piece)
	}
}

var errNameless = errors.New("a tool call without a name")

// nameless says that a call came of which nobody told the name.
func (a *assembly) nameless() bool {
	return slices.ContainsFunc(a.items, func(it *readItem) bool {
		return slices.ContainsFunc(it.parts, func(p *readPart) bool { return p.kind == partCall && !p.named })
	})
}

// upTo adds what a full text has beyond the pieces that came. A part without text is begun all the same.
func (a *assembly) upTo(it *readItem, kind partKind, at int, full string) *readPart {
	begun := len(it.parts)
	p := a.part(it, kind, at)
	if kind == partCall && !p.named {
		return p
	}
	if len(full) > p.seen {
		a.text(it, p, full[p.seen:])
	} else if len(it.parts) > begun && kind != partCall {
		a.text(it, p, "")
	}
	return p
}

// logged notes token probabilities, which are the same here and in chat but for the object around them.
func logged(d *llm.Delta, list []jsontext.Value) {
	if len(list) == 0 {
		return
	}
	b := append([]byte(nil), `{"content":[`...)
	b = append(b, bytes.Join(bytesOf(list), []byte(","))...)
	d.Logprobs = append(b, "]}"...)
}

func bytesOf(list []jsontext.Value) [][]byte {
	out := make([][]byte, len(list))
	for i := range list {
		out[i] = list[i]
	}
	return out
}

// begin takes what an item says at its start: of a call its name, so that a client sees it at once.
func (a *assembly) begin(at *int, raw jsontext.Value) error {
	var it item
	if err := a.read(raw, &it); err != nil {
		return err
	}
	known := a.item(at, it.ID)
	known.kind, known.id, known.phase = it.Type, it.ID, it.Phase
	if it.Type == typeCall || it.Type == typeCustom {
		a.call(known, &it)
	}
	return nil
}

func (a *assembly) read(raw jsontext.Value, it *item) error {
	it.Type = string(topString(raw, "type"))
	if hosted(it.Type) {
		it.ID = string(topString(raw, "id"))
		return nil
	}
	return json.Unmarshal(raw, it, readOptions)
}

// call begins a call, once its name is known.
func (a *assembly) call(known *readItem, it *item) *readPart {
	p := a.part(known, partCall, 0)
	a.called = true
	if !p.named && it.Name != "" {
		p.named, a.output = true, true
		a.add(p, llm.Part{Call: &llm.ToolCall{ID: or(it.CallID, it.ID), Name: it.Name, ItemID: it.ID, Custom: it.Type == typeCustom}})
	}
	return p
}

// whole takes an item that is complete.
func (a *assembly) whole(at int, raw jsontext.Value) error {
	var it item
	if err := a.read(raw, &it); err != nil {
		return err
	}
	known := a.item(&at, it.ID)
	if known.done || it.Type == "" { // told already, or no item at all
		return nil
	}
	known.done, known.kind = true, it.Type
	if known.id == "" {
		known.id = it.ID
	}
	known.phase = or(it.Phase, known.phase)
	switch it.Type {
	case typeMessage:
		return a.message(known, &it)
	case typeReasoning:
		return a.reasoning(known, &it)
	case typeCall, typeCustom:
		p := a.call(known, &it)
		full := deref(it.Arguments)
		if it.Type == typeCustom {
			full = deref(it.Input)
		} else if full == "" && p.seen == 0 {
			full = "{}"
		}
		a.upTo(known, partCall, 0, full)
		if extra := it.rest(); extra != nil {
			a.add(p, llm.Part{Extra: extra})
		}
	default:
		a.output = true
		a.add(a.part(known, partForeign, 0), llm.Part{Foreign: bytes.Clone(raw)})
	}
	return nil
}

func (a *assembly) message(known *readItem, it *item) error {
	if it.Content.Kind() != '[' {
		return nil
	}
	var parts []jsontext.Value
	if err := json.Unmarshal(it.Content, &parts, readOptions); err != nil {
		return err
	}
	for i, raw := range parts {
		if err := a.content(known, i, raw); err != nil {
			return err
		}
	}
	for _, p := range slices.Backward(known.parts) {
		if p.kind != partForeign && known.id != "" {
			a.add(p, llm.Part{Extra: messageExtra(known, it.rest())})
			break
		}
	}
	return nil
}

// rest is what an item of an answer says beside what the hub has a place for.
func (it *item) rest() llm.Members {
	m := keep(it.Extra)
	if it.Status != "" && it.Status != "completed" {
		if m == nil {
			m = make(llm.Members)
		}
		m["status"] = quote(nil, it.Status)
	}
	return m
}

// content takes a part of a message that is complete.
func (a *assembly) content(it *readItem, at int, raw jsontext.Value) error {
	var c content
	if err := json.Unmarshal(raw, &c, readOptions); err != nil {
		return err
	}
	switch c.Type {
	case "output_text":
		p := a.upTo(it, partText, at, deref(c.Text))
		a.probs(p, c.Logprobs)
		if extra := keep(c.Extra); extra != nil {
			a.add(p, llm.Part{Extra: extra})
		}
		for ; p.cited < len(c.Annotations); p.cited++ {
			a.add(p, llm.Part{Citations: []llm.Citation{readCitation(c.Annotations[p.cited])}})
		}
	case "refusal":
		a.upTo(it, partRefusal, at, deref(c.Refusal))
	case "reasoning_text":
		a.upTo(it, partReasoning, at, deref(c.Text))
	case "summary_text":
		a.upTo(it, partSummary, at, deref(c.Text))
	case "": // nothing at all
	default: // of a kind we do not know: told apart from an item by the message around it
		if !slices.ContainsFunc(it.parts, func(p *readPart) bool { return p.at == at }) {
			a.output = true
			a.add(a.part(it, partForeign, at), llm.Part{Foreign: bytes.Clone(raw), Extra: messageExtra(it, nil)})
		}
	}
	return nil
}

// probs takes the token probabilities of a finished text, unless they came with its pieces.
func (a *assembly) probs(p *readPart, list []jsontext.Value) {
	if len(list) > 0 && !p.logprobs {
		p.logprobs = true
		logged(a.add(p, llm.Part{}), list)
	}
}

func (a *assembly) reasoning(known *readItem, it *item) error {
	parts, err := it.reasoningParts()
	if err != nil {
		return err
	}
	s := readSeal(it.EncryptedContent)
	if it.EncryptedContent != "" && (s.place == sealNext || s.place == sealPrev) {
		if s.place == sealNext {
			a.pending = s.signature()
		} else if a.next > 0 {
			a.deltas = append(a.deltas, llm.Delta{Index: a.last, Part: &llm.Part{Signature: s.signature()}})
		}
		return nil
	}
	var last *readPart
	for i := range parts {
		r := parts[i].Reasoning
		kind := partReasoning
		if r.Summary {
			kind = partSummary
		}
		if r.Text == "" && len(parts) == 1 && len(known.parts) > 0 { // told in pieces only
			last = known.parts[len(known.parts)-1]
			break
		}
		last = a.upTo(known, kind, r.Block, r.Text)
	}
	proof := llm.Part{Reasoning: &llm.Reasoning{ID: known.id, Block: last.at, Summary: last.kind == partSummary}, Extra: it.rest()}
	switch {
	case it.EncryptedContent == "":
		if proof.Extra == nil {
			return nil
		}
	case s.place == sealRedacted:
		proof.Reasoning.Redacted = []byte(s.value)
		if s.by != "" {
			proof.Signature = &llm.Signature{By: s.by}
		}
		a.output = true
	default:
		proof.Signature = s.signature()
	}
	a.add(last, proof)
	return nil
}

// rest takes the output of the final response: the items that did not come before, and those whose end did
// not. Some upstreams leave items out there, so that places do not agree, and some change ids, so an item
// that matches none is new only when none of its kind came.
func (a *assembly) rest(output []jsontext.Value) error {
	came := a.items
	for i, raw := range output {
		id, kind := string(topString(raw, "id")), string(topString(raw, "type"))
		same := func(it *readItem) bool { return it.id != "" && it.id == id }
		there := func(it *readItem) bool { return it.at == i && (it.kind == kind || it.kind == "") }
		j := slices.IndexFunc(came, same)
		if j < 0 {
			j = slices.IndexFunc(came, there)
		}
		at := i
		switch {
		case j >= 0:
			at = came[j].at
		case slices.ContainsFunc(came, func(it *readItem) bool { return it.kind == kind }):
			continue
		case slices.ContainsFunc(came, func(it *readItem) bool { return it.at == i }):
			at = len(came) + len(output) + i
		}
		if err := a.whole(at, raw); err != nil {
			return err
		}
	}
	return nil
}

// stop adds why the answer ended.
func (a *assembly) stop(status string, why *incomplete) {
	d := llm.Delta{Index: max(a.next-1, 0), Native: status}
	switch {
	case status == "incomplete":
		d.Stop, d.Native = llm.StopOther, "incomplete"
		if why != nil && why.Reason != "" {
			d.Native = why.Reason
		}
		switch d.Native {
		case "max_output_tokens", "max_tokens":
			d.Stop = llm.StopLength
		case "content_filter":
			d.Stop = llm.StopFilter
		}
	case status == "in_progress" || status == "queued": // background: the answer is fetched later
		return
	case a.called:
		d.Stop = llm.StopTools
	case a.refused:
		d.Stop = llm.StopRefusal
	default:
		d.Stop = llm.StopEnd
	}
	a.deltas = append(a.deltas, d)
}
