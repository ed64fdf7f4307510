package gemini

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"sluice/internal/llm"
	"sluice/internal/wire"
)

// statuses are Google's canonical names for HTTP statuses.
var statuses = map[int]string{
	http.StatusUnauthorized:          "UNAUTHENTICATED",
	http.StatusForbidden:             "PERMISSION_DENIED",
	http.StatusNotFound:              "NOT_FOUND",
	http.StatusMethodNotAllowed:      "UNIMPLEMENTED",
	http.StatusRequestTimeout:        "DEADLINE_EXCEEDED",
	http.StatusConflict:              "ABORTED",
	http.StatusTooManyRequests:       "RESOURCE_EXHAUSTED",
	499:                              "CANCELLED",
	http.StatusInternalServerError:   "INTERNAL",
	http.StatusBadGateway:            "UNAVAILABLE",
	http.StatusServiceUnavailable:    "UNAVAILABLE",
	http.StatusGatewayTimeout:        "DEADLINE_EXCEEDED",
	529:                              "UNAVAILABLE",
	http.StatusRequestEntityTooLarge: "INVALID_ARGUMENT",
}

func statusName(status int) string {
	if name := statuses[status]; name != "" {
		return name
	}
	if status >= 500 {
		return "INTERNAL"
	}
	return "INVALID_ARGUMENT"
}

// statusCode is the HTTP status of a canonical name, for error objects that say no code.
func statusCode(name string) int {
	switch name {
	case "INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE":
		return http.StatusBadRequest
	case "UNAUTHENTICATED":
		return http.StatusUnauthorized
	case "PERMISSION_DENIED":
		return http.StatusForbidden
	case "NOT_FOUND":
		return http.StatusNotFound
	case "RESOURCE_EXHAUSTED":
		return http.StatusTooManyRequests
	case "UNAVAILABLE":
		return http.StatusServiceUnavailable
	case "DEADLINE_EXCEEDED":
		return http.StatusGatewayTimeout
	}
	return http.StatusBadGateway
}

// Error gives the status and body of a failure before the first byte: Google's error form, with problem
// details beside it. "error" comes first: Google's Python SDK looks for it there.
func (f *Format) Error(e *llm.Error, requestID string) (int, []byte) {
	p := wire.NewProblem(e, requestID)
	t := errorObject(nil, e, p)
	rest, _ := json.Marshal(p) // strings and numbers cannot fail
	t = append(t[:len(t)-1], ',')
	return p.Status, append(t, rest[1:]...)
}

// errorObject appends {"error":{...}}.
func errorObject(dst []byte, e *llm.Error, p wire.Problem) text {
	t := text(append(dst, '{'))
	t.name("error")
	t.open('{')
	t.name("code")
	t.int(int64(p.Status))
	t.str("message", p.Detail)
	t.str("status", statusName(p.Status))
	t.name("details")
	t.open('[')
	t.detail("ErrorInfo")
	t.str("reason", strings.ToUpper(p.Code))
	t.str("domain", "sluice")
	t.close('}')
	if len(p.Errors) > 0 {
		t.detail("BadRequest")
		t.name("fieldViolations")
		t.open('[')
		for _, q := range p.Errors {
			t.open('{')
			t.str("field", q.Pointer)
			t.str("description", q.Detail)
			t.close('}')
		}
		t.close(']')
		t.close('}')
	}
	if e.RetryAfter > 0 {
		t.detail("RetryInfo")
		t.str("retryDelay", strconv.FormatFloat(e.RetryAfter.Seconds(), 'f', -1, 64)+"s")
		t.close('}')
	}
	t.close(']')
	t.close('}')
	t.close('}')
	return t
}

// detail opens a detail of one of Google's error types.
func (t *text) detail(kind string) {
	t.open('{')
	t.str("@type", "type.googleapis.com/google.rpc."+kind)
}

// A refused is Google's error form, as far as it is of use.
type refused struct {
	Code    jsontext.Value `json:"code"`
	Message string         `json:"message"`
	Status  string         `json:"status"`
	Details []struct {
		Type            string `json:"@type"`
		Reason          string `json:"reason"`
		RetryDelay      string `json:"retryDelay"`
		FieldViolations []struct {
			Field string `json:"field"`
		} `json:"fieldViolations"`
	} `json:"details"`
}

