package responses

import (
	"bytes"
	"io"
	"sync/atomic"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/wire"
)

// ReadStream reads a streamed answer and owns body.
func (Format) ReadStream(body io.ReadCloser, raw bool) llm.Stream {
	return &stream{body: body, frames: sse.NewReader(body, 0), raw: raw}
}

// A stream reads frames into events, one event a frame. In raw mode it decodes up to the first real output;
// behind that only what may hold usage, an error or the end.
type stream struct {
	body   io.ReadCloser
	frames *sse.Reader
	raw    bool
	closed atomic.Bool

	ev     llm.Event // the current one
	a      assembly
	paid   counter
	headed bool
	output bool // real output has come
	ended  bool // the final response has come
	err    error
}

// A streamEvent is one event of a stream: a union of those that are read.
type streamEvent struct {
	Response     jsontext.Value   `json:"response"`
	OutputIndex  *int             `json:"output_index"`
	ItemID       string           `json:"item_id"`
	ContentIndex int              `json:"content_index"`
	SummaryIndex int              `json:"summary_index"`
	Item         jsontext.Value   `json:"item"`
	Part         jsontext.Value   `json:"part"`
	Delta        string           `json:"delta"`
	Text         string           `json:"text"`
	Refusal      string           `json:"refusal"`
	Arguments    string           `json:"arguments"`
	Input        string           `json:"input"`
	Annotation   jsontext.Value   `json:"annotation"`
	Logprobs     []jsontext.Value `json:"logprobs"`
}

// Close frees the connection. The frame buffer is left alone: the last event may be in use elsewhere.
func (s *stream) Close() error {
	if s.closed.Swap(true) {
		return nil
	}
	return s.body.Close()
}

// Next returns the next event.
func (s *stream) Next() (*llm.Event, error) {
	if s.err != nil {
		return nil, s.err
	}
	if err := s.next(); err != nil {
		s.err = err
		s.frames.Release()
		return nil, err
	}
	return &s.ev, nil
}

func (s *stream) next() error {
	if s.ended {
		return io.EOF
	}
	f, err := s.frames.Next()
	if err != nil {
		return wire.Broken(err)
	}
	s.ev = llm.Event{Raw: f.Raw, Format: llm.OpenAIResponses, More: s.frames.Buffered()}
	kind := frameKind(&f)
	if f.Partial {
		if !terminal(kind) || !jsontext.Value(f.Data).IsValid() {
			return wire.Broken(io.EOF)
		}
		s.ev.Raw = append(bytes.Clone(f.Raw), "\n\n"...) // all is said; only the blank line is missing
	}
	if f.Data == nil { // a comment
		return nil
	}
	if string(kind) == "response.output_item.done" && mayBePaid(f.Data) {
		s.called(f.Data)
	}
	if s.raw && s.output && passing(kind) && f.Object() {
		s.ev.Output = bytes.HasSuffix(kind, []byte(".delta"))
		return nil
	}
	if s.raw && !s.output {
		return s.frameApart(kind, f.Data)
	}
	return s.frame(kind, f.Data)
}

// called counts the call of a tool that runs at the vendor when its item is done. The final response tells them again; a client
// that leaves does not wait for it.
func (s *stream) called(data []byte) {
	var e struct {
		Item jsontext.Value `json:"item"`
	}
	if json.Unmarshal(data, &e, readOptions) != nil {
		return
	}
	if s.paid.add(e.Item); s.paid.calls != nil {
		s.ev.Usage = &llm.Usage{Runs: s.paid.calls}
	}
}

// frameApart decodes what comes before the first output of a stream that passes raw behind it.
func (s *stream) frameApart(kind, data []byte) (err error) {
	wire.Apart(func() { err = s.frame(kind, data) })
	return err
}

// frameKind is an event's type, from its data, or by its name where the data has none.
func frameKind(f *sse.Frame) []byte {
	if t := topString(f.Data, "type"); t != nil {
		return t
	}
	return f.Event
}

// terminal says that an event of this type ends the answer.
func terminal(kind []byte) bool {
	switch string(kind) {
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled", "error":
		return true
	}
	return false
}

// passing says that an event of this type holds neither usage nor an error nor the end.
func passing(kind []byte) bool { return bytes.HasPrefix(kind, []byte("response.")) && !terminal(kind) }

func garbled(err error) error {
	return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream sent an event that cannot be read", Err: err}
}

// frame decodes an event.
func (s *stream) frame(kind, data []byte) error {
	switch string(kind) {
	case "error":
		return streamError(data)
	case "":
		if string(bytes.TrimSpace(data)) == "[DONE]" { // of servers that end every stream like chat's
			return nil
		}
		if e := topError(data); e != nil {
			return failure(e)
		}
	}
	if s.raw && terminal(kind) {
		return s.account(data)
	}
	if !read(kind) {
		if !jsontext.Value(data).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) {
			return garbled(nil)
		}
		return nil
	}
	var e streamEvent
	if err := json.Unmarshal(data, &e, readOptions); err != nil {
		return garbled(err)
	}
	s.a.reset()
	if err := s.event(string(kind), &e); err != nil {
		return err
	}
	s.ev.Delta, s.ev.Output = s.a.deltas, s.a.output
	s.output = s.output || s.a.output
	return nil
}

// read says that events of this type tell something; the others repeat, or are of hosted tools, whose
// items come whole at their end.
func read(kind []byte) bool {
	switch string(kind) {
	case "response.created", "response.in_progress", "response.queued", "response.completed", "response.incomplete",
		"response.failed", "response.cancelled", "response.output_item.added", "response.output_item.done",
		"response.output_text.delta", "response.output_text.done", "response.output_text.annotation.added",
		"response.refusal.delta", "response.refusal.done", "response.content_part.done",
		"response.function_call_arguments.delta", "response.function_call_arguments.done",
		"response.custom_tool_call_input.delta", "response.custom_tool_call_input.done",
		"response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
		"response.reasoning_text.delta", "response.reasoning_text.done":
		return true
	}
	return false
}

