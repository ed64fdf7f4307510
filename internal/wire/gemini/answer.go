package gemini

import (
	"slices"
	"time"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Answer writes a whole answer.
func (f *Format) Answer(call *llm.Call, a *llm.Answer) ([]byte, error) {
	switch f.op {
	case llm.OpCount:
		return countAnswer(a, a.Format == f.name), nil
	case llm.OpEmbed:
		return f.embedAnswer(a)
	}
	g := &gathering{call: call, head: a.Head, usage: a.Usage, same: a.Format == f.name}
	g.keep(a.Extra)
	for i := range a.Choices {
		c := &a.Choices[i]
		o := g.choice(c.Index)
		for j := range c.Parts {
			o.add(j, &c.Parts[j])
		}
		o.end(&llm.Delta{Stop: c.Stop, Native: c.Native, Logprobs: c.Logprobs, Extra: c.Extra})
	}
	return g.chunk(nil, true), nil
}

// A gathering collects what one chunk is to say. It is the same for a chunk of a stream and for a whole
// answer, which is a stream of one chunk.
type gathering struct {
	call    *llm.Call
	same    bool // the answer comes in this format
	head    llm.Head
	usage   *llm.Usage
	extra   llm.Members
	choices []*outgoing
	dated   bool   // createTime was said
	problem []byte // why a budget has ended it
}

// An outgoing is one candidate on its way to the client.
type outgoing struct {
	index    int
	same     bool
	parts    text // of the chunk being made: objects with commas between them
	said     bool // there were parts in an earlier chunk
	waiting  []waitingCall
	flushed  map[int]bool // calls that are out
	textAt   int          // index of the newest part with text
	text     []byte       // that text, for the ranges of its citations
	citing   []pendingCite
	stop     string // finishReason
	extra    llm.Members
	logprobs llm.Raw
}

// A waitingCall has arguments that may still grow: Gemini's clients get whole objects.
type waitingCall struct {
	index int
	part  llm.Part
}

type pendingCite struct {
	index int
	llm.Citation
}

func (g *gathering) choice(index int) *outgoing {
	for _, o := range g.choices {
		if o.index == index {
			return o
		}
	}
	o := &outgoing{index: index, same: g.same, textAt: -1, flushed: make(map[int]bool)}
	g.choices = append(g.choices, o)
	return o
}

func (g *gathering) keep(m llm.Members) {
	if g.same {
		g.extra = merged(g.extra, m)
	}
}

func merged(m, more llm.Members) llm.Members {
	for k, v := range more {
		if m == nil {
			m = make(llm.Members, len(more))
		}
		m[k] = slices.Clone(v)
	}
	return m
}

// event takes in what an event adds.
func (g *gathering) event(ev *llm.Event) {
	g.same = ev.Format == llm.GeminiGenerate
	if ev.Head != nil {
		g.head = *ev.Head
	}
	if ev.Usage != nil {
		if g.usage == nil {
			g.usage = new(llm.Usage)
		}
		g.usage.Merge(ev.Usage)
	}
	g.keep(ev.Extra)
	for i := range ev.Delta {
		d := &ev.Delta[i]
		o := g.choice(d.Choice)
		if d.Part != nil {
			o.add(d.Index, d.Part)
		}
		o.end(d)
	}
}

// end takes in what a delta says beside its part.
func (o *outgoing) end(d *llm.Delta) {
	if d.Stop != "" {
		o.flush(true)
		o.stop = finishReason(d.Stop, d.Native, o.same)
	}
	if d.Logprobs != nil {
		o.logprobs = slices.Clone(d.Logprobs)
	}
	if o.same {
		o.extra = merged(o.extra, d.Extra)
	}
}

// add takes in a piece of a part.
func (o *outgoing) add(index int, p *llm.Part) {
	if p.Call != nil {
		o.addCall(index, p)
		return
	}
	for i := range p.Citations {
		o.citing = append(o.citing, pendingCite{index, p.Citations[i]})
	}
	signature := writeSignature(p)
	if signature == "" && (isText(p) && p.Text == "" || p.Reasoning != nil && p.Reasoning.Text == "") {
		return
	}
	o.flush(true)
	if p.Text != "" {
		if o.textAt != index {
			o.textAt, o.text = index, o.text[:0]
		}
		if len(o.text) <= maxCited {
			o.text = append(o.text, p.Text...)
		}
	}
	o.write(p, signature)
}

// write appends a part to the chunk.
func (o *outgoing) write(p *llm.Part, signature string) {
	t := &o.parts
	if p.Foreign != nil {
		if !o.same {
			return
		}
		t.raw(p.Foreign[:len(p.Foreign)-1])
	} else {
		t.open('{')
	}
	var inside, beside, media llm.Members
	if o.same {
		inside, beside = splitResult(p.Extra)
		if p.Media != nil {
			media = p.Media.Extra
		}
	}
	switch {
	case p.Call != nil:
		t.functionCall(p.Call)
	case p.Media != nil:
		t.media(p.Media, media, true)
	case p.Result != nil:
		t.name("functionResponse")
		t.open('{')
		t.str("id", nativeID(p.Result.CallID))
		t.str("name", p.Result.Name)
		t.name("response")
		s := ""
		for i := range p.Result.Parts {
			s += p.Result.Parts[i].Text
		}
		t.response(s, p.Result.Failed)
		t.members(inside)
		t.close('}')
	case p.Reasoning != nil:
		t.name("text")
		t.string(p.Reasoning.Text)
		t.name("thought")
		t.bool(true)
	case p.Refusal != nil:
		t.name("text")
		t.string(*p.Refusal)
	case p.Foreign == nil:
		t.name("text")
		t.string(p.Text)
	}
	t.str("thoughtSignature", signature)
	t.members(beside)
	t.close('}')
}

func (o *outgoing) addCall(index int, p *llm.Part) {
	if o.flushed[index] {
		return // what comes behind the end of a call has nowhere to go
	}
	for i := range o.waiting {
		if w := &o.waiting[i]; w.index == index {
			w.part.Append(p)
			return
		}
	}
	o.flush(false)
	w := waitingCall{index: index}
	w.part.Append(p)
	o.waiting = append(o.waiting, w)
}

// flush writes the calls that wait, in order. Unless all have ended, it stops at the first one whose
// arguments are not whole yet: some upstreams send pieces of parallel calls in turn.
func (o *outgoing) flush(all bool) {
	for len(o.waiting) > 0 {
		w := &o.waiting[0]
		if !all && !isObject(trimmed(w.part.Call.Args)) {
			return
		}
		o.write(&w.part, writeSignature(&w.part))
		o.flushed[w.index] = true
		o.waiting = o.waiting[1:]
	}
}

// finishReason is a stop in Gemini's words: its own, when it was read in this format.
func finishReason(stop llm.Stop, native string, same bool) string {
	if same && native != "" {
		return native
	}
	switch stop {
	case llm.StopEnd, llm.StopSequence, llm.StopTools:
		return "STOP"
	case llm.StopLength:
		return "MAX_TOKENS"
	case llm.StopFilter, llm.StopRefusal:
		return "SAFETY"
	}
	return "OTHER"
}

// ready says that there is something for the client in the chunk.
func (g *gathering) ready() bool {
	return slices.ContainsFunc(g.choices, func(o *outgoing) bool { return len(o.parts) > 0 })
}

// chunk appends the chunk. The last one says why each candidate ended, and the usage. Every chunk but that
// of a refused prompt has a candidate with content: the SDKs' chats drop an answer with any other.
func (g *gathering) chunk(dst []byte, last bool) []byte {
	t := text(append(dst, '{'))
	if !last || !g.refused() {
		t.name("candidates")
		t.open('[')
		for _, o := range g.choices {
			if last || len(o.parts) > 0 {
				o.candidate(&t, last)
			}
		}
		t.close(']')
	}
	t.members(g.extra)
	g.extra = nil
	if g.usage != nil {
		t.usage(g.usage, g.same)
	}
	model, id := g.head.Model, g.head.ID
	if model == "" {
		model = g.call.Model
	}
	if id == "" {
		id = g.call.ID
	}
	t.str("modelVersion", model)
	if !g.head.Created.IsZero() && !g.dated {
		g.dated = true
		t.str("createTime", g.head.Created.UTC().Format(time.RFC3339Nano))
	}
	t.str("responseId", id)
	if g.problem != nil {
		t.name(wire.ProblemMember)
		t.raw(g.problem)
	}
	t.close('}')
	return t
}

// refused says that the answer is nothing but Gemini's refusal of the prompt.
func (g *gathering) refused() bool {
	if g.extra["promptFeedback"] == nil {
		return false
	}
	return !slices.ContainsFunc(g.choices, func(o *outgoing) bool {
		return o.said || len(o.parts) > 0 || o.stop == "STOP"
	})
}

func (o *outgoing) candidate(t *text, last bool) {
	t.open('{')
	t.name("content")
	t.open('{')
	if len(o.parts) > 0 || last && o.said {
		t.name("parts")
		t.open('[')
		if len(o.parts) > 0 {
			t.raw(o.parts)
		} else {
			t.raw([]byte(`{"text":""}`))
		}
		t.close(']')
	}
	t.str("role", "model")
	t.close('}')
	if o.logprobs != nil {
		t.logprobs(o.logprobs)
		o.logprobs = nil
	}
	if last {
		if o.stop == "" {
			o.stop = "OTHER"
		}
		t.str("finishReason", o.stop)
		t.members(o.extra)
		if len(o.citing) > 0 && o.extra["groundingMetadata"] == nil && o.extra["citationMetadata"] == nil {
			t.grounding(o.cites())
		}
	}
	t.name("index")
	t.int(int64(o.index))
	t.close('}')
	o.said = o.said || len(o.parts) > 0
	o.parts = o.parts[:0]
}

// cites gives the citations with their ranges in bytes, as far as their text is known.
func (o *outgoing) cites() []citing {
	out := make([]citing, len(o.citing))
	for i, c := range o.citing {
		out[i].Citation = c.Citation
		if c.index == o.textAt {
			out[i].segment, out[i].ranged = octets(o.text, &c.Citation)
		}
	}
	return out
}