// readRefused finds the error in a body: the form itself, or, on a stream without alt=sse, in an array.
func readRefused(body []byte) (r refused) {
	var one struct {
		Error jsontext.Value `json:"error"`
	}
	v := jsontext.Value(body)
	if v.Kind() == '[' {
		var list []jsontext.Value
		if json.Unmarshal(v, &list, readingAnswer) != nil || len(list) == 0 {
			return r
		}
		v = list[0]
	}
	if json.Unmarshal(v, &one, readingAnswer) != nil {
		return r
	}
	if one.Error.Kind() == '"' {
		r.Message = word(one.Error, nil)
		return r
	}
	var loose struct {
		Code    jsontext.Value   `json:"code"`
		Message jsontext.Value   `json:"message"`
		Status  jsontext.Value   `json:"status"`
		Details []jsontext.Value `json:"details"`
	}
	if json.Unmarshal(one.Error, &r, readingAnswer) == nil {
		return r
	}
	_ = json.Unmarshal(one.Error, &loose, readingAnswer) // one member of an odd type must not hide the others
	r = refused{Code: loose.Code}
	if loose.Message.Kind() == '"' {
		r.Message = word(loose.Message, nil)
	}
	if loose.Status.Kind() == '"' {
		r.Status = word(loose.Status, nil)
	}
	return r
}

// ReadError classifies a refusal. Google says a few things with a status of 400 that are none: a key that
// is not valid, a prompt that is too long.
func (f *Format) ReadError(status int, h http.Header, body []byte) *llm.Error {
	r := readRefused(body)
	e := &llm.Error{Msg: wire.Scrub(strings.TrimSpace(r.Message)), Code: r.Status}
	lower := strings.ToLower(r.Message)
	reason := ""
	for _, d := range r.Details {
		if d.Reason != "" {
			reason = d.Reason
		}
		for _, v := range d.FieldViolations {
			if e.Param == "" {
				e.Param = v.Field
			}
		}
	}
	switch {
	case status == 401, status == 402, status == 403, isCredential(reason, lower):
		return &llm.Error{Kind: llm.KindUpstreamCreds, Msg: "the upstream refused the gateway's credential", Code: r.Status}
	case status == 429:
		e.Kind, e.RetryAfter = llm.KindRateLimited, retryAfter(h, &r)
	case status == 404:
		e.Kind = llm.KindModelNotFound
	case status == 413, strings.Contains(lower, "payload size exceeds"):
		e.Kind = llm.KindTooLarge
	case status < 500 && (strings.Contains(lower, "token count") && strings.Contains(lower, "exceeds") ||
		strings.Contains(lower, "maximum number of tokens") || strings.Contains(lower, "context length")):
		e.Kind = llm.KindContextLength
	case status < 500 && (strings.Contains(lower, "content filter") || strings.Contains(lower, "prohibited content") ||
		strings.Contains(lower, "safety") && strings.Contains(lower, "block")):
		e.Kind = llm.KindContentFiltered
	case status == 503, status == 529:
		e.Kind, e.RetryAfter = llm.KindOverloaded, retryAfter(h, &r)
	case status == 504:
		e.Kind = llm.KindUpstreamTimeout
	case status == 408, status == 499, status >= 500, status < 400:
		e.Kind = llm.KindUpstream
	default:
		e.Kind, e.Status = llm.KindInvalid, status
	}
	if e.Msg == "" {
		e.Msg = "the upstream answered with status " + strconv.Itoa(status) + " and no message"
	}
	return e
}

// isCredential finds the refusals of a key or of the account behind it that come with another status.
func isCredential(reason, message string) bool {
	return strings.HasPrefix(reason, "API_KEY_") || reason == "ACCESS_TOKEN_EXPIRED" || reason == "BILLING_DISABLED" ||
		reason == "SERVICE_DISABLED" || strings.Contains(message, "api key not valid") ||
		strings.Contains(message, "api key expired") || strings.Contains(message, "enable billing")
}

// retryAfter reads how long to wait: from the headers, else from RetryInfo, else from the words of the
// message ("Please retry in 48.9s").
func retryAfter(h http.Header, r *refused) time.Duration {
	if d := wire.RetryAfter(h, time.Now()); d > 0 {
		return d
	}
	var wait time.Duration
	for _, d := range r.Details {
		if said, err := time.ParseDuration(d.RetryDelay); err == nil {
			wait = max(wait, said)
		}
	}
	if _, rest, ok := strings.Cut(strings.ToLower(r.Message), "retry in "); ok {
		word, _, _ := strings.Cut(rest, " ")
		if said, err := time.ParseDuration(strings.TrimRight(word, ".,\n")); err == nil {
			wait = max(wait, said) // RetryInfo leaves out the fraction
		}
	}
	return min(wait, 24*time.Hour)
}

// failure reads an error object that came inside a 200.
func (f *Format) failure(data []byte) *llm.Error {
	r := readRefused(data)
	status, err := strconv.Atoi(strings.Trim(string(r.Code), `"`))
	if err != nil || status < 400 || status > 599 {
		status = statusCode(r.Status)
	}
	return f.ReadError(status, nil, data)
}
