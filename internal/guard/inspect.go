package guard

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// An Inspection is what guards know of one call, from its request to the end of its answer. It is used by one goroutine, and
// nil is one without guards.
type Inspection struct {
	Coverage llm.Coverage

	guards    []*Guard
	ctx       context.Context //nolint:containedctx // the call's: it lives as long
	held      placeholders
	answering bool      // the request has gone on
	asked     *llm.Call // as the client sent it, where its values come back
	mute      bool      // the answer has no text
	json      bool      // the answer's text is to be JSON, so that values in it are, too
}

// A hit is a finding and what becomes of it.
type hit struct {
	Finding
	mode Mode
}

// request reads a call's body and puts placeholders into it.
func (in *Inspection) request(ctx context.Context, call *llm.Call) error {
	in.ctx, in.mute = ctx, call.Op == llm.OpEmbed || call.Op == llm.OpCount
	raw := call.Body.Raw()
	if raw == nil {
		return errors.New("guard: the body was edited before it was inspected")
	}
	doc := string(raw)
	var w walk
	leaves, err := w.document(doc, false, 0)
	if err != nil {
		return in.closed("it could not be read", err)
	}
	c := &in.Coverage
	c.Unscanned = w.opaque
	for _, text := range w.texts {
		c.Scanned += int64(len(text))
	}
	c.Seen = c.Scanned + c.Unscanned
	hits, err := in.detect(ctx, w.texts, func(g *Guard) Mode { return g.o.Mode })
	if err != nil {
		return err
	}
	if w.opaque > 0 && slices.ContainsFunc(in.guards, func(g *Guard) bool { return g.o.Enforce && !g.o.Media && g.o.Mode != Off }) {
		return in.closed("it holds media or tokens, which no detector reads", nil)
	}
	if hits == nil {
		return nil
	}
	return in.splice(call, &w, leaves, hits)
}

// closed refuses a call of which something could not be scanned.
func (in *Inspection) closed(why string, err error) error {
	in.Coverage.Outcome = llm.GuardClosed
	return &llm.Error{Kind: llm.KindGuardrail, Msg: "the call was refused because a guard must see all of it, and " + why, Err: err}
}

// detect has every guard look at texts. What it gives is by text, in order and without overlaps; nil: nothing was found.
func (in *Inspection) detect(ctx context.Context, texts []string, mode func(*Guard) Mode) ([][]hit, error) {
	var hits [][]hit
	for _, g := range in.guards {
		m := mode(g)
		if m == Off {
			continue
		}
		for _, d := range g.o.Detectors {
			in.looks(d.Name())
			err := d.Detect(ctx, texts, func(text int, f Finding) {
				if text < 0 || text >= len(texts) || f.Start < 0 || f.Start >= f.End || f.End > len(texts[text]) {
					return
				}
				if hits == nil {
					hits = make([][]hit, len(texts))
				}
				hits[text] = append(hits[text], hit{f, g.mode(m, f.Type)})
			})
			if err == nil {
				continue
			}
			if err := in.failed(g, d.Name(), err); err != nil {
				return nil, err
			}
		}
	}
	for i := range hits {
		hits[i] = settle(hits[i])
	}
	return hits, nil
}

// failed notes that a detector could not read something. The error is that of the call, where the guard insists.
func (in *Inspection) failed(g *Guard, name string, err error) error {
	in.Coverage.Scanned, in.Coverage.Unscanned = 0, in.Coverage.Seen
	if g.o.Enforce {
		return in.closed("its detector "+name+" failed", err)
	}
	in.Coverage.Outcome = llm.GuardOpen
	return nil
}

// looks notes a detector.
func (in *Inspection) looks(name string) {
	c := &in.Coverage
	switch {
	case c.Detectors == "":
		c.Detectors = name
	case !slices.Contains(strings.Split(c.Detectors, ","), name):
		c.Detectors += "," + name
	}
}

// Bears tells whether the request goes on with something in it that was found, or that may have been missed.
func (in *Inspection) Bears() bool {
	return in != nil && (in.Coverage.Outcome == llm.GuardObserved || in.Coverage.Outcome == llm.GuardOpen)
}

