package gemini

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
)

// response is a GenerateContentResponse: a whole answer, or one chunk of a stream.
type response struct {
	Candidates     []candidate    `json:"candidates"`
	PromptFeedback jsontext.Value `json:"promptFeedback"`
	UsageMetadata  jsontext.Value `json:"usageMetadata"`
	ModelVersion   string         `json:"modelVersion"`
	ResponseID     string         `json:"responseId"`
	CreateTime     string         `json:"createTime"`
	Extra          llm.Members    `json:",embed"`
}

type candidate struct {
	Index             int            `json:"index"`
	Content           *content       `json:"content"`
	FinishReason      jsontext.Value `json:"finishReason"`
	CitationMetadata  jsontext.Value `json:"citationMetadata"`
	GroundingMetadata jsontext.Value `json:"groundingMetadata"`
	LogprobsResult    jsontext.Value `json:"logprobsResult"`
	Extra             llm.Members    `json:",embed"`
}

// A reading is the state of one answer, streamed or not: a whole answer is a stream of one chunk.
type reading struct {
	begun   bool
	madeIDs string // how the ids of this answer begin
	calls   int    // ids made so far
	choices []*reader
	deltas  []llm.Delta
}

// A reader is the state of one candidate.
type reader struct {
	index  int
	parts  int            // parts begun; the open one is the last
	open   openPart       // what the last part is, when a further piece of it may come
	called bool           // a function was called
	stream *partial       // the arguments of a call that comes in pieces
	text   int            // index of the newest part with text, which citations are about; -1: none
	said   []byte         // that text, for their ranges
	cited  []llm.Citation // already given out: grounding is repeated from chunk to chunk
}

type openPart uint8

const (
	openNone openPart = iota
	openText
	openThought
)

// A part may hold at most this much text for its citations to be given ranges in characters.
const maxCited = 256 << 10

// chunk adds one chunk to an event. The event's Delta is valid until the next chunk.
func (r *reading) chunk(ev *llm.Event, data []byte) error {
	var c response
	if err := json.Unmarshal(data, &c, readingAnswer); err != nil {
		return broken(err)
	}
	if !r.begun {
		r.begun = true
		ev.Head = &llm.Head{ID: c.ResponseID, Model: c.ModelVersion}
		if at, err := time.Parse(time.RFC3339, c.CreateTime); err == nil {
			ev.Head.Created = at.UTC()
		}
		r.madeIDs = idPrefix(c.ResponseID)
	}
	r.deltas = r.deltas[:0]
	for i := range c.Candidates {
		r.candidate(&c.Candidates[i])
	}
	if len(c.Candidates) == 0 && !isNull(c.PromptFeedback) {
		r.blocked(c.PromptFeedback)
	}
	ev.Delta = r.deltas
	for i := range ev.Delta {
		ev.Output = ev.Output || isOutput(ev.Delta[i].Part)
	}
	if !isNull(c.UsageMetadata) {
		ev.Usage = new(llm.Usage)
		readUsage(&peeker{b: c.UsageMetadata}, ev.Usage, true)
	}
	ev.Extra = known(c.Extra)
	if !isNull(c.PromptFeedback) {
		if ev.Extra == nil {
			ev.Extra = make(llm.Members)
		}
		ev.Extra["promptFeedback"] = llm.Raw(c.PromptFeedback)
	}
	return nil
}

func broken(err error) *llm.Error {
	return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer is not what its format says", Err: err}
}

// isOutput says that a part is something for the user: not an empty text, nor a signature alone.
func isOutput(p *llm.Part) bool {
	return p != nil && (p.Text != "" || p.Media != nil || p.Call != nil || p.Result != nil || p.Foreign != nil ||
		p.Reasoning != nil && (p.Reasoning.Text != "" || len(p.Reasoning.Redacted) > 0))
}

