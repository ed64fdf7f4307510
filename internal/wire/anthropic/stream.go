package anthropic

import (
	"bytes"
	"io"
	"sync/atomic"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/wire"
)

// ReadStream reads a streamed answer and owns body. CountTokens has none.
func (f *Format) ReadStream(body io.ReadCloser, raw bool) llm.Stream {
	if f.op == llm.OpCount {
		return nil
	}
	return &stream{body: body, frames: sse.NewReader(body, 0), raw: raw}
}

// A stream reads frames into events. In raw mode it decodes only up to the first real output; behind that,
// frames pass that are of a kind which holds neither usage nor an error nor the end.
type stream struct {
	body   io.ReadCloser
	frames *sse.Reader
	raw    bool
	closed atomic.Bool

	ev     llm.Event // the current one
	delta  [2]llm.Delta
	begun  bool // message_start has come
	output bool // real output has come
	ended  bool // message_stop has come
	err    error
	usage  usage // reported so far
	search int64 // calls of web search that were seen
	blocks blocks
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
	ev, err := s.next()
	if err != nil {
		s.err = err
		s.frames.Release()
	}
	return ev, err
}

func (s *stream) next() (*llm.Event, error) {
	if s.ended {
		return nil, io.EOF
	}
	f, err := s.frames.Next()
	if err != nil {
		return nil, wire.Broken(err)
	}
	s.ev = llm.Event{Raw: f.Raw, Format: llm.AnthropicMessages, More: s.frames.Buffered()}
	if f.Data == nil { // a comment
		if f.Partial {
			return nil, wire.Broken(io.EOF)
		}
		return &s.ev, nil
	}
	kind := frameKind(&f)
	if f.Partial {
		if kind != stopFrame || !jsontext.Value(f.Data).IsValid() {
			return nil, wire.Broken(io.EOF)
		}
		s.ev.Raw = append(bytes.Clone(f.Raw), "\n\n"...) // all is said; only the blank line is missing
	}
	if s.raw && s.output && kind == passingFrame && f.Object() {
		s.ev.Output = writes(f.Data)
		s.searched(f.Data)
		return &s.ev, nil
	}
	if kind == stopFrame {
		s.ended = true
		return &s.ev, nil
	}
	decode := s.decode
	if s.raw && !s.output {
		decode = s.decodeApart
	}
	if err := decode(f.Data); err != nil {
		return nil, err
	}
	s.searched(f.Data)
	return &s.ev, nil
}

// decodeApart decodes what comes before the first output of a stream that passes raw behind it.
func (s *stream) decodeApart(data []byte) (err error) {
	wire.Apart(func() { err = s.decode(data) })
	return err
}

type kindOfFrame uint8

const (
	otherFrame   kindOfFrame = iota // must be decoded
	passingFrame                    // holds no usage, no error and not the end
	stopFrame                       // message_stop
)

// frameKind tells a frame's kind without decoding it: by the type in its data where that is the first
// member, as Anthropic writes it, else by the event's name, provided that there is no talk of an error.
func frameKind(f *sse.Frame) kindOfFrame {
	typ := firstType(f.Data)
	if typ == nil {
		if bytes.Contains(f.Data, []byte(`"error"`)) {
			return otherFrame
		}
		typ = f.Event
	}
	switch string(typ) {
	case "content_block_delta", "content_block_start", "content_block_stop", "ping":
		return passingFrame
	case "message_stop":
		return stopFrame
	}
	return otherFrame
}

// writes says that a frame which passes holds what the model wrote: a piece, or the name of a tool that it calls. What a tool
// at the provider has found comes with the start of a block, too, and can be long.
func writes(data []byte) bool {
	head := data[:min(len(data), 128)]
	return bytes.Contains(head, []byte("content_block_delta")) ||
		bytes.Contains(head, []byte("content_block_start")) && bytes.Contains(head, []byte(`tool_use"`))
}

// searched counts a call of web search when its block begins. Its count is told only at the end, which a client that leaves does
// not wait for.
func (s *stream) searched(data []byte) {
	head := data[:min(len(data), 256)]
	if !bytes.Contains(head, []byte(`"server_tool_use"`)) || !bytes.Contains(head, []byte("content_block_start")) || !bytes.Contains(head, []byte(`"web_search"`)) {
		return
	}
	s.search++
	s.ev.Usage = &llm.Usage{Runs: llm.Runs{webSearch: s.search}}
}

