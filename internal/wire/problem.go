package wire

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	"sluice/internal/llm"
)

// Status is the HTTP status of an error. docs/errors.md lists kinds and statuses; a test holds the two together.
func Status(e *llm.Error) int {
	if e.Status != 0 {
		return e.Status
	}
	return kindTable[e.Kind].status
}

type kindInfo struct {
	status int
	title  string
}

var kindTable = map[llm.Kind]kindInfo{
	llm.KindInvalid:            {http.StatusBadRequest, "The request is not valid"},
	llm.KindUnknownField:       {http.StatusBadRequest, "The request has an unknown field"},
	llm.KindUnsupported:        {http.StatusBadRequest, "The model's upstream cannot carry this request"},
	llm.KindInvalidKey:         {http.StatusUnauthorized, "The API key is missing or not valid"},
	llm.KindModelNotAllowed:    {http.StatusForbidden, "The API key may not use this model"},
	llm.KindModelNotFound:      {http.StatusNotFound, "There is no such model"},
	llm.KindNotFound:           {http.StatusNotFound, "There is nothing at this path"},
	llm.KindForbidden:          {http.StatusForbidden, "Nobody can give more than they have"},
	llm.KindConflict:           {http.StatusConflict, "It is taken, in use, or was changed meanwhile"},
	llm.KindMethodNotAllowed:   {http.StatusMethodNotAllowed, "The path does not take this method"},
	llm.KindTooLarge:           {http.StatusRequestEntityTooLarge, "The request is too large"},
	llm.KindMediaType:          {http.StatusUnsupportedMediaType, "The request's media type or encoding is not supported"},
	llm.KindRequestTimeout:     {http.StatusRequestTimeout, "The request did not arrive in time"},
	llm.KindRateLimited:        {http.StatusTooManyRequests, "Too many requests or tokens"},
	llm.KindConcurrency:        {http.StatusTooManyRequests, "Too many requests at once"},
	llm.KindBudget:             {http.StatusTooManyRequests, "The budget is used up"},
	llm.KindBudgetUnknown:      {http.StatusServiceUnavailable, "What is left of the budget is not known"},
	llm.KindUnpriced:           {http.StatusForbidden, "The model has no price"},
	llm.KindLedgerFull:         {http.StatusServiceUnavailable, "The ledger is full"},
	llm.KindIdempotencyRunning: {http.StatusConflict, "A request with this Idempotency-Key is under way"},
	llm.KindIdempotencyReused:  {http.StatusUnprocessableEntity, "The Idempotency-Key was used before"},
	llm.KindContextLength:      {http.StatusBadRequest, "The request is longer than the model's context"},
	llm.KindContentFiltered:    {http.StatusBadRequest, "The provider's content filter refused the request"},
	llm.KindGuardrail:          {http.StatusBadRequest, "A guardrail refused the request"},
	llm.KindUpstream:           {http.StatusBadGateway, "The upstream failed"},
	llm.KindUpstreamTimeout:    {http.StatusGatewayTimeout, "The upstream did not answer in time"},
	llm.KindUpstreamCreds:      {http.StatusBadGateway, "The upstream refused the gateway's credentials"},
	llm.KindNoUpstream:         {http.StatusServiceUnavailable, "No upstream is available for this model"},
	llm.KindOverloaded:         {http.StatusServiceUnavailable, "The upstream or the gateway is overloaded"},
	llm.KindClientGone:         {499, "The client closed the connection"},
	llm.KindInternal:           {http.StatusInternalServerError, "Internal error"},
}

// Kinds lists every kind of error with its status, for the tests of docs/errors.md.
func Kinds() map[llm.Kind]int {
	m := make(map[llm.Kind]int, len(kindTable))
	for k, i := range kindTable {
		m[k] = i.status
	}
	return m
}

// A Problem is problem details (RFC 9457), meant to be inlined in a vendor's own error body so that both a
// generic client and the vendor's SDK understand it.
type Problem struct {
	Type     string        `json:"type"`     // urn:sluice:error:<code>; a vendor's body may use the name for its own
	Title    string        `json:"title"`    // the kind, in words
	Status   int           `json:"status"`   // the HTTP status
	Detail   string        `json:"detail"`   // this occurrence, in words
	Instance string        `json:"instance"` // the request id, also in X-Request-Id
	Code     string        `json:"code"`     // the kind, as a stable code
	Errors   []ProblemItem `json:"errors,omitempty"`
}

// A ProblemItem is one thing wrong with one member of the request.
type ProblemItem struct {
	Pointer string `json:"pointer"` // JSON pointer (RFC 6901)
	Detail  string `json:"detail"`
}

