package openai

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// EmbeddingsFormat is openai.embeddings.
type EmbeddingsFormat struct{}

// Format is llm.OpenAIEmbeddings.
func (*EmbeddingsFormat) Format() llm.Format { return llm.OpenAIEmbeddings }

// Shape is what an embeddings request must look like.
func (*EmbeddingsFormat) Shape() *wire.Shape { return embeddingsShape }

var embeddingsShape = wire.Object(
	wire.Req("model", wire.Str().Len(1, 0)).Mark(llm.MarkModel),
	wire.Req("input", wire.Either(wire.Str(), wire.Array(tokenOrText()).Len(1, 0))),
	wire.Opt("dimensions", wire.Int(1, 1<<20).OrNull()),
	wire.Opt("encoding_format", wire.Enum("float", "base64").OrNull()),
	wire.Opt("user", wire.Str().OrNull()),
)

// Open fills the call from the scanned body.
func (*EmbeddingsFormat) Open(call *llm.Call, _ *http.Request, s *wire.Scanned) error {
	call.Op = llm.OpEmbed
	openCommon(call, s)
	return nil
}

type embedRequest struct {
	Model          string      `json:"model"`
	Input          llm.Raw     `json:"input"`
	Dimensions     *whole      `json:"dimensions,omitzero"`
	EncodingFormat *string     `json:"encoding_format,omitzero"`
	User           *string     `json:"user,omitzero"`
	Extra          llm.Members `json:",embed"`
}

// Decode gives the meaning of an embeddings request.
func (*EmbeddingsFormat) Decode(body []byte) (llm.Payload, error) {
	var q embedRequest
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, &llm.Error{Kind: llm.KindInvalid, Msg: "the request body is not an embeddings request", Err: err}
	}
	e := &llm.Embed{
		Format: llm.OpenAIEmbeddings, Dimensions: q.Dimensions.int64(), Encoding: deref(q.EncodingFormat),
		User: deref(q.User), Extra: keep(q.Extra),
	}
	var problems []llm.Problem
	e.Inputs, e.One, problems = inputs(q.Input)
	if err := invalid(problems); err != nil {
		return nil, err
	}
	return e, nil
}

// inputs reads a text, a list of texts, a list of tokens, or a list of lists of tokens.
func inputs(v llm.Raw) (list []llm.EmbedInput, one bool, problems []llm.Problem) {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return []llm.EmbedInput{{Text: text, At: "/input"}}, true, nil
	}
	var items []llm.Raw
	if json.Unmarshal(v, &items) != nil || len(items) == 0 {
		return nil, false, []llm.Problem{{At: "/input", Msg: "must be a string or an array"}}
	}
	first := jsontext.Value(items[0]).Kind()
	if first == '0' {
		ids, err := tokenIDs(v)
		if err != nil {
			return nil, false, []llm.Problem{{At: "/input", Msg: "mixes tokens with other values"}}
		}
		return []llm.EmbedInput{{Tokens: ids, At: "/input"}}, true, nil
	}
	for i, item := range items {
		in := llm.EmbedInput{At: fmt.Sprintf("/input/%d", i)}
		var err error
		if jsontext.Value(item).Kind() == '"' {
			in.Text = unquote(item)
		} else {
			in.Tokens, err = tokenIDs(item)
		}
		if err != nil || jsontext.Value(item).Kind() != first {
			problems = append(problems, llm.Problem{At: in.At, Msg: "is of another type than the first item"})
		}
		list = append(list, in)
	}
	return list, false, problems
}

// tokenIDs reads whole numbers; 1.0 and 1e0 have passed the scan, too.
func tokenIDs(v []byte) ([]int64, error) {
	var ids []int64
	if json.Unmarshal(v, &ids) == nil && ids != nil {
		return ids, nil
	}
	var floats []float64
	if err := json.Unmarshal(v, &floats); err != nil {
		return nil, err
	}
	ids = make([]int64, len(floats))
	for i, f := range floats {
		ids[i] = int64(f)
	}
	return ids, nil
}

// Encode writes a request for vectors.
func (*EmbeddingsFormat) Encode(p llm.Payload, e *llm.Encoding) ([]byte, error) {
	em, ok := p.(*llm.Embed)
	if !ok {
		return nil, wrongPayload(llm.OpenAIEmbeddings)
	}
	q := embedRequest{Model: e.Model, Dimensions: wholePtr(em.Dimensions)}
	if em.Encoding != "" {
		q.EncodingFormat = &em.Encoding
	}
	if em.User != "" {
		q.User = &em.User
	}
	if em.Format == llm.OpenAIEmbeddings {
		q.Extra = em.Extra
	} else {
		loseMembers(e, "", em.Extra)
	}
	if em.Task != "" {
		e.Lose("taskType", "is known only to the client's own format")
	}
	if em.Title != "" {
		e.Lose("title", "is known only to the client's own format")
	}
	items := make([]llm.Raw, 0, len(em.Inputs))
	for i := range em.Inputs {
		in := &em.Inputs[i]
		loseMembers(e, in.At, in.Extra)
		if in.Tokens != nil {
			items = append(items, raw(in.Tokens))
		} else {
			items = append(items, raw(in.Text))
		}
	}
	if q.Input = raw(items); em.One && len(items) == 1 {
		q.Input = items[0]
	}
	return marshal(&q)
}

// Retarget gives an embeddings body the target's model.
func (*EmbeddingsFormat) Retarget(raw []byte, m *llm.Marks, e *llm.Encoding) [][]byte {
	return retarget(raw, m, e, false)
}

