package openai

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// A failure is what the many forms of a vendor's error say.
type failure struct {
	message string
	typ     string
	param   string
	code    string
	status  int           // as the body says it; 0: it does not
	wait    time.Duration // as the body says it
}

// failureBody covers the forms seen: OpenAI's {"error":{…}}, xAI's {"code":…,"error":"…"}, Mistral's
// {"message":…} and FastAPI's {"detail":…}.
type failureBody struct {
	Error      llm.Raw  `json:"error"`
	Message    llm.Raw  `json:"message"`
	Detail     llm.Raw  `json:"detail"`
	Errors     llm.Raw  `json:"errors"`
	Type       loose    `json:"type"`
	Param      loose    `json:"param"`
	Code       loose    `json:"code"`
	Msg        loose    `json:"msg"` // FastAPI, one problem
	Status     loose    `json:"status"`
	StatusCode whole    `json:"status_code"` // Groq, inside streams
	Details    []detail `json:"details"`     // Google
	Metadata   *struct {
		Raw     llm.Raw          `json:"raw"` // OpenRouter: the provider's own error
		Reasons llm.Raw          `json:"reasons"`
		Headers map[string]loose `json:"headers"`
	} `json:"metadata"`
}

// detail is one of Google's error details.
type detail struct {
	Type       string `json:"@type"`
	RetryDelay string `json:"retryDelay"`
}

// parseFailure reads an error body, or the value of an error member. It never fails: what is not understood
// stays empty.
func parseFailure(body []byte) failure {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return failure{}
	}
	switch body[0] {
	case '"':
		return failure{message: unquote(body)}
	case '[': // Google's endpoint wraps its error in an array; FastAPI lists problems
		var list []llm.Raw
		if json.Unmarshal(body, &list, readOptions) == nil && len(list) > 0 {
			return parseFailure(list[0])
		}
		return failure{}
	case '{':
	default:
		return failure{message: plainText(body)}
	}
	var b failureBody
	_ = json.Unmarshal(body, &b, readOptions) // what could be read is there all the same
	f := b.own()
	for _, inner := range []llm.Raw{b.Error, b.Message, b.Detail, b.Errors} {
		if !isNull(inner) {
			f = f.or(parseFailure(inner))
		}
	}
	return f
}

func (b *failureBody) own() failure {
	f := failure{typ: string(b.Type), param: string(b.Param), code: string(b.Code), status: int(b.StatusCode)}
	if n, err := strconv.Atoi(string(b.Code)); err == nil && n >= 100 && n < 600 {
		f.status, f.code = n, ""
	}
	if n, err := strconv.Atoi(string(b.Status)); err == nil && f.status == 0 {
		f.status = n
	} else if f.typ == "" {
		f.typ = string(b.Status) // Google's RESOURCE_EXHAUSTED and its like
	}
	for _, d := range b.Details {
		if w, err := time.ParseDuration(d.RetryDelay); err == nil && strings.HasSuffix(d.Type, "RetryInfo") {
			f.wait = w
		}
	}
	f.message = string(b.Msg)
	if m := b.Metadata; m != nil {
		if text := unquote(m.Raw); text != "" {
			f = f.or(parseFailure([]byte(text))) // better than OpenRouter's own "Provider returned error"
		} else if !isNull(m.Raw) {
			f = f.or(parseFailure(m.Raw))
		}
		if !isNull(m.Reasons) {
			f.code = "content_filter" // OpenRouter's moderation says why it refused
		}
		h := http.Header{}
		for name, v := range m.Headers {
			h.Set(name, string(v))
		}
		if len(h) > 0 {
			f.wait = max(f.wait, wire.RetryAfter(h, time.Now()))
		}
	}
	return f
}

// or fills what f does not say from g.
func (f failure) or(g failure) failure {
	if f.message == "" {
		f.message = g.message
	}
	if f.typ == "" {
		f.typ = g.typ
	}
	if f.param == "" {
		f.param = g.param
	}
	if f.code == "" {
		f.code = g.code
	}
	if f.status == 0 {
		f.status = g.status
	}
	f.wait = max(f.wait, g.wait)
	return f
}

// plainText takes a short text body; pages of HTML say nothing useful.
func plainText(body []byte) string {
	if body[0] == '<' || len(body) > 500 {
		return ""
	}
	return strings.ToValidUTF8(string(body), "")
}

// ReadError classifies a refusal.
func (*ChatFormat) ReadError(status int, h http.Header, body []byte) *llm.Error {
	return readError(status, h, body)
}

func readError(status int, h http.Header, body []byte) *llm.Error {
	f := parseFailure(body)
	e := f.classify(status)
	if wait := wire.RetryAfter(h, time.Now()); wait > 0 {
		e.RetryAfter = wait
	}
	return e
}

// answerError is the error that an answer or chunk carries, nil when it carries none. Its status is what
// the error says, for the HTTP status was 200.
func answerError(c *answer) error {
	if !isNull(c.Error) && string(c.Error) != `""` && string(c.Error) != "{}" {
		return streamFailure(c.Error)
	}
	for i := range c.Choices {
		switch ch := &c.Choices[i]; {
		case !isNull(ch.Error):
			return streamFailure(ch.Error)
		case ch.FinishReason == "error":
			return &llm.Error{Kind: llm.KindUpstream, Msg: "the upstream failed while it answered"}
		case ch.FinishReason == "insufficient_system_resource": // DeepSeek gave up half way
			return &llm.Error{Kind: llm.KindOverloaded, Msg: "the upstream ran out of resources while it answered"}
		}
	}
	return nil
}

func streamFailure(v []byte) error {
	f := parseFailure(v)
	return f.classify(f.impliedStatus())
}

