package mock

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// rendering is an answer in a vendor's bytes: a plain one is a body in one frame, a stream is its events.
type rendering struct {
	contentType string
	stream      bool
	frames      []frame
	tokens      counts
	size        int64
	pieces      int    // events of output that a stream of this answer has
	eol         string // of an event stream

	typeHeader, lengthHeader []string // made once
}

// frame is one event with its line ends, or a whole body.
type frame struct {
	data   []byte
	output bool  // it carries something the model said: ttft and pace count from these
	tokens int64 // output tokens of all frames up to here
}

// epoch is the moment at which every answer was made: equal questions get equal bytes.
const epoch = 1_767_225_600 // 2026-01-01

const (
	jsonType   = "application/json"
	streamType = "text/event-stream; charset=utf-8"
)

// render gives a to k's vendor.
func render(k *ask, a *answer, s *Script) *rendering {
	r := &rendering{contentType: jsonType, stream: k.stream, tokens: a.tokens}
	w := &writer{s: s, k: k, a: a, r: r, eol: "\n"}
	switch k.api {
	case openaiChat:
		w.chat()
	case openaiText:
		w.completion()
	case openaiResponses:
		w.responses()
	case anthropicMessages:
		w.messages()
	default:
		w.generate()
	}
	w.finish()
	return r
}

// plain wraps one body; the vendor's layout is kept (indented or compact).
func plain(v any, tokens counts, layout ...jsontext.Options) *rendering {
	r := &rendering{contentType: jsonType, tokens: tokens}
	r.frames = []frame{{data: format(encode(v), layout...), output: true, tokens: tokens.output}}
	r.seal()
	return r
}

// seal computes what is the same in every delivery.
func (r *rendering) seal() {
	for _, f := range r.frames {
		r.size += int64(len(f.data))
	}
	r.typeHeader = []string{r.contentType}
	r.lengthHeader = []string{strconv.FormatInt(r.size, 10)}
}

var noCache = []string{"no-cache"}

// indented is how OpenAI and Google lay out a body; spaced is how Google lays out an event.
var (
	indented = []jsontext.Options{jsontext.Multiline(true), jsontext.WithIndent("  ")}
	spaced   = []jsontext.Options{jsontext.SpaceAfterColon(true)}
)

func format(body []byte, layout ...jsontext.Options) []byte {
	if len(layout) == 0 {
		return body
	}
	v := jsontext.Value(body)
	if err := v.Format(layout...); err != nil {
		panic(fmt.Sprintf("mock: format an own value: %v", err))
	}
	return v
}

// writer builds a rendering, frame by frame.
type writer struct {
	s   *Script
	k   *ask
	a   *answer
	r   *rendering
	eol string
	seq int
}

// body sets the whole of a plain answer.
func (w *writer) body(v any, layout ...jsontext.Options) {
	data := append(format(encode(v), layout...), "\n"...)
	w.r.frames = []frame{{data: data, output: true}}
}

// event adds one event of a stream; an empty name leaves the event line out.
func (w *writer) event(name string, output bool, data []byte) {
	var b bytes.Buffer
	if w.s.sse.comments {
		b.WriteString(": MOCK PROCESSING" + w.eol + w.eol)
	}
	colon := ": "
	if w.s.sse.tight {
		colon = ":"
	}
	if name != "" {
		b.WriteString("event" + colon + name + w.eol)
	}
	b.WriteString("data" + colon)
	b.Write(data)
	b.WriteString(w.eol + w.eol)
	w.r.frames = append(w.r.frames, frame{data: b.Bytes(), output: output})
}

// finish sets what only the whole tells: token sums per frame, byte order mark, the open end.
func (w *writer) finish() {
	outputs, seen := int64(0), int64(0)
	for _, f := range w.r.frames {
		if f.output {
			outputs++
		}
	}
	for i := range w.r.frames {
		f := &w.r.frames[i]
		if f.output {
			seen++
		}
		f.tokens = w.a.tokens.output
		if outputs > 0 {
			f.tokens = w.a.tokens.output * seen / outputs
		}
	}
	if w.r.stream && w.r.contentType != jsonType {
		if w.s.sse.bom {
			w.r.frames[0].data = append([]byte("\ufeff"), w.r.frames[0].data...)
		}
		if last := &w.r.frames[len(w.r.frames)-1]; w.s.sse.open {
			last.data = bytes.TrimSuffix(last.data, []byte(w.eol+w.eol))
		}
	}
	for _, p := range w.a.parts {
		w.r.pieces += len(p.chunks)
	}
	w.r.seal()
}

// streaming sets the head of a stream and its line ends, which a script may turn round.
func (w *writer) streaming(contentType, eol string) {
	w.r.contentType, w.eol = contentType, eol
	if w.s.sse.crlf {
		w.eol = "\r\n"
	}
	if w.s.sse.lf {
		w.eol = "\n"
	}
	w.r.eol = w.eol
}

// blanks makes deterministic filler of 1 to n bytes, for vendors that hide lengths.
func (w *writer) blanks(fill string, n uint64) string {
	w.seq++
	return strings.Repeat(fill, int(1+mix(w.s.seed, uint64(w.seq))%n))
}