type embedAnswer struct {
	ID    loose       `json:"id"`
	Model loose       `json:"model"`
	Data  []embedding `json:"data"`
	Usage *usage      `json:"usage"`
	Error llm.Raw     `json:"error"`
}

type embedding struct {
	Index     whole          `json:"index"`
	Embedding jsontext.Value `json:"embedding"`
}

// ReadAnswer reads the vectors.
func (*EmbeddingsFormat) ReadAnswer(body []byte, raw bool) (*llm.Event, error) {
	ev := &llm.Event{Raw: body, Format: llm.OpenAIEmbeddings, Output: true}
	if raw {
		var p struct {
			Usage *usage  `json:"usage"`
			Error llm.Raw `json:"error"`
		}
		if err := json.Unmarshal(body, &p, readOptions); err != nil {
			return nil, unreadable(body, err)
		}
		if err := answerError(&answer{Error: p.Error}); err != nil {
			return nil, err
		}
		if p.Usage != nil {
			ev.Usage = p.Usage.meaning("", false)
		}
		return ev, nil
	}
	var a embedAnswer
	if err := json.Unmarshal(body, &a, readOptions); err != nil {
		return nil, unreadable(body, err)
	}
	if err := answerError(&answer{Error: a.Error}); err != nil {
		return nil, err
	}
	if a.Data == nil {
		return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer holds no vectors"}
	}
	ev.Head = &llm.Head{ID: string(a.ID), Model: string(a.Model)}
	if a.Usage != nil {
		ev.Usage = a.Usage.meaning("", false)
	}
	for i := range a.Data {
		v := llm.Vector{Index: int(a.Data[i].Index)}
		if e := a.Data[i].Embedding; e.Kind() == '"' {
			v.Base64 = unquote(e)
		} else if err := json.Unmarshal(e, &v.Values); err != nil {
			return nil, unreadable(body, err)
		}
		ev.Vectors = append(ev.Vectors, v)
	}
	return ev, nil
}

// ReadStream is nil: vectors are not streamed.
func (*EmbeddingsFormat) ReadStream(io.ReadCloser, bool) llm.Stream { return nil }

// ReadError classifies a refusal.
func (*EmbeddingsFormat) ReadError(status int, h http.Header, body []byte) *llm.Error {
	return readError(status, h, body)
}

type outEmbeddings struct {
	Object string         `json:"object"`
	Data   []outEmbedding `json:"data"`
	Model  string         `json:"model"`
	Usage  outEmbedUsage  `json:"usage"`
}

type outEmbedding struct {
	Object    string         `json:"object"`
	Embedding jsontext.Value `json:"embedding"`
	Index     int            `json:"index"`
}

// outEmbedUsage always stands in an answer; SDKs read it without asking.
type outEmbedUsage struct {
	PromptTokens int64 `json:"prompt_tokens"`
	TotalTokens  int64 `json:"total_tokens"`
}

// Answer writes the vectors as the client asked for them, whatever form they came in.
func (*EmbeddingsFormat) Answer(call *llm.Call, a *llm.Answer) ([]byte, error) {
	p, err := call.Body.Payload()
	if err != nil {
		return nil, err
	}
	em, ok := p.(*llm.Embed)
	if !ok {
		return nil, wrongPayload(llm.OpenAIEmbeddings)
	}
	out := outEmbeddings{Object: "list", Model: a.Head.Model, Data: make([]outEmbedding, 0, len(a.Vectors))}
	if out.Model == "" {
		out.Model = call.Model
	}
	if u := a.Usage; u != nil {
		out.Usage = outEmbedUsage{u.Input.N, u.Total.Or(u.Input).N}
	}
	for i := range a.Vectors {
		e, err := vectorJSON(&a.Vectors[i], em.Encoding == "base64")
		if err != nil {
			return nil, err
		}
		out.Data = append(out.Data, outEmbedding{"embedding", e, a.Vectors[i].Index})
	}
	return marshal(&out)
}

// vectorJSON writes a vector as base64 of little-endian float32, or as numbers.
func vectorJSON(v *llm.Vector, packed bool) (jsontext.Value, error) {
	if packed {
		text := v.Base64
		if text == "" {
			b := make([]byte, 0, 4*len(v.Values))
			for _, f := range v.Values {
				b = binary.LittleEndian.AppendUint32(b, math.Float32bits(f))
			}
			text = base64.StdEncoding.EncodeToString(b)
		}
		return jsontext.AppendQuote(nil, text)
	}
	values := v.Values
	if values == nil && v.Base64 != "" {
		b, err := base64.StdEncoding.DecodeString(v.Base64)
		if err != nil || len(b)%4 != 0 {
			return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's vector is not base64 of float32", Err: err}
		}
		for i := 0; i < len(b); i += 4 {
			values = append(values, math.Float32frombits(binary.LittleEndian.Uint32(b[i:])))
		}
	}
	out := make([]byte, 0, 2+14*len(values))
	out = append(out, '[')
	for i, f := range values {
		if i > 0 {
			out = append(out, ',')
		}
		if x := float64(f); math.IsNaN(x) || math.IsInf(x, 0) {
			return nil, &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's vector holds what is no number"}
		}
		bits := 32
		if math.Float32bits(f)&0x1fff == 0 { // a half-precision number: OpenAI writes those out exactly
			bits = 64
		}
		out = jsontext.AppendFloat(out, float64(f), bits)
	}
	return append(out, ']'), nil
}

// Writer is nil: vectors are not streamed.
func (*EmbeddingsFormat) Writer(*llm.Call) wire.Writer { return nil }

// Error gives the status and body of a failure before the first byte.
func (*EmbeddingsFormat) Error(e *llm.Error, requestID string) (int, []byte) {
	return errorAnswer(e, requestID)
}