// impliedStatus is the status of an error that came with 200, by what it says of itself.
func (f *failure) impliedStatus() int {
	if f.status >= 400 {
		return f.status
	}
	words := strings.ToLower(f.code + " " + f.typ)
	for _, w := range []struct {
		word   string
		status int
	}{
		{"rate_limit", 429},
		{"quota", 429},
		{"too_many", 429},
		{"exhausted", 429},
		{"authentication", 401},
		{"api_key", 401},
		{"unauthorized", 401},
		{"unauthenticated", 401},
		{"permission", 403},
		{"billing", 402},
		{"context_length", 400},
		{"content_filter", 400},
		{"not_found", 404},
		{"invalid", 400},
		{"overloaded", 503},
		{"unavailable", 503},
		{"timeout", 504},
		{"deadline", 504},
	} {
		if strings.Contains(words, w.word) {
			return w.status
		}
	}
	return http.StatusBadGateway
}

func has(s string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}

// classify gives a failure its meaning by status and, where vendors disagree on the status, by its words.
func (f *failure) classify(status int) *llm.Error {
	e := &llm.Error{Msg: wire.Scrub(f.message), Param: f.param, Code: f.code, RetryAfter: f.wait}
	if e.Msg == "" {
		e.Msg = "the upstream answered with status " + strconv.Itoa(status)
	}
	e.Kind = f.kind(status)
	switch e.Kind {
	case llm.KindUpstreamCreds: // whose key it is and what is wrong with it is ours to know
		return &llm.Error{Kind: e.Kind, Msg: "the upstream refused the gateway's credential"}
	case llm.KindInvalid:
		if e.Status = status; status < 400 || status > 499 {
			e.Status = 0
		}
	}
	return e
}

func (f *failure) kind(status int) llm.Kind {
	words := strings.ToLower(f.code + " " + f.typ)
	msg := strings.ToLower(f.message)
	switch {
	case has(words, "content_filter", "content_policy", "moderation", "data_inspection") || has(msg, "content management policy", "content filter", "requires moderation"):
		return llm.KindContentFiltered
	case status == 401 || status == 402 || status == 403:
		return llm.KindUpstreamCreds
	case status < 500 && has(words, "insufficient_quota", "exceeded_current_quota", "insufficient_balance", "billing"):
		return llm.KindUpstreamCreds // mostly a 429, but waiting does not fill an account
	case status == 429:
		return llm.KindRateLimited
	case status == 413:
		return llm.KindTooLarge
	case status == 503 || status == 529 || status == 498: // 498: Groq's flex tier has no room
		return llm.KindOverloaded
	case status == 504:
		return llm.KindUpstreamTimeout
	case status == 408 || status >= 500:
		return llm.KindUpstream
	case status < 400:
		return llm.KindUpstream
	case has(words, "context_length") || has(msg, "context length", "context window", "prompt is too long", "too many tokens", "input token count"):
		return llm.KindContextLength
	case has(words, "invalid_api_key", "api_key_invalid") || has(msg, "api key not valid", "incorrect api key", "invalid api key"):
		return llm.KindUpstreamCreds
	case has(words, "model_not_found", "unknown_model", "invalid_model") || has(msg, "is not a valid model") || status == 404 && (has(msg, "model") || msg == ""):
		return llm.KindModelNotFound
	}
	return llm.KindInvalid
}

// An errorBody is a failure before the first byte: problem details and OpenAI's own form in one.
type errorBody struct {
	wire.Problem
	Error apiError `json:"error"`
}

type apiError struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    *string `json:"code"`
}

// Error gives the status and body of a failure before the first byte.
func (*ChatFormat) Error(e *llm.Error, requestID string) (int, []byte) {
	return errorAnswer(e, requestID)
}

func errorAnswer(e *llm.Error, requestID string) (int, []byte) {
	p := wire.NewProblem(e, requestID)
	return p.Status, raw(errorBody{Problem: p, Error: errorOf(e, &p)})
}

func errorOf(e *llm.Error, p *wire.Problem) apiError {
	out := apiError{Message: p.Detail, Type: errorType(p.Status), Code: &p.Code}
	if e.Code != "" {
		out.Code = &e.Code
	}
	switch {
	case e.Param != "":
		out.Param = &e.Param
	case len(e.Problems) > 0 && e.Problems[0].At != "":
		out.Param = ptr(paramOf(e.Problems[0].At))
	}
	return out
}

// errorType is OpenAI's type for a status. The SDKs raise by status; people read the type.
func errorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	}
	if status >= 500 {
		return "server_error"
	}
	return "invalid_request_error"
}

// paramOf writes a JSON pointer as OpenAI writes a member: messages[0].content.
func paramOf(pointer string) string {
	if !strings.HasPrefix(pointer, "/") {
		return pointer
	}
	var b strings.Builder
	for seg := range strings.SplitSeq(pointer[1:], "/") {
		if _, err := strconv.ParseUint(seg, 10, 32); err == nil {
			b.WriteString("[" + seg + "]")
			continue
		}
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(strings.ReplaceAll(strings.ReplaceAll(seg, "~1", "/"), "~0", "~"))
	}
	return b.String()
}

// appendFailure writes the frame that ends a broken stream: the SDKs raise on it.
func appendFailure(dst []byte, e *llm.Error, requestID string) []byte {
	p := wire.NewProblem(e, requestID)
	return appendFrame(dst, raw(struct {
		Error apiError `json:"error"`
	}{errorOf(e, &p)}))
}

func appendFrame(dst, data []byte) []byte {
	dst = append(dst, "data: "...)
	dst = append(dst, data...)
	return append(dst, "\n\n"...)
}
