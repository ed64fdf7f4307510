package gemini

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Writer starts a streamed answer: server-sent events when the client asked for them with alt=sse, else a
// JSON array that grows. Formats without streams have none.
func (f *Format) Writer(call *llm.Call) wire.Writer {
	if f.op != llm.OpChat {
		return nil
	}
	g := gathering{call: call}
	if call.Query.Get("alt") == "sse" {
		return &events{gathering: g}
	}
	return &array{gathering: g}
}

// What separates frames. Google ends lines with CRLF, and its clients look for just these.
const (
	crlf    = "\r\n"
	dataTag = "data: "
	endTag  = crlf + crlf
)

// frame makes the chunk of an event that is not passed as it came; nil when the event says nothing yet.
func (g *gathering) frame(dst []byte, ev *llm.Event) []byte {
	g.event(ev)
	if !g.ready() {
		return nil
	}
	return g.chunk(dst, false)
}

// events writes server-sent events.
type events struct {
	gathering
	passed bool // frames went out as they came, so the last of them said the end
}

func (*events) ContentType() string { return "text/event-stream" }

// Verbatim is true: frames of this format may be written as they came.
func (*events) Verbatim() bool { return true }

// Event writes a frame as it came, when nobody edited it, or makes one of what the event adds.
func (w *events) Event(dst []byte, ev *llm.Event) ([]byte, error) {
	if data, ok := passes(ev); ok {
		w.passed = w.passed || data != nil
		w.Passed(ev)
		switch {
		case !ev.Element:
			return append(dst, ev.Raw...), nil
		case data == nil:
			return dst, nil
		}
		return append(append(append(dst, dataTag...), oneLine(data)...), endTag...), nil
	}
	w.passed = false
	frame := w.frame(append(dst, dataTag...), ev)
	if frame == nil {
		return dst, nil
	}
	return append(frame, endTag...), nil
}

// End writes the last chunk.
func (w *events) End(dst []byte) []byte {
	if w.passed {
		return dst
	}
	return append(w.chunk(append(dst, dataTag...), true), endTag...)
}

// Fail writes an error frame. Google's SDKs for Go, JavaScript and Python raise on it. The blank line before
// it is for an upstream that broke off in the middle of one.
func (w *events) Fail(dst []byte, e *llm.Error, requestID string, _ bool) []byte {
	dst = errorObject(append(dst, endTag+dataTag...), e, wire.NewProblem(e, requestID))
	return append(dst, endTag...)
}

// Ping is an empty frame. A comment would do by the standard, but Google's SDKs for Go and Python take any
// line that is not data for a broken one.
func (*events) Ping(dst []byte) []byte { return append(dst, endTag...) }

// array writes a JSON array. What is written is a prefix of a valid document at any time.
type array struct {
	gathering
	begun  bool
	passed bool
}

func (*array) ContentType() string { return mimeJSON }

// Verbatim is false: frames come as server-sent events and have to become elements.
func (*array) Verbatim() bool { return false }

// Event writes an element: the data of a frame as it came, when nobody edited it, or what the event adds.
func (w *array) Event(dst []byte, ev *llm.Event) ([]byte, error) {
	if data, ok := passes(ev); ok {
		if data == nil {
			return dst, nil
		}
		w.passed = true
		w.Passed(ev)
		return append(w.separate(dst), data...), nil
	}
	w.passed = false
	frame := w.frame(nil, ev)
	if frame == nil {
		return dst, nil
	}
	return append(w.separate(dst), frame...), nil
}

// separate opens the array or puts a comma.
func (w *array) separate(dst []byte) []byte {
	if w.begun {
		return append(dst, crlf+","+crlf...)
	}
	w.begun = true
	return append(dst, '[')
}

// End writes the last element and the closing bracket.
func (w *array) End(dst []byte) []byte {
	if !w.passed {
		dst = w.chunk(w.separate(dst), true)
	}
	return append(dst, crlf+"]"...)
}

// Fail writes an error as the last element.
func (w *array) Fail(dst []byte, e *llm.Error, requestID string, _ bool) []byte {
	dst = errorObject(w.separate(dst), e, wire.NewProblem(e, requestID))
	return append(dst, crlf+"]"...)
}

// Ping is white space between two elements.
func (*array) Ping(dst []byte) []byte { return append(dst, crlf...) }

// passes says that an event's bytes may go on as they are, and gives the data in them: nil for a comment.
func passes(ev *llm.Event) (data []byte, ok bool) {
	switch {
	case ev.Raw == nil:
	case ev.Format != llm.GeminiGenerate:
	case ev.Element:
		if i := bytes.IndexByte(ev.Raw, '{'); i >= 0 {
			return ev.Raw[i:], true
		}
		return nil, true
	default:
		first := bytes.TrimLeft(ev.Raw, " \t\r\n\ufeff")
		if len(first) == 0 || first[0] != '{' { // else it is a whole answer, which is no frame
			return frameData(ev.Raw), true
		}
	}
	return nil, false
}

// oneLine takes the space out of an element: Google's clients read the data of an event from one line.
func oneLine(data []byte) []byte {
	out, err := jsontext.AppendFormat(nil, data,
		jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true))
	if err != nil { // the reader looked only at its brackets; a blank says the same as a line's end
		out = bytes.ReplaceAll(data, []byte("\r"), []byte(" "))
		out = bytes.ReplaceAll(out, []byte("\n"), []byte(" "))
	}
	return out
}

// frameData gives the data of one server-sent event. JSON may be broken over lines wherever it has space.
func frameData(raw []byte) []byte {
	var data []byte
	for len(raw) > 0 {
		end := bytes.IndexAny(raw, "\r\n")
		if end < 0 {
			end = len(raw)
		}
		line := raw[:end]
		raw = raw[min(end+1, len(raw)):]
		if v, ok := bytes.CutPrefix(line, []byte("data:")); ok {
			v = bytes.TrimPrefix(v, []byte(" "))
			if data == nil {
				data = v
			} else {
				data = append(append(bytes.Clone(data), '\n'), v...)
			}
		}
	}
	return data
}
