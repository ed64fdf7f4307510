package llm

import "errors"

// A Span is a half-open range of byte offsets in a body. The zero Span says that a member is absent.
type Span struct{ Start, End int }

// Of returns the bytes of the span, nil when it is absent.
func (s Span) Of(b []byte) []byte {
	if s.End == 0 {
		return nil
	}
	return b[s.Start:s.End]
}

// A Mark is a member that a policy reads or a retarget edits. The strict scan notes where each stands.
type Mark uint8

// The marks. Spans cover the member's value, except where it is said otherwise.
const (
	NoMark            Mark = iota
	MarkObject             // the body's own object, from { to }
	MarkModel              //
	MarkStream             //
	MarkMaxOutput          // max_completion_tokens, max_output_tokens, maxOutputTokens, Anthropic's max_tokens
	MarkMaxOutputOld       // OpenAI's max_tokens
	MarkN                  // n, candidateCount
	MarkBestOf             //
	MarkStreamOptions      //
	MarkIncludeUsage       // stream_options.include_usage
	MarkStore              //
	MarkPrevious           // previous_response_id, conversation: state kept at a provider
	MarkPrompt             // of a text completion: one, or a list
	markCount              // how many there are
)

// Marks are the spans of one body.
type Marks [markCount]Span

// LongText is how many bytes a long string has at least: to find the end of a shorter one costs next to nothing.
const LongText = 4096

// Texts are what the strict scan saw of a body's strings, so that nobody need look through them all for it again.
type Texts struct {
	Long      []Span // long strings without their quotes, in order; names of members are not among them
	Disguised bool   // a letter, a digit or one of _-.:/ is written as an escape (\u0061), as nobody does who has nothing to hide
}

// An Encoding says for whom a payload is written, and collects what did not fit.
type Encoding struct {
	Model   string
	Stream  bool
	Lenient bool
	Lost    []Problem
}

// Lose notes a member that the target cannot carry: at is its JSON pointer in the client's document when
// known (Part.At, Message.At), else its hub name ("top_k"); why says what the target lacks.
func (e *Encoding) Lose(at, why string) {
	e.Lost = append(e.Lost, Problem{At: at, Msg: why})
}

// Err is nil when nothing was lost or the target is lenient, else an *Error of KindUnsupported that names all.
func (e *Encoding) Err() error {
	if len(e.Lost) == 0 || e.Lenient {
		return nil
	}
	return &Error{Kind: KindUnsupported, Msg: "the model's upstream cannot carry part of this request", Problems: e.Lost}
}

// A Codec is one format's request half.
type Codec interface {
	Format() Format
	// Decode gives the meaning of a body that has passed the strict scan. Problems are reported all at
	// once, as an *Error of KindInvalid with JSON pointers.
	Decode(raw []byte) (Payload, error)
	// Encode writes a payload of any format in this one. What cannot be carried goes to e.Lose.
	Encode(p Payload, e *Encoding) ([]byte, error)
	// Retarget gives raw, which is of this format, the model's name at the target and (for a stream) the
	// wish for usage. It returns raw's own bytes in pieces, with the edited members between them.
	Retarget(raw []byte, m *Marks, e *Encoding) [][]byte
}

// A Body is the bytes of a request as they came and what they mean; each is made from the other. Editing
// the meaning drops the bytes, and splicing the bytes drops the meaning. Not safe for concurrent use.
type Body struct {
	Texts Texts // of the bytes as they came

	codec Codec
	raw   []byte
	marks Marks
	val   Payload
}

// NewBody wraps bytes that have passed the strict scan of codec's format.
func NewBody(codec Codec, raw []byte, marks Marks) Body {
	return Body{codec: codec, raw: raw, marks: marks}
}

// Len is the size of the body as it came, in bytes.
func (b *Body) Len() int { return len(b.raw) }

// Raw is the body as it came; nil once it was edited. It is read only, and lives as long as the request does.
func (b *Body) Raw() []byte { return b.raw }

// Payload decodes once. The result is read only: use Edit to change it.
func (b *Body) Payload() (Payload, error) {
	if b.val == nil {
		if b.codec == nil {
			return nil, errors.New("llm: empty body")
		}
		v, err := b.codec.Decode(b.raw)
		if err != nil {
			return nil, err
		}
		b.val = v
	}
	return b.val, nil
}

// Edit gives the meaning to be changed; the bytes are gone from then on.
func (b *Body) Edit() (Payload, error) {
	p, err := b.Payload()
	if err == nil {
		b.raw = nil
	}
	return p, err
}

// A Splice is a JSON value that takes the place of another in a body.
type Splice struct {
	At   Span
	With []byte
}

// Splice puts values in the place of others, in order of their places, which do not overlap and are not the model's. No
// other byte changes, so what nobody here understands stays as it came. What the bytes mean is worked out anew when it is
// asked for. Of a body that was edited there are no bytes to splice: that is an error.
func (b *Body) Splice(list []Splice) error {
	if b.raw == nil {
		return errors.New("llm: a body without bytes cannot be spliced")
	}
	size := len(b.raw)
	for i := range list {
		size += len(list[i].With) - (list[i].At.End - list[i].At.Start)
	}
	out, from := make([]byte, 0, size), 0
	for i := range list {
		out = append(append(out, b.raw[from:list[i].At.Start]...), list[i].With...)
		from = list[i].At.End
	}
	for i := range b.marks {
		m := &b.marks[i]
		if m.End == 0 {
			continue
		}
		*m = Span{shifted(list, m.Start), shifted(list, m.End)}
	}
	b.raw, b.val = append(out, b.raw[from:]...), nil
	return nil
}

// shifted is where an offset that is within no spliced value has gone.
func shifted(list []Splice, at int) int {
	to := at
	for i := range list {
		if list[i].At.Start >= at {
			break
		}
		to += len(list[i].With) - (list[i].At.End - list[i].At.Start)
	}
	return to
}

// Bytes is the body in c's format for the target that e describes: the bytes as they came, retargeted,
// when c's format is theirs; else the meaning encoded.
func (b *Body) Bytes(c Codec, e *Encoding) ([][]byte, error) {
	if b.raw != nil && c.Format() == b.codec.Format() {
		return c.Retarget(b.raw, &b.marks, e), nil
	}
	p, err := b.Payload()
	if err != nil {
		return nil, err
	}
	out, err := c.Encode(p, e)
	if err != nil {
		return nil, err
	}
	if err := e.Err(); err != nil {
		return nil, err
	}
	return [][]byte{out}, nil
}
