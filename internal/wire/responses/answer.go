package responses

import (
	"bytes"
	"math"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire/openai"
)

// readOptions read what upstreams write: they are not held to what clients are.
var readOptions = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// A response is a response object as an upstream writes it. Most of it repeats the request; that is kept
// in Extra.
type response struct {
	ID         string           `json:"id"`
	Object     string           `json:"object"`
	CreatedAt  float64          `json:"created_at"`
	Model      string           `json:"model"`
	Status     string           `json:"status"`
	Error      jsontext.Value   `json:"error"`
	Incomplete *incomplete      `json:"incomplete_details"`
	Output     []jsontext.Value `json:"output"`
	Usage      *usage           `json:"usage"`
	Tier       string           `json:"service_tier"`
	Extra      llm.Members      `json:",embed"`
}

type incomplete struct {
	Reason string `json:"reason"`
}

// An outcome is what accounting needs of a response object, and nothing else of it.
type outcome struct {
	Status     string         `json:"status"`
	Error      jsontext.Value `json:"error"`
	Incomplete *incomplete    `json:"incomplete_details"`
	Output     jsontext.Value `json:"output"`
	Usage      *usage         `json:"usage"`
	Tier       string         `json:"service_tier"`
	Tools      jsontext.Value `json:"tool_usage"`
}

// usage is what an answer consumed.
func (o *outcome) usage() *llm.Usage {
	return told(o.Usage.meaning(o.Tier), o.Output, o.Tools, o.Usage.details())
}

// usage is what an answer consumed.
func (r *response) usage() *llm.Usage {
	return told(r.Usage.meaning(r.Tier), list(r.Output), jsontext.Value(r.Extra["tool_usage"]), r.Usage.details())
}

// list puts items together again.
func list(items []jsontext.Value) jsontext.Value {
	b := []byte{'['}
	b = append(b, bytes.Join(bytesOf(items), []byte{','})...)
	return append(b, ']')
}

// head opens the answer. Its Extra is what the upstream said of itself and of the request.
func (r *response) head(extra llm.Members) *llm.Head {
	h := &llm.Head{ID: r.ID, Model: r.Model, Extra: extra}
	if r.CreatedAt > 0 && r.CreatedAt < math.MaxInt32*1000 {
		h.Created = time.Unix(int64(r.CreatedAt), 0).UTC()
	}
	return h
}

// ReadAnswer reads a whole answer.
func (Format) ReadAnswer(body []byte, raw bool) (*llm.Event, error) {
	if raw {
		return readOutcome(body)
	}
	var r response
	if err := json.Unmarshal(body, &r, readOptions); err != nil {
		return nil, notAnswer(err)
	}
	if err := failed(r.Status, r.Error); err != nil {
		return nil, err
	}
	if r.Output == nil && r.Object != "response" {
		return nil, notAnswer(nil)
	}
	a := assembly{}
	for i, it := range r.Output {
		if err := a.whole(i, it); err != nil {
			return nil, notAnswer(err)
		}
	}
	if a.nameless() {
		return nil, notAnswer(errNameless)
	}
	a.stop(r.Status, r.Incomplete)
	return &llm.Event{
		Raw: body, Format: llm.OpenAIResponses, Head: r.head(nil), Delta: a.deltas, Usage: r.usage(),
		Output: a.output, Extra: r.extra(),
	}, nil
}

// extra is what the writer of an answer that was edited on its way tells again.
func (r *response) extra() llm.Members {
	m := keep(r.Extra)
	if r.Tier != "" {
		if m == nil {
			m = make(llm.Members)
		}
		m[tierMember] = quote(nil, r.Tier)
	}
	return m
}

func readOutcome(body []byte) (*llm.Event, error) {
	var o outcome
	if err := json.Unmarshal(body, &o, readOptions); err != nil {
		return nil, notAnswer(err)
	}
	if err := failed(o.Status, o.Error); err != nil {
		return nil, err
	}
	if o.Output.Kind() != '[' {
		return nil, notAnswer(nil)
	}
	output := len(bytes.TrimSpace(o.Output[1:len(o.Output)-1])) > 0
	return &llm.Event{Raw: body, Format: llm.OpenAIResponses, Usage: o.usage(), Output: output}, nil
}

func notAnswer(err error) error {
	return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream's answer is not a response object", Err: err}
}

// failed is the error that a response object tells of, nil when it tells of none.
func failed(status string, e jsontext.Value) error {
	switch {
	case e.Kind() == '{' || e.Kind() == '"':
		return failure(e)
	case status == "failed":
		return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream failed and did not say why"}
	case status == "cancelled":
		return &llm.Error{Kind: llm.KindUpstream, Msg: "the answer was cancelled at the upstream"}
	}
	return nil
}

// ReadError classifies a refusal. The API refuses in the same words as OpenAI's other ones.
func (Format) ReadError(status int, h http.Header, body []byte) *llm.Error {
	return openai.Chat.ReadError(status, h, body)
}

// failure classifies an error that came with status 200, by the status that its code would have had.
func failure(e jsontext.Value) *llm.Error {
	code := strings.ToLower(string(topString(e, "code")) + " " + string(topString(e, "type")))
	status := http.StatusBadGateway
	for _, w := range []struct {
		word   string
		status int
	}{
		{"rate_limit", http.StatusTooManyRequests},
		{"quota", http.StatusTooManyRequests},
		{"api_key", http.StatusUnauthorized},
		{"authentication", http.StatusUnauthorized},
		{"permission", http.StatusForbidden},
		{"context_length", http.StatusBadRequest},
		{"content_filter", http.StatusBadRequest},
		{"model_not_found", http.StatusNotFound},
		{"overloaded", http.StatusServiceUnavailable},
		{"unavailable", http.StatusServiceUnavailable},
		{"timeout", http.StatusGatewayTimeout},
		{"policy", http.StatusBadRequest},
		{"invalid", http.StatusBadRequest},
		{"image_", http.StatusBadRequest},
	} {
		if strings.Contains(code, w.word) {
			status = w.status
			break
		}
	}
	out := openai.Chat.ReadError(status, nil, e)
	// invalid_prompt is what the reasoning models say of a prompt that offends a usage policy.
	if strings.Contains(code, "policy") || strings.Contains(code, "invalid_prompt") && strings.Contains(strings.ToLower(out.Msg), "policy") {
		out.Kind, out.Status = llm.KindContentFiltered, 0
	}
	return out
}