// settle puts hits in order. Those that change the text come first: where they overlap they become one that covers all of
// them, with the type of the strictest and longest, so that nothing of any is left over. What is only observed counts where
// nothing else was found.
func settle(list []hit) []hit {
	if len(list) < 2 {
		return list
	}
	slices.SortFunc(list, func(a, b hit) int {
		return cmp.Or(compareBool(a.mode == Observe, b.mode == Observe), cmp.Compare(a.Start, b.Start), cmp.Compare(b.End, a.End))
	})
	out := list[:0]
	var last hit // the strictest and longest within the one that is being made
	for _, h := range list {
		n := len(out)
		switch {
		case h.mode == Observe:
			if !slices.ContainsFunc(out, func(o hit) bool { return h.Start < o.End && o.Start < h.End }) {
				out = append(out, h)
			}
		case n > 0 && h.Start < out[n-1].End:
			if cmp.Or(cmp.Compare(h.mode, last.mode), cmp.Compare(h.End-h.Start, last.End-last.Start)) > 0 {
				last = h
			}
			out[n-1].Type, out[n-1].mode, out[n-1].End = last.Type, last.mode, max(out[n-1].End, h.End)
		default:
			out, last = append(out, h), h
		}
	}
	slices.SortFunc(out, func(a, b hit) int { return cmp.Compare(a.Start, b.Start) })
	return out
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// splice counts what was found, and refuses the call or puts placeholders into it.
func (in *Inspection) splice(call *llm.Call, w *walk, leaves []leaf, hits [][]hit) error {
	strictest := in.count(leaves, hits, false)
	switch strictest {
	case Off:
		return nil
	case Observe:
		in.outcome(llm.GuardObserved)
		return nil
	case Block:
		return in.blocked("the request")
	}
	for _, text := range w.texts {
		in.held.avoid(text)
	}
	before := *call
	var list []llm.Splice
	for i := range leaves {
		if v := in.rendered(&leaves[i], w.texts, hits); v != nil {
			list = append(list, llm.Splice{At: leaves[i].at, With: v})
		}
	}
	if err := call.Body.Splice(list); err != nil {
		return err
	}
	if in.held.restorable() {
		in.asked = &before
		in.json = in.held.escapes() && asksForJSON(call)
	}
	in.outcome(llm.GuardMasked)
	return nil
}

// asksForJSON tells whether a call wants its answer's text to be JSON. A request that means nothing is told so later.
func asksForJSON(call *llm.Call) bool {
	p, err := call.Body.Payload()
	chat, ok := p.(*llm.Chat)
	return err == nil && ok && chat.Output != nil && chat.Output.Kind != llm.OutputText
}

// outcome notes what came of the call, where nothing worse has.
func (in *Inspection) outcome(o llm.GuardOutcome) {
	if in.Coverage.Outcome == llm.GuardClean || in.Coverage.Outcome == llm.GuardObserved {
		in.Coverage.Outcome = o
	}
}

// count counts hits, cuts off what they have of a value's name, and gives the strictest mode among them.
func (in *Inspection) count(leaves []leaf, hits [][]hit, answer bool) Mode {
	strictest := Off
	for i := range leaves {
		l := &leaves[i]
		if l.text < 0 {
			strictest = max(strictest, in.count(l.inner, hits, answer))
			continue
		}
		list := hits[l.text]
		if l.skip > 0 {
			list = slices.DeleteFunc(list, func(h hit) bool { return h.End <= l.skip })
			for j := range list {
				list[j].Start = max(list[j].Start, l.skip)
			}
			hits[l.text] = list
		}
		for _, h := range list {
			in.Coverage.Add(h.Type, h.mode.String(), answer)
			strictest = max(strictest, h.mode)
		}
	}
	return strictest
}

// blocked is the refusal: it names types, never values.
func (in *Inspection) blocked(what string) error {
	in.Coverage.Outcome = llm.GuardBlocked
	var types []string
	for _, f := range in.Coverage.Found {
		if f.Action == Block.String() && !slices.Contains(types, f.Type) {
			types = append(types, f.Type)
		}
	}
	slices.Sort(types)
	return llm.Errorf(llm.KindGuardrail, "%s was refused by a guard: it holds %s", what, strings.Join(types, ", "))
}

// rendered is the JSON string that takes a leaf's place; nil: it stays.
func (in *Inspection) rendered(l *leaf, texts []string, hits [][]hit) []byte {
	if l.text < 0 {
		return in.document(l, texts, hits)
	}
	out, changed := in.masked(texts[l.text], l.skip, hits[l.text])
	if !changed {
		return nil
	}
	return quoted(out)
}

// document renders a string that holds a document.
func (in *Inspection) document(l *leaf, texts []string, hits [][]hit) []byte {
	var out []byte
	from := 0
	for i := range l.inner {
		if v := in.rendered(&l.inner[i], texts, hits); v != nil {
			at := l.inner[i].at
			out = append(append(out, l.doc[from:at.Start]...), v...)
			from = at.End
		}
	}
	if from == 0 {
		return nil
	}
	return quoted(append(out, l.doc[from:]...))
}

// masked is a text, from a place on, with placeholders.
func (in *Inspection) masked(text string, from int, hits []hit) (out []byte, changed bool) {
	for _, h := range hits {
		if h.mode == Observe {
			continue
		}
		out = append(out, text[from:h.Start]...)
		out = append(out, in.held.of(h.Type, text[h.Start:h.End], h.mode == Restore, in.answering)...)
		from, changed = h.End, true
	}
	if !changed {
		return nil, false
	}
	return append(out, text[from:]...), true
}

// quoted writes a JSON string. What it is made of has been UTF-8 throughout.
func quoted(s []byte) []byte {
	out, err := jsontext.AppendQuote(make([]byte, 0, len(s)+2), s)
	if err != nil { // a text cut within a character: what cannot be written is replaced
		out, _ = jsontext.AppendQuote(nil, strings.ToValidUTF8(string(s), "\ufffd"))
	}
	return out
}

// Told is what is written down of the call; nil: nothing is.
func (in *Inspection) Told() *llm.Coverage {
	if in == nil {
		return nil
	}
	return &in.Coverage
}

// Raw tells whether the answer may pass undecoded.
func (in *Inspection) Raw() bool {
	return in == nil || in.mute || !in.held.restorable() && !in.answers()
}

// answers tells whether any guard looks at answers.
func (in *Inspection) answers() bool {
	return slices.ContainsFunc(in.guards, func(g *Guard) bool { return g.o.Answers != Off })
}

// Asked is the call as its client knows it: formats repeat parts of the request in the answer.
func (in *Inspection) Asked(call *llm.Call) *llm.Call {
	if in == nil || in.asked == nil {
		return call
	}
	return in.asked
}

// Close ends the inspection: the values that it held are overwritten.
func (in *Inspection) Close() {
	if in != nil {
		in.held.wipe()
	}
}