// idPrefix is how the ids begin that are made for the calls of one answer: different in every answer of a
// conversation, and the same when the same answer is read twice.
func idPrefix(responseID string) string {
	var id [6]byte
	if responseID == "" {
		_, _ = rand.Read(id[:]) // never fails
	} else {
		sum := sha256.Sum256([]byte(responseID))
		copy(id[:], sum[:])
	}
	return madeID + hex.EncodeToString(id[:]) + "_"
}

func (r *reading) choice(index int) *reader {
	for _, c := range r.choices {
		if c.index == index {
			return c
		}
	}
	c := &reader{index: index, text: -1}
	r.choices = append(r.choices, c)
	return c
}

// emit adds a delta of c's newest part.
func (r *reading) emit(c *reader, p *llm.Part) {
	r.deltas = append(r.deltas, llm.Delta{Choice: c.index, Index: c.parts - 1, Part: p})
}

func (r *reading) candidate(w *candidate) {
	c := r.choice(w.Index)
	if w.Content != nil {
		for i := range w.Content.Parts {
			r.part(c, &w.Content.Parts[i], i == 0)
		}
	}
	var citations []llm.Citation
	if !isNull(w.GroundingMetadata) {
		citations = c.fresh(grounding(w.GroundingMetadata, c.said))
	} else if !isNull(w.CitationMetadata) {
		citations = c.fresh(sources(w.CitationMetadata, c.said))
	}
	if len(citations) > 0 {
		if c.text < 0 { // nothing said yet that they could be about
			c.parts++
			c.text = c.parts - 1
		}
		r.deltas = append(r.deltas, llm.Delta{Choice: c.index, Index: c.text, Part: &llm.Part{Citations: citations}})
	}
	d := llm.Delta{Choice: c.index, Extra: known(w.Extra), Logprobs: readLogprobs(w.LogprobsResult)}
	for name, v := range map[string]jsontext.Value{"groundingMetadata": w.GroundingMetadata, "citationMetadata": w.CitationMetadata} {
		if !isNull(v) {
			if d.Extra == nil {
				d.Extra = make(llm.Members)
			}
			d.Extra[name] = llm.Raw(v)
		}
	}
	if reason := word(w.FinishReason, finishes); reason != "" && reason != finishes[0] {
		r.endCall(c)
		d.Stop, d.Native = stopOf(reason, c.called), reason
	}
	if d.Stop != "" || d.Extra != nil || d.Logprobs != nil {
		r.deltas = append(r.deltas, d)
	}
}

// part adds a piece to the open part or begins a new one. The first piece of a chunk goes on where the last
// chunk ended; within a chunk each piece is a part of its own. A piece with a signature is a part of its
// own, too (Google asks not to join it with others), but for the signature that ends a thought.
func (r *reading) part(c *reader, w *part, first bool) {
	if w.FunctionCall != nil && r.call(c, w) {
		return
	}
	p := w.read("")
	r.endCall(c)
	kind := openNone
	switch {
	case p.Reasoning != nil:
		kind = openThought
	case isText(&p):
		kind = openText
	}
	goesOn := kind != openNone && kind == c.open && (first && p.Signature == nil ||
		kind == openThought && p.Reasoning.Text == "" && len(p.Reasoning.Redacted) == 0)
	if kind == openText && p.Text == "" && p.Signature == nil && p.Extra == nil {
		return // says nothing; the last chunk of a stream often holds it
	}
	if !goesOn {
		c.parts++
	}
	c.open = kind
	if p.Signature != nil {
		c.open = openNone
	}
	if kind == openText && p.Text != "" {
		if c.text != c.parts-1 {
			c.text, c.said = c.parts-1, c.said[:0]
		}
		if len(c.said) <= maxCited {
			c.said = append(c.said, p.Text...)
		}
	}
	if p.Call != nil {
		c.called = true
		if p.Call.ID == "" {
			p.Call.ID = r.nextID()
		}
	}
	r.emit(c, &p)
}