// NewProblem describes an error. Detail names every problem with its pointer: SDKs show nothing else.
func NewProblem(e *llm.Error, requestID string) Problem {
	info := kindTable[e.Kind]
	p := Problem{
		Type: "urn:sluice:error:" + string(e.Kind), Title: info.title, Status: Status(e),
		Detail: e.Msg, Instance: requestID, Code: string(e.Kind),
	}
	if p.Detail == "" {
		p.Detail = info.title
	}
	for i, q := range e.Problems {
		p.Errors = append(p.Errors, ProblemItem{Pointer: q.At, Detail: q.Msg})
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		at := q.At
		if at == "" {
			at = "the body"
		}
		p.Detail += sep + at + " " + q.Msg
	}
	return p
}

// ProblemMember is the member of a stream's last frame that says why a budget has ended the answer.
const ProblemMember = "problem"

// ProblemJSON is the problem details of an error, as JSON on one line.
func ProblemJSON(e *llm.Error, requestID string) []byte {
	p := NewProblem(e, requestID)
	b, err := json.Marshal(&p)
	if err != nil { // strings and numbers only: cannot be
		return []byte("null")
	}
	return b
}

// RetryAfter reads how long an upstream asks us to wait, 0 when it does not say. Vendors say it in many
// ways: Retry-After in seconds or as a date, retry-after-ms (Azure sends both, the finer one wins when it is
// more than zero), x-ratelimit-reset-* as a duration ("17ms", "6m0s"), x-ratelimit-reset as seconds or as
// an epoch in seconds or milliseconds (OpenRouter), anthropic-ratelimit-*-reset as a time.
func RetryAfter(h http.Header, now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(h.Get("Retry-After-Ms"), 64); err == nil && ms > 0 {
		return seconds(ms / 1000)
	}
	if v := h.Get("Retry-After"); v != "" {
		if s, err := strconv.ParseFloat(v, 64); err == nil {
			return seconds(s)
		}
		if at, err := http.ParseTime(v); err == nil {
			return clampWait(at.Sub(now))
		}
	}
	var wait time.Duration
	for name, values := range h {
		name = strings.ToLower(name)
		if len(values) == 0 || !strings.Contains(name, "ratelimit") || !strings.Contains(name, "reset") {
			continue
		}
		// A reset of a limit that is not used up is not a reason to wait.
		if left := h.Get(strings.Replace(name, "reset", "remaining", 1)); left != "" && left != "0" {
			continue
		}
		wait = max(wait, resetWait(values[0], now))
	}
	return clampWait(wait)
}

func resetWait(v string, now time.Time) time.Duration {
	if d, err := time.ParseDuration(v); err == nil {
		return d
	}
	if at, err := time.Parse(time.RFC3339, v); err == nil {
		return at.Sub(now)
	}
	n, err := strconv.ParseFloat(v, 64)
	switch {
	case err != nil:
		return 0
	case n > 1e12:
		return time.UnixMilli(int64(n)).Sub(now)
	case n > 1e9:
		return time.Unix(int64(n), 0).Sub(now)
	}
	return seconds(n)
}

func seconds(s float64) time.Duration {
	const most = 24 * 3600
	return clampWait(time.Duration(min(s, most) * float64(time.Second)))
}

func clampWait(d time.Duration) time.Duration { return min(max(d, 0), 24*time.Hour) }

// scrubbed is what provider texts hold that is none of the client's business: keys and their tails, ids of
// organisations, projects and requests, addresses.
var scrubbed = regexp.MustCompile(strings.Join([]string{
	`\b(?:sk|pk|rk|gsk|xai|hf|nvapi|pplx|csk|fw|key)[-_][\w*.\-]*[\w*]`, // keys by their prefix, also shortened ones
	`\bAIza[\w\-]{8,}`, `\bya29\.[\w\-.]+`, `(?i:\bbearer) +[\w\-.]{8,}`, `\bAKIA[A-Z0-9]{12,}`,
	`\w{0,8}\*{3,}\w{0,8}`, // a key with its middle starred out
	`\b(?:org|proj|user|acct|req|request|chatcmpl|msg|resp)[-_][A-Za-z0-9]{6,}[\w\-]*`,
	`\b[a-z][a-z0-9+.\-]*://[^\s"'<>)]*[^\s"'<>).,;]`,
	`\b(?:\d{1,3}\.){3}\d{1,3}(?::\d+)?\b`,
	`\b[\w\-]+(?:\.[\w\-]+)*\.(?:internal|local|svc|cluster|corp|lan)\b`,
}, "|"))

// Scrub takes keys, account ids, request ids and addresses out of an upstream's text, so that it can be
// shown to a client, and bounds its length.
func Scrub(msg string) string {
	const most = 2000
	if len(msg) > most {
		msg = strings.ToValidUTF8(msg[:most], "") + "…"
	}
	return scrubbed.ReplaceAllString(msg, "[removed]")
}
