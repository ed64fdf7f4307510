package openai

import (
	"strings"
	"time"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// A chunk is one frame of a streamed answer, or a whole answer, as a client reads it.
type chunk struct {
	ID      string      `json:"id"`
	Object  string      `json:"object"`
	Created int64       `json:"created"`
	Model   string      `json:"model"`
	Choices []outChoice `json:"choices"`
	Usage   llm.Raw     `json:"usage,omitzero"`
	Extra   llm.Members `json:",embed"`
}

type outChoice struct {
	Index        int         `json:"index"`
	Delta        *outReply   `json:"delta,omitzero"`
	Message      *outReply   `json:"message,omitzero"`
	Text         *string     `json:"text,omitzero"`
	Logprobs     llm.Raw     `json:"logprobs,omitzero"`
	FinishReason *string     `json:"finish_reason"`
	Extra        llm.Members `json:",embed"`
}

type outReply struct {
	Role             string            `json:"role,omitzero"`
	Content          llm.Raw           `json:"content,omitzero"` // a string, or null
	ReasoningContent *string           `json:"reasoning_content,omitzero"`
	ReasoningDetails []reasoningDetail `json:"reasoning_details,omitzero"`
	Refusal          llm.Raw           `json:"refusal,omitzero"`
	ToolCalls        []toolCall        `json:"tool_calls,omitzero"`
	Annotations      []annotation      `json:"annotations,omitzero"`
	Audio            *audio            `json:"audio,omitzero"`
	Images           []part            `json:"images,omitzero"`
	ExtraContent     *extraContent     `json:"extra_content,omitzero"`
	Extra            llm.Members       `json:",embed"`
}

// finishReason is OpenAI's word for a stop. native, the upstream's own word, is used when it was OpenAI's.
func finishReason(stop llm.Stop, native string, refused bool) string {
	if native != "" {
		return native
	}
	switch stop {
	case llm.StopLength:
		return "length"
	case llm.StopTools:
		return "tool_calls"
	case llm.StopFilter:
		return "content_filter"
	case llm.StopRefusal:
		if !refused { // without words of refusal the client would take it for an empty answer
			return "content_filter"
		}
	}
	return "stop"
}

// A writer encodes a stream for a chat or completions client.
type writer struct {
	call    *llm.Call
	text    bool // the client asked for a text completion
	head    chunk
	headed  bool
	members llm.Members // of the head, repeated in each chunk
	choices []*outState
	usage   *llm.Usage
	same    bool // the usage was read in this format
}

// An outState is what was written of one choice.
type outState struct {
	index   int
	begun   bool             // the role was written
	refused bool             //
	ended   bool             // the reason to stop was written
	calls   map[int]*outCall // by part
	thought llm.Part         // the reasoning part being written, for the detail that closes it
	at      int              // its part index
	blocks  int              // reasoning details written
	offset  int              // characters of text written (completions' text_offset)
}

// An outCall is a tool call of which something was written.
type outCall struct {
	n     int // its place in tool_calls
	named bool
}

// Writer starts a streamed chat answer.
func (*ChatFormat) Writer(call *llm.Call) wire.Writer { return newWriter(call, false) }

func newWriter(call *llm.Call, text bool) *writer {
	w := &writer{call: call, text: text}
	w.head = chunk{ID: "chatcmpl-" + call.ID, Object: chunkObject, Model: call.Model}
	if text {
		w.head.ID, w.head.Object = "cmpl-"+call.ID, textObject
	}
	return w
}

// ContentType is the media type of the stream.
func (*writer) ContentType() string { return "text/event-stream; charset=utf-8" }

// Verbatim says that frames of the same format may pass as they came.
func (*writer) Verbatim() bool { return true }

func (w *writer) format() llm.Format {
	if w.text {
		return llm.OpenAICompletions
	}
	return llm.OpenAIChat
}

// opening takes over an answer's head. What only its own format knows of it is told only when that is w's.
func (w *writer) opening(h *llm.Head, same bool) {
	w.headed = true
	if h.ID != "" {
		w.head.ID = h.ID
	}
	if h.Model != "" {
		w.head.Model = h.Model
	}
	if !h.Created.IsZero() {
		w.head.Created = h.Created.Unix()
	}
	if same {
		w.members = h.Extra
	}
}

// Event appends one chunk for each choice that ev adds to.
func (w *writer) Event(dst []byte, ev *llm.Event) ([]byte, error) {
	same := ev.Format == w.format()
	if ev.Head != nil {
		w.opening(ev.Head, same)
	}
	if ev.Usage != nil {
		if w.usage == nil {
			w.usage = new(llm.Usage)
		}
		w.usage.Merge(ev.Usage)
		w.same = same
	}
	if w.head.Created == 0 { // a vendor that does not say: this is when the answer began for the client
		w.head.Created = time.Now().Unix()
	}
	var extra llm.Members
	if same {
		extra = ev.Extra
	}
	if len(ev.Delta) == 0 {
		if ev.Head == nil && extra == nil {
			return dst, nil
		}
		if !w.text && ev.Head != nil { // OpenAI opens with the role
			return w.chunk(dst, outChoice{Delta: w.role(w.choice(0), &outReply{})}, extra)
		}
		if extra != nil {
			return w.chunk(dst, outChoice{Index: -1}, extra)
		}
		return dst, nil
	}
	var err error
	for rest := ev.Delta; len(rest) > 0 && err == nil; extra = nil {
		n := 1
		for n < len(rest) && rest[n].Choice == rest[0].Choice {
			n++
		}
		dst, err = w.deltas(dst, rest[:n], same, extra)
		rest = rest[n:]
	}
	return dst, err
}

func (w *writer) choice(index int) *outState {
	for _, c := range w.choices {
		if c.index == index {
			return c
		}
	}
	c := &outState{index: index, calls: make(map[int]*outCall), at: -1}
	w.choices = append(w.choices, c)
	return c
}

func (w *writer) role(c *outState, r *outReply) *outReply {
	if !c.begun {
		c.begun = true
		r.Role = "assistant"
		if r.Content == nil && r.ReasoningContent == nil && r.ToolCalls == nil && r.Refusal == nil {
			r.Content = llm.Raw(`""`)
		}
	}
	return r
}

// deltas writes the deltas of one choice as one chunk.
func (w *writer) deltas(dst []byte, deltas []llm.Delta, same bool, extra llm.Members) ([]byte, error) {
	c := w.choice(deltas[0].Choice)
	r := &outReply{}
	p := replyWriter{c: c, r: r, same: same}
	out := outChoice{Index: c.index}
	for i := range deltas {
		d := &deltas[i]
		if d.Part != nil {
			p.part(d.Index, d.Part)
		}
		if d.Logprobs != nil {
			out.Logprobs = d.Logprobs
		}
		if d.Stop != "" {
			native := ""
			if same {
				native = d.Native
			}
			p.closeThought()
			out.FinishReason, c.ended = ptr(finishReason(d.Stop, native, c.refused)), true
		}
		if same {
			out.Extra, r.Extra = splitExtra(d.Extra, out.Extra, r.Extra)
		}
	}
	p.finish()
	if w.text {
		out.Text = ptr(p.text.String())
		out.Logprobs = completionLogprobs(out.Logprobs, c.offset)
		c.offset += runeCount(*out.Text)
		return w.chunk(dst, out, extra)
	}
	out.Delta = w.role(c, r)
	if out.says() || extra != nil {
		return w.chunk(dst, out, extra)
	}
	return dst, nil
}

// says is false for a choice that adds nothing: a signature, say, that waits for the end of its block.
func (c *outChoice) says() bool {
	d := c.Delta
	return c.FinishReason != nil || c.Logprobs != nil || c.Extra != nil || d.Extra != nil ||
		d.Role != "" || d.Content != nil || d.ReasoningContent != nil || d.ReasoningDetails != nil || d.Refusal != nil ||
		d.ToolCalls != nil || d.Annotations != nil || d.Audio != nil || d.Images != nil || d.ExtraContent != nil
}

// splitExtra tells a choice's own members from its message's, which the reader marked.
func splitExtra(from, choice, message llm.Members) (llm.Members, llm.Members) {
	for name, v := range from {
		if in, ok := strings.CutPrefix(name, "message/"); ok {
			message = with(message, in, v)
		} else {
			choice = with(choice, name, v)
		}
	}
	return choice, message
}

// chunk appends one frame. A choice of index -1 means none.
func (w *writer) chunk(dst []byte, c outChoice, extra llm.Members) ([]byte, error) {
	out := w.head
	out.Extra = w.members
	if extra != nil {
		out.Extra = make(llm.Members, len(w.members)+len(extra))
		for _, m := range [...]llm.Members{w.members, extra} {
			for name, v := range m {
				out.Extra[name] = v
			}
		}
	}
	out.Choices = []outChoice{}
	if c.Index >= 0 {
		out.Choices = append(out.Choices, c)
	}
	if w.call.WantUsage {
		out.Usage = llm.Raw("null")
	}
	data, err := marshal(&out)
	if err != nil {
		return dst, err
	}
	return appendFrame(dst, data), nil
}

// A replyWriter gathers the parts that one chunk or answer adds to a message.
type replyWriter struct {
	c        *outState
	r        *outReply
	same     bool
	whole    bool // a whole answer, not a chunk
	text     strings.Builder
	texts    bool
	thoughts strings.Builder
	refusal  strings.Builder
}

func (p *replyWriter) part(index int, q *llm.Part) {
	if q.Reasoning == nil {
		p.closeThought()
	}
	switch {
	case q.Reasoning != nil:
		p.thought(index, q)
	case q.Call != nil:
		p.call(index, q)
	case q.Refusal != nil:
		p.c.refused = true
		p.refusal.WriteString(*q.Refusal)
	case q.Media != nil:
		p.media(q)
	case q.Result != nil, q.Foreign != nil: // what a provider ran itself has no place here
	default:
		if q.Text != "" {
			p.texts = true
			p.text.WriteString(q.Text)
		}
		for i := range q.Citations {
			if c := &q.Citations[i]; c.URL != "" || p.same && c.Native != nil {
				p.r.Annotations = append(p.r.Annotations, annotationOf(c, p.same))
			}
		}
		if q.Signature != nil {
			p.r.ExtraContent = signed(q.Signature, nil)
		}
	}
}

// thought writes the text as it comes, and what must come back with it as one detail when the part is
// complete: a client that keeps the details has each block in one piece.
func (p *replyWriter) thought(index int, q *llm.Part) {
	if p.c.at != index {
		p.closeThought()
		p.c.at, p.c.thought = index, llm.Part{}
	}
	p.thoughts.WriteString(q.Reasoning.Text)
	p.c.thought.Append(q)
}

func (p *replyWriter) closeThought() {
	if p.c.at < 0 {
		return
	}
	if needsDetails(&p.c.thought) {
		p.r.ReasoningDetails = append(p.r.ReasoningDetails, detailOf(&p.c.thought, p.c.blocks, sameName))
	}
	p.c.blocks++
	p.c.at, p.c.thought = -1, llm.Part{}
}

func (p *replyWriter) call(index int, q *llm.Part) {
	c, known := p.c.calls[index]
	if !known {
		c = &outCall{n: len(p.c.calls)}
		p.c.calls[index] = c
	}
	t := toolCall{}
	if !p.whole {
		t.Index = ptr(whole(c.n))
	}
	if !known {
		t.ID, t.Type = loose(q.Call.ID), "function"
		if q.Call.Custom {
			t.Type = "custom"
		}
	}
	name := loose(q.Call.Name)
	if c.named { // some upstreams repeat it with every piece
		name = ""
	}
	c.named = c.named || name != ""
	if q.Call.Custom {
		t.Custom = &custom{Name: name, Input: string(q.Call.Args)}
	} else {
		t.Function = &function{Name: name, Arguments: arguments(q.Call.Args)}
	}
	if p.same {
		t.Extra = without(q.Extra, "extra_content")
		t.ExtraContent = signed(q.Signature, q.Extra["extra_content"])
	} else {
		t.ExtraContent = signed(q.Signature, nil)
	}
	p.r.ToolCalls = append(p.r.ToolCalls, t)
}

func (p *replyWriter) media(q *llm.Part) {
	m := q.Media
	switch m.Kind {
	case llm.MediaImage:
		x := encoder{same: p.same}
		p.r.Images = append(p.r.Images, x.image(q))
	case llm.MediaAudio:
		a := &audio{ID: loose(unquote(m.Extra["id"])), Data: m.Data, Transcript: unquote(m.Extra["transcript"])}
		if v := m.Extra["expires_at"]; v != nil {
			a.ExpiresAt = ptr(whole(number(v)))
		}
		if old := p.r.Audio; old != nil { // pieces of one sound
			a.ID, a.Data, a.Transcript = loose(orAt(string(a.ID), string(old.ID))), joinAudio(old.Data, a.Data), old.Transcript+a.Transcript
			if a.ExpiresAt == nil {
				a.ExpiresAt = old.ExpiresAt
			}
		}
		p.r.Audio = a
	}
}

// finish puts the gathered texts into the reply.
func (p *replyWriter) finish() {
	if p.texts {
		p.r.Content = raw(p.text.String())
	}
	if p.thoughts.Len() > 0 {
		p.r.ReasoningContent = ptr(p.thoughts.String())
	}
	if p.refusal.Len() > 0 {
		p.r.Refusal = raw(p.refusal.String())
	}
}

// End appends the usage, for a client that asked, and the closing mark.
func (w *writer) End(dst []byte) []byte {
	if w.call.WantUsage && w.usage != nil {
		out := w.head
		out.Extra, out.Choices, out.Usage = w.members, []outChoice{}, raw(usageOf(w.usage, w.same))
		dst = appendFrame(dst, raw(&out))
	}
	return append(dst, "data: [DONE]\n\n"...)
}

// Fail appends an error and no closing mark.
func (*writer) Fail(dst []byte, e *llm.Error, requestID string, _ bool) []byte {
	return appendFailure(dst, e, requestID)
}

// Ping appends a comment, which readers of event streams pass over.
func (*writer) Ping(dst []byte) []byte { return append(dst, ": ping\n\n"...) }

// Answer writes a whole chat answer.
func (*ChatFormat) Answer(call *llm.Call, a *llm.Answer) ([]byte, error) {
	return writeAnswer(call, a, false)
}

func writeAnswer(call *llm.Call, a *llm.Answer, text bool) ([]byte, error) {
	w := newWriter(call, text)
	same := a.Format == w.format()
	w.opening(&a.Head, same)
	out := w.head
	if !text {
		out.Object = chatObject
	}
	if out.Created == 0 {
		out.Created = time.Now().Unix()
	}
	out.Choices = make([]outChoice, 0, len(a.Choices))
	for i := range a.Choices {
		out.Choices = append(out.Choices, w.whole(&a.Choices[i], same))
	}
	out.Extra = w.members
	if same {
		for name, v := range a.Extra {
			out.Extra = with(out.Extra, name, v)
		}
	}
	if u := a.Usage; u != nil {
		out.Usage = raw(usageOf(u, same))
		if u.Tier != "" {
			out.Extra = with(out.Extra, "service_tier", raw(u.Tier))
		}
	}
	return marshal(&out)
}

// whole writes one choice of a whole answer.
func (w *writer) whole(c *llm.Choice, same bool) outChoice {
	p := replyWriter{c: w.choice(c.Index), r: &outReply{Role: "assistant"}, same: same, whole: true}
	for i := range c.Parts {
		p.part(i, &c.Parts[i])
	}
	p.closeThought()
	p.finish()
	stop := c.Stop
	if stop == "" {
		stop = llm.StopEnd
	}
	native := ""
	if same {
		native = c.Native
	}
	out := outChoice{Index: c.Index, Logprobs: c.Logprobs, FinishReason: ptr(finishReason(stop, native, p.c.refused))}
	if same {
		out.Extra, p.r.Extra = splitExtra(c.Extra, nil, nil)
	}
	if w.text {
		out.Text, out.Logprobs = ptr(p.text.String()), completionLogprobs(c.Logprobs, 0)
		if out.Logprobs == nil {
			out.Logprobs = llm.Raw("null")
		}
		return out
	}
	if p.r.Content == nil {
		p.r.Content = llm.Raw("null") // SDKs expect the members, also empty
		if p.r.ToolCalls == nil && p.r.Refusal == nil {
			p.r.Content = llm.Raw(`""`)
		}
	}
	if p.r.Refusal == nil {
		p.r.Refusal = llm.Raw("null")
	}
	if out.Logprobs == nil {
		out.Logprobs = llm.Raw("null")
	}
	out.Message = p.r
	return out
}