func (r *reading) nextID() string {
	r.calls++
	return r.madeIDs + strconv.Itoa(r.calls-1)
}

// call handles a call that comes in pieces; false says that this one is whole.
func (r *reading) call(c *reader, w *part) bool {
	f := w.FunctionCall
	if c.stream != nil && f.Name != "" {
		r.endCall(c)
	}
	if c.stream == nil {
		if !f.WillContinue {
			return false
		}
		p := w.read("")
		p.Call.Args = nil
		if p.Call.ID == "" {
			p.Call.ID = r.nextID()
		}
		c.parts++
		c.open, c.called, c.stream = openNone, true, new(partial)
		r.emit(c, &p)
	}
	for i := range f.PartialArgs {
		c.stream.add(&f.PartialArgs[i]) // a piece without a place is left out: there is nobody to ask
	}
	if !f.WillContinue {
		r.endCall(c)
	}
	return true
}

// endCall gives out the arguments of a call that came in pieces.
func (r *reading) endCall(c *reader) {
	if c.stream == nil {
		return
	}
	args := c.stream.arguments()
	c.stream = nil
	r.emit(c, &llm.Part{Call: &llm.ToolCall{Args: args}})
}

// blocked is an answer to a prompt that was refused: nothing but the reason.
func (r *reading) blocked(feedback []byte) {
	var f struct {
		BlockReason jsontext.Value `json:"blockReason"`
	}
	if json.Unmarshal(feedback, &f, readingAnswer) != nil || isNull(f.BlockReason) {
		return
	}
	r.choice(0)
	r.deltas = append(r.deltas, llm.Delta{Stop: llm.StopFilter, Native: word(f.BlockReason, nil)})
}

// stopOf gives the meaning of a finishReason.
func stopOf(reason string, called bool) llm.Stop {
	switch reason {
	case "STOP":
		if called {
			return llm.StopTools
		}
		return llm.StopEnd
	case "MAX_TOKENS", "CONTINUATION":
		return llm.StopLength
	case "SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "LANGUAGE", "MODEL_ARMOR",
		"IMAGE_SAFETY", "IMAGE_PROHIBITED_CONTENT", "IMAGE_RECITATION":
		return llm.StopFilter
	}
	return llm.StopOther
}

// ReadAnswer reads a whole answer. A 200 may hold an error, and in raw mode only that and the usage are read.
func (f *Format) ReadAnswer(body []byte, raw bool) (*llm.Event, error) {
	g, err := f.glance(body)
	if err != nil {
		return nil, err
	}
	ev := &llm.Event{Raw: body, Format: f.name, Output: g.output, Usage: g.usageOrNil()}
	switch {
	case f.op == llm.OpCount:
		return ev, readCount(ev, body)
	case raw:
		if g.model != nil {
			ev.Head = &llm.Head{ID: string(g.id), Model: string(g.model)}
		}
		return ev, nil
	case f.op == llm.OpEmbed:
		return ev, readVectors(ev, body)
	}
	r := reading{}
	if err := r.chunk(ev, body); err != nil {
		return nil, err
	}
	if ev.Usage == nil && g.queries > 0 {
		ev.Usage = new(llm.Usage)
	}
	if ev.Usage != nil {
		ev.Usage.Runs = searches(g.queries)
	}
	r.finish(ev)
	return ev, nil
}

// finish closes the choices of a whole answer that were left open, so that no client waits for an end.
func (r *reading) finish(ev *llm.Event) {
	if len(r.choices) == 0 {
		r.choice(0)
	}
	stopped := make(map[int]bool)
	for i := range r.deltas {
		if r.deltas[i].Stop != "" {
			stopped[r.deltas[i].Choice] = true
		}
	}
	for _, c := range r.choices {
		if !stopped[c.index] {
			r.endCall(c)
			r.deltas = append(r.deltas, llm.Delta{Choice: c.index, Stop: llm.StopOther, Native: "OTHER"})
		}
	}
	ev.Delta = r.deltas
}