// firstType is the value of an object's first member if that is "type", else nil.
func firstType(data []byte) []byte {
	const key = `"type"`
	data = after(data, "{")
	data = after(data, key)
	data = after(data, ":")
	data = after(data, `"`)
	if i := bytes.IndexByte(data, '"'); i > 0 {
		return data[:i]
	}
	return nil
}

// after is what stands behind a prefix and the blanks before it; nil when the prefix is not there.
func after(data []byte, prefix string) []byte {
	for len(data) > 0 && data[0] <= ' ' {
		data = data[1:]
	}
	if len(data) < len(prefix) || string(data[:len(prefix)]) != prefix {
		return nil
	}
	return data[len(prefix):]
}

// A frame is the data of any frame.
type frame struct {
	Type    string         `json:"type"`
	Message *answer        `json:"message"`
	Index   int            `json:"index"`
	Block   jsontext.Value `json:"content_block"`
	Delta   jsontext.Value `json:"delta"`
	Usage   *usage         `json:"usage"`
	Error   jsontext.Value `json:"error"`
	Extra   unknown        `json:",embed"`
}

// decode puts what a frame says into the event.
func (s *stream) decode(data []byte) error {
	var f frame
	if err := unmarshal(data, &f); err != nil {
		return s.skip(data, err)
	}
	if f.Type == "error" || f.Error.Kind() == '{' || f.Error.Kind() == '"' {
		r := readRefusal(data)
		return classify(statusIn200(r), r)
	}
	switch f.Type {
	case "message_start":
		if err := s.start(f.Message); err != nil {
			return err
		}
	case "content_block_start":
		s.blocks.start(s, f.Index, f.Block)
	case "content_block_delta":
		if err := s.blocks.delta(s, f.Index, f.Delta); err != nil {
			return err
		}
	case "content_block_stop":
		if err := s.blocks.stop(s, f.Index); err != nil {
			return err
		}
	case "message_delta":
		return s.end(&f)
	case "message_stop":
		s.ended = true
	}
	s.output = s.output || s.ev.Output
	return nil
}

// skip passes over an event that is newer than this build, whose members may be of any type.
func (s *stream) skip(data []byte, err error) error {
	var f struct {
		Type  string         `json:"type"`
		Error jsontext.Value `json:"error"`
	}
	if unmarshal(data, &f) != nil || f.Type == "" || f.Error != nil {
		return unreadable(err)
	}
	switch f.Type {
	case "message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "message_stop":
		return unreadable(err)
	}
	return nil
}

// start opens the answer. The count of output there is a placeholder. Some servers open twice.
func (s *stream) start(m *answer) error {
	if m == nil {
		return nil
	}
	if !s.begun {
		s.begun = true
		s.ev.Head = &llm.Head{ID: m.ID, Model: m.Model}
		s.ev.Extra = m.Extra.members()
	}
	if m.Usage != nil {
		m.Usage.OutputTokens = nil
		s.usage.merge(m.Usage)
		s.ev.Usage = s.usage.hub()
	}
	for i, raw := range m.Content { // servers that have it all at once
		s.blocks.start(s, i, raw)
		if err := s.blocks.stop(s, i); err != nil {
			return err
		}
	}
	return nil
}

// end reads the message_delta, which says why the answer ended and what it took.
func (s *stream) end(f *frame) error {
	var d struct {
		Stop    *string        `json:"stop_reason"`
		StopAt  *string        `json:"stop_sequence"`
		Details jsontext.Value `json:"stop_details"`
		Holder  jsontext.Value `json:"container"`
	}
	if f.Delta.Kind() == '{' {
		if err := unmarshal(f.Delta, &d); err != nil {
			return unreadable(err)
		}
	}
	if err := s.blocks.end(s); err != nil {
		return err
	}
	extra := choiceExtra(d.Details, d.Holder)
	if d.Stop != nil || extra != nil {
		s.add(llm.Delta{Stop: readStop(deref(d.Stop)), Native: deref(d.Stop), StopText: deref(d.StopAt), Extra: extra})
	}
	if f.Usage != nil {
		s.usage.merge(f.Usage)
		s.ev.Usage = s.usage.hub()
	}
	s.ev.Extra = f.Extra.members()
	return nil
}

// add puts a delta into the event.
func (s *stream) add(d llm.Delta) {
	if s.ev.Delta == nil {
		s.ev.Delta = s.delta[:0]
	}
	s.ev.Delta = append(s.ev.Delta, d)
}
