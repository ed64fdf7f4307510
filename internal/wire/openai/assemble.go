package openai

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

// An assembler gives the pieces of an answer their places: which part each belongs to. One reader for
// whole answers and for streams keeps their meaning the same.
type assembler struct {
	hidden  bool // Dialect.HiddenThoughts
	headed  bool
	head    llm.Members // what the chunks so far said beside their choices; most repeat it
	id      string
	choices []*choiceState
	tier    string
}

type choiceState struct {
	index  int
	next   int             // the next part's index
	open   kind            // of the part that more pieces may go to
	at     int             // its index
	detail whole           // index of the detail that the open reasoning came from
	plain  strings.Builder // the open reasoning, when it came as plain text
	text   int             // index of the last text part, -1: none
	calls  []callState
	said   bool // finish_reason was given
	refuse bool
}

type kind uint8

const (
	noPart kind = iota
	textPart
	reasoningPart
	refusalPart
	callPart
)

type callState struct {
	key    int64 // the vendor's index; -1: none
	id     string
	at     int
	args   bool
	custom bool
}

func (a *assembler) choice(index int) *choiceState {
	for _, c := range a.choices {
		if c.index == index {
			return c
		}
	}
	c := &choiceState{index: index, text: -1}
	a.choices = append(a.choices, c)
	return c
}

// finished says that every answer seen so far has its reason to stop.
func (a *assembler) finished() bool {
	for _, c := range a.choices {
		if !c.said {
			return false
		}
	}
	return len(a.choices) > 0
}

// event adds what an answer or chunk says to ev.
func (a *assembler) event(ev *llm.Event, c *answer) {
	a.opening(ev, c)
	for i := range c.Choices {
		a.choiceEvent(ev, &c.Choices[i])
	}
	a.usage(ev, c)
}

// opening reads the head once, from the first chunk that has one: Azure's first has nothing but filter
// results. Most chunks repeat its members, which says nothing new.
func (a *assembler) opening(ev *llm.Event, c *answer) {
	if a.headed && c.Extra == nil && c.XGroq == nil && string(c.ServiceTier) == a.tier && bytes.Equal(c.SystemFingerprint, a.head["system_fingerprint"]) {
		return
	}
	more := keep(c.Extra)
	if !isNull(c.SystemFingerprint) {
		more = with(more, "system_fingerprint", c.SystemFingerprint)
	}
	if c.ServiceTier != "" {
		a.tier = string(c.ServiceTier)
		more = with(more, "service_tier", raw(a.tier))
	}
	if g := c.XGroq; g != nil && len(keep(g.Extra)) > 0 {
		more = with(more, "x_groq", raw(xGroq{Extra: g.Extra}))
	}
	if a.headed || c.ID == "" && c.Model == "" && len(c.Choices) == 0 {
		for name, v := range more {
			if !bytes.Equal(a.head[name], v) {
				ev.Extra = with(ev.Extra, name, v)
			}
		}
		a.head = a.head.Join(ev.Extra)
		return
	}
	a.headed, a.id = true, string(c.ID)
	if a.head == nil {
		a.head = more // and not a copy: neither is changed
	} else {
		a.head = a.head.Join(more)
	}
	ev.Head = &llm.Head{ID: string(c.ID), Model: string(c.Model), Extra: more}
	if c.Created > 0 {
		ev.Head.Created = time.Unix(int64(c.Created), 0).UTC()
	}
}

// The objects that answers are.
const (
	chatObject  = "chat.completion"
	chunkObject = "chat.completion.chunk"
	textObject  = "text_completion"
)

func (a *assembler) usage(ev *llm.Event, c *answer) {
	u := c.Usage
	if u == nil && c.XGroq != nil {
		u = c.XGroq.Usage
	}
	if u != nil {
		ev.Usage = u.meaning(a.tier, a.hidden)
	}
}

func (a *assembler) choiceEvent(ev *llm.Event, c *choice) {
	s := a.choice(int(c.Index))
	b := builder{a: a, s: s, ev: ev, first: len(ev.Delta)}
	var extra llm.Members
	for _, r := range [...]*reply{c.Message, c.Delta} {
		if r != nil {
			b.reply(r)
			for name, v := range keep(r.Extra) {
				extra = with(extra, "message/"+name, v)
			}
		}
	}
	if c.Text != nil {
		b.text(string(*c.Text))
	}
	for name, v := range keep(c.Extra) {
		extra = with(extra, name, v)
	}
	if c.FinishReason != "" && !s.said {
		s.said = true
		b.fillCalls()
		b.stop(string(c.FinishReason))
	}
	if !isNull(c.Logprobs) {
		b.last().Logprobs = c.Logprobs
	}
	if extra != nil {
		b.last().Extra = extra
	}
}

