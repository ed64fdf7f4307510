package anthropic

import (
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// An errorBody is a failure for a client: Anthropic's error and problem details in one. Anthropic's "type"
// takes the place of the problem's, which may be any URI reference.
type errorBody struct {
	Type      string             `json:"type"`
	Error     errorDetail        `json:"error"`
	RequestID string             `json:"request_id"`
	Title     string             `json:"title"`
	Status    int                `json:"status"`
	Detail    string             `json:"detail"`
	Instance  string             `json:"instance"`
	Code      string             `json:"code"`
	Errors    []wire.ProblemItem `json:"errors,omitempty"`
}

type errorDetail struct {
	Type    string `json:"type"`
	Message string `json:"message"`
}

// Error gives the status and body of a failure before the first byte.
func (f *Format) Error(e *llm.Error, requestID string) (status int, body []byte) {
	p := wire.NewProblem(e, requestID)
	body, err := marshal(&errorBody{
		Type: "error", Error: errorDetail{errorType(p.Status), p.Detail}, RequestID: requestID,
		Title: p.Title, Status: p.Status, Detail: p.Detail, Instance: p.Instance, Code: p.Code, Errors: p.Errors,
	})
	if err != nil { // strings and numbers only: cannot be
		body = []byte(`{"type":"error","error":{"type":"api_error","message":"internal error"}}`)
	}
	return p.Status, body
}

// errorType is Anthropic's name for a status.
func errorType(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusPaymentRequired:
		return "billing_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusRequestTimeout, http.StatusGatewayTimeout:
		return "timeout_error"
	case http.StatusServiceUnavailable, 529:
		return "overloaded_error"
	}
	if status >= 500 {
		return "api_error"
	}
	return "invalid_request_error"
}

// statusOf is the status that an error type stands for, where a stream or a 200 carries it; 0: not known.
func statusOf(errorType string) int {
	switch errorType {
	case "invalid_request_error":
		return http.StatusBadRequest
	case "authentication_error":
		return http.StatusUnauthorized
	case "billing_error":
		return http.StatusPaymentRequired
	case "permission_error":
		return http.StatusForbidden
	case "not_found_error":
		return http.StatusNotFound
	case "request_too_large":
		return http.StatusRequestEntityTooLarge
	case "rate_limit_error":
		return http.StatusTooManyRequests
	case "timeout_error":
		return http.StatusGatewayTimeout
	case "overloaded_error":
		return 529
	}
	return 0
}

// A refusal is an upstream's error object, in Anthropic's form or in one of those that proxies in front of
// it use.
type refusal struct {
	kind    string // Anthropic's error type
	message string
	known   bool // the body is an error object at all
}

func readRefusal(body []byte) refusal {
	var b struct {
		Error   jsontext.Value `json:"error"`
		Message jsontext.Value `json:"message"`
		Detail  jsontext.Value `json:"detail"`
	}
	if unmarshal(body, &b) != nil {
		return refusal{}
	}
	switch b.Error.Kind() {
	case '{':
		var e struct {
			Type    jsontext.Value `json:"type"`
			Message jsontext.Value `json:"message"`
		}
		if unmarshal(b.Error, &e) != nil {
			return refusal{known: true}
		}
		return refusal{kind: text(e.Type), message: text(e.Message), known: true}
	case '"':
		return refusal{message: text(b.Error), known: true}
	}
	return refusal{message: or(text(b.Message), text(b.Detail))}
}

// text is a JSON string's value, "" for anything else.
func text(v jsontext.Value) string {
	var s string
	if v.Kind() != '"' || unmarshal(v, &s) != nil {
		return ""
	}
	return s
}

// ReadError classifies a refusal.
func (f *Format) ReadError(status int, h http.Header, body []byte) *llm.Error {
	now, err := http.ParseTime(h.Get("Date")) // the upstream's clock is the one its limits reset by
	if err != nil {
		now = time.Now()
	}
	e := classify(status, readRefusal(body))
	if e.Kind == llm.KindRateLimited || e.Kind == llm.KindOverloaded {
		e.RetryAfter = wire.RetryAfter(h, now)
	}
	return e
}

// classify tells what an upstream's refusal means.
func classify(status int, r refusal) *llm.Error {
	msg := wire.Scrub(r.message)
	fail := func(k llm.Kind, otherwise string) *llm.Error {
		return &llm.Error{Kind: k, Msg: or(msg, otherwise), Code: r.kind}
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusPaymentRequired || status == http.StatusForbidden || spent(r.message):
		// The client can do nothing about it, and the text is about our account; it may repeat the key and the prompt, so the log has none of it.
		return &llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential"}
	case status == http.StatusTooManyRequests:
		return fail(llm.KindRateLimited, "the upstream's rate limit is reached")
	case status == http.StatusRequestEntityTooLarge:
		return fail(llm.KindTooLarge, "the request is too large for the upstream")
	case status == http.StatusNotFound && r.known:
		return fail(llm.KindModelNotFound, "the upstream has no such model")
	case status == http.StatusNotFound: // no error of the API: a wrong address
		return &llm.Error{Kind: llm.KindUpstream, Msg: "there is no Messages API at the upstream's address"}
	case status == http.StatusServiceUnavailable || status == 529:
		return fail(llm.KindOverloaded, "the upstream is overloaded")
	case status == http.StatusGatewayTimeout:
		return fail(llm.KindUpstreamTimeout, "the upstream did not answer in time")
	case status == http.StatusRequestTimeout || status >= 500 || status < 400:
		return fail(llm.KindUpstream, "the upstream failed")
	case tooLong(r.message):
		return fail(llm.KindContextLength, "")
	case strings.Contains(strings.ToLower(r.message), "content filtering policy"):
		return fail(llm.KindContentFiltered, "")
	}
	e := fail(llm.KindInvalid, "the upstream refused the request")
	e.Status = status
	return e
}

// spent says that the account behind the credential is out of money or over its own limit. Anthropic says
// so with status 400.
func spent(msg string) bool {
	msg = strings.ToLower(msg)
	return strings.Contains(msg, "credit balance is too low") || strings.Contains(msg, "reached your specified api usage limits")
}

func tooLong(msg string) bool {
	msg = strings.ToLower(msg)
	return strings.Contains(msg, "prompt is too long") || strings.Contains(msg, "exceed context limit") ||
		strings.Contains(msg, "exceeds the context window") || strings.Contains(msg, "context window exceeded")
}