func (s *stream) event(kind string, e *streamEvent) error {
	a := &s.a
	switch kind {
	case "response.created", "response.in_progress", "response.queued":
		return s.head(e.Response)
	case "response.completed", "response.incomplete", "response.failed", "response.cancelled":
		return s.end(kind, e.Response)
	case "response.output_item.added":
		if err := a.begin(e.OutputIndex, e.Item); err != nil {
			return garbled(err)
		}
		return nil
	case "response.output_item.done":
		at := a.item(e.OutputIndex, string(topString(e.Item, "id"))).at
		if err := a.whole(at, e.Item); err != nil {
			return garbled(err)
		}
		return nil
	}
	it := a.item(e.OutputIndex, e.ItemID)
	if it.id == "" {
		it.id = e.ItemID
	}
	switch kind {
	case "response.output_text.delta":
		p := a.part(it, partText, e.ContentIndex)
		d := a.text(it, p, e.Delta)
		if logged(d, e.Logprobs); d.Logprobs != nil {
			p.logprobs = true
		}
	case "response.output_text.done":
		a.probs(a.upTo(it, partText, e.ContentIndex, e.Text), e.Logprobs)
	case "response.output_text.annotation.added":
		p := a.part(it, partText, e.ContentIndex)
		p.cited++
		a.add(p, llm.Part{Citations: []llm.Citation{readCitation(e.Annotation)}})
	case "response.refusal.delta":
		a.text(it, a.part(it, partRefusal, e.ContentIndex), e.Delta)
	case "response.refusal.done":
		a.upTo(it, partRefusal, e.ContentIndex, e.Refusal)
	case "response.content_part.done":
		if err := a.content(it, e.ContentIndex, e.Part); err != nil {
			return garbled(err)
		}
	case "response.function_call_arguments.delta", "response.custom_tool_call_input.delta":
		a.args(it, e.Delta)
	case "response.function_call_arguments.done":
		a.upTo(it, partCall, 0, e.Arguments)
	case "response.custom_tool_call_input.done":
		a.upTo(it, partCall, 0, e.Input)
	case "response.reasoning_summary_text.delta":
		a.text(it, a.part(it, partSummary, e.SummaryIndex), e.Delta)
	case "response.reasoning_summary_text.done":
		a.upTo(it, partSummary, e.SummaryIndex, e.Text)
	case "response.reasoning_text.delta":
		a.text(it, a.part(it, partReasoning, e.ContentIndex), e.Delta)
	case "response.reasoning_text.done":
		a.upTo(it, partReasoning, e.ContentIndex, e.Text)
	}
	return nil
}

func (s *stream) head(raw jsontext.Value) error {
	if s.headed {
		return nil
	}
	var r response
	if err := json.Unmarshal(raw, &r, readOptions); err != nil {
		return garbled(err)
	}
	s.headed = true
	s.ev.Head = r.head(r.extra())
	return nil
}

// end takes the final response.
func (s *stream) end(kind string, raw jsontext.Value) error {
	var r response
	if err := json.Unmarshal(raw, &r, readOptions); err != nil {
		return garbled(err)
	}
	if err := failed(status(kind, r.Status), r.Error); err != nil {
		return err
	}
	if !s.headed {
		s.headed = true
		s.ev.Head = r.head(nil)
	}
	if err := s.a.rest(r.Output); err != nil {
		return garbled(err)
	}
	if s.a.nameless() {
		return garbled(errNameless)
	}
	s.a.stop(status(kind, r.Status), r.Incomplete)
	s.ev.Usage, s.ev.Extra = r.usage(), r.extra()
	s.ended = true
	return nil
}

// account takes of the final response only what accounting needs.
func (s *stream) account(data []byte) error {
	var e struct {
		Response outcome `json:"response"`
	}
	if err := json.Unmarshal(data, &e, readOptions); err != nil {
		return garbled(err)
	}
	o := &e.Response
	kind := string(topString(data, "type"))
	if err := failed(status(kind, o.Status), o.Error); err != nil {
		return err
	}
	s.a.reset()
	s.a.called = s.a.called || bytes.Contains(o.Output, []byte(`"`+typeCall+`"`)) || bytes.Contains(o.Output, []byte(`"`+typeCustom+`"`))
	s.a.stop(status(kind, o.Status), o.Incomplete)
	s.ev.Delta, s.ev.Usage = s.a.deltas, o.usage()
	s.ev.Output = len(o.Output) > len("[]")
	s.ended = true
	return nil
}

// status is what the event's type says of the response; the object's own word may be late.
func status(kind, told string) string {
	switch kind {
	case "response.completed":
		return "completed"
	case "response.incomplete":
		return "incomplete"
	case "response.failed":
		return "failed"
	case "response.cancelled":
		return "cancelled"
	}
	return told
}

// streamError reads an error event, in which the error is the event itself or its member error.
func streamError(data []byte) error {
	if e := topError(data); e != nil {
		return failure(e)
	}
	if !jsontext.Value(data).IsValid() {
		return garbled(nil)
	}
	return failure(data)
}

// topError is an event's member error, nil when there is none.
func topError(data []byte) jsontext.Value {
	var e struct {
		Error jsontext.Value `json:"error"`
	}
	if err := json.Unmarshal(data, &e, readOptions); err != nil || e.Error.Kind() == 'n' {
		return nil
	}
	return e.Error
}
