package openai

import (
	"bytes"
	"io"
	"sync"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
	"sluice/internal/sse"
	"sluice/internal/wire"
)

// ReadStream reads a streamed chat answer.
func (c *ChatFormat) ReadStream(body io.ReadCloser, raw bool) llm.Stream {
	return newStream(body, raw, llm.OpenAIChat, c.d.HiddenThoughts)
}

// A stream reads the chunks of one answer. Each frame becomes one event, comments and the closing [DONE]
// included, so that the events' bytes are the stream's bytes.
type stream struct {
	body   io.ReadCloser
	frames *sse.Reader
	raw    bool
	format llm.Format
	a      assembler
	ev     llm.Event

	began bool  // output has been seen
	loose bool  // frames went by undecoded since the last one that told of an end
	done  bool  // [DONE] has come
	err   error // what Next returns from now on
	close sync.Once
}

func newStream(body io.ReadCloser, raw bool, f llm.Format, hidden bool) *stream {
	return &stream{body: body, frames: sse.NewReader(body, 0), raw: raw, format: f, a: assembler{hidden: hidden}}
}

// Close frees the connection. The frame buffer is not given back here: the last event may still be in use.
func (s *stream) Close() error {
	var err error
	s.close.Do(func() { err = s.body.Close() })
	return err
}

// Next returns the next event.
func (s *stream) Next() (*llm.Event, error) {
	if s.err != nil {
		return nil, s.err
	}
	if s.done {
		return nil, s.end(io.EOF)
	}
	f, err := s.frames.Next()
	if err != nil {
		return nil, s.end(s.broken(err))
	}
	s.ev = llm.Event{} // in place: a literal would stand on the stack, which an open stream keeps
	s.ev.Raw, s.ev.Format, s.ev.More = f.Raw, s.format, s.frames.Buffered()
	if s.raw && s.began && !f.Partial && quiet(&f) {
		s.ev.Output, s.loose = true, true
		return &s.ev, nil
	}
	return s.frame(&f)
}

// end makes err final and gives the frame buffer back: nobody holds an event any more.
func (s *stream) end(err error) error {
	s.err = err
	s.frames.Release()
	return err
}

// broken says what the end of the source means.
func (s *stream) broken(err error) error {
	if err == io.EOF && s.a.finished() && !s.loose {
		return io.EOF // without [DONE], but every answer came to its end
	}
	return wire.Broken(err)
}

// quiet says that a frame holds nothing but more of the answer. This runs for every frame that passes raw.
func quiet(f *sse.Frame) bool {
	return f.Object() && f.Event == nil && !tells(f.Data)
}

// tells finds a reason to stop, usage or an error that is not null. It looks at bytes in one pass: a name
// within a JSON string would have its quotes escaped, so that its closing quote is not met.
func tells(d []byte) bool {
	for {
		i := bytes.IndexByte(d, '"')
		if i < 0 || len(d) < i+2 {
			return false
		}
		d = d[i+1:]
		name := ""
		switch d[0] {
		case 'f':
			name = `finish_reason"`
		case 'u':
			name = `usage"`
		case 'e':
			name = `error"`
		default:
			continue
		}
		if len(d) < len(name) || string(d[:len(name)]) != name {
			continue
		}
		d = d[len(name):]
		if v := bytes.TrimLeft(d, " \t"); len(v) > 0 && v[0] == ':' && !bytes.HasPrefix(bytes.TrimLeft(v[1:], " \t"), []byte("null")) {
			return true
		}
	}
}

var doneMark = []byte("[DONE]")

