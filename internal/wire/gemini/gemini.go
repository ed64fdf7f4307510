// Package gemini is the wire format of Google's Gemini API, both directions: generateContent and
// streamGenerateContent, countTokens, embedContent and batchEmbedContents.
// Source: https://ai.google.dev/api
//
// It knows no provider, credential or policy. What is particular to this API, and where it is dealt with:
//
//   - The model and the action stand in the path ([Route]); a model in the body must be the same one.
//   - Names come in camelCase and in snake_case, enumerations as words and as numbers (protobuf JSON).
//   - A stream is server-sent events with alt=sse and a JSON array without; both are read and written.
//   - Function calls may lack ids. They get stable ones, which are left out again on the way back.
//   - Every part may carry a thought signature. Signatures of other vendors travel through a Gemini client
//     marked "sluice.<vendor>." inside the base64 that the client's SDK expects.
package gemini

import (
	"bytes"
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// by is this vendor's name on signatures (llm.Signature.By).
const by = "gemini"

// A Format is the wire format of one endpoint. It implements wire.Format and wire.Upstream.
type Format struct {
	name  llm.Format
	op    llm.Op
	shape *wire.Shape
}

// The formats. Generate is that of :generateContent and of :streamGenerateContent.
var (
	Generate     = &Format{llm.GeminiGenerate, llm.OpChat, generateShape()}
	CountTokens  = &Format{llm.GeminiCount, llm.OpCount, countShape()}
	EmbedContent = &Format{llm.GeminiEmbed, llm.OpEmbed, embedShape()}
	BatchEmbed   = &Format{llm.GeminiBatchEmbed, llm.OpEmbed, batchShape()}
)

var (
	_ wire.Format   = (*Format)(nil)
	_ wire.Upstream = (*Format)(nil)
)

// The actions of the path.
const (
	actionGenerate = "generateContent"
	actionStream   = "streamGenerateContent"
	actionCount    = "countTokens"
	actionEmbed    = "embedContent"
	actionBatch    = "batchEmbedContents"
)

// Route takes apart what stands in a path behind /v1beta/models/, unescaped: "mock/echo:generateContent".
// The model may hold slashes and colons, so the action is what follows the last colon. A leading "models/"
// is part of the resource's name and not of the model's.
func Route(path string) (f wire.Format, model, action string, ok bool) {
	i := strings.LastIndexByte(path, ':')
	if i < 0 {
		return nil, "", "", false
	}
	model, action = strings.TrimPrefix(path[:i], "models/"), path[i+1:]
	switch action {
	case actionGenerate, actionStream:
		f = Generate
	case actionCount:
		f = CountTokens
	case actionEmbed:
		f = EmbedContent
	case actionBatch:
		f = BatchEmbed
	}
	if f == nil || model == "" {
		return nil, "", "", false
	}
	return f, model, action, true
}

// Format names the endpoint.
func (f *Format) Format() llm.Format { return f.name }

// Shape is what a request body must look like.
func (f *Format) Shape() *wire.Shape { return f.shape }

// ours says that a payload was read from one of this package's formats, so that its unknown members and
// blocks mean something here.
func ours(f llm.Format) bool { return strings.HasPrefix(string(f), "gemini.") }

// Open fills the call from the path and the scanned body. It checks that a model named in the body is the
// one of the path (they must not be priced by one and served by the other), and that tool-call ids match.
func (f *Format) Open(call *llm.Call, r *http.Request, s *wire.Scanned) error {
	_, model, action, ok := Route(r.PathValue("rest"))
	if !ok {
		return llm.Errorf(llm.KindNotFound, "the path names no model and action")
	}
	call.Op, call.Model, call.WantUsage = f.op, model, true
	call.Stream = action == actionStream
	call.MaxOutput = whole(s.Member(llm.MarkMaxOutput))
	call.Choices = max(1, whole(s.Member(llm.MarkN)))
	problems := checkIDs(s.Notes)
	if m := s.Member(llm.MarkModel); !sameModel(m, model) {
		problems = append(problems, otherModel("/model"))
	}
	for _, n := range s.Notes {
		if n.Kind != wire.NoteType || sameModel(quoted(n.Value), model) {
			continue
		}
		at := "/model"
		if f == BatchEmbed {
			at = "/requests/" + strconv.Itoa(n.Item) + at
		}
		problems = append(problems, otherModel(at))
	}
	if len(problems) > 0 {
		return invalid(problems)
	}
	return nil
}

func invalid(problems []llm.Problem) *llm.Error {
	return &llm.Error{Kind: llm.KindInvalid, Msg: "the request is not valid", Problems: problems}
}

func otherModel(at string) llm.Problem {
	return llm.Problem{At: at, Msg: "names another model than the path; leave it out or make them the same"}
}

// sameModel compares a model's name in a body, a JSON value or nil, with the path's.
func sameModel(raw []byte, model string) bool {
	if len(raw) == 0 || raw[0] != '"' {
		return true // absent, or null
	}
	name, err := jsontext.AppendUnquote(nil, raw)
	return err == nil && (len(name) == 0 || strings.TrimPrefix(string(name), "models/") == model)
}

func quoted(v []byte) []byte { return append(append([]byte{'"'}, v...), '"') }

// whole reads a JSON number that the shape holds to be whole: 8192, 8192.0 or 8e3. 0 when there is none.
func whole(raw []byte) int64 {
	n, err := strconv.ParseFloat(string(raw), 64)
	if err != nil {
		return 0
	}
	return int64(n)
}

// checkIDs holds the ids of function responses against those of the calls before them. Ids are optional
// here, and many clients send them on one side only; so only an id that stands beside others is wrong.
func checkIDs(notes []wire.Note) []llm.Problem {
	var calls map[string]bool
	var problems []llm.Problem
	for _, n := range notes {
		switch n.Kind {
		case wire.NoteCall:
			if calls == nil {
				calls = make(map[string]bool)
			}
			calls[string(n.Value)] = true
		case wire.NoteResult:
			if len(n.Value) > 0 && calls != nil && !calls[string(n.Value)] {
				problems = append(problems, llm.Problem{
					At:  "/contents/" + strconv.Itoa(n.Item) + "/parts/" + strconv.Itoa(n.Inner) + "/functionResponse/id",
					Msg: "answers no functionCall that came before it",
				})
			}
		}
	}
	return problems
}

// foreignMark is how the base64 of a signature begins that this package made of another vendor's.
const foreignMark = `"c2x1aWNlL` // base64 of "sluice" and of the first bits of the dot behind it

// Retarget gives a body the model's name at the target where it names one. Signatures of other vendors mean
// nothing to Gemini, so a body that holds any is decoded and encoded without them.
func (f *Format) Retarget(raw []byte, m *llm.Marks, e *llm.Encoding) [][]byte {
	if bytes.Contains(raw, []byte(foreignMark)) {
		if p, err := f.Decode(raw); err == nil {
			if out, err := f.Encode(p, e); err == nil {
				return [][]byte{out}
			}
		}
	}
	if f == BatchEmbed || f == CountTokens {
		return splice(raw, models(raw), e.Model)
	}
	return splice(raw, []llm.Span{m[llm.MarkModel]}, e.Model)
}

// splice puts a model's name in place of the string values at the spans, which are in order.
func splice(raw []byte, at []llm.Span, model string) [][]byte {
	var out [][]byte
	from := 0
	for _, s := range at {
		if s.End == 0 || raw[s.Start] != '"' {
			continue
		}
		out = append(out, raw[from:s.Start], quote(nil, resource(model)))
		from = s.End
	}
	return append(out, raw[from:])
}

// resource is a model's name as bodies have it.
func resource(model string) string { return "models/" + strings.TrimPrefix(model, "models/") }

// models finds the names of the model in requests within a request; the scan has a mark for one only.
func models(raw []byte) []llm.Span {
	var at []llm.Span
	p := peeker{b: raw}
	request := func() {
		for p.object() {
			if string(p.key()) == "model" {
				v := p.value()
				at = append(at, llm.Span{Start: p.i - len(v), End: p.i})
			} else {
				p.skip()
			}
		}
	}
	for p.object() {
		switch string(p.key()) {
		case "requests":
			for p.array() {
				request()
			}
		case "generateContentRequest", "generate_content_request":
			request()
		case "model":
			v := p.value()
			at = append(at, llm.Span{Start: p.i - len(v), End: p.i})
		default:
			p.skip()
		}
	}
	return at
}

// Decode gives the meaning of a scanned body.
func (f *Format) Decode(raw []byte) (llm.Payload, error) {
	switch f {
	case EmbedContent:
		return decodeEmbed(raw)
	case BatchEmbed:
		return decodeBatch(raw)
	case CountTokens:
		return decodeCount(raw)
	}
	return decodeGenerate(raw)
}

// Encode writes a payload in this format.
func (f *Format) Encode(p llm.Payload, e *llm.Encoding) ([]byte, error) {
	switch p := p.(type) {
	case *llm.Chat:
		if f == CountTokens {
			return encodeCount(p, e)
		}
		if f == Generate {
			return encodeGenerate(p, e)
		}
	case *llm.Embed:
		if f == EmbedContent {
			return encodeEmbed(p, e)
		}
		if f == BatchEmbed {
			return encodeBatch(p, e)
		}
	}
	return nil, llm.Errorf(llm.KindUnsupported, "%s cannot carry this kind of request", f.name)
}

// How JSON is read here. Requests have passed the strict scan, which refuses case variants, so matching
// without regard to case only adds the snake_case names that protobuf JSON takes. Answers are read as
// leniently as Google's own clients read them.
var (
	readingRequest = json.JoinOptions(json.MatchCaseInsensitiveNames(true))
	readingAnswer  = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
)

// readRequest decodes a scanned body. An error is the client's: it is a mismatch that the shape does not see.
func readRequest(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v, readingRequest); err != nil {
		var sem *json.SemanticError
		if errors.As(err, &sem) {
			return invalid([]llm.Problem{{At: string(sem.JSONPointer), Msg: "is not what this member takes"}})
		}
		return &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not valid", Err: err}
	}
	return nil
}