// A builder turns one choice of a chunk into deltas.
type builder struct {
	a     *assembler
	s     *choiceState
	ev    *llm.Event
	first int // of ev.Delta that is this choice's
}

// last is the delta that what belongs to the whole choice goes with.
func (b *builder) last() *llm.Delta {
	if len(b.ev.Delta) == b.first {
		b.ev.Delta = append(b.ev.Delta, llm.Delta{Choice: b.s.index, Index: b.s.at})
	}
	return &b.ev.Delta[len(b.ev.Delta)-1]
}

// add gives a piece to the open part of its kind, or to a new one.
func (b *builder) add(k kind, fresh bool, p *llm.Part) {
	s := b.s
	if s.open != k || fresh {
		s.open, s.at = k, s.next
		s.next++
	}
	if k == textPart {
		s.text = s.at
	}
	b.put(s.at, p)
}

func (b *builder) put(index int, p *llm.Part) {
	b.ev.Delta = append(b.ev.Delta, llm.Delta{Choice: b.s.index, Index: index, Part: p})
	b.ev.Output = true
}

func (b *builder) text(s string) {
	if s != "" {
		b.add(textPart, false, &llm.Part{Text: s})
	}
}

func (b *builder) reply(r *reply) {
	b.reasoning(r)
	if r.Content.text != nil {
		b.text(*r.Content.text)
	}
	for i := range r.Content.parts {
		b.part(&r.Content.parts[i])
	}
	if r.Refusal != "" {
		b.s.refuse = true
		b.add(refusalPart, false, &llm.Part{Refusal: ptr(string(r.Refusal))})
	}
	if len(r.Annotations) > 0 {
		b.onText(&llm.Part{Citations: citations(r.Annotations)})
	}
	if sig := signatureOf(r.ExtraContent); sig != nil {
		b.onText(&llm.Part{Signature: sig})
	}
	for i := range r.Images {
		b.part(&r.Images[i])
	}
	if r.Audio != nil {
		b.audio(r.Audio)
	}
	for i := range r.ToolCalls {
		b.call(&r.ToolCalls[i])
	}
	if f := r.FunctionCall; f != nil { // legacy
		b.call(&toolCall{Index: ptr(whole(0)), Function: f})
	}
}

// onText adds what belongs to text already sent, without making it output.
func (b *builder) onText(p *llm.Part) {
	s := b.s
	if s.text < 0 {
		s.open, s.at, s.text = textPart, s.next, s.next
		s.next++
	}
	b.ev.Delta = append(b.ev.Delta, llm.Delta{Choice: s.index, Index: s.text, Part: p})
}

// part reads one piece of content in an array (Mistral's thinking) or of images (OpenRouter).
func (b *builder) part(p *part) {
	switch {
	case p.Type == "thinking":
		if p.Thinking != "" {
			b.add(reasoningPart, false, &llm.Part{Reasoning: &llm.Reasoning{Text: string(p.Thinking)}})
		}
	case p.Type == "refusal" && p.Refusal != nil:
		b.s.refuse = true
		b.add(refusalPart, false, &llm.Part{Refusal: p.Refusal})
	case p.Type == "image_url" && p.ImageURL != nil:
		d := decoder{}
		b.add(noPart, true, &llm.Part{Media: d.image(p.ImageURL, "")})
	case p.Text != nil:
		b.text(*p.Text)
	case p.whole != nil:
		b.add(noPart, true, &llm.Part{Foreign: p.whole})
	}
}

func (b *builder) audio(au *audio) {
	if au.Data == "" && au.Transcript == "" && au.ExpiresAt == nil {
		return
	}
	m := &llm.Media{Kind: llm.MediaAudio, Data: au.Data, Extra: llm.Members{}}
	if au.ID != "" {
		m.Extra["id"] = raw(string(au.ID))
	}
	if au.Transcript != "" {
		m.Extra["transcript"] = raw(au.Transcript)
	}
	if au.ExpiresAt != nil {
		m.Extra["expires_at"] = raw(int64(*au.ExpiresAt))
	}
	b.add(noPart, true, &llm.Part{Media: m})
}

// reasoning reads the three ways of sending it, of which vendors use several at once.
func (b *builder) reasoning(r *reply) {
	plain := string(r.ReasoningContent)
	if plain == "" {
		plain = string(r.Reasoning)
	}
	detailed := slices.ContainsFunc(r.ReasoningDetails, func(d reasoningDetail) bool { return deref(d.Text)+deref(d.Summary) != "" })
	if plain != "" && !detailed {
		if b.s.open != reasoningPart {
			b.s.plain.Reset()
		}
		b.add(reasoningPart, false, &llm.Part{Reasoning: &llm.Reasoning{Text: plain}})
		b.s.plain.WriteString(plain)
	}
	for i := range r.ReasoningDetails {
		b.reasoningDetail(&r.ReasoningDetails[i])
	}
}