// frame decodes one frame.
func (s *stream) frame(f *sse.Frame) (*llm.Event, error) {
	data := bytes.TrimSpace(f.Data)
	switch {
	case f.Data == nil && !s.began && isDocument(f.Raw):
		return s.document(f.Raw)
	case len(data) == 0 && f.Partial: // a comment, or what is left of a frame: nothing may follow its bytes
		return nil, s.end(s.broken(io.EOF))
	case len(data) == 0: // a comment, or an empty frame
		return &s.ev, nil
	case bytes.Equal(data, doneMark):
		if len(s.a.choices) == 0 && !s.began {
			return nil, s.end(&llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's stream ended without an answer"})
		}
		s.done = true
	default:
		if err := s.chunk(f, data); err != nil {
			return s.fail(err)
		}
	}
	if f.Partial { // the blank line that ends the frame is missing; readers wait for it
		s.ev.Raw = append(bytes.TrimRight(f.Raw, "\r\n"), "\n\n"...)
	}
	return &s.ev, nil
}

// chunk reads one chunk: all of it, or in the raw mode behind the first output only what it tells.
func (s *stream) chunk(f *sse.Frame, data []byte) error {
	if string(f.Event) == "error" {
		return eventError(data)
	}
	var c *answer
	if s.raw && s.began {
		var p probed
		if err := json.Unmarshal(data, &p, readOptions); err != nil {
			return s.unreadable(f, data, err)
		}
		c = p.answer()
		s.ev.Output = len(c.Choices) > 0
	} else {
		c = new(answer)
		var err error
		if wire.Apart(func() { err = json.Unmarshal(data, c, readOptions) }); err != nil {
			return s.unreadable(f, data, err)
		}
	}
	if err := answerError(c); err != nil {
		s.a.usage(&s.ev, c)
		return err
	}
	if s.raw && s.began {
		s.told(c)
	} else {
		s.a.event(&s.ev, c)
		s.began = s.began || s.ev.Output
	}
	s.ev.Asked = len(c.Choices) == 0 && s.ev.Usage != nil
	return nil
}

// told takes over what a frame in the raw mode says about the end.
func (s *stream) told(c *answer) {
	for i := range c.Choices {
		st := s.a.choice(int(c.Choices[i].Index)) // now known, so its end is waited for
		if c.Choices[i].FinishReason != "" {
			st.said, s.loose = true, false
			s.ev.Delta = append(s.ev.Delta, llm.Delta{Choice: st.index, Stop: stopOf(string(c.Choices[i].FinishReason))})
		}
	}
	if c.ServiceTier != "" {
		s.a.tier = string(c.ServiceTier)
	}
	s.a.usage(&s.ev, c)
}

func (s *stream) unreadable(f *sse.Frame, data []byte, err error) error {
	if f.Partial {
		return wire.Broken(io.EOF)
	}
	return unreadable(data, err)
}

// eventError reads the data of a frame named error.
func eventError(data []byte) error {
	var c answer
	if json.Unmarshal(data, &c, readOptions) == nil && !isNull(c.Error) {
		return answerError(&c)
	}
	return streamFailure(data)
}

// fail ends the stream with err. What was consumed until then is still told.
func (s *stream) fail(err error) (*llm.Event, error) {
	if s.ev.Usage == nil {
		return nil, s.end(err)
	}
	ev := &llm.Event{Format: s.format, Usage: s.ev.Usage, Asked: true}
	s.err = err
	s.frames.Release()
	return ev, nil
}

// isDocument says that a body is JSON instead of an event stream.
func isDocument(b []byte) bool {
	b = bytes.TrimLeft(b, "\xef\xbb\xbf \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

// document reads an upstream that answers a stream's request with a plain body: an error with status 200,
// or a whole answer. The answer goes on as a stream of one event without bytes.
func (s *stream) document(first []byte) (*llm.Event, error) {
	body := bytes.Clone(first)
	for {
		f, err := s.frames.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, s.end(s.broken(err))
		}
		body = append(body, f.Raw...)
		if len(body) > sse.MaxFrame {
			return nil, s.end(&llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer is too large"})
		}
	}
	ev, err := readAnswer(bytes.TrimSpace(body), false, s.format, s.a.hidden)
	if err != nil {
		return nil, s.end(err)
	}
	ev.Raw = nil // it is no frame
	s.done = true
	return ev, nil
}
