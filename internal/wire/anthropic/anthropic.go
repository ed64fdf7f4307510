// Package anthropic is the wire format of Anthropic's Messages API, both directions: requests of clients
// and to providers, answers of providers and to clients, whole and streamed.
// Source: https://docs.anthropic.com/en/api/messages
//
// It knows no provider, credential or policy. Two things it adds to what Anthropic documents: max_tokens
// may be absent ([DefaultMaxTokens] is used then), and the signature of a thinking block may carry another
// vendor's proof, marked "sluice.<vendor>." so that it can be told apart when it comes back.
package anthropic

import (
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// DefaultMaxTokens is the max_tokens sent when the client named none: Anthropic requires one, the other
// vendors do not. 8192 fits every model since Claude 3.5.
const DefaultMaxTokens = 8192

// by is this vendor's name on signatures (llm.Signature.By).
const by = "anthropic"

// A Format is the wire format of one endpoint. It implements wire.Format and wire.Upstream.
type Format struct {
	name  llm.Format
	op    llm.Op
	shape *wire.Shape
}

// The formats of POST /v1/messages and POST /v1/messages/count_tokens.
var (
	Messages    = &Format{llm.AnthropicMessages, llm.OpChat, messagesShape()}
	CountTokens = &Format{llm.AnthropicCount, llm.OpCount, countShape()}
)

// Format names the endpoint.
func (f *Format) Format() llm.Format { return f.name }

// Shape is what a request body must look like.
func (f *Format) Shape() *wire.Shape { return f.shape }

// Headers are the client's headers that may travel to an upstream of the same format, in canonical form.
func (f *Format) Headers() []string { return []string{"Anthropic-Version", "Anthropic-Beta"} }

// ours says that a payload was read from one of this package's formats, so that its unknown members and
// blocks mean something here.
func ours(f llm.Format) bool { return f == llm.AnthropicMessages || f == llm.AnthropicCount }

// Open fills the call from the scanned body and checks the order of its messages.
func (f *Format) Open(call *llm.Call, _ *http.Request, s *wire.Scanned) error {
	call.Op, call.WantUsage, call.Choices = f.op, true, 1
	if raw := s.Member(llm.MarkModel); len(raw) > 0 {
		name, err := jsontext.AppendUnquote(nil, raw)
		if err != nil {
			return &llm.Error{
				Kind: llm.KindInvalid, Msg: "the request body is not valid", Err: err,
				Problems: []llm.Problem{{At: "/model", Msg: "is not a valid string"}},
			}
		}
		call.Model = string(name)
	}
	call.Stream = string(s.Member(llm.MarkStream)) == "true"
	call.MaxOutput = whole(s.Member(llm.MarkMaxOutput))
	return checkOrder(s.Notes)
}

// whole reads a JSON number that the shape holds to be whole: 8192, 8192.0 or 8e3. 0 when there is none.
func whole(raw []byte) int64 {
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0
	}
	return int64(n)
}

// Retarget gives a body of this format the model's name at the target and, for Messages, a max_tokens when
// it has none. A stream needs no wish for usage: Anthropic always tells it.
func (f *Format) Retarget(raw []byte, m *llm.Marks, e *llm.Encoding) [][]byte {
	var edits []edit
	if e.Model != "" {
		name, _ := jsontext.AppendQuote(nil, e.Model) // only replaces bytes that are not UTF-8
		edits = append(edits, member(raw, m, llm.MarkModel, "model", name))
	}
	if max := m[llm.MarkMaxOutput]; f.op == llm.OpChat && (max.End == 0 || string(max.Of(raw)) == "null") {
		n := strconv.AppendInt(nil, DefaultMaxTokens, 10)
		edits = append(edits, member(raw, m, llm.MarkMaxOutput, "max_tokens", n))
	}
	return splice(raw, edits)
}

// An edit replaces a span of a body; an empty span inserts.
type edit struct {
	at   llm.Span
	with []byte
}

// member sets a member of the body's own object: its value is replaced where it stands, or it is put first.
func member(raw []byte, m *llm.Marks, mark llm.Mark, name string, value []byte) edit {
	if at := m[mark]; at.End != 0 {
		return edit{at, value}
	}
	start := m[llm.MarkObject].Start + 1
	with := append(append(append([]byte{'"'}, name...), '"', ':'), value...)
	if rest := raw[start:m[llm.MarkObject].End]; !emptyObject(rest) {
		with = append(with, ',')
	}
	return edit{llm.Span{Start: start, End: start}, with}
}

func emptyObject(rest []byte) bool {
	for _, c := range rest {
		if c > ' ' {
			return c == '}'
		}
	}
	return true
}

// splice gives raw in pieces with at most two edits between them.
func splice(raw []byte, edits []edit) [][]byte {
	if len(edits) == 2 && edits[1].at.Start < edits[0].at.Start {
		edits[0], edits[1] = edits[1], edits[0]
	}
	out := make([][]byte, 0, 5)
	from := 0
	for _, e := range edits {
		if e.at.Start > from {
			out = append(out, raw[from:e.at.Start])
		}
		out = append(out, e.with)
		from = e.at.End
	}
	if from < len(raw) {
		out = append(out, raw[from:])
	}
	return out
}

// How JSON is read and written here. What a client sent has passed the strict scan; what a provider sent
// is taken as leniently as its own SDK would take it.
var (
	reading = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	writing = json.JoinOptions(json.Deterministic(true), jsontext.AllowDuplicateNames(true),
		jsontext.AllowInvalidUTF8(true), jsontext.PreserveRawStrings(true))
)

func unmarshal(raw []byte, v any) error { return json.Unmarshal(raw, v, reading) }

// marshal writes values of this package's own types, which cannot fail but for broken JSON kept verbatim.
func marshal(v any) ([]byte, error) { return json.Marshal(v, writing) }

// A number is a whole number in any of JSON's spellings.
type number int64

// UnmarshalJSON takes 8192, 8192.0 and 8e3.
func (n *number) UnmarshalJSON(raw []byte) error {
	f, err := strconv.ParseFloat(string(raw), 64)
	*n = number(f)
	return err
}

func (n *number) int64() *int64 { return (*int64)(n) }
