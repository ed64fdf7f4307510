// Package responses is the wire format of OpenAI's Responses API (POST /v1/responses), both directions:
// requests and answers, whole and streamed.
// Reference: https://platform.openai.com/docs/api-reference/responses
//
// The API can keep state at the provider. What asks for that (store: true, previous_response_id,
// conversation, background: true, prompt, item references) passes unchanged to an upstream that speaks
// this format and is refused by name for any other. An absent store means true at OpenAI; for another
// upstream it asks for nothing and nothing is stored.
package responses

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// Responses is the format.
var Responses = Format{now: time.Now}

// Format is the Responses API as a wire.Format and a wire.Upstream. Use the value Responses.
type Format struct {
	now func() time.Time // for created_at where the upstream's format does not say it
}

var (
	_ wire.Format   = Format{}
	_ wire.Upstream = Format{}
)

// Format names the format.
func (Format) Format() llm.Format { return llm.OpenAIResponses }

// Shape is what a request body must look like.
func (Format) Shape() *wire.Shape { return requestShape }

// Open fills the call from the scanned body and checks that tool calls and their outputs match.
func (Format) Open(call *llm.Call, _ *http.Request, s *wire.Scanned) error {
	call.Op = llm.OpChat
	call.WantUsage = true
	call.Choices = 1
	model, err := jsontext.AppendUnquote(nil, s.Member(llm.MarkModel))
	if err != nil {
		return &llm.Error{Kind: llm.KindInvalid, Problems: []llm.Problem{{At: "/model", Msg: "must be a string"}}}
	}
	call.Model = string(model)
	call.Stream = string(s.Member(llm.MarkStream)) == "true"
	if v := s.Member(llm.MarkMaxOutput); v != nil && v[0] != 'n' {
		n, err := strconv.ParseFloat(string(v), 64)
		if err != nil {
			return llm.Errorf(llm.KindInvalid, "max_output_tokens: %w", err)
		}
		call.MaxOutput = int64(n)
	}
	if problems := checkInput(s); len(problems) > 0 {
		return &llm.Error{Kind: llm.KindInvalid, Msg: "the request is not valid", Problems: problems}
	}
	return nil
}

// Retarget exchanges the model's name. A stream of this format always tells its usage. Items that the
// writer made of another vendor's reasoning mean nothing to an upstream, so a body that holds any is
// decoded and encoded without them.
func (f Format) Retarget(raw []byte, m *llm.Marks, e *llm.Encoding) [][]byte {
	if bytes.Contains(raw, []byte(`"`+sealed)) || bytes.Contains(raw, []byte(`"`+ownReasoning)) {
		if p, err := f.Decode(raw); err == nil {
			if out, err := f.Encode(p, e); err == nil {
				return [][]byte{out}
			}
		}
	}
	at := m[llm.MarkModel]
	return [][]byte{raw[:at.Start], quote(nil, e.Model), raw[at.End:]}
}

// quote appends a JSON string.
func quote(dst []byte, s string) []byte {
	dst, _ = jsontext.AppendQuote(dst, s) // its error only says that invalid UTF-8 was replaced
	return dst
}