// reasoningDetail reads one detail. The text of a block that came plainly before, and now comes once more
// with its signature, is not added again.
func (b *builder) reasoningDetail(d *reasoningDetail) {
	s := b.s
	p, ok := d.piece()
	if !ok || p.Reasoning.Text == "" && p.Reasoning.Redacted == nil && p.Signature == nil {
		return
	}
	encrypted := p.Reasoning.Redacted != nil
	fromPlain := s.open == reasoningPart && s.plain.Len() > 0
	if fromPlain && p.Reasoning.Text == s.plain.String() {
		p.Reasoning.Text = ""
	}
	b.add(reasoningPart, encrypted || s.open == reasoningPart && !fromPlain && d.Index != nil && *d.Index != s.detail, &p)
	s.detail = deref(d.Index)
	if fromPlain {
		s.plain.Reset()
	}
	if encrypted || p.Signature != nil {
		s.open = noPart // the block is complete
	}
}

// call reads a tool call or a piece of one. Pieces are matched by index; where a vendor sends none, or the
// same for all, by a new id.
func (b *builder) call(t *toolCall) {
	s := b.s
	p := toolCallPiece(t)
	st := s.find(t, p.Call)
	if st == nil {
		key := int64(-1)
		if t.Index != nil {
			key = int64(*t.Index)
		}
		s.calls = append(s.calls, callState{key: key, id: p.Call.ID, at: s.next, custom: p.Call.Custom})
		st = &s.calls[len(s.calls)-1]
		s.next++
		if p.Call.ID == "" {
			p.Call.ID = madeID(b.a.id, s.index, len(s.calls)-1)
			st.id = p.Call.ID
		}
	} else if p.Call.ID == "" && len(p.Call.Args) == 0 && p.Signature == nil && p.Extra == nil && p.Call.Name == "" {
		return
	}
	s.open, s.at = callPart, st.at
	st.args = st.args || len(p.Call.Args) > 0
	b.put(st.at, &p)
}

// madeID stands for an id that the vendor did not send: it is the same however the answer is read.
func madeID(answer string, choice, n int) string {
	id := "call_"
	for _, c := range []byte(answer) {
		if c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z' {
			id += string(rune(c))
		}
	}
	id = id[:min(len(id), 30)]
	return id + "_" + strconv.Itoa(choice) + "_" + strconv.Itoa(n)
}

func (s *choiceState) find(t *toolCall, c *llm.ToolCall) *callState {
	for i := len(s.calls) - 1; i >= 0; i-- {
		st := &s.calls[i]
		switch {
		case t.Index != nil && st.key != int64(*t.Index):
		case c.ID != "" && c.ID != st.id && c.Name != "":
			return nil // another call under the same index
		default:
			return st
		}
	}
	return nil
}

func toolCallPiece(t *toolCall) llm.Part {
	p := toolCallPart(t, "")
	p.At = ""
	if t.Function != nil {
		p.Call.Args = []byte(t.Function.Arguments)
	}
	return p
}

// fillCalls gives {} to calls that ended without arguments.
func (b *builder) fillCalls() {
	for i := range b.s.calls {
		if st := &b.s.calls[i]; !st.args && !st.custom {
			st.args = true
			b.put(st.at, &llm.Part{Call: &llm.ToolCall{Args: []byte("{}")}})
		}
	}
}

func (b *builder) stop(native string) {
	stop := stopOf(native)
	if stop == llm.StopEnd {
		switch {
		case len(b.s.calls) > 0: // a forced tool ends with "stop"
			stop = llm.StopTools
		case b.s.refuse:
			stop = llm.StopRefusal
		}
	}
	d := b.last()
	d.Stop, d.Native = stop, native
}

// stopOf reads OpenAI's reasons, and those of vendors that use another's words.
func stopOf(native string) llm.Stop {
	switch native {
	case "stop", "eos", "end_turn", "STOP", "complete":
		return llm.StopEnd
	case "stop_sequence":
		return llm.StopSequence
	case "length", "max_tokens", "model_length", "MAX_TOKENS":
		return llm.StopLength
	case "tool_calls", "function_call", "tool_use":
		return llm.StopTools
	case "content_filter", "SAFETY":
		return llm.StopFilter
	case "refusal":
		return llm.StopRefusal
	}
	return llm.StopOther
}
